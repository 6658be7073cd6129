/* Every rule of a tokenizer.json, and the other forms of a tokenizer's files, against the reference's answers
 * (tests/mk/mkgolden_forms.py): ids, ranges, decoded and streamed text; the same text in parts and many texts at once give
 * the same ids. Files that are damaged are refused with the words that say what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/num.h"
#include "golden.h"
#include "text/tokenizer_files.h"

enum { COLUMNS = 9, MOST_FILES = 8, MOST_BASES = 8, LONG = 200000, BATCH = 5 };

typedef struct base {
  const char *name, *members;
} base;

/* What the lines of a case said so far. */
typedef struct form {
  const char *name;
  text_file files[MOST_FILES];
  size_t file_count;
  char *made; /* a tokenizer.json put together; NULL: none */
  viva_tokenizer *t;
  runtime *rt;
} form;

static base bases[MOST_BASES];
static size_t base_count;

static const char *base_get(const char *name, const char *suffix) {
  size_t bytes = strlen(name);
  for (size_t i = 0; i < base_count; i++)
    if (strncmp(bases[i].name, name, bytes) == 0 && strcmp(bases[i].name + bytes, suffix) == 0) return bases[i].members;
  fail_msg("no base %s%s", name, suffix);
  return NULL;
}

/* columns: BASE SECTIONS FLAGS. "NAME+merges" has the added tokens of NAME. */
static void put_together(form *f, char **columns) {
  char name[32];
  snprintf(name, sizeof name, "%.*s", (int)strcspn(columns[0], "+"), columns[0]);
  const char *added = base_get(name, "+added"), *members = base_get(columns[0], "");
  size_t room = strlen(columns[1]) + strlen(added) + strlen(columns[2]) + strlen(members) + 32;
  f->made = malloc(room);
  int bytes = snprintf(f->made, room, "{%s,%s,\"model\":{%s%s%s}}", columns[1], added, columns[2],
                       columns[2][0] ? "," : "", members);
  f->files[f->file_count++] = (text_file){"tokenizer.json", f->made, (size_t)bytes};
}

static viva_status open_form(form *f, viva_error *error) {
  tokenizer_files all = {0};
  const struct {
    const char *name;
    text_file *file;
  } known[] = {{"tokenizer.json", &all.json},
               {"tokenizer.model", &all.sentencepiece},
               {"tekken.json", &all.tekken},
               {"vocab.json", &all.vocab},
               {"merges.txt", &all.merges},
               {"tokenizer_config.json", &all.config},
               {"special_tokens_map.json", &all.special_map},
               {"added_tokens.json", &all.added_tokens}};
  for (size_t i = 0; i < f->file_count; i++)
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
      if (strcmp(known[k].name, f->files[i].path) == 0) *known[k].file = f->files[i];
  f->rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR);
  return tokenizer_from_files(f->rt, &all, &f->t, error);
}

static void close_form(form *f) {
  viva_tokenizer_release(f->t);
  if (f->rt) runtime_release(f->rt);
  free(f->made);
  *f = (form){0};
}

/* ---- one text */

static viva_token *encode(const form *f, const char *text, size_t bytes, viva_encode_options o, viva_span **spans,
                          size_t *count) {
  viva_error error;
  viva_status status = viva_tokenizer_encode(f->t, text, bytes, &o, NULL, 0, count, &error);
  if (status && status != VIVA_E_SIZE) fail_msg("%s: %s", f->name, error.message);
  viva_token *ids = malloc((*count + 1) * sizeof *ids);
  if (spans) o.offsets = *spans = malloc((*count + 1) * sizeof **spans);
  assert_int_equal(viva_tokenizer_encode(f->t, text, bytes, &o, ids, *count, count, NULL), VIVA_OK);
  return ids;
}

static void check_ids(const form *f, const char *what, const viva_token *ids, size_t count, const int32_t *expected,
                      size_t expected_count) {
  if (count != expected_count || memcmp(ids, expected, count * sizeof *ids) != 0)
    fail_msg("%s: other ids %s", f->name, what);
}

