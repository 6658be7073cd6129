/* format/safetensors/shards.c: a checkpoint in several files: an index, or one of its shards.
 *
 *   model.safetensors.index.json: {"metadata": {"total_size": N}, "weight_map": {TENSOR: FILE, ...}}
 *
 * FILE is text from a file and yet a path: only a plain name is taken, never one with a '/' or "..". Symbolic links are
 * followed, because a Hugging Face cache is made of them (snapshots/X/FILE -> ../../blobs/Y): which links a folder
 * holds is the choice of the folder's owner, which names an index holds is not.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "format/checkpoint_build.h"

#define MAX_INDEX_BYTES 100000000u /* as much as a header may have */

/* One member of the weight map. */
typedef struct mapping {
  const char *tensor, *shard; /* zero-ended, in the scratch arena */
} mapping;

/* Of a mapping: the list while it grows, pointers to sort by, the ends of two texts, and its key in the parser's table. */
#define MAPPING_COST (3 * sizeof(mapping) + 16 + 32 + 80)

typedef struct index_reader {
  checkpoint_build *b;
  const char *path;
  arena *scratch;
  json j;
  grow mappings; /* of mapping */
  int has_total;
  uint64_t total; /* metadata.total_size */
} index_reader;

/* NULL when name is a plain file name, else what is wrong with it. */
static const char *name_problem(json_string name) {
  if (name.bytes == 0) return "is empty";
  if (memchr(name.text, 0, name.bytes)) return "holds a zero byte";
  if (memchr(name.text, '/', name.bytes) || memchr(name.text, '\\', name.bytes)) return "is a path";
  if (json_string_is(name, ".") || json_string_is(name, "..")) return "is a folder";
  return NULL;
}

static viva_status take_mapping(index_reader *r, json_string tensor, viva_error *error) {
  json_string shard;
  TRY(json_take_string(&r->j, &shard, error));
  const char *problem = name_problem(shard);
  if (problem)
    return json_fail(&r->j, error, "the shard's name \"%.*s\" %s; expected the name of a file beside the index",
                     (int)(shard.bytes < 200 ? shard.bytes : 200), shard.text, problem);
  TRY(allowance_memory(&r->b->ck->allowance, MAPPING_COST + tensor.bytes + shard.bytes, "the index", r->path, error));
  mapping *m = grow_add(&r->b->ck->rt->mem, &r->mappings);
  if (!m) return checkpoint_build_no_memory(r->path, "the index", error);
  m->tensor = arena_text(r->scratch, tensor.text, tensor.bytes);
  m->shard = arena_text(r->scratch, shard.text, shard.bytes);
  return m->tensor && m->shard ? VIVA_OK : checkpoint_build_no_memory(r->path, "the index", error);
}

/* metadata.total_size is only compared, with a note in the log: files disagree about tied tensors. */
static viva_status take_total(index_reader *r, viva_error *error) {
  json *j = &r->j;
  json_string key;
  json_number number;
  if (json_peek(j) != JSON_OBJECT) return json_skip(j, error);
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    if (!json_string_is(key, "total_size") || json_peek(j) != JSON_NUMBER) {
      TRY(json_skip(j, error));
      continue;
    }
    TRY(json_take_number(j, &number, error));
    r->has_total = number.kind != JSON_DOUBLE && number.d >= 0;
    r->total = number.kind == JSON_UINT ? number.u : (uint64_t)number.i;
  }
  return json_leave(j, error);
}

