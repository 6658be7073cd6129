/* Streaming encode: text comes in parts of any size; what lies before a safe cut (cuts.h) is encoded, the rest kept. */
#include <string.h>

#include "text/encode.h"

#define PART_BYTES ((size_t)64 << 10) /* of text that is worth a call */

struct viva_encoder {
  viva_tokenizer *tokenizer;
  encode_request request;
  char *text; /* kept: [count] */
  size_t count, room;
  size_t searched; /* no cut lies before it */
  size_t before;   /* bytes of the text that came before what is kept */
  viva_token *ids;
  viva_span *offsets;
  size_t id_room;
};

viva_status viva_encoder_create(viva_tokenizer *tokenizer, const viva_encode_options *options, viva_encoder **encoder,
                                viva_error *error) {
  encode_request request;
  if (encoder) *encoder = NULL;
  if (!tokenizer || !encoder) return error_set(error, VIVA_E_ARGUMENT, "tokenizer and encoder must not be NULL");
  TRY(encode_options_take(options, &request, error));
  if (request.offsets)
    return error_set(error, VIVA_E_ARGUMENT, "options->offsets must be NULL: each push gives its own");
  viva_encoder *e = mem_zalloc(&tokenizer->rt->mem, sizeof *e);
  if (!e) return error_set(error, VIVA_E_MEMORY, "no memory for an encoder");
  e->tokenizer = viva_tokenizer_retain(tokenizer);
  e->request = request;
  *encoder = e;
  return VIVA_OK;
}

void viva_encoder_free(viva_encoder *encoder) {
  if (!encoder) return;
  viva_tokenizer *t = encoder->tokenizer;
  mem *m = &t->rt->mem;
  mem_free(m, encoder->text);
  mem_free(m, encoder->ids);
  mem_free(m, encoder->offsets);
  mem_free(m, encoder);
  viva_tokenizer_release(t);
}

static viva_status keep_text(viva_encoder *e, const char *text, size_t bytes, viva_error *error) {
  if (bytes > SIZE_MAX / 2 - e->count) return error_set(error, VIVA_E_LIMIT, "the text is too long");
  if (e->count + bytes > e->room) {
    size_t room = 2 * e->room > e->count + bytes ? 2 * e->room : e->count + bytes;
    char *grown = mem_resize(&e->tokenizer->rt->mem, e->text, room);
    if (!grown) return error_set(error, VIVA_E_MEMORY, "no memory to keep %zu bytes of text without a cut", room);
    e->text = grown;
    e->room = room;
  }
  if (bytes > 0) memcpy(e->text + e->count, text, bytes);
  e->count += bytes;
  return VIVA_OK;
}

static viva_status grow_ids(viva_encoder *e, size_t count, int with_offsets, viva_error *error) {
  mem *m = &e->tokenizer->rt->mem;
  if (count > e->id_room || (with_offsets && !e->offsets)) {
    size_t room = count > e->id_room ? count : e->id_room;
    viva_token *ids = room <= SIZE_MAX / sizeof *e->offsets ? mem_resize(m, e->ids, room * sizeof *ids) : NULL;
    if (ids) e->ids = ids;
    viva_span *offsets = ids && with_offsets ? mem_resize(m, e->offsets, room * sizeof *offsets) : NULL;
    if (offsets) e->offsets = offsets;
    if (!ids || (with_offsets && !offsets)) return error_set(error, VIVA_E_MEMORY, "no memory for %zu ids", room);
    if (!with_offsets && e->offsets && room > e->id_room) {
      mem_free(m, e->offsets); /* shorter than ids from here on */
      e->offsets = NULL;
    }
    e->id_room = room;
  }
  return VIVA_OK;
}

/* Encodes the first bytes of what is kept. */
static viva_status encode_kept(viva_encoder *e, size_t bytes, int is_last, int with_offsets, size_t *count,
                               viva_error *error) {
  encode_request request = e->request;
  request.suffix = request.suffix && is_last;
  TRY(grow_ids(e, bytes / 2 + 64, with_offsets, error));
  for (int again = 0; again < 2; again++) {
    request.offsets = with_offsets ? e->offsets : NULL;
    viva_status status = encode_request_run(e->tokenizer, &request, e->text, bytes, e->ids, e->id_room, count, error);
    if (status == VIVA_OK) break;
    if (status != VIVA_E_SIZE) return status;
    TRY(grow_ids(e, *count, with_offsets, error));
  }
  size_t first = request.prefix ? e->tokenizer->prefix_count : 0, end = *count;
  if (request.suffix) end -= e->tokenizer->suffix_count;
  for (size_t i = first; with_offsets && i < end; i++) {
    e->offsets[i].begin += e->before;
    e->offsets[i].end += e->before;
  }
  return VIVA_OK;
}

/* What was encoded is dropped; what comes goes on behind it. */
static void advance(viva_encoder *e, size_t bytes) {
  e->count -= bytes;
  if (e->count > 0) memmove(e->text, e->text + bytes, e->count);
  e->before += bytes;
  e->searched = 0;
  if (bytes > 0) e->request.continues = 1;
  e->request.prefix = 0;
}

static void give(viva_encoder *e, size_t count, const viva_token **ids, const viva_span **offsets, size_t *given) {
  *ids = e->ids;
  if (offsets) *offsets = e->offsets;
  *given = count;
}

viva_status viva_encoder_push(viva_encoder *encoder, const char *text, size_t bytes, const viva_token **ids,
                              const viva_span **offsets, size_t *count, viva_error *error) {
  if (!encoder || !ids || !count || (!text && bytes > 0))
    return error_set(error, VIVA_E_ARGUMENT, "encoder, text, ids and count must not be NULL");
  viva_encoder *e = encoder;
  give(e, 0, ids, offsets, count);
  TRY(keep_text(e, text, bytes, error));
  if (e->count < e->searched + PART_BYTES) return VIVA_OK;
  size_t n, cut = cuts_last(e->tokenizer, e->text, e->searched, e->count);
  /* A place right at the end is looked at again when what follows it is there. */
  e->searched = e->count - 4;
  if (cut == 0) return VIVA_OK;
  TRY(encode_kept(e, cut, 0, offsets != NULL, &n, error));
  advance(e, cut);
  give(e, n, ids, offsets, count);
  return VIVA_OK;
}

viva_status viva_encoder_finish(viva_encoder *encoder, const viva_token **ids, const viva_span **offsets, size_t *count,
                                viva_error *error) {
  if (!encoder || !ids || !count) return error_set(error, VIVA_E_ARGUMENT, "encoder, ids and count must not be NULL");
  viva_encoder *e = encoder;
  size_t n;
  give(e, 0, ids, offsets, count);
  TRY(encode_kept(e, e->count, 1, offsets != NULL, &n, error));
  e->count = e->before = e->searched = 0;
  e->request.continues = 0;
  e->request.prefix = e->request.suffix;
  give(e, n, ids, offsets, count);
  return VIVA_OK;
}
