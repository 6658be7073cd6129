#include "text/decode_table.h"

#include <string.h>

#include "base/num.h"
#include "text/unicode.h"

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int decode_byte_token(const char *text, size_t bytes) {
  if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
  int low = hex_digit(text[4]), high = text[3] == '+' ? 0 : hex_digit(text[3]);
  return low < 0 || high < 0 ? -1 : high * 16 + low;
}

/* May work in place: nothing is written before all of text was looked at. */
size_t decode_alphabet(const char *text, size_t bytes, uint8_t *out, int *all_bytes) {
  const uint8_t *in = (const uint8_t *)text;
  size_t count = 0;
  uint32_t code;
  *all_bytes = 1;
  for (size_t at = 0; at < bytes && *all_bytes;) {
    at += unicode_read(in + at, &code);
    *all_bytes = byte_alphabet_byte(code) >= 0;
  }
  if (!*all_bytes) {
    memmove(out, text, bytes);
    return bytes;
  }
  for (size_t at = 0; at < bytes;) {
    at += unicode_read(in + at, &code);
    out[count++] = (uint8_t)byte_alphabet_byte(code);
  }
  return count;
}

/* ---- which form a chain has ---- */

static int is_for_each(decode_kind kind) { return kind == DECODE_REPLACE || kind == DECODE_STRIP; }

/* Sets join, strip and first_differs; the operations from the result on are done by join and strip. */
static size_t recognize(decode_table *t) {
  const decode_op *ops = t->ops;
  size_t i = 0, each;
  t->join = JOIN_PLAIN;
  if (t->count && ops[0].kind == DECODE_METASPACE) {
    t->first_differs = ops[0].scheme != PREPEND_NEVER;
    i++;
  }
  while (i < t->count && is_for_each(ops[i].kind)) i++;
  each = i;
  int fused = 0;
  if (i < t->count && (ops[i].kind == DECODE_BYTE_LEVEL || ops[i].kind == DECODE_BYTE_FALLBACK)) {
    t->join = ops[i].kind == DECODE_BYTE_LEVEL ? JOIN_BYTES : JOIN_FALLBACK;
    fused = t->join == JOIN_BYTES;
    i++;
  }
  for (; i < t->count && ops[i].kind == DECODE_FUSE; i++) fused = 1;
  if (i < t->count && fused && ops[i].kind == DECODE_STRIP && ops[i].stop == 0) {
    t->strip = ops[i].start;
    t->strip_text = ops[i++].content;
  }
  while (i < t->count && ops[i].kind == DECODE_FUSE) i++;
  if (t->count == 0) t->join = JOIN_SPACE;
  if (i < t->count || (t->first_differs && t->join != JOIN_PLAIN)) t->join = JOIN_CHAIN;
  return t->join == JOIN_CHAIN ? 0 : each;
}

/* ---- one operation on one string ---- */

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to decode tokens");
}

/* [*begin .. *end) without the characters to be stripped. */
static void strip_ends(const decode_op *op, const uint8_t *text, size_t *begin, size_t *end) {
  token_text c = op->content;
  for (size_t i = 0; i < op->start && *end - *begin >= c.bytes && memcmp(text + *begin, c.text, c.bytes) == 0; i++)
    *begin += c.bytes;
  for (size_t i = 0; i < op->stop && *end - *begin >= c.bytes && memcmp(text + *end - c.bytes, c.text, c.bytes) == 0;
       i++)
    *end -= c.bytes;
}

/* Appends what `op` makes of text. */
static viva_status apply(const decode_op *op, regex_memory *memory, text_view in, int is_first, int is_last,
                         mapped *out, viva_error *error) {
  static const token_text space = {" ", 1}, nothing = {"", 0};
  const pattern content = {.kind = PATTERN_LITERAL, .literal = op->content};
  size_t begin = 0, end = in.count;
  switch (op->kind) {
  case DECODE_REPLACE: return normalize_replace(&op->pattern, op->content, memory, in, out, error);
  case DECODE_METASPACE:
    return normalize_replace(&content, is_first && op->scheme != PREPEND_NEVER ? nothing : space, memory, in, out,
                             error);
  case DECODE_SUFFIX: return normalize_replace(&content, is_last ? nothing : space, memory, in, out, error);
  case DECODE_STRIP: strip_ends(op, in.bytes, &begin, &end); break;
  default: break;
  }
  return mapped_copy(out, in, begin, end) ? no_memory(error) : VIVA_OK;
}

