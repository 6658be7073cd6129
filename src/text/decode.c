/* Decoding: ids → bytes of each token → UTF-8, at once or as a stream. Both go through put_bytes, so that they agree.
 */
#include <string.h>

#include "base/num.h"
#include "text/compile.h"

viva_decode_options viva_decode_options_default(void) {
  return (viva_decode_options){.size = sizeof(viva_decode_options), .skip_special = 1};
}

#define REPLACEMENT       "\xef\xbf\xbd" /* U+FFFD */
#define REPLACEMENT_BYTES 3

/* Bytes that may still become a character: the begin of a UTF-8 sequence. */
typedef struct held_bytes {
  uint8_t bytes[4];
  size_t count; /* 0 to 3 */
} held_bytes;

/* Text that grows; what does not fit is counted only. */
typedef struct text_sink {
  char *text;
  size_t capacity, bytes;
} text_sink;

static void text_put(text_sink *sink, const void *text, size_t bytes) {
  if (sink->bytes <= sink->capacity && bytes <= sink->capacity - sink->bytes)
    memcpy(sink->text + sink->bytes, text, bytes);
  sink->bytes += bytes;
}

/* How many bytes a sequence with this first byte has; 0: it begins none. */
static size_t sequence_length(uint8_t first) {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return 2;
  if (first >= 0xe0 && first <= 0xef) return 3;
  return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* Adds one byte to what is held. A byte that cannot continue the held sequence ends it: the held bytes were a maximal
 * invalid part, one U+FFFD, and the byte begins anew. */
static void put_byte(held_bytes *held, uint8_t byte, text_sink *sink) {
  uint32_t code;
  size_t invalid;
  held->bytes[held->count] = byte;
  size_t n = utf8_decode((const char *)held->bytes, held->count + 1, &code, &invalid);
  if (n > 0) { /* then n is held->count + 1: nothing shorter was valid before */
    text_put(sink, held->bytes, n);
    held->count = 0;
    return;
  }
  if (invalid == held->count + 1 && sequence_length(held->bytes[0]) > invalid) {
    held->count++;
    return;
  }
  text_put(sink, REPLACEMENT, REPLACEMENT_BYTES);
  int again = invalid <= held->count && held->count > 0; /* the byte itself is not part of the invalid part */
  held->count = 0;
  if (!again) return;
  if (sequence_length(byte) == 1)
    text_put(sink, &byte, 1);
  else if (sequence_length(byte) == 0)
    text_put(sink, REPLACEMENT, REPLACEMENT_BYTES);
  else
    held->bytes[held->count++] = byte;
}

static void put_bytes(held_bytes *held, const uint8_t *bytes, size_t count, text_sink *sink) {
  size_t at = 0;
  while (at < count) {
    if (held->count == 0) {
      /* Whole characters go as they are. */
      size_t begin = at, n = 1;
      while (at < count && n > 0) {
        uint32_t code;
        size_t invalid;
        n = utf8_decode((const char *)bytes + at, count - at, &code, &invalid);
        at += n;
      }
      if (at > begin) text_put(sink, bytes + begin, at - begin);
      if (at == count) break;
    }
    put_byte(held, bytes[at++], sink);
  }
}

static void put_end(held_bytes *held, text_sink *sink) {
  if (held->count > 0) text_put(sink, REPLACEMENT, REPLACEMENT_BYTES);
  held->count = 0;
}

/* Adds one token. Ids in a hole of the vocabulary have no text, as in the reference. */
static viva_status put_token(const viva_tokenizer *t, viva_token id, int skip_special, held_bytes *held,
                             text_sink *sink, viva_error *error) {
  const vocab *v = &t->vocab;
  if (id < 0 || (size_t)id >= v->count)
    return error_set(error, VIVA_E_ARGUMENT, "id %d is outside the vocabulary: ids are 0 to %lld", id,
                     (long long)v->count - 1);
  if (skip_special && (v->flags[id] & VOCAB_SPECIAL)) return VIVA_OK;
  put_bytes(held, v->bytes + v->bytes_at[id], v->bytes_at[id + 1] - v->bytes_at[id], sink);
  return VIVA_OK;
}

static viva_status take_options(const viva_decode_options *options, viva_decode_options *out, viva_error *error) {
  *out = viva_decode_options_default();
  if (!options) return VIVA_OK;
  if (options->size < sizeof *out)
    return error_set(error, VIVA_E_ARGUMENT, "options->size is %zu, not %zu", options->size, sizeof *out);
  *out = *options;
  return VIVA_OK;
}

viva_status viva_tokenizer_decode(const viva_tokenizer *tokenizer, const viva_token *ids, size_t count,
                                  const viva_decode_options *options, char *text, size_t capacity, size_t *bytes,
                                  viva_error *error) {
  viva_decode_options o;
  TRY(take_options(options, &o, error));
  if (!tokenizer || !bytes || (!ids && count > 0) || (!text && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, ids, text and bytes must not be NULL");
  *bytes = 0;
  held_bytes held = {.count = 0};
  text_sink sink = {text, capacity, 0};
  for (size_t i = 0; i < count; i++) TRY(put_token(tokenizer, ids[i], o.skip_special, &held, &sink, error));
  put_end(&held, &sink);
  *bytes = sink.bytes;
  if (sink.bytes > capacity)
    return error_set(error, VIVA_E_SIZE, "the text has %zu bytes; there is room for %zu", sink.bytes, capacity);
  return VIVA_OK;
}

struct viva_decoder {
  viva_tokenizer *tokenizer;
  viva_decode_options options;
  held_bytes held;
  text_sink sink;
};

viva_status viva_decoder_create(viva_tokenizer *tokenizer, const viva_decode_options *options, viva_decoder **decoder,
                                viva_error *error) {
  if (decoder) *decoder = NULL;
  viva_decode_options o;
  TRY(take_options(options, &o, error));
  if (!tokenizer || !decoder) return error_set(error, VIVA_E_ARGUMENT, "tokenizer and decoder must not be NULL");
  /* A push shows at most one U+FFFD for each byte of a token and of what was held, so it never allocates. */
  mem *m = &tokenizer->rt->mem;
  size_t capacity = (tokenizer->vocab.longest + sizeof(held_bytes)) * REPLACEMENT_BYTES;
  viva_decoder *d = mem_zalloc(m, sizeof *d);
  char *text = mem_alloc(m, capacity);
  if (!d || !text) {
    mem_free(m, d);
    mem_free(m, text);
    return error_set(error, VIVA_E_MEMORY, "no memory for a decoder");
  }
  d->tokenizer = viva_tokenizer_retain(tokenizer);
  d->options = o;
  d->sink = (text_sink){text, capacity, 0};
  *decoder = d;
  return VIVA_OK;
}

void viva_decoder_free(viva_decoder *decoder) {
  if (!decoder) return;
  viva_tokenizer *t = decoder->tokenizer;
  mem_free(&t->rt->mem, decoder->sink.text);
  mem_free(&t->rt->mem, decoder);
  viva_tokenizer_release(t);
}

viva_status viva_decoder_push(viva_decoder *decoder, viva_token id, const char **text, size_t *bytes,
                              viva_error *error) {
  if (!decoder || !text || !bytes) return error_set(error, VIVA_E_ARGUMENT, "decoder, text and bytes must not be NULL");
  decoder->sink.bytes = 0;
  TRY(put_token(decoder->tokenizer, id, decoder->options.skip_special, &decoder->held, &decoder->sink, error));
  *text = decoder->sink.text;
  *bytes = decoder->sink.bytes;
  return VIVA_OK;
}

viva_status viva_decoder_finish(viva_decoder *decoder, const char **text, size_t *bytes, viva_error *error) {
  if (!decoder || !text || !bytes) return error_set(error, VIVA_E_ARGUMENT, "decoder, text and bytes must not be NULL");
  decoder->sink.bytes = 0;
  put_end(&decoder->held, &decoder->sink);
  *text = decoder->sink.text;
  *bytes = decoder->sink.bytes;
  return VIVA_OK;
}