static viva_status parse_index(index_reader *r, const char *text, size_t bytes, viva_error *error) {
  json *j = &r->j;
  json_string key;
  int found = 0;
  json_begin(j, r->b->ck->rt, r->scratch, r->path, text, bytes);
  j->allowed = &r->b->ck->allowance;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    if (json_string_is(key, "metadata")) {
      TRY(take_total(r, error));
    } else if (json_string_is(key, "weight_map")) {
      found = 1;
      TRY(json_enter_object(j, error));
      while (json_next_key(j, &key)) TRY(take_mapping(r, key, error));
      TRY(json_leave(j, error));
    } else {
      TRY(json_skip(j, error));
    }
  }
  TRY(json_leave(j, error));
  TRY(json_finish(j, error));
  if (found && r->mappings.count > 0) return VIVA_OK;
  error_set(error, VIVA_E_FORMAT,
            found ? "the weight map is empty" : "expected a member \"weight_map\" that maps tensors to files");
  error_at(error, r->path, "weight_map", -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

static int compare_shards(const void *a, const void *b) {
  return strcmp(((const mapping *)a)->shard, ((const mapping *)b)->shard);
}

static int compare_tensors(const void *a, const void *b) {
  return strcmp(((const mapping *)a)->tensor, ((const mapping *)b)->tensor);
}

/* Says which shard is missing and who wants it. */
static viva_status missing_shard(const index_reader *r, const mapping *m, const char *path, viva_error *error) {
  error_set(error, VIVA_E_NOT_FOUND, "this shard is missing; the index %s wants it for %s: fetch all shards", r->path,
            m->tensor);
  error_at(error, path, m->shard, -1, VIVA_NO_OFFSET);
  return VIVA_E_NOT_FOUND;
}

/* Opens each shard that the mappings, taken in order (by shard), name. */
static viva_status open_shards(index_reader *r, const void **order, viva_error *error) {
  viva_checkpoint *ck = r->b->ck;
  size_t count = r->mappings.count, shards = 0;
  for (size_t i = 0; i < count; i++) shards += i == 0 || compare_shards(order[i - 1], order[i]) != 0;
  TRY(checkpoint_build_files(r->b, shards, error));
  for (size_t i = 0; i < count; i++) {
    const mapping *m = order[i];
    if (i > 0 && compare_shards(order[i - 1], m) == 0) continue;
    const char *path = path_join(ck->arena, ck->folder, m->shard);
    if (!path) return checkpoint_build_no_memory(r->path, "a path", error);
    int exists;
    TRY(path_exists(ck->rt, path, &exists, error));
    if (!exists) return missing_shard(r, m, path, error);
    TRY(checkpoint_build_add_file(r->b, path, error));
    uint32_t file = (uint32_t)(ck->file_count - 1);
    TRY(safetensors_read(r->b, file, file == 0, error));
  }
  return VIVA_OK;
}

static const char *name_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* What the index says and the shards do not: told once, because the shards are what a model is read from, and a tensor
 * that it needs is missed by name later. */
typedef struct index_doubts {
  size_t unlisted, absent, elsewhere;
  const char *first_unlisted, *first_absent, *first_elsewhere;
} index_doubts;

static void doubt(size_t *count, const char **first, const char *tensor) {
  if (++*count == 1) *first = tensor;
}

static void tell_doubts(const index_reader *r, const index_doubts *d) {
  runtime *rt = r->b->ck->rt;
  if (d->unlisted)
    runtime_log(rt, VIVA_LOG_WARN, "%s: %zu tensors of the shards are not in the index, first %s", r->path, d->unlisted,
                d->first_unlisted);
  if (d->absent)
    runtime_log(rt, VIVA_LOG_WARN, "%s: %zu tensors of the index are in no shard, first %s", r->path, d->absent,
                d->first_absent);
  if (d->elsewhere)
    runtime_log(rt, VIVA_LOG_WARN, "%s: %zu tensors are in another shard than the index says, first %s", r->path,
                d->elsewhere, d->first_elsewhere);
}

/* order is by tensor, as ck->tensors is. */
static void compare_index(const index_reader *r, const void **order) {
  const viva_checkpoint *ck = r->b->ck;
  index_doubts d = {0};
  size_t next = 0, count = r->mappings.count;
  uint64_t total = 0;
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    const mapping *m = NULL;
    int compared = 1;
    for (; next < count; next++) {
      m = order[next];
      compared = strcmp(m->tensor, view->name);
      if (compared >= 0) break;
      doubt(&d.absent, &d.first_absent, m->tensor);
    }
    if (ck_add(total, view->bytes, &total)) total = UINT64_MAX;
    if (next == count || compared != 0) {
      doubt(&d.unlisted, &d.first_unlisted, view->name);
      continue;
    }
    next++;
    if (strcmp(m->shard, name_of(ck->files[view->file].path)) != 0) doubt(&d.elsewhere, &d.first_elsewhere, view->name);
  }
  for (; next < count; next++) doubt(&d.absent, &d.first_absent, ((const mapping *)order[next])->tensor);
  tell_doubts(r, &d);
  if (r->has_total && r->total != total)
    runtime_log(ck->rt, VIVA_LOG_INFO, "%s: total_size is %" PRIu64 ", the tensors have %" PRIu64 " bytes", r->path,
                r->total, total);
}

