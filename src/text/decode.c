/* Decoding: ids → what each token gives → text, at once or as a stream. Both go through put_token, so that they agree. */
#include <string.h>

#include "base/num.h"
#include "base/options.h"
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

/* Where text goes; what does not fit is counted only, or, in a stream's own memory, makes it larger. */
typedef struct text_sink {
  char *text;
  size_t capacity, bytes;
  const decode_table *table;
  size_t strip; /* copies of the table's strip_text that may still come off the front */
  mem *mem;     /* of a stream, else NULL */
  int is_full;  /* there was no memory to make it larger */
} text_sink;

static void sink_grow(text_sink *sink, size_t more) {
  size_t capacity = 2 * sink->bytes + more + 64;
  char *text = mem_resize(sink->mem, sink->text, capacity);
  sink->is_full |= !text;
  if (!text) return;
  sink->text = text;
  sink->capacity = capacity;
}

static void text_store(text_sink *sink, const void *text, size_t bytes) {
  if (bytes == 0) return;
  if (sink->mem && bytes > sink->capacity - sink->bytes) sink_grow(sink, bytes);
  if (sink->is_full) return;
  if (sink->bytes <= sink->capacity && bytes <= sink->capacity - sink->bytes)
    memcpy(sink->text + sink->bytes, text, bytes);
  sink->bytes += bytes;
}

