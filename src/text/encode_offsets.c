/* Where in the original text each id comes from. */
#include "text/encode.h"
#include "text/unicode.h"

void piece_memory_free(piece_memory *memory) {
  mem_free(memory->mem, memory->ids);
  mem_free(memory->mem, memory->lengths);
  *memory = (piece_memory){.mem = memory->mem};
}

static viva_status reserve(piece_memory *memory, size_t room, viva_error *error) {
  if (room <= memory->room) return VIVA_OK;
  piece_memory_free(memory);
  memory->ids = mem_array(memory->mem, 2 * room, sizeof *memory->ids);
  memory->lengths = mem_array(memory->mem, 2 * room, sizeof *memory->lengths);
  if (!memory->ids || !memory->lengths)
    return error_set(error, VIVA_E_MEMORY, "no memory for the offsets of a word of %zu bytes", room);
  memory->room = 2 * room;
  return VIVA_OK;
}

#define SPACE_OF_BYTES 0x120 /* the byte alphabet's space */

static int is_blank(uint32_t code) { return code == SPACE_OF_BYTES || (unicode_class(code) & UNICODE_SPACE); }

/* Characters of white space at the begin and at the end of a token's text. */
static void count_blanks(const uint8_t *text, size_t bytes, size_t *before, size_t *behind) {
  size_t n;
  uint32_t code;
  *before = *behind = 0;
  for (size_t at = 0; at < bytes; at += n, ++*before) {
    n = unicode_read(text + at, &code);
    if (!is_blank(code)) break;
  }
  for (size_t at = bytes; at > 0; at -= n, ++*behind) {
    n = 1;
    while ((text[at - n] & 0xc0) == 0x80) n++;
    unicode_read(text + at - n, &code);
    if (!is_blank(code)) break;
  }
}

static int continues(const encoding *e, size_t at) { return at < e->bytes && ((uint8_t)e->text[at] & 0xc0) == 0x80; }

/* Moves by whole characters of the original text, not beyond the other end. */
static size_t forward(const encoding *e, viva_span span, size_t count) {
  for (; count > 0 && span.begin < span.end; count--) {
    span.begin++;
    while (span.begin < span.end && continues(e, span.begin)) span.begin++;
  }
  return span.begin;
}

static size_t backward(const encoding *e, viva_span span, size_t count) {
  for (; count > 0 && span.end > span.begin; count--) {
    span.end--;
    while (span.end > span.begin && continues(e, span.end)) span.end--;
  }
  return span.end;
}

/* The reference's process_offsets (pre_tokenizers/byte_level.rs). */
static viva_span trim(const encoding *e, viva_span span, const uint8_t *text, size_t bytes) {
  size_t before, behind;
  if (e->t->trim_count == 0) return span;
  count_blanks(text, bytes, &before, &behind);
  for (size_t i = 0; i < e->t->trim_count; i++) {
    int is_first = !e->continues && (e->sink.count == e->first || span.begin == 0);
    int keeps = is_first && e->t->trim_prefix_space[i] && before == 1;
    if (!keeps) span.begin = forward(e, span, before);
    span.end = backward(e, span, behind);
  }
  return span;
}

static void store(encoding *e, origin from, origin to, const uint8_t *text, size_t bytes) {
  if (e->sink.count < e->sink.capacity)
    e->offsets[e->sink.count] = trim(e, (viva_span){from.begin, to.end}, text, bytes);
}

viva_status encode_piece_offsets(encoding *e, text_view piece, viva_error *error) {
  piece_memory *memory = &e->memory->piece;
  TRY(reserve(memory, bpe_symbols_most(&e->t->bpe, piece.count), error));
  id_sink sink = {memory->ids, memory->room, 0, memory->lengths};
  TRY(bpe_encode(&e->t->bpe, &e->memory->bpe, piece.bytes, piece.count, &sink, error));
  /* spelled[0] and [1]: how many spelled bytes there are before raw[0] and raw[1], the bytes that hold a token's ends. */
  size_t raw[2] = {0, 0}, spelled[2] = {0, 0}, at = 0;
  for (size_t i = 0; i < sink.count; i++) {
    size_t ends[2] = {at, at + memory->lengths[i]};
    for (int k = 0; k < 2; k++)
      while (raw[k] < piece.count && spelled[k] + bpe_spelled(&e->t->bpe, piece.bytes[raw[k]]) <= ends[k] - (size_t)k)
        spelled[k] += bpe_spelled(&e->t->bpe, piece.bytes[raw[k]++]);
    token_text text = vocab_text(&e->t->vocab, (uint32_t)memory->ids[i]);
    if (raw[0] < piece.count && raw[1] < piece.count)
      store(e, piece.origins[raw[0]], piece.origins[raw[1]], (const uint8_t *)text.text, text.bytes);
    id_put(&e->sink, (uint32_t)memory->ids[i]);
    at = ends[1];
  }
  return VIVA_OK;
}

void encode_added_offsets(encoding *e, text_view text) {
  store(e, text.origins[0], text.origins[text.count - 1], text.bytes, text.count);
}
