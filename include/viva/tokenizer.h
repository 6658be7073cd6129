/* viva/tokenizer.h: text to token ids and back.
 *
 * A tokenizer is compiled once from a folder's files (tokenizer.json, tokenizer.model, tekken.json, or vocab.json with
 * merges.txt) or a GGUF file, on disk or in memory. It is immutable and may be used by any number of threads. Ids and text equal those of Hugging Face tokenizers. No engine is needed.
 */
#ifndef VIVA_TOKENIZER_H
#define VIVA_TOKENIZER_H

#include "viva/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_tokenizer viva_tokenizer;

typedef struct viva_tokenizer_options {
  size_t size;                     /* sizeof(viva_tokenizer_options) */
  const viva_allocator *allocator; /* NULL: the C library's; copied, its user pointer must outlive the handle */
  viva_log_fn log;                 /* NULL: silent; gets errors and warnings, such as what was ignored in the files */
  void *log_user;
} viva_tokenizer_options;

VIVA_API viva_tokenizer_options viva_tokenizer_options_default(void);

/* Loads a tokenizer. Untrusted input, as for viva_checkpoint_open.
 * Errors: E_IO, E_FORMAT, E_UNSUPPORTED (a component viva does not know: named), E_NOT_FOUND, E_MEMORY, E_ARGUMENT.
 *
 * path:      a folder: the first of tokenizer.json, tokenizer.model, tekken.json, and vocab.json with merges.txt that is
 *            there, with what tokenizer_config.json beside it says of BOS and EOS; a GGUF file; one of those files: that
 *            form alone; another file of a model's folder (weights, config.json): the folder
 * tokenizer: receives one reference, ended by viva_tokenizer_release */
VIVA_API viva_status viva_tokenizer_load(const char *path, const viva_tokenizer_options *options,
                                         viva_tokenizer **tokenizer, viva_error *error);

/* A file in memory. */
typedef struct viva_tokenizer_file {
  const char *name; /* "tokenizer.json", "tokenizer_config.json" ..., or any name that ends in ".gguf" */
  const void *data;
  size_t bytes;
} viva_tokenizer_file;

/* As viva_tokenizer_load of a folder with these files (of one that ends in .gguf: of that file, which must be the only one).
 * Nothing is read from disk, and the data is not needed any more afterwards.
 *
 * files: count of them, at least 1, with different names and without folders in them */
VIVA_API viva_status viva_tokenizer_load_files(const viva_tokenizer_file *files, size_t count,
                                               const viva_tokenizer_options *options, viva_tokenizer **tokenizer,
                                               viva_error *error);

VIVA_API viva_tokenizer *viva_tokenizer_retain(viva_tokenizer *tokenizer);
VIVA_API void viva_tokenizer_release(viva_tokenizer *tokenizer); /* NULL is allowed */

/* A range of bytes of a text: [begin, end). */
typedef struct viva_span {
  size_t begin, end;
} viva_span;

typedef struct viva_encode_options {
  size_t size;           /* sizeof(viva_encode_options) */
  int32_t match_special; /* 0: special tokens written in the text are ordinary text. 1: they become their ids.
                               Added tokens that are not special always match. */
  int32_t add_special;   /* 0: ids of the text alone. 1: with the tokens the tokenizer adds (BOS, EOS), by its rule */
  viva_span *offsets;    /* NULL, or as many as capacity: where in the text each id comes from, as the reference tells
                            it: the tokens of add_special have the range [0, 0), a token that is a part of a
                            character the whole character, and a tokenizer whose rule says so leaves white space out */
} viva_encode_options;

/* Both 0: the text alone. (viva_generate, which takes prompts, has match_special 1.) */
VIVA_API viva_encode_options viva_encode_options_default(void);

/* Encodes text. Bytes that are not UTF-8 count as U+FFFD, one for each maximal invalid part.
 * Returns E_SIZE when capacity is too small: *count then holds the number needed and ids is unspecified. To count, pass
 * ids NULL and capacity 0: VIVA_OK (a text without ids) or E_SIZE, and *count is right in both.
 * Thread-safe. Errors: E_ARGUMENT, E_MEMORY, E_SIZE, E_LIMIT (the tokenizer's rules make too much of the text).
 *
 * text:     bytes long, need not end with a zero; may be NULL when bytes is 0
 * options:  NULL for the defaults
 * ids:      capacity elements; may be NULL when capacity is 0
 * count:    receives the number of ids */
VIVA_API viva_status viva_tokenizer_encode(const viva_tokenizer *tokenizer, const char *text, size_t bytes,
                                           const viva_encode_options *options, viva_token *ids, size_t capacity,
                                           size_t *count, viva_error *error);

typedef struct viva_text {
  const char *text; /* may be NULL when bytes is 0 */
  size_t bytes;
  size_t end; /* receives where its ids end: they begin where those of the text before end, the first one's at 0 */
} viva_text;

/* Encodes count texts on several threads. The ids are those of viva_tokenizer_encode, one text's after the other's, whatever
 * the threads. Returns E_SIZE when capacity is too small: the ends are right then too, and ids is unspecified.
 * Thread-safe. Errors: as viva_tokenizer_encode; E_LIMIT (the system refused a thread).
 *
 * options:  as for viva_tokenizer_encode, without offsets
 * threads:  1 or more; 0: as many as this process may use processors */
