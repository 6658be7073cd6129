/* tests/base/oracle/dump.h: one JSON text, read by two parsers, written down in one canonical form.
 *
 * n t f          null, true, false
 * i123;  d<16 hex digits>;      integer, double (its bits)
 * s<length>:bytes               string, key
 * [ ]  { }                      array, object (members in the order of the text)
 */
#ifndef TESTS_ORACLE_DUMP_H
#define TESTS_ORACLE_DUMP_H

#include <stddef.h>
#include <stdint.h>

typedef struct dump {
  char *data;
  size_t bytes, room;
  int big_integers; /* some integer does not fit int64 */
  int zero_in_key;  /* some key holds U+0000 */
  int too_deep;     /* refused for its depth */
  int zero_outside; /* refused for a zero byte outside of strings */
  char message[600];
} dump;

void dump_free(dump *d);
void dump_add(dump *d, const char *text, size_t bytes);
void dump_add_string(dump *d, const char *text, size_t bytes);
void dump_add_integer(dump *d, int64_t value);
void dump_add_double(dump *d, double value);

/* 0: accepted, and d is the value. 1: refused. */
int dump_viva(dump *d, const char *text, size_t bytes);
int dump_jansson(dump *d, const char *text, size_t bytes);

/* Reads text with both. NULL when they agree; else what they disagree about (in a static buffer of the calling thread).
 *
 * Known differences, which count as agreement:
 * - jansson refuses integers outside int64; base/json.h takes them exactly up to uint64, then as doubles.
 * - jansson refuses U+0000 in keys even with JSON_ALLOW_NUL.
 * - jansson allows 2048 levels, base/json.h 64.
 * - jansson overlooks a zero byte behind a number, and takes one behind the value for the end of the text.
 */
const char *dump_disagreement(const char *text, size_t bytes);

#endif
