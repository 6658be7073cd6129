/* The JSON reader on any bytes: a whole walk, a skip, calls in a random order, and jansson as the judge where it is
 * linked (FUZZ_JANSSON). */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#ifdef FUZZ_JANSSON
#include "base/oracle/dump.h"
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise of the reader's. */
static void require(int true_always) {
  if (!true_always) abort();
}

static viva_status skip_all(runtime *rt, const char *text, size_t bytes, viva_error *error) {
  arena *a = arena_create(&rt->mem, 0);
  json j;
  json_begin(&j, rt, a, "f", text, bytes);
  viva_status status = json_skip(&j, error);
  if (status == VIVA_OK) status = json_finish(&j, error);
  arena_free(a);
  return status;
}

/* Takes what is at hand, whatever it is. */
static viva_status take_any(json *j, viva_error *error) {
  json_string s;
  json_number n;
  int b;
  switch (json_peek(j)) {
  case JSON_NULL: return json_take_null(j, error);
  case JSON_BOOL: return json_take_bool(j, &b, error);
  case JSON_NUMBER: return json_take_number(j, &n, error);
  case JSON_STRING: return json_take_string(j, &s, error);
  case JSON_ARRAY: return json_enter_array(j, error);
  case JSON_OBJECT: return json_enter_object(j, error);
  default: return json_skip(j, error);
  }
}

/* Every value taken as what it is: must end as the skip did. */
static viva_status walk_all(runtime *rt, const char *text, size_t bytes, viva_error *error) {
  arena *a = arena_create(&rt->mem, 0);
  json j;
  json_begin(&j, rt, a, "f", text, bytes);
  char is_object[JSON_MAX_DEPTH + 1] = {0};
  viva_status status = VIVA_OK;
  do {
    uint32_t before = j.depth;
    int object = json_peek(&j) == JSON_OBJECT;
    status = take_any(&j, error);
    if (j.depth > before) is_object[j.depth] = (char)object;
    while (status == VIVA_OK && j.depth > 0) {
      json_string key;
      if (is_object[j.depth] ? json_next_key(&j, &key) : json_next_element(&j)) break;
      status = json_leave(&j, error);
    }
  } while (status == VIVA_OK && j.depth > 0);
  if (status == VIVA_OK) status = json_finish(&j, error);
  arena_free(a);
  return status;
}

/* Calls in an order that the bytes decide, mostly a wrong one. */
static void call_anything(runtime *rt, const char *text, size_t bytes) {
  arena *a = arena_create(&rt->mem, 0);
  json j;
  json_begin(&j, rt, a, NULL, text, bytes);
  viva_error error;
  json_string s;
  uint64_t u;
  int64_t i;
  double d;
  int b;
  for (size_t step = 0; step < bytes && step < 64; step++) {
    switch ((uint8_t)text[bytes - 1 - step] % 16) {
    case 0: (void)json_take_u64(&j, &u, &error); break;
    case 1: (void)json_take_i64(&j, &i, &error); break;
    case 2: (void)json_take_double(&j, &d, &error); break;
    case 3: (void)json_take_bool(&j, &b, &error); break;
    case 4: (void)json_take_null(&j, NULL); break;
    case 5: (void)json_take_string(&j, &s, &error); break;
    case 6: (void)json_take_raw(&j, &s, &error); break;
    case 7: (void)json_leave(&j, &error); break;
    case 8: (void)json_next_element(&j); break;
    case 9: (void)json_finish(&j, &error); break;
    case 10: (void)json_skip(&j, &error); break;
    case 11: (void)(text[step] == '!' && json_fail(&j, &error, "reader's own %s", "\n")); break;
    case 12:
    case 13: (void)json_next_key(&j, &s); break;
    default: (void)take_any(&j, &error);
    }
  }
  arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR);
  viva_error skipped = {0}, walked = {0};
  viva_status status = skip_all(rt, text, size, &skipped);
  require(status == VIVA_OK || status == VIVA_E_FORMAT);
  require(walk_all(rt, text, size, &walked) == status);
  require(memcmp(&skipped, &walked, sizeof skipped) == 0);
  require(status == VIVA_OK || skipped.offset <= size);
  call_anything(rt, text, size);
  require(rt->mem.current == sizeof *rt);
  runtime_release(rt);
#ifdef FUZZ_JANSSON
  require(dump_disagreement(text, size) == NULL);
#endif
  return 0;
}
