/* format/metadata.c: safetensors' __metadata__ and config.json's keys, as text for people. */
#include "format/checkpoint_build.h"

#include <string.h>

#define MAX_CONFIG_BYTES ((uint64_t)16 << 20) /* the largest real ones, with long label lists, have some 100 KB */

const char *metadata_text(viva_checkpoint *ck, const char *text, size_t bytes) {
  mem *m = &ck->rt->mem;
  size_t taken = bytes < METADATA_MOST ? bytes : METADATA_MOST,
         size = 4 * taken + 4; /* an escape has four characters */
  char *printable = mem_alloc(m, size);
  if (!printable) return NULL;
  error_quote(printable, bytes > taken ? taken : size, text, bytes);
  const char *copy = arena_text(ck->arena, printable, strlen(printable));
  mem_free(m, printable);
  return copy;
}

viva_status metadata_charge(viva_checkpoint *ck, size_t key_bytes, size_t text_bytes, viva_error *error) {
  const size_t kept = text_bytes < METADATA_MOST ? text_bytes : METADATA_MOST;
  return allowance_memory(&ck->allowance, METADATA_COST + key_bytes + kept, "the metadata", ck->path, error);
}

viva_status metadata_add(checkpoint_build *b, json_string key, const char *type_name, json_string text, uint64_t count,
                         viva_error *error) {
  viva_checkpoint *ck = b->ck;
  TRY(metadata_charge(ck, key.bytes, text.bytes, error));
  const char *key_copy = metadata_text(ck, key.text, key.bytes);
  const char *text_copy = metadata_text(ck, text.text, text.bytes);
  struct metadata_entry *entry = grow_add(&ck->rt->mem, &b->metadata);
  if (!key_copy || !text_copy || !entry) return checkpoint_build_no_memory(ck->path, "the metadata", error);
  *entry = (struct metadata_entry){key_copy, type_name, text_copy, count};
  return VIVA_OK;
}

static const char *const type_words[] = {[JSON_NULL] = "null",     [JSON_BOOL] = "bool",   [JSON_NUMBER] = "number",
                                         [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object"};

/* By the type of all elements; JSON_INVALID: they differ, or there are none. */
static const char *const array_words[] = {
    [JSON_NULL] = "array of null",     [JSON_BOOL] = "array of bool",   [JSON_NUMBER] = "array of number",
    [JSON_STRING] = "array of string", [JSON_ARRAY] = "array of array", [JSON_OBJECT] = "array of object",
    [JSON_INVALID] = "array of values"};

/* Takes the value at hand; *text is a string's content, else the value as it is written. *count: an array's length. */
static viva_status take_value(json *j, const char **word, json_string *text, uint64_t *count, viva_error *error) {
  json_type type = json_peek(j), common = JSON_INVALID;
  *count = 1;
  *word = type < JSON_INVALID ? type_words[type] : "";
  if (type == JSON_STRING) return json_take_string(j, text, error);
  if (type != JSON_ARRAY) return json_take_raw(j, text, error);
  size_t begin = j->at;
  *count = 0;
  TRY(json_enter_array(j, error));
  for (; json_next_element(j); ++*count) {
    json_type element = json_peek(j);
    common = *count == 0 || common == element ? element : JSON_INVALID;
    TRY(json_skip(j, error));
  }
  TRY(json_leave(j, error));
  *word = array_words[common];
  *text = (json_string){j->text + begin, j->at - begin};
  return VIVA_OK;
}

static viva_status add_config(checkpoint_build *b, json *j, viva_error *error) {
  json_string key, text;
  const char *word;
  uint64_t count;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    TRY(take_value(j, &word, &text, &count, error));
    TRY(metadata_add(b, key, word, text, count, error));
  }
  TRY(json_leave(j, error));
  return json_finish(j, error);
}

/* A config.json that is missing or broken does not keep a checkpoint from being opened: viva_checkpoint_config says
 * what is wrong with it, and so does all that needs it; the log does here, for those who want to know everything. */
static viva_status try_config(checkpoint_build *b, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  viva_error reason = {0};
  const char *text = NULL;
  size_t bytes = 0, kept = b->metadata.count;
  uint64_t charged = 0;
  arena *scratch = arena_create(&ck->rt->mem, 4096);
  const char *path = path_join(ck->arena, ck->folder, "config.json");
  viva_status status = VIVA_OK;
  if (!scratch || !path) status = checkpoint_build_no_memory(ck->path, "the metadata", &reason);
  if (status == VIVA_OK) status = file_read_all(ck->rt, scratch, path, MAX_CONFIG_BYTES, &text, &bytes, &reason);
  if (status == VIVA_OK) status = checkpoint_build_charge_json(&ck->allowance, bytes, path, &charged, &reason);
  if (status == VIVA_OK) {
    json j;
    json_begin(&j, ck->rt, scratch, path, text, bytes);
    json_as_python(&j);
    status = add_config(b, &j, &reason);
  }
  arena_free(scratch);
  ck->allowance.memory -= charged;
  if (status == VIVA_OK || status == VIVA_E_NOT_FOUND) return VIVA_OK;
  if (status == VIVA_E_MEMORY) {
    if (error) *error = reason;
    return status;
  }
  b->metadata.count = kept;
  runtime_log(ck->rt, VIVA_LOG_INFO, "%s: not read: %s", path, reason.message);
  return VIVA_OK;
}

viva_status metadata_finish(checkpoint_build *b, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  if (ck->container == CONTAINER_GGUF) return VIVA_OK; /* gguf_open has set them */
  TRY(try_config(b, error));
  size_t bytes = b->metadata.count * b->metadata.item_bytes; /* as large as the list that exists */
  ck->metadata = arena_alloc(ck->arena, bytes);
  if (!ck->metadata) return checkpoint_build_no_memory(ck->path, "the metadata", error);
  if (bytes > 0) memcpy(ck->metadata, b->metadata.items, bytes);
  ck->metadata_count = b->metadata.count;
  return VIVA_OK;
}