static viva_status open_mapped(index_reader *r, viva_error *error) {
  mem *m = &r->b->ck->rt->mem;
  const void **order = grow_sorted(m, &r->mappings, 0, compare_shards);
  if (!order) return checkpoint_build_no_memory(r->path, "the index", error);
  viva_status status = open_shards(r, order, error);
  if (status == VIVA_OK) status = checkpoint_build_finish(r->b, error);
  if (status == VIVA_OK) {
    sort_pointers(order, r->mappings.count, compare_tensors);
    compare_index(r, order);
  }
  mem_free(m, order);
  return status;
}

/* Reads the index into r->mappings. */
static viva_status read_index(index_reader *r, viva_error *error) {
  viva_checkpoint *ck = r->b->ck;
  const char *text = NULL;
  size_t bytes = 0;
  TRY(file_read_all(ck->rt, r->scratch, r->path, MAX_INDEX_BYTES, &text, &bytes, error));
  allowance_pay(&ck->allowance, bytes);
  TRY(allowance_memory(&ck->allowance, bytes, "the index", r->path, error));
  return parse_index(r, text, bytes, error);
}

viva_status shards_open_index(checkpoint_build *b, const char *path, int *unreadable, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  *unreadable = 0;
  ck->folder = path_folder(ck->arena, path);
  index_reader r = {
      .b = b, .path = path, .scratch = arena_create(&ck->rt->mem, 4096), .mappings = {.item_bytes = sizeof(mapping)}};
  viva_status status = VIVA_OK;
  if (!ck->folder || !r.scratch) status = checkpoint_build_no_memory(path, "the index", error);
  if (status == VIVA_OK) {
    status = read_index(&r, error);
    *unreadable = status == VIVA_E_FORMAT;
  }
  if (status == VIVA_OK) status = open_mapped(&r, error);
  grow_free(&ck->rt->mem, &r.mappings);
  arena_free(r.scratch);
  return status;
}

/* -- one of several shards */

#define PART_DIGITS 5
#define PART_END    "-of-00000.safetensors"
#define PARTS_MOST  1000 /* of a name alone; the largest published models have some 200 */

static size_t digits(const char *at) {
  size_t number = 0;
  for (int i = 0; i < PART_DIGITS; i++) {
    if (at[i] < '0' || at[i] > '9') return 0;
    number = 10 * number + (size_t)(at[i] - '0');
  }
  return number;
}

size_t shards_told(const char *path) {
  size_t length = strlen(path), end = sizeof PART_END - 1;
  if (length < end + PART_DIGITS || !path_ends_with(path, ".safetensors")) return 0;
  const char *at = path + length - end;
  return memcmp(at, "-of-", 4) == 0 && digits(at - PART_DIGITS) > 0 ? digits(at + 4) : 0;
}

/* Opens the shards that lie beside this one, this one included; those that are missing are named when a tensor is. */
static viva_status open_parts(checkpoint_build *b, const char *path, size_t parts, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  size_t length = strlen(path);
  char number[PART_DIGITS + 1];
  ck->folder = path_folder(ck->arena, path);
  if (!ck->folder) return checkpoint_build_no_memory(path, "a path", error);
  TRY(checkpoint_build_files(b, parts, error));
  for (size_t i = 1; i <= parts; i++) {
    int exists;
    char *part = arena_text(ck->arena, path, length);
    if (!part) return checkpoint_build_no_memory(path, "a path", error);
    snprintf(number, sizeof number, "%05u", (unsigned)i);
    memcpy(part + length - (sizeof PART_END - 1) - PART_DIGITS, number, PART_DIGITS);
    TRY(path_exists(ck->rt, part, &exists, error));
    if (!exists) continue;
    TRY(checkpoint_build_add_file(b, part, error));
    TRY(safetensors_read(b, (uint32_t)(ck->file_count - 1), ck->file_count == 1, error));
  }
  return checkpoint_build_finish(b, error);
}

viva_status shards_open_file(checkpoint_build *b, const char *path, viva_error *error) {
  size_t parts = shards_told(path);
  int exists;
  TRY(path_exists(b->ck->rt, path, &exists, error));
  if (!exists || parts < 2 || parts > PARTS_MOST) return checkpoint_build_open_single(b, path, error);
  return open_parts(b, path, parts, error);
}
