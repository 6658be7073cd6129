/* base/num.h: numbers and text, without locale; the only home of such conversions. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

/* All of text[0..bytes) must be the number. 0 on success, 1 when it is not one or does not fit. */
int num_u64(const char *text, size_t bytes, uint64_t *value);  /* decimal digits */
int num_i64(const char *text, size_t bytes, int64_t *value);   /* optional '-' */
int num_double(const char *text, size_t bytes, double *value); /* JSON's grammar; correctly rounded; 1 on overflow */
int num_hex_byte(const char *text, uint8_t *value);            /* two hex digits */

/* Writes the shortest decimal that reads back as value, JSON's grammar; "nan", "inf", "-inf". Returns the length (<
 * 32). Ends with a zero byte. */
size_t num_format_double(char buffer[32], double value);

/* UTF-8. Decodes one character at text (bytes ≥ 1); returns its length, or 0 when it is not valid (overlong, surrogate,
 * above U+10FFFF, cut): then *code is U+FFFD and *invalid the length of the maximal invalid part (≥ 1), as WHATWG
 * counts. */
size_t utf8_decode(const char *text, size_t bytes, uint32_t *code, size_t *invalid);
size_t utf8_encode(uint32_t code, char out[4]); /* code must be a scalar value; returns the length */
int utf8_valid(const char *text, size_t bytes);
/* How many bytes come before the first invalid part; *invalid: the length of that, where there is one. */
size_t utf8_valid_bytes(const char *text, size_t bytes, size_t *invalid);
#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
/* Copies text with U+FFFD for each maximal invalid part; out has room for 3 bytes for each, and 1. Returns how many it has. */
size_t utf8_replace(const char *text, size_t bytes, char *out);

#endif