/* text is whole characters. */
static void text_put(text_sink *sink, const void *text, size_t bytes) {
  const char *from = text;
  while (sink->strip > 0 && bytes > 0) {
    token_text c = sink->table->strip_text;
    if (bytes < c.bytes || memcmp(from, c.text, c.bytes) != 0) {
      sink->strip = 0;
      break;
    }
    from += c.bytes;
    bytes -= c.bytes;
    sink->strip--;
  }
  text_store(sink, from, bytes);
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

/* What decoding remembers from token to token. */
typedef struct decoding {
  const viva_tokenizer *t;
  held_bytes held; /* JOIN_BYTES */
  mapped run;      /* JOIN_FALLBACK: the byte tokens since the last other one. JOIN_CHAIN: nothing */
  int is_begun;    /* a token gave its text (or was a hole: those count for nothing) */
  token_text *all; /* JOIN_CHAIN: all tokens' texts */
  size_t count, room;
  int skip_special;
  text_sink sink;
} decoding;

static decoding decoding_begin(const viva_tokenizer *t, int skip_special, char *text, size_t capacity) {
  return (decoding){.t = t,
                    .run = {.mem = &t->rt->mem},
                    .skip_special = skip_special,
                    .sink = {.text = text, .capacity = capacity, .table = &t->decode, .strip = t->decode.strip}};
}

static void decoding_free(decoding *d) {
  mem_free(d->run.mem, d->all);
  d->all = NULL;
  d->room = 0;
  mapped_free(&d->run);
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to decode tokens");
}

/* The bytes of a run, once it has ended: characters when all of it is UTF-8, else a U+FFFD for each byte. */
static void end_run(decoding *d) {
  size_t bytes = d->run.count;
  if (bytes == 0) return;
  d->run.count = 0;
  if (utf8_valid((const char *)d->run.bytes, bytes)) {
    text_put(&d->sink, d->run.bytes, bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i++) text_put(&d->sink, REPLACEMENT, REPLACEMENT_BYTES);
}

static viva_status put_first(decoding *d, viva_token id, viva_error *error) {
  mapped text = {.mem = d->run.mem};
  viva_status status = decode_first(&d->t->decode, tokenizer_decoded_text(d->t, (uint32_t)id), &text, error);
  if (status == VIVA_OK) text_put(&d->sink, text.bytes, text.count);
  mapped_free(&text);
  return status;
}

static viva_status put_listed(decoding *d, viva_token id, viva_error *error) {
  if (d->count == d->room) {
    size_t room = 2 * d->room + 64;
    token_text *all = room > SIZE_MAX / sizeof *all ? NULL : mem_resize(d->run.mem, d->all, room * sizeof *all);
    if (!all) return no_memory(error);
    d->all = all;
    d->room = room;
  }
  d->all[d->count++] = tokenizer_decoded_text(d->t, (uint32_t)id);
  return VIVA_OK;
}

/* Adds one token. Ids in a hole of the vocabulary have no text, as in the reference. */
static viva_status put_token(decoding *d, viva_token id, viva_error *error) {
  const vocab *v = &d->t->vocab;
  const decode_table *table = &d->t->decode;
  static const origin none = {0, 0};
  if (id < 0 || (size_t)id >= v->count)
    return error_set(error, VIVA_E_ARGUMENT, "id %d is outside the vocabulary: ids are 0 to %lld", id,
                     (long long)v->count - 1);
  if (d->skip_special && (v->flags[id] & VOCAB_SPECIAL)) return VIVA_OK;
  if (!(v->flags[id] & VOCAB_EXISTS)) return VIVA_OK;
  int is_first = !d->is_begun;
  d->is_begun = 1;
  if (table->join == JOIN_CHAIN) return put_listed(d, id, error);
  const uint8_t *bytes = table->bytes + table->at[id];
  size_t count = table->at[id + 1] - table->at[id];
  if (table->join == JOIN_BYTES) {
    put_bytes(&d->held, bytes, count, &d->sink);
    return VIVA_OK;
  }
  if (table->join == JOIN_FALLBACK) {
    if (table->is_byte[id]) return mapped_put(&d->run, bytes, 1, none) ? no_memory(error) : VIVA_OK;
    end_run(d);
  }
  if (table->join == JOIN_SPACE && !is_first) text_put(&d->sink, " ", 1);
  if (is_first && table->first_differs) return put_first(d, id, error);
  text_put(&d->sink, bytes, count);
  return VIVA_OK;
}

static viva_status put_chain(decoding *d, viva_error *error) {
  mapped text = {.mem = d->run.mem};
  viva_status status = d->count ? decode_chain(&d->t->decode, d->all, d->count, &text, error) : VIVA_OK;
  if (status == VIVA_OK && text.count) text_store(&d->sink, text.bytes, text.count);
  mapped_free(&text);
  d->count = 0;
  return status;
}

static viva_status put_end(decoding *d, viva_error *error) {
  if (d->held.count > 0) text_put(&d->sink, REPLACEMENT, REPLACEMENT_BYTES);
  d->held.count = 0;
  end_run(d);
  d->is_begun = 0;
  return d->t->decode.join == JOIN_CHAIN ? put_chain(d, error) : VIVA_OK;
}

/* Puts tokens whose text is copied as it is, as long as there is room for a whole copy; returns how many. */
static size_t put_quick(decoding *d, const viva_token *ids, size_t count) {
  const quick_token *quick = d->t->decode.quick;
  const size_t known = d->t->vocab.count;
  text_sink *sink = &d->sink;
  size_t i = 0, bytes = sink->bytes;
  for (; i < count && bytes + sizeof *quick <= sink->capacity; i++) {
    if ((size_t)(uint32_t)ids[i] >= known) break;
    const quick_token *q = &quick[ids[i]];
    if (q->bytes == QUICK_NOT) break;
    memcpy(sink->text + bytes, q, sizeof *q);
    bytes += q->bytes;
  }
  sink->bytes = bytes;
  return i;
}

/* Is what comes next copied as it is, if its token is of that kind? */
static int may_be_quick(const decoding *d) {
  return d->is_begun && d->t->decode.quick && d->sink.strip == 0 && d->held.count == 0 && d->run.count == 0;
}

static viva_status put_tokens(decoding *d, const viva_token *ids, size_t count, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    if (may_be_quick(d)) i += put_quick(d, ids + i, count - i);
    if (i < count) TRY(put_token(d, ids[i], error));
  }
  return VIVA_OK;
}

static viva_status take_options(const viva_decode_options *options, viva_decode_options *out, viva_error *error) {
  *out = viva_decode_options_default();
  return options_read(out, options, "viva_decode_options", error);
}

viva_status viva_tokenizer_decode(const viva_tokenizer *tokenizer, const viva_token *ids, size_t count,
                                  const viva_decode_options *options, char *text, size_t capacity, size_t *bytes,
                                  viva_error *error) {
  viva_decode_options o;
  TRY(take_options(options, &o, error));
  if (!tokenizer || !bytes || (!ids && count > 0) || (!text && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "tokenizer, ids, text and bytes must not be NULL");
  *bytes = 0;
  decoding d = decoding_begin(tokenizer, o.skip_special, text, capacity);
  viva_status status = put_tokens(&d, ids, count, error);
  if (status == VIVA_OK) status = put_end(&d, error);
  decoding_free(&d);
  if (status != VIVA_OK) return status;
  *bytes = d.sink.bytes;
  if (d.sink.bytes > capacity)
    return error_set(error, VIVA_E_SIZE, "the text has %zu bytes; there is room for %zu", d.sink.bytes, capacity);
  return VIVA_OK;
}

struct viva_decoder {
  viva_tokenizer *tokenizer;
  decoding d;
};

viva_status viva_decoder_create(viva_tokenizer *tokenizer, const viva_decode_options *options, viva_decoder **decoder,
                                viva_error *error) {
  if (decoder) *decoder = NULL;
  viva_decode_options o;
  TRY(take_options(options, &o, error));
  if (!tokenizer || !decoder) return error_set(error, VIVA_E_ARGUMENT, "tokenizer and decoder must not be NULL");
  mem *m = &tokenizer->rt->mem;
  /* Room for any one token, so that most streams never ask for memory again. */
  size_t capacity = (tokenizer->decode.longest + sizeof(held_bytes)) * REPLACEMENT_BYTES;
  viva_decoder *d = mem_zalloc(m, sizeof *d);
  char *text = mem_alloc(m, capacity);
  if (!d || !text) {
    mem_free(m, d);
    mem_free(m, text);
    return error_set(error, VIVA_E_MEMORY, "no memory for a decoder");
  }
  d->tokenizer = viva_tokenizer_retain(tokenizer);
  d->d = decoding_begin(tokenizer, o.skip_special, text, capacity);
  d->d.sink.mem = m;
  *decoder = d;
  return VIVA_OK;
}

void decoder_continue(viva_decoder *decoder) {
  decoder->d.is_begun = 1;
  decoder->d.sink.strip = 0;
}

void viva_decoder_free(viva_decoder *decoder) {
  if (!decoder) return;
  viva_tokenizer *t = decoder->tokenizer;
  decoding_free(&decoder->d);
  mem_free(&t->rt->mem, decoder->d.sink.text);
  mem_free(&t->rt->mem, decoder);
  viva_tokenizer_release(t);
}

static viva_status show(viva_decoder *decoder, viva_status status, const char **text, size_t *bytes,
                        viva_error *error) {
  text_sink *sink = &decoder->d.sink;
  if (status == VIVA_OK && sink->is_full) status = no_memory(error);
  sink->is_full = 0;
  if (status != VIVA_OK) return status;
  *text = sink->text;
  *bytes = sink->bytes;
  return VIVA_OK;
}

viva_status viva_decoder_push(viva_decoder *decoder, viva_token id, const char **text, size_t *bytes,
                              viva_error *error) {
  if (!decoder || !text || !bytes) return error_set(error, VIVA_E_ARGUMENT, "decoder, text and bytes must not be NULL");
  decoder->d.sink.bytes = 0;
  return show(decoder, put_token(&decoder->d, id, error), text, bytes, error);
}

viva_status viva_decoder_finish(viva_decoder *decoder, const char **text, size_t *bytes, viva_error *error) {
  if (!decoder || !text || !bytes) return error_set(error, VIVA_E_ARGUMENT, "decoder, text and bytes must not be NULL");
  decoder->d.sink.bytes = 0;
  viva_status status = put_end(&decoder->d, error);
  decoder->d.sink.strip = decoder->tokenizer->decode.strip;
  return show(decoder, status, text, bytes, error);
}