VIVA_API viva_status viva_tokenizer_encode_batch(const viva_tokenizer *tokenizer, viva_text *texts, size_t count,
                                                 const viva_encode_options *options, int32_t threads, viva_token *ids,
                                                 size_t capacity, viva_error *error);

/* Streaming encode, of texts of any size: the ids, joined, are those that viva_tokenizer_encode gives for all of the text.
 * What is kept is bounded (about 128 KiB beside a push) as long as the text has places where this tokenizer's rules allow to
 * cut it: most often a space behind a letter. options are without offsets (each push gives its own). One encoder is used by one thread at a time. */
typedef struct viva_encoder viva_encoder;

VIVA_API viva_status viva_encoder_create(viva_tokenizer *tokenizer, const viva_encode_options *options,
                                         viva_encoder **encoder, viva_error *error);
VIVA_API void viva_encoder_free(viva_encoder *encoder); /* NULL is allowed */

/* Adds text, cut anywhere, also within a character. *ids (count of them, possibly none) are valid until the next call on the
 * encoder; so are *offsets, ranges of all of the text. offsets may be NULL, which is faster. After an error the encoder can
 * only be freed. Errors: as viva_tokenizer_encode. */
VIVA_API viva_status viva_encoder_push(viva_encoder *encoder, const char *text, size_t bytes, const viva_token **ids,
                                       const viva_span **offsets, size_t *count, viva_error *error);

/* Ends the text: the ids of what was kept. The encoder is then new again. */
VIVA_API viva_status viva_encoder_finish(viva_encoder *encoder, const viva_token **ids, const viva_span **offsets,
                                         size_t *count, viva_error *error);

typedef struct viva_decode_options {
  size_t size;          /* sizeof(viva_decode_options) */
  int32_t skip_special; /* 1: special tokens give no text. 0: their written form */
} viva_decode_options;

VIVA_API viva_decode_options viva_decode_options_default(void); /* skip_special 1 */

/* Decodes ids to UTF-8. Byte sequences that are not UTF-8 become U+FFFD. An id outside the vocabulary is E_ARGUMENT.
 * Returns E_SIZE when capacity is too small: *bytes then holds the number needed (capacity 0 asks for just that). No
 * zero byte is added. Thread-safe.
 *
 * text:  capacity bytes; may be NULL when capacity is 0
 * bytes: receives the length */
VIVA_API viva_status viva_tokenizer_decode(const viva_tokenizer *tokenizer, const viva_token *ids, size_t count,
                                           const viva_decode_options *options, char *text, size_t capacity,
                                           size_t *bytes, viva_error *error);

/* Streaming decode: the pieces, joined, equal viva_tokenizer_decode of all ids, and each piece is whole characters.
 * One decoder is used by one thread at a time. */
typedef struct viva_decoder viva_decoder;

VIVA_API viva_status viva_decoder_create(viva_tokenizer *tokenizer, const viva_decode_options *options,
                                         viva_decoder **decoder, viva_error *error);
VIVA_API void viva_decoder_free(viva_decoder *decoder); /* NULL is allowed */

/* Adds one id. *text is what can be shown now (possibly empty), valid until the next call on the decoder. */
VIVA_API viva_status viva_decoder_push(viva_decoder *decoder, viva_token id, const char **text, size_t *bytes,
                                       viva_error *error);

/* Ends the stream: what was held back, with incomplete characters as U+FFFD. The decoder is then new again. */
VIVA_API viva_status viva_decoder_finish(viva_decoder *decoder, const char **text, size_t *bytes, viva_error *error);

/* Number of ids: one more than the largest. */
VIVA_API size_t viva_tokenizer_vocab_size(const viva_tokenizer *tokenizer);

/* The token's written form (byte-level tokens in their printable spelling, as in tokenizer.json). The string belongs to
 * the tokenizer; it is not ended by a zero byte. Errors: E_NOT_FOUND (no such id). */
VIVA_API viva_status viva_tokenizer_id_to_token(const viva_tokenizer *tokenizer, viva_token id, const char **text,
                                                size_t *bytes, viva_error *error);

/* Errors: E_NOT_FOUND (no token with this written form). */
VIVA_API viva_status viva_tokenizer_token_to_id(const viva_tokenizer *tokenizer, const char *text, size_t bytes,
                                                viva_token *id, viva_error *error);

/* 1 when id is a special token. */
VIVA_API int viva_tokenizer_is_special(const viva_tokenizer *tokenizer, viva_token id);

/* -1 when there is none. add_bos says whether the tokenizer's rule puts BOS before a text. */
VIVA_API viva_token viva_tokenizer_bos(const viva_tokenizer *tokenizer);
VIVA_API viva_token viva_tokenizer_eos(const viva_tokenizer *tokenizer);
VIVA_API int viva_tokenizer_add_bos(const viva_tokenizer *tokenizer);

#ifdef __cplusplus
}
#endif
#endif