static int is_literal(const decode_op *op) {
  return op->kind == DECODE_REPLACE && op->pattern.kind == PATTERN_LITERAL && op->pattern.literal.bytes > 0;
}

/* An operation that most tokens know nothing of. */
static int is_idle(const decode_op *op, text_view in) {
  if (!is_literal(op)) return 0;
  return in.count == 0 || !memchr(in.bytes, op->pattern.literal.text[0], in.count);
}

#define REPLACE_MOST 256 /* bytes of a text, and of what replaces: their product is small */

/* Replaces a literal, as normalize_replace does, in a text of at most REPLACE_MOST bytes. 1: no memory. */
static int replace_literal(const decode_op *op, text_view in, mapped *out) {
  token_text literal = op->pattern.literal;
  if (mapped_reserve(out, in.count + op->content.bytes * (in.count / literal.bytes))) return 1;
  for (size_t at = 0; at < in.count;) {
    int found = in.count - at >= literal.bytes && bytes_same((const char *)in.bytes + at, literal.text, literal.bytes);
    if (found && op->content.bytes) memcpy(out->bytes + out->count, op->content.text, op->content.bytes);
    if (!found) out->bytes[out->count] = in.bytes[at];
    out->count += found ? op->content.bytes : 1;
    at += found ? literal.bytes : 1;
  }
  return 0;
}

/* Appends what the first `each` operations make of text; buffers are two texts to work in. */
static viva_status apply_each(const decode_op *ops, size_t each, token_text text, int is_first, regex_memory *memory,
                              mapped buffers[2], mapped *out, viva_error *error) {
  text_view in = {(const uint8_t *)text.text, NULL, text.bytes};
  for (size_t i = 0; i < each; i++) {
    if (is_idle(&ops[i], in)) continue;
    mapped *to = in.bytes == buffers[0].bytes ? &buffers[1] : &buffers[0];
    to->count = 0;
    regex_allow(memory, in.count);
    if (is_literal(&ops[i]) && in.count <= REPLACE_MOST && ops[i].content.bytes <= REPLACE_MOST) {
      if (replace_literal(&ops[i], in, to)) return no_memory(error);
    } else {
      TRY(apply(&ops[i], memory, in, is_first, 0, to, error));
    }
    in = mapped_view(to);
  }
  return mapped_copy(out, in, 0, in.count) ? no_memory(error) : VIVA_OK;
}

static viva_status each_token(const decode_op *ops, size_t each, token_text text, int is_first, mapped *out,
                              viva_error *error) {
  regex_memory memory = {.mem = out->mem};
  mapped buffers[2] = {{.mem = out->mem}, {.mem = out->mem}};
  viva_status status = apply_each(ops, each, text, is_first, &memory, buffers, out, error);
  mapped_free(&buffers[0]);
  mapped_free(&buffers[1]);
  regex_memory_free(&memory);
  return status;
}

static size_t each_of(const decode_table *t) {
  size_t each = 0;
  while (each < t->count && (is_for_each(t->ops[each].kind) || t->ops[each].kind == DECODE_METASPACE)) each++;
  return each;
}

viva_status decode_first(const decode_table *t, token_text text, mapped *out, viva_error *error) {
  return each_token(t->ops, each_of(t), text, 1, out, error);
}

/* ---- the table ---- */

static viva_status fill(decode_table *t, size_t each, const vocab *v, const token_text *texts, allowance *allowed,
                        regex_memory *memory, mapped buffers[2], mapped *all, viva_error *error) {
  for (size_t id = 0; id < v->count; id++) {
    size_t begin = all->count;
    uint64_t spent = regex_spent(memory);
    t->at[id] = begin;
    if (!(v->flags[id] & VOCAB_EXISTS)) continue;
    TRY(apply_each(t->ops, each, texts[id], 0, memory, buffers, all, error));
    TRY(allowance_work(allowed, regex_spent(memory) - spent, "its decoder's patterns", NULL, error));
    size_t bytes = all->count - begin;
    int byte = t->join == JOIN_FALLBACK ? decode_byte_token((const char *)all->bytes + begin, bytes) : -1;
    if (byte >= 0) {
      t->is_byte[id] = 1;
      all->bytes[begin] = (uint8_t)byte;
      all->count = begin + 1;
    } else if (t->join == JOIN_BYTES && bytes > 0) {
      int all_bytes;
      bytes = decode_alphabet((const char *)all->bytes + begin, bytes, all->bytes + begin, &all_bytes);
      all->count = begin + bytes;
    }
    if (all->count - begin > t->longest) t->longest = all->count - begin;
  }
  t->at[v->count] = all->count;
  return VIVA_OK;
}