static void check_decoded(const form *f, const int32_t *ids, size_t count, int skip, const char *expected,
                          size_t bytes) {
  viva_decode_options o = viva_decode_options_default();
  viva_decoder *d;
  char *text = malloc(bytes + 1);
  size_t got = 0;
  o.skip_special = skip;
  if (viva_tokenizer_decode(f->t, ids, count, &o, text, bytes, &got, NULL) || got != bytes ||
      memcmp(text, expected, bytes) != 0)
    fail_msg("%s: other text", f->name);
  free(text);
  assert_int_equal(viva_decoder_create(f->t, &o, &d, NULL), VIVA_OK);
  size_t at = 0;
  for (size_t i = 0; i <= count; i++) {
    const char *piece;
    size_t n;
    assert_int_equal(
        i < count ? viva_decoder_push(d, ids[i], &piece, &n, NULL) : viva_decoder_finish(d, &piece, &n, NULL), VIVA_OK);
    if (n > bytes - at || (n && memcmp(piece, expected + at, n) != 0)) fail_msg("%s: other streamed text", f->name);
    at += n;
  }
  assert_int_equal(at, bytes);
  viva_decoder_free(d);
}

/* In parts of 1, 2, 3 ... bytes. */
static void check_parts(const form *f, const char *text, size_t bytes, const viva_encode_options *o,
                        const viva_token *expected, const viva_span *spans, size_t count) {
  viva_encoder *e;
  size_t total = 0, at = 0, part = 0;
  assert_int_equal(viva_encoder_create(f->t, o, &e, NULL), VIVA_OK);
  for (int last = 0; !last;) {
    const viva_token *ids;
    const viva_span *offsets;
    size_t n, size = ++part < bytes - at ? part : bytes - at;
    last = at == bytes;
    assert_int_equal(last ? viva_encoder_finish(e, &ids, &offsets, &n, NULL)
                          : viva_encoder_push(e, text + at, size, &ids, &offsets, &n, NULL),
                     VIVA_OK);
    if (n > count - total || (n && memcmp(ids, expected + total, n * sizeof *ids) != 0) ||
        (n && memcmp(offsets, spans + total, n * sizeof *spans) != 0))
      fail_msg("%s: other ids or ranges in parts", f->name);
    total += n;
    at += size;
  }
  assert_int_equal(total, count);
  viva_encoder_free(e);
}

static void check_batch(const form *f, const char *text, size_t bytes, const viva_encode_options *o,
                        const viva_token *expected, size_t count) {
  viva_text texts[BATCH];
  viva_token *ids = malloc((BATCH * count + 1) * sizeof *ids);
  for (size_t i = 0; i < BATCH; i++) texts[i] = (viva_text){text, bytes, 0};
  assert_int_equal(viva_tokenizer_encode_batch(f->t, texts, BATCH, o, 2, ids, BATCH * count, NULL), VIVA_OK);
  for (size_t i = 0; i < BATCH; i++) {
    assert_int_equal(texts[i].end, (i + 1) * count);
    assert_memory_equal(ids + i * count, expected, count * sizeof *ids);
  }
  free(ids);
}

/* A text long enough that the encoder cuts it: the words of the vector again and again. */
static void check_long(const form *f, const char *text, size_t bytes) {
  const viva_encode_options o = {sizeof o, 1, 1, NULL};
  char *whole = malloc(LONG);
  size_t count, total = 0, n = 0;
  for (; n + bytes <= LONG; n += bytes) memcpy(whole + n, text, bytes);
  viva_token *expected = encode(f, whole, n, o, NULL, &count);
  viva_encoder *e;
  assert_int_equal(viva_encoder_create(f->t, &o, &e, NULL), VIVA_OK);
  for (size_t at = 0; at <= n; at += n / 7 + 1) {
    const viva_token *ids;
    size_t found, part = n - at < n / 7 + 1 ? n - at : n / 7 + 1;
    assert_int_equal(viva_encoder_push(e, whole + at, part, &ids, NULL, &found, NULL), VIVA_OK);
    assert_true(found <= count - total);
    if (found) assert_memory_equal(ids, expected + total, found * sizeof *ids);
    total += found;
  }
  const viva_token *ids;
  size_t found;
  assert_int_equal(viva_encoder_finish(e, &ids, NULL, &found, NULL), VIVA_OK);
  assert_int_equal(total + found, count);
  if (found) assert_memory_equal(ids, expected + total, found * sizeof *ids);
  viva_encoder_free(e);
  free(expected);
  free(whole);
}

