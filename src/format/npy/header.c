/* format/npy/header.c: the header of a .npy: reading it without Python, writing it as NumPy does. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "base/num.h"
#include "format/npy/npy.h"

static const char magic[6] = {'\x93', 'N', 'U', 'M', 'P', 'Y'};

/* NumPy's words for the types, without the byte order. */
static const struct {
  viva_dtype dtype;
  char word[3];
  uint8_t bytes;
} types[] = {{VIVA_F64, "f8", 8}, {VIVA_F32, "f4", 4},  {VIVA_F16, "f2", 2}, {VIVA_I64, "i8", 8}, {VIVA_I32, "i4", 4},
             {VIVA_I16, "i2", 2}, {VIVA_I8, "i1", 1},   {VIVA_U64, "u8", 8}, {VIVA_U32, "u4", 4}, {VIVA_U16, "u2", 2},
             {VIVA_U8, "u1", 1},  {VIVA_BOOL, "b1", 1}, {VIVA_C64, "c8", 8}};
enum { TYPES = sizeof types / sizeof *types };

/* -- reading */

typedef struct reader {
  const char *text;
  size_t bytes, at;
  size_t base; /* of text in the array's bytes, for messages */
} reader;

static viva_status bad(const reader *r, viva_error *error, viva_status code, const char *message) {
  error_set(error, code, "%s", message);
  error_at(error, NULL, NULL, 0, r->base + r->at);
  return code;
}

static void skip_space(reader *r) {
  while (r->at < r->bytes && strchr(" \t\r\n", r->text[r->at]) && r->text[r->at] != 0) r->at++;
}

/* 1 when the next character is c, which is then taken. */
static int accept(reader *r, char c) {
  skip_space(r);
  if (r->at >= r->bytes || r->text[r->at] != c) return 0;
  r->at++;
  return 1;
}

static int accept_word(reader *r, const char *word) {
  const size_t length = strlen(word);
  skip_space(r);
  if (r->bytes - r->at < length || memcmp(r->text + r->at, word, length) != 0) return 0;
  r->at += length;
  return 1;
}

/* A Python string without escapes: NumPy writes no other here. */
static viva_status take_string(reader *r, const char **text, size_t *length, viva_error *error) {
  const char quote = accept(r, '\'') ? '\'' : '"';
  if (quote == '"' && !accept(r, '"'))
    return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: expected a string in quotes");
  *text = r->text + r->at;
  const char *end = memchr(*text, quote, r->bytes - r->at);
  if (!end || memchr(*text, '\\', (size_t)(end - *text)))
    return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: a string without an end, or with escapes");
  *length = (size_t)(end - *text);
  r->at += *length + 1;
  return VIVA_OK;
}

static viva_status take_descr(reader *r, npy_header *h, viva_error *error) {
  const char *word;
  size_t length;
  const uint16_t probe = 1;
  const char native = *(const char *)&probe == 1 ? '<' : '>';
  skip_space(r);
  if (r->at < r->bytes && (r->text[r->at] == '[' || r->text[r->at] == '('))
    return bad(r, error, VIVA_E_UNSUPPORTED, "the array holds records; expected plain numbers");
  TRY(take_string(r, &word, &length, error));
  if (length < sizeof h->type_name) memcpy(h->type_name, word, length), h->type_name[length] = 0;
  for (size_t i = 0; i < TYPES && length == 3; i++) {
    if (memcmp(word + 1, types[i].word, 2) != 0 || !strchr("<>|=", word[0])) continue;
    if (types[i].bytes > 1 && word[0] == '|') break;
    h->dtype = types[i].dtype;
    h->bytes = types[i].bytes; /* of one element, for now */
    h->swap = types[i].bytes > 1 && word[0] != '=' && word[0] != native;
    return VIVA_OK;
  }
  error_set(
      error, VIVA_E_UNSUPPORTED,
      "the array's type is '%.*s'; expected f2, f4, f8, i1 to i8, u1 to u8, b1 or c8 (objects, texts and times are "
      "not read)",
      (int)(length < 40 ? length : 40), word);
  error_at(error, NULL, NULL, 0, r->base + r->at);
  return VIVA_E_UNSUPPORTED;
}

static viva_status take_shape(reader *r, npy_header *h, viva_error *error) {
  if (!accept(r, '(')) return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: shape is no tuple");
  for (h->rank = 0; !accept(r, ')'); h->rank++) {
    if (h->rank == NPY_MAX_RANK) return bad(r, error, VIVA_E_UNSUPPORTED, "the array has more than 8 dimensions");
    skip_space(r);
    const size_t first = r->at;
    while (r->at < r->bytes && r->text[r->at] >= '0' && r->text[r->at] <= '9') r->at++;
    if (r->at == first || num_u64(r->text + first, r->at - first, &h->shape[h->rank]))
      return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: a size in its shape is no number");
    (void)accept(r, 'L'); /* Python 2 wrote it */
    if (accept(r, ',')) continue;
    if (h->rank == 0 || !accept(r, ')')) /* (3) is no tuple */
      return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: expected ',' or ')' in its shape");
    h->rank++;
    return VIVA_OK;
  }
  return VIVA_OK;
}

enum { KEY_DESCR = 1, KEY_ORDER = 2, KEY_SHAPE = 4, KEYS = 7 };