/* A special token may be skipped, a byte waits for others, and a hole is told apart from a token without text. */
static void fill_quick(decode_table *t, const vocab *v) {
  for (size_t id = 0; id < v->count; id++) {
    const uint8_t *text = t->bytes + t->at[id];
    size_t bytes = t->at[id + 1] - t->at[id];
    quick_token *q = &t->quick[id];
    q->bytes = QUICK_NOT;
    if (bytes > QUICK_BYTES || !(v->flags[id] & VOCAB_EXISTS) || (v->flags[id] & VOCAB_SPECIAL)) continue;
    if ((t->is_byte && t->is_byte[id]) || !utf8_valid((const char *)text, bytes)) continue;
    memcpy(q->text, text, bytes);
    q->bytes = (uint8_t)bytes;
  }
}

viva_status decode_table_create(runtime *rt, const decode_op *ops, size_t count, const vocab *v,
                                const token_text *texts, decode_table *out, viva_error *error) {
  mem *m = &rt->mem;
  *out = (decode_table){.ops = ops, .count = count};
  size_t each = recognize(out);
  if (out->join == JOIN_CHAIN) return VIVA_OK;
  out->at = mem_array(m, v->count + 1, sizeof *out->at);
  if (out->join == JOIN_FALLBACK) out->is_byte = mem_array(m, v->count, sizeof *out->is_byte);
  if (out->join != JOIN_SPACE) out->quick = mem_array(m, v->count, sizeof *out->quick);
  mapped all = {.mem = m}, buffers[2] = {{.mem = m}, {.mem = m}};
  regex_memory memory = {.mem = m};
  viva_status status = VIVA_OK;
  if (!out->at || (out->join != JOIN_SPACE && !out->quick) || (out->join == JOIN_FALLBACK && !out->is_byte) ||
      mapped_reserve(&all, v->text_at[v->count] + 1))
    status = error_set(error, VIVA_E_MEMORY, "no memory for a decoder of %zu tokens", v->count);
  if (status == VIVA_OK) status = fill(out, each, v, texts, &rt->allowed, &memory, buffers, &all, error);
  out->bytes = all.bytes;
  if (status == VIVA_OK && out->quick) fill_quick(out, v);
  mapped_free(&buffers[0]);
  mapped_free(&buffers[1]);
  regex_memory_free(&memory);
  if (status != VIVA_OK) decode_table_destroy(m, out);
  return status;
}

void decode_table_destroy(mem *m, decode_table *t) {
  mem_free(m, t->at);
  mem_free(m, t->bytes);
  mem_free(m, t->is_byte);
  mem_free(m, t->quick);
  t->at = NULL;
  t->quick = NULL;
  t->bytes = t->is_byte = NULL;
}

/* ---- any chain, on a list of strings ---- */

/* Strings that follow each other in one text; string i is text[ends[i - 1] .. ends[i]). */
typedef struct string_list {
  mapped text;
  size_t *ends;
  size_t count, room;
} string_list;

static viva_status string_end(string_list *list, viva_error *error) {
  if (list->count == list->room) {
    size_t room = 2 * list->room + 64, *ends = mem_resize(list->text.mem, list->ends, room * sizeof *ends);
    if (!ends) return no_memory(error);
    list->ends = ends;
    list->room = room;
  }
  list->ends[list->count++] = list->text.count;
  return VIVA_OK;
}

static viva_status put_run(string_list *out, const uint8_t *run, size_t bytes, viva_error *error) {
  static const char replacement[] = "\xef\xbf\xbd";
  static const origin none = {0, 0};
  if (utf8_valid((const char *)run, bytes)) {
    if (mapped_put(&out->text, run, bytes, none)) return no_memory(error);
    return string_end(out, error);
  }
  for (size_t i = 0; i < bytes; i++) {
    if (mapped_put(&out->text, replacement, 3, none)) return no_memory(error);
    TRY(string_end(out, error));
  }
  return VIVA_OK;
}

