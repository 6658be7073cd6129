/* A tokenizer from SentencePiece's tokenizer.model.
 *
 * The file is a protobuf message, ModelProto of sentencepiece_model.proto:
 *
 *   1 pieces (repeated): 1 piece (text), 2 score (float), 3 type (as GGUF's token types; missing: normal)
 *   2 trainer_spec: 3 model_type (1 Unigram, the default; 2 BPE), 40 unk_id, 41 bos_id, 42 eos_id (-1: none)
 *   3 normalizer_spec: 2 precompiled_charsmap, 3 add_dummy_prefix (default true), 4 remove_extra_whitespaces (true)
 *
 * The reader is strict: a field of another wire type, a length beyond its message and groups are refused with the byte.
 */
#include <string.h>

#include "text/tokenizer_files.h"

typedef struct proto {
  const uint8_t *text;
  size_t at, end;
  viva_error *error;
} proto;

typedef struct proto_field {
  uint32_t number, wire; /* wire 0: a number; 1, 5: 8 and 4 bytes; 2: a length and bytes */
  uint64_t value;        /* of 0 and 5 */
  size_t begin, end;     /* of 2 */
} proto_field;

enum { WIRE_NUMBER = 0, WIRE_8 = 1, WIRE_BYTES = 2, WIRE_4 = 5 };

static viva_status damaged(const proto *p, const char *what) {
  error_set(p->error, VIVA_E_FORMAT, "%s; the file is damaged or no SentencePiece model", what);
  error_at(p->error, NULL, NULL, 0, p->at);
  return VIVA_E_FORMAT;
}

static viva_status read_number(proto *p, uint64_t *value) {
  *value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (p->at == p->end) return damaged(p, "a number is cut off");
    uint8_t byte = p->text[p->at++];
    if (shift == 63 && byte > 1) break;
    *value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return VIVA_OK;
  }
  return damaged(p, "a number has more than 64 bits");
}

static viva_status read_field(proto *p, proto_field *f) {
  uint64_t key, bytes;
  TRY(read_number(p, &key));
  if (key > UINT32_MAX || key >> 3 == 0) return damaged(p, "a field has no valid number");
  *f = (proto_field){.number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7)};
  if (f->wire == WIRE_NUMBER) return read_number(p, &f->value);
  bytes = f->wire == WIRE_8 ? 8 : 4;
  if (f->wire == WIRE_BYTES) TRY(read_number(p, &bytes));
  if (f->wire != WIRE_8 && f->wire != WIRE_4 && f->wire != WIRE_BYTES)
    return damaged(p, "a field has an unknown wire type");
  if (bytes > p->end - p->at) return damaged(p, "a field is longer than what it is in");
  f->begin = p->at;
  p->at = f->end = p->at + (size_t)bytes;
  if (f->wire == WIRE_4)
    for (size_t i = 4; i-- > 0;) f->value = f->value << 8 | p->text[f->begin + i];
  return VIVA_OK;
}

static proto inside(const proto *p, const proto_field *f) { return (proto){p->text, f->begin, f->end, p->error}; }

static viva_status need(const proto *p, const proto_field *f, uint32_t wire) {
  return f->wire == wire ? VIVA_OK : damaged(p, "a field has another type than SentencePiece gives it");
}

typedef struct pieces {
  token_text *texts;
  float *scores;
  int32_t *kinds;
} pieces;

static viva_status read_piece(proto p, pieces *out, size_t at) {
  proto_field f;
  out->texts[at] = (token_text){"", 0};
  out->scores[at] = 0;
  out->kinds[at] = TOKEN_NORMAL;
  while (p.at < p.end) {
    TRY(read_field(&p, &f));
    if (f.number == 1) {
      TRY(need(&p, &f, WIRE_BYTES));
      out->texts[at] = (token_text){(const char *)p.text + f.begin, f.end - f.begin};
    } else if (f.number == 2) {
      uint32_t bits = (uint32_t)f.value;
      TRY(need(&p, &f, WIRE_4));
      memcpy(&out->scores[at], &bits, sizeof bits);
    } else if (f.number == 3) {
      TRY(need(&p, &f, WIRE_NUMBER));
      if (f.value < TOKEN_NORMAL || f.value > TOKEN_BYTE) return damaged(&p, "a piece has an unknown type");
      out->kinds[at] = (int32_t)f.value;
    }
  }
  return VIVA_OK;
}