/* columns: MATCH_SPECIAL ADD_SPECIAL TEXT IDS BEGINS ENDS DECODED DECODED */
static void check_vector(const form *f, char **columns, int first) {
  viva_encode_options o = {sizeof o, columns[0][0] == '1', columns[1][0] == '1', NULL};
  size_t bytes = golden_hex(columns[2]), count, expected_count, n;
  int32_t *expected = golden_numbers(columns[3], &expected_count);
  int32_t *begins = golden_numbers(columns[4], &n), *ends = golden_numbers(columns[5], &n);
  viva_span *spans;
  viva_token *ids = encode(f, columns[2], bytes, o, NULL, &count);
  check_ids(f, "without ranges", ids, count, expected, expected_count);
  free(ids);
  ids = encode(f, columns[2], bytes, o, &spans, &count);
  check_ids(f, "with ranges", ids, count, expected, expected_count);
  for (size_t i = 0; i < count; i++)
    if (spans[i].begin != (size_t)begins[i] || spans[i].end != (size_t)ends[i]) fail_msg("%s: other ranges", f->name);
  for (int skip = 0; skip < 2; skip++) {
    int same = strcmp(columns[6 + skip], "=") == 0;
    const char *text = same ? columns[2] : columns[6 + skip];
    check_decoded(f, expected, count, skip, text, same ? bytes : golden_hex(columns[6 + skip]));
  }
  check_parts(f, columns[2], bytes, &o, ids, spans, count);
  if (first) check_batch(f, columns[2], bytes, &o, ids, count);
  if (first && !f->made) check_long(f, columns[2], bytes);
  free(spans);
  free(ids);
  free(expected);
  free(begins);
  free(ends);
}

/* ---- the file */

static void check_refused(form *f, const char *words) {
  viva_error error = {0};
  viva_status status = open_form(f, &error);
  assert_true(status == VIVA_E_FORMAT || status == VIVA_E_UNSUPPORTED);
  assert_int_equal(status, error.code);
  assert_null(f->t);
  if (!strstr(error.message, words) && !(error.file[0] && strstr(error.file, words)))
    fail_msg("%s: \"%s\" does not say \"%s\"", f->name, error.message, words);
}

static void test_reference(void **state) {
  (void)state;
  size_t file_bytes, vectors = 0, refused = 0, of_form = 0;
  char *file = golden_read("forms.txt", &file_bytes), *at = file, *columns[COLUMNS];
  form f = {0};
  while (golden_line(&at, columns, COLUMNS)) {
    viva_error error;
    switch (columns[0][0]) {
    case 'b': bases[base_count++] = (base){columns[1], columns[2]}; break;
    case '=':
      close_form(&f);
      f.name = columns[0] + 2;
      of_form = 0;
      break;
    case 'j': put_together(&f, columns + 1); break;
    case 'f': f.files[f.file_count++] = (text_file){columns[1], columns[2], golden_hex(columns[2])}; break;
    case 'r':
      check_refused(&f, columns[1]);
      refused++;
      break;
    default:
      if (!f.t && open_form(&f, &error)) fail_msg("%s: %s", f.name, error.message);
      check_vector(&f, columns + 1, of_form == 0);
      of_form++;
      vectors++;
    }
  }
  close_form(&f);
  assert_true(vectors > 600 && refused > 25);
  free(file);
}

/* What the calls refuse. */
static void test_arguments(void **state) {
  (void)state;
  viva_tokenizer *t = golden_tokenizer("small.json");
  viva_encode_options o = viva_encode_options_default();
  viva_span span;
  viva_encoder *e;
  viva_text text = {"a", 1, 0};
  viva_token id;
  o.offsets = &span;
  assert_int_equal(viva_encoder_create(NULL, NULL, &e, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_encoder_create(t, NULL, NULL, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_encoder_create(t, &o, &e, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode_batch(t, &text, 1, &o, 1, &id, 1, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode_batch(t, &text, 1, NULL, -1, &id, 1, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode_batch(NULL, &text, 1, NULL, 1, &id, 1, NULL), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode_batch(t, &text, 1, NULL, 1, NULL, 0, NULL), VIVA_E_SIZE);
  assert_int_equal(text.end, 1);
  assert_int_equal(viva_tokenizer_encode_batch(t, NULL, 0, NULL, 1, NULL, 0, NULL), VIVA_OK);
  viva_tokenizer_release(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_arguments)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
