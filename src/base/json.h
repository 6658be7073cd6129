/* base/json.h: a strict pull parser for JSON (RFC 8259) in memory.
 *
 * Refused: anything after the value, a BOM, duplicate keys, invalid UTF-8, lone surrogates, control characters in
 * strings, depth beyond 64, numbers outside the grammar. Integers are exact: a number written without fraction and
 * exponent that fits int64 or uint64 is one; every other number is a double, rounded to nearest, without locale.
 * Iterative: stack use does not depend on the input. Nothing is allocated but in the caller's arena.
 *
 *   json j;
 *   json_begin(&j, rt, arena, path, text, bytes);
 *   TRY(json_enter_object(&j, error));
 *   json_string key;
 *   while (json_next_key(&j, &key)) {            // 0 at the end and on an error: see json_end_object
 *     if (json_string_is(key, "shape")) TRY(read_shape(&j, error));
 *     else TRY(json_skip(&j, error));
 *   }
 *   TRY(json_leave(&j, error));
 *   TRY(json_finish(&j, error));
 *
 * Errors are E_FORMAT with the path, the current key as item, the byte offset, and line and column in the message.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/runtime.h"

#define JSON_MAX_DEPTH 64

typedef enum json_type {
  JSON_NULL,
  JSON_BOOL,
  JSON_NUMBER,
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT,
  JSON_INVALID
} json_type;

/* Decoded text. Points into the input when it has no escapes, else into the arena. Not zero-ended. May hold U+0000. */
typedef struct json_string {
  const char *text;
  size_t bytes;
} json_string;

typedef struct json_number {
  enum { JSON_INT, JSON_UINT, JSON_DOUBLE } kind; /* INT: fits int64; UINT: above INT64_MAX, fits uint64 */
  int64_t i;
  uint64_t u;
  double d; /* always set */
} json_number;

typedef struct json {
  runtime *rt;
  arena *arena;
  const char *path;
  const char *text;
  size_t bytes, at;
  size_t mark; /* start of the value at hand, or of the one taken last: where json_fail points */
  uint32_t depth;
  struct json_level *levels; /* one for each open container: kind, state, keys seen */
  json_string key;           /* of the value at hand, for messages */
  struct allowance *allowed; /* NULL, or what pays for the sets of keys */
  uint64_t hash_key[2];      /* random: nobody can write keys that collide on purpose */
  int python;                /* see json_as_python */
  viva_error failed;         /* first error; code 0 while there is none. Later calls return it again */
} json;

/* Starts at the first value. text must outlive the parser and the strings it gives. Cannot fail: a lack of memory is
 * reported by the next call. arena also receives the sets of keys (for duplicates). */
void json_begin(json *j, runtime *rt, arena *a, const char *path, const char *text, size_t bytes);

/* The same, at the value that begins at byte `at`, where another parser of the same text found one. */
void json_begin_at(json *j, runtime *rt, arena *a, const char *path, const char *text, size_t bytes, size_t at);

/* For files that Python writes and reads (config.json and what lies beside it): NaN, Infinity and -Infinity are numbers, and
 * a key may stand twice; the caller gets both, of which the later should count. */
void json_as_python(json *j);

/* Type of the value at hand, without taking it. JSON_INVALID on an error (the next json_* call returns it). */
json_type json_peek(json *j);

viva_status json_enter_object(json *j, viva_error *error);
viva_status json_enter_array(json *j, viva_error *error);

/* An object whose keys the caller compares with each other: no set of them is kept, and a key may be given twice. */
viva_status json_enter_table(json *j, viva_error *error);

/* The next member's key; the value must then be taken (or skipped). Returns 0 after the last one and on an error. */
int json_next_key(json *j, json_string *key);

/* 1 while the array has another element, which must then be taken. */
int json_next_element(json *j);

/* Closes the container whose members were all taken; returns the error that ended the loop, if any. */
viva_status json_leave(json *j, viva_error *error);

/* Take the value at hand. A value of another type is E_FORMAT: "expected a string, found a number". */
viva_status json_take_string(json *j, json_string *value, viva_error *error);
viva_status json_take_number(json *j, json_number *value, viva_error *error);
viva_status json_take_u64(json *j, uint64_t *value, viva_error *error); /* an integer ≥ 0 */
viva_status json_take_i64(json *j, int64_t *value, viva_error *error);
viva_status json_take_double(json *j, double *value, viva_error *error); /* any number */
viva_status json_take_bool(json *j, int *value, viva_error *error);
viva_status json_take_null(json *j, viva_error *error);

/* Takes the value at hand, checking all of it. */
viva_status json_skip(json *j, viva_error *error);

/* As json_skip, and gives the value's own text (for keeping a sub-document). */
viva_status json_take_raw(json *j, json_string *raw, viva_error *error);

/* After the value: only white space may follow. */
viva_status json_finish(json *j, viva_error *error);

/* An error of the reader's own at the value at hand, or at the one taken last when there is none: sets key, offset,
 * line and column, returns E_FORMAT. */
viva_status json_fail(json *j, viva_error *error, const char *format, ...) __attribute__((format(printf, 3, 4)));

int json_string_is(json_string s, const char *text);

#endif