static viva_status byte_fallback(const string_list *in, mapped *run, string_list *out, viva_error *error) {
  static const origin none = {0, 0};
  text_view text = mapped_view(&in->text);
  for (size_t i = 0, begin = 0; i < in->count; begin = in->ends[i++]) {
    int value = decode_byte_token((const char *)text.bytes + begin, in->ends[i] - begin);
    uint8_t byte = (uint8_t)value;
    if (value >= 0) {
      if (mapped_put(run, &byte, 1, none)) return no_memory(error);
      continue;
    }
    if (run->count) TRY(put_run(out, run->bytes, run->count, error));
    run->count = 0;
    if (mapped_copy(&out->text, text, begin, in->ends[i])) return no_memory(error);
    TRY(string_end(out, error));
  }
  return run->count ? put_run(out, run->bytes, run->count, error) : VIVA_OK;
}

/* All strings as one; under ByteLevel as bytes, and then what is not UTF-8 replaced. */
static viva_status fuse(const string_list *in, int byte_level, mapped *bytes, string_list *out, viva_error *error) {
  text_view text = mapped_view(&in->text);
  static const origin none = {0, 0};
  if (!byte_level) {
    if (mapped_copy(&out->text, text, 0, text.count)) return no_memory(error);
    return string_end(out, error);
  }
  if (mapped_reserve(bytes, text.count)) return no_memory(error);
  for (size_t i = 0, begin = 0; i < in->count; begin = in->ends[i++]) {
    int all;
    if (in->ends[i] > begin)
      bytes->count +=
          decode_alphabet((const char *)text.bytes + begin, in->ends[i] - begin, bytes->bytes + bytes->count, &all);
  }
  for (size_t at = 0; at < bytes->count;) {
    uint32_t code;
    size_t invalid, n = utf8_decode((const char *)bytes->bytes + at, bytes->count - at, &code, &invalid);
    if (mapped_put(&out->text, n ? (const char *)bytes->bytes + at : "\xef\xbf\xbd", n ? n : 3, none))
      return no_memory(error);
    at += n ? n : invalid;
  }
  return string_end(out, error);
}

static viva_status run_op(const decode_op *op, const string_list *in, string_list *out, mapped *spare,
                          regex_memory *memory, viva_error *error) {
  text_view text = mapped_view(&in->text);
  out->text.count = out->count = spare->count = 0;
  if (op->kind == DECODE_BYTE_FALLBACK) return byte_fallback(in, spare, out, error);
  if (op->kind == DECODE_FUSE || op->kind == DECODE_BYTE_LEVEL)
    return fuse(in, op->kind == DECODE_BYTE_LEVEL, spare, out, error);
  regex_allow(memory, text.count);
  for (size_t i = 0, begin = 0; i < in->count; begin = in->ends[i++]) {
    TRY(apply(op, memory, view_part(text, begin, in->ends[i]), i == 0, i + 1 == in->count, &out->text, error));
    TRY(string_end(out, error));
  }
  return VIVA_OK;
}

viva_status decode_chain(const decode_table *t, const token_text *texts, size_t count, mapped *out, viva_error *error) {
  static const origin none = {0, 0};
  mem *m = out->mem;
  string_list lists[2] = {{.text = {.mem = m}}, {.text = {.mem = m}}};
  mapped spare = {.mem = m};
  regex_memory memory = {.mem = m};
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < count && status == VIVA_OK; i++) {
    if (mapped_put(&lists[0].text, texts[i].text, texts[i].bytes, none)) status = no_memory(error);
    if (status == VIVA_OK) status = string_end(&lists[0], error);
  }
  lists[0].text.most = lists[1].text.most = mapped_most(lists[0].text.count);
  for (size_t i = 0; i < t->count && status == VIVA_OK; i++) {
    string_list *to = &lists[(i + 1) % 2];
    status = mapped_status(&to->text, run_op(&t->ops[i], &lists[i % 2], to, &spare, &memory, error), error);
  }
  text_view all = mapped_view(&lists[t->count % 2].text);
  if (status == VIVA_OK && mapped_copy(out, all, 0, all.count)) status = no_memory(error);
  for (int i = 0; i < 2; i++) {
    mapped_free(&lists[i].text);
    mem_free(m, lists[i].ends);
  }
  mapped_free(&spare);
  regex_memory_free(&memory);
  return status;
}
