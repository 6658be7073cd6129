/* base/json_inner.h: the parts of the JSON parser, for each other.
 *
 *   json.c       what a value is and where it may stand
 *   json_scan.c  white space, strings, numbers, and the texts of errors
 *   json_keys.c  the set of keys of an open object
 */
#ifndef BASE_JSON_INNER_H
#define BASE_JSON_INNER_H

#include "base/json.h"

/* Keys seen in one object. Up to JSON_FEW_KEYS are compared one by one; more get a hash table. Kept when the object
 * ends, for the next one at the same depth. */
typedef struct json_keys {
  json_string *list;
  uint64_t *slots; /* open addressing: high half of the hash << 32 | index in list + 1; 0 is free */
  uint32_t count, list_room;
  uint32_t slots_used, slots_room; /* powers of two: how many of slots take part, and how many there are */
} json_keys;

#define JSON_FEW_KEYS 8

typedef enum json_state {
  JSON_FIRST, /* the container was just opened */
  JSON_VALUE, /* a value is at hand */
  JSON_AFTER, /* a value was taken */
  JSON_CLOSED /* its bracket was read */
} json_state;

typedef struct json_level {
  json_type kind; /* JSON_OBJECT, JSON_ARRAY, or JSON_NULL for what is around the document */
  json_state state;
  size_t start;    /* of the container */
  json_string key; /* of its value at hand */
  int is_table;    /* keys is not used */
  json_keys keys;
} json_level;

/* A scanned string: valid, but with its escapes. */
typedef struct json_scanned {
  size_t start, bytes; /* without the quotes */
  int escaped;
} json_scanned;

/* Sets j->failed at byte `at`, unless it is set already; returns its code. */
viva_status json_error(json *j, viva_status code, size_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "the character 'x'", "byte 0x07", "the end of the text": what stands at `at`. */
const char *json_describe(const json *j, size_t at, char buffer[32]);

void json_space(json *j); /* moves past white space */

/* Each starts at j->at, moves behind what it scanned, and leaves j->at alone on an error. */
viva_status json_scan_string(json *j, json_scanned *scanned);
viva_status json_scan_number(json *j, int *is_integer);
viva_status json_scan_word(json *j, const char *word);

/* The text of a scanned string: the input itself, or a decoded copy in the arena. */
viva_status json_decode(json *j, const json_scanned *scanned, json_string *string);

/* Adds key; *known is 1 when it is there already. E_MEMORY without a message. */
viva_status json_keys_add(json_keys *keys, arena *a, const uint64_t hash_key[2], json_string key, int *known);

#endif