static viva_status take_entry(reader *r, npy_header *h, unsigned *seen, viva_error *error) {
  static const char *const names[] = {"descr", "fortran_order", "shape"};
  const char *key;
  size_t length;
  TRY(take_string(r, &key, &length, error));
  unsigned bit = 0;
  for (unsigned i = 0; i < 3; i++)
    if (length == strlen(names[i]) && memcmp(key, names[i], length) == 0) bit = 1u << i;
  if (bit == 0 || *seen & bit)
    return bad(r, error, VIVA_E_FORMAT,
               "the array's header is wrong: expected each of descr, fortran_order, shape once");
  *seen |= bit;
  if (!accept(r, ':')) return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: expected ':'");
  if (bit == KEY_DESCR) return take_descr(r, h, error);
  if (bit == KEY_SHAPE) return take_shape(r, h, error);
  h->fortran = accept_word(r, "True");
  if (!h->fortran && !accept_word(r, "False"))
    return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: fortran_order is neither True nor False");
  return VIVA_OK;
}

static viva_status take_dict(reader *r, npy_header *h, viva_error *error) {
  unsigned seen = 0;
  int more = 1;
  if (!accept(r, '{')) return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: expected '{'");
  while (!accept(r, '}')) {
    if (!more) return bad(r, error, VIVA_E_FORMAT, "the array's header is wrong: expected ',' or '}'");
    TRY(take_entry(r, h, &seen, error));
    more = accept(r, ',');
  }
  skip_space(r);
  if (r->at < r->bytes || seen != KEYS)
    return bad(r, error, VIVA_E_FORMAT,
               "the array's header is wrong: expected descr, fortran_order and shape, and nothing after them");
  uint64_t elements = 1;
  int overflow = 0, empty = 0;
  for (uint32_t i = 0; i < h->rank; i++) {
    empty |= h->shape[i] == 0;
    overflow |= ck_mul(elements, h->shape[i] ? h->shape[i] : 1, &elements);
  }
  overflow |= ck_mul(h->bytes, elements, &elements);
  if (overflow || elements > PTRDIFF_MAX)
    return bad(r, error, VIVA_E_LIMIT, "the array's shape has more elements than memory can hold");
  h->elements = empty ? 0 : elements / h->bytes;
  h->bytes = empty ? 0 : elements;
  return VIVA_OK;
}

viva_status npy_header_read(const void *bytes, size_t count, npy_header *h, viva_error *error) {
  const uint8_t *p = bytes;
  reader r = {.text = bytes, .bytes = count};
  *h = (npy_header){0};
  if (count < 10 || memcmp(p, magic, sizeof magic) != 0)
    return bad(&r, error, VIVA_E_FORMAT, "this is no .npy: it does not begin with \\x93NUMPY and a version");
  r.at = sizeof magic;
  if (p[6] < 1 || p[6] > 3 || p[7] != 0)
    return bad(&r, error, VIVA_E_UNSUPPORTED, "the array's format version is not 1.0, 2.0 or 3.0");
  const size_t prefix = p[6] == 1 ? 10 : 12;
  if (count < prefix) return bad(&r, error, VIVA_E_FORMAT, "the array's header is cut");
  size_t length = (size_t)(p[8] | p[9] << 8);
  if (p[6] > 1) length |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
  r.at += 2;
  if (length > NPY_MAX_HEADER_BYTES - prefix)
    return bad(&r, error, VIVA_E_LIMIT, "the array's header is longer than 65,536 bytes");
  if (length > count - prefix) return bad(&r, error, VIVA_E_FORMAT, "the array's header is cut");
  h->header_bytes = prefix + length;
  r = (reader){.text = (const char *)p + prefix, .bytes = length, .base = prefix};
  return take_dict(&r, h, error);
}

/* -- writing */

enum { ALIGN = 64, GROWTH_DIGITS = 21 /* room that NumPy leaves for the first size to grow in */ };

size_t npy_header_write(viva_dtype dtype, uint32_t rank, const uint64_t *shape, char *bytes) {
  const char *word = NULL;
  char order = '|';
  for (size_t i = 0; i < TYPES; i++)
    if (types[i].dtype == dtype) word = types[i].word, order = types[i].bytes > 1 ? '<' : '|';
  if (!word) return 0;
  char *text = bytes + 10;
  const size_t room = NPY_HEADER_ROOM - 10;
  size_t at = (size_t)snprintf(text, room, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", order, word);
  size_t digits = 0;
  for (uint32_t i = 0; i < rank; i++) {
    const size_t before = at;
    at += (size_t)snprintf(text + at, room - at, "%" PRIu64, shape[i]);
    if (i == 0) digits = at - before;
    at += (size_t)snprintf(text + at, room - at, "%s", i + 1 < rank ? ", " : rank == 1 ? "," : "");
  }
  at += (size_t)snprintf(text + at, room - at, "), }");
  const size_t grow = rank > 0 ? GROWTH_DIGITS - digits : 0;
  const size_t pad = grow + ALIGN - (10 + at + grow + 1) % ALIGN;
  memset(text + at, ' ', pad);
  at += pad;
  text[at++] = '\n';
  memcpy(bytes, magic, sizeof magic);
  bytes[6] = 1, bytes[7] = 0;
  bytes[8] = (char)(at & 255), bytes[9] = (char)(at >> 8);
  return 10 + at;
}