static viva_status read_trainer(proto p, token_source *s) {
  proto_field f;
  uint64_t kind = 1;
  int64_t *const ids[] = {&s->unk, &s->bos, &s->eos};
  while (p.at < p.end) {
    TRY(read_field(&p, &f));
    if (f.number != 3 && (f.number < 40 || f.number > 42)) continue;
    TRY(need(&p, &f, WIRE_NUMBER));
    if (f.number == 3)
      kind = f.value;
    else /* int32: -1 is written with 64 bits */
      *ids[f.number - 40] = (int32_t)(uint32_t)f.value;
  }
  if (kind == 2) return VIVA_OK;
  return error_set(p.error, VIVA_E_UNSUPPORTED, "SentencePiece model type %s is not supported; known: BPE",
                   kind == 1   ? "Unigram"
                   : kind == 3 ? "Word"
                               : "Char");
}

static viva_status read_normalizer(proto p, token_source *s) {
  proto_field f;
  s->add_space_prefix = 1;
  while (p.at < p.end) {
    TRY(read_field(&p, &f));
    if (f.number == 2 && f.wire == WIRE_BYTES && f.end > f.begin)
      return error_set(p.error, VIVA_E_UNSUPPORTED,
                       "a SentencePiece model with a table of normalization is not supported");
    if (f.number == 3) {
      TRY(need(&p, &f, WIRE_NUMBER));
      s->add_space_prefix = f.value != 0;
    }
  }
  return VIVA_OK;
}

/* Goes over the fields of the file; out NULL: counts the pieces only. */
static viva_status read_model(proto p, token_source *s, pieces *out, size_t *count, int *has_trainer) {
  proto_field f;
  *count = 0;
  while (p.at < p.end) {
    TRY(read_field(&p, &f));
    if (f.number < 1 || f.number > 3) continue;
    TRY(need(&p, &f, WIRE_BYTES));
    if (f.number == 1) {
      if (out) TRY(read_piece(inside(&p, &f), out, *count));
      ++*count;
    } else if (!out && f.number == 2) {
      *has_trainer = 1;
      TRY(read_trainer(inside(&p, &f), s));
    } else if (!out) {
      TRY(read_normalizer(inside(&p, &f), s));
    }
  }
  return VIVA_OK;
}

static viva_status from_pieces(runtime *rt, const proto *p, token_source *s, pieces *list, viva_tokenizer **out) {
  int ignored;
  if (!list->texts || !list->scores || !list->kinds)
    return error_set(p->error, VIVA_E_MEMORY, "no memory for %zu pieces", s->token_count);
  TRY(read_model(*p, s, list, &s->token_count, &ignored));
  s->tokens = list->texts;
  s->scores = list->scores;
  s->kinds = list->kinds;
  return tokenizer_from_source(rt, s, out, p->error);
}

viva_status tokenizer_from_sentencepiece(runtime *rt, text_file file, const tokenizer_config *config,
                                         viva_tokenizer **out, viva_error *error) {
  token_source s = {.path = file.path, .model = "llama", .bos = -1, .eos = -1, .unk = -1, .config = config};
  proto p = {(const uint8_t *)file.text, 0, file.bytes, error};
  int has_trainer = 0;
  *out = NULL;
  s.add_bos = s.add_eos = s.add_space_prefix = TOKEN_UNSAID;
  s.allowed = rt->allowed;
  viva_status status = read_model(p, &s, NULL, &s.token_count, &has_trainer);
  if (status == VIVA_OK && (!has_trainer || s.token_count == 0))
    status =
        error_set(error, VIVA_E_FORMAT, "expected a SentencePiece model, found no pieces or no trainer_spec in it");
  if (status == VIVA_OK) {
    /* A piece has at least two bytes in the file, so these go by its size. */
    pieces list = {mem_array(&rt->mem, s.token_count, sizeof *list.texts),
                   mem_array(&rt->mem, s.token_count, sizeof *list.scores),
                   mem_array(&rt->mem, s.token_count, sizeof *list.kinds)};
    status = from_pieces(rt, &p, &s, &list, out);
    mem_free(&rt->mem, list.texts);
    mem_free(&rt->mem, list.scores);
    mem_free(&rt->mem, list.kinds);
  }
  if (status != VIVA_OK) error_at(error, file.path, NULL, 0, VIVA_NO_OFFSET);
  return status;
}
