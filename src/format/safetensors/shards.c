/* format/safetensors/shards.c: a checkpoint in several files: an index, or a folder.
 *
 *   model.safetensors.index.json: {"metadata": {"total_size": N}, "weight_map": {TENSOR: FILE, ...}}
 *
 * FILE is text from a file and yet a path: only a plain name is taken, never one with a '/' or "..". Symbolic links are
 * followed, because a Hugging Face cache is made of them (snapshots/X/FILE -> ../../blobs/Y): which links a folder
 * holds is the choice of the folder's owner, which names an index holds is not.
 */
#include <inttypes.h>
#include <string.h>

#include "base/ck.h"
#include "format/checkpoint_build.h"
#include "format/gguf/gguf.h"

#define INDEX_NAME      "model.safetensors.index.json"
#define SINGLE_NAME     "model.safetensors"
#define SAFETENSORS_END ".safetensors"
#define GGUF_END        ".gguf"
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
  if (problem != NULL)
    return json_fail(&r->j, error, "the shard's name \"%.*s\" %s; expected the name of a file beside the index",
                     (int)(shard.bytes < 200 ? shard.bytes : 200), shard.text, problem);
  TRY(allowance_memory(&r->b->ck->allowance, MAPPING_COST + tensor.bytes + shard.bytes, "the index", r->path, error));
  mapping *m = grow_add(&r->b->ck->rt->mem, &r->mappings);
  if (m == NULL) return build_no_memory(r->path, "the index", error);
  m->tensor = arena_text(r->scratch, tensor.text, tensor.bytes);
  m->shard = arena_text(r->scratch, shard.text, shard.bytes);
  return m->tensor && m->shard ? VIVA_OK : build_no_memory(r->path, "the index", error);
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
  TRY(build_files(r->b, shards, error));
  for (size_t i = 0; i < count; i++) {
    const mapping *m = order[i];
    if (i > 0 && compare_shards(order[i - 1], m) == 0) continue;
    const char *path = path_join(ck->arena, ck->folder, m->shard);
    if (path == NULL) return build_no_memory(r->path, "a path", error);
    int exists;
    TRY(path_exists(ck->rt, path, &exists, error));
    if (!exists) return missing_shard(r, m, path, error);
    TRY(build_add_file(r->b, path, error));
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
  if (order == NULL) return build_no_memory(r->path, "the index", error);
  viva_status status = open_shards(r, order, error);
  if (status == VIVA_OK) status = build_finish(r->b, error);
  if (status == VIVA_OK) {
    sort_pointers(order, r->mappings.count, compare_tensors);
    compare_index(r, order);
  }
  mem_free(m, order);
  return status;
}

viva_status shards_open_index(checkpoint_build *b, const char *path, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  const char *text = NULL;
  size_t bytes = 0;
  ck->folder = path_folder(ck->arena, path);
  index_reader r = {
      .b = b, .path = path, .scratch = arena_create(&ck->rt->mem, 4096), .mappings = {.item_bytes = sizeof(mapping)}};
  viva_status status = VIVA_OK;
  if (ck->folder == NULL || r.scratch == NULL) status = build_no_memory(path, "the index", error);
  if (status == VIVA_OK) status = file_read_all(ck->rt, r.scratch, path, MAX_INDEX_BYTES, &text, &bytes, error);
  allowance_pay(&ck->allowance, bytes);
  if (status == VIVA_OK) status = allowance_memory(&ck->allowance, bytes, "the index", path, error);
  if (status == VIVA_OK) status = parse_index(&r, text, bytes, error);
  if (status == VIVA_OK) status = open_mapped(&r, error);
  grow_free(&ck->rt->mem, &r.mappings);
  arena_free(r.scratch);
  return status;
}

/* Names of a folder's weight files, while the system lists them. */
typedef struct listing {
  viva_checkpoint *ck;
  grow safetensors, gguf; /* of const char * (paths, in the arena) */
  const char *foreign;    /* what else it holds that somebody could take for a model; NULL: nothing */
  int no_memory;
} listing;

/* Files of weights that are not the model's, or not in a form that viva reads. */
static const struct {
  const char *begin, *end, *what;
} foreign[] = {
    {"adapter_", SAFETENSORS_END, "a LoRA adapter: merge it into its model first (peft: merge_and_unload)"},
    {"consolidated", SAFETENSORS_END,
     "weights in their maker's own form (consolidated): fetch the model's other files"},
    {"optimizer", SAFETENSORS_END, "a training's state"},
    {"mmproj", GGUF_END, "an image encoder (mmproj): fetch the language model's file"},
    {"openvino", ".bin", "an OpenVINO model: fetch the model's safetensors"},
    {"openvino", ".xml", "an OpenVINO model: fetch the model's safetensors"},
    {"", ".bin", "PyTorch files: convert them to safetensors first"},
    {"", ".pth", "PyTorch files: convert them to safetensors first"},
    {"", ".pt", "PyTorch files: convert them to safetensors first"},
    {"", ".ckpt", "a PyTorch checkpoint: convert it to safetensors first"},
    {"", ".h5", "a TensorFlow file: convert it to safetensors first"},
    {"", ".msgpack", "a Flax file: convert it to safetensors first"},
    {"", ".onnx", "an ONNX file: fetch the model's safetensors"},
    {"", ".npz", "NumPy arrays: convert them to safetensors first"},
    {"", ".ot", "a file of Rust's tch: fetch the model's safetensors"},
    {"", ".engine", "a TensorRT engine: fetch the model's safetensors"},
    {"", ".incomplete", "a download that was not finished: fetch it again"},
    {"", ".part", "a download that was not finished: fetch it again"},
    {"", ".crdownload", "a download that was not finished: fetch it again"},
    {"", ".aria2", "a download that was not finished: fetch it again"},
};

static const char *foreign_what(const char *name) {
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
    if (strncmp(name, foreign[i].begin, strlen(foreign[i].begin)) == 0 && path_ends_with(name, foreign[i].end))
      return foreign[i].what;
  return NULL;
}

static int visit(void *arg, const char *name) {
  listing *l = arg;
  const char *what = foreign_what(name);
  if (what != NULL) {
    l->foreign = what;
    return 0;
  }
  grow *list = path_ends_with(name, SAFETENSORS_END) ? &l->safetensors
               : path_ends_with(name, GGUF_END)      ? &l->gguf
                                                     : NULL;
  if (list == NULL || name[0] == '.' || gguf_is_later_part(name)) return 0; /* the first part opens the others */
  const char **place = grow_add(&l->ck->rt->mem, list);
  if (place != NULL) *place = path_join(l->ck->arena, l->ck->folder, name);
  l->no_memory = place == NULL || *place == NULL;
  return l->no_memory;
}

static int compare_paths(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens all files, by name: the system's order must not show. */
static viva_status open_all(checkpoint_build *b, const grow *paths, viva_error *error) {
  mem *m = &b->ck->rt->mem;
  const void **order = grow_sorted(m, paths, 0, compare_paths);
  if (order == NULL) return build_no_memory(b->ck->path, "the folder's names", error);
  viva_status status = build_files(b, paths->count, error);
  for (size_t i = 0; status == VIVA_OK && i < paths->count; i++) {
    status = build_add_file(b, *(const char *const *)order[i], error);
    if (status == VIVA_OK) status = safetensors_read(b, (uint32_t)i, i == 0, error);
  }
  mem_free(m, order);
  return status == VIVA_OK ? build_finish(b, error) : status;
}

/* Keeps the last name that is seen, in the arena. */
typedef struct one_name {
  arena *a;
  const char *name;
} one_name;

static int visit_snapshot(void *arg, const char *name) {
  one_name *one = arg;
  if (name[0] != '.') one->name = arena_text(one->a, name, strlen(name));
  return 0;
}

/* The root of a model in Hugging Face's cache: snapshots/REVISION/ holds it. 1 and an error when the folder is one. */
static int is_cache_root(const viva_checkpoint *ck, viva_error *error) {
  const char *folder = path_join(ck->arena, ck->folder, "snapshots");
  one_name one = {ck->arena, NULL};
  if (folder == NULL || !path_is_folder(ck->rt, folder)) return 0;
  (void)ck->rt->io->list(ck->rt->io->user, folder, visit_snapshot, &one);
  if (one.name == NULL) return 0;
  error_set(error, VIVA_E_NOT_FOUND, "this is the root of a cached repository; give the snapshot in it: %s/%s", folder,
            one.name);
  error_at(error, ck->path, NULL, 0, VIVA_NO_OFFSET);
  return 1;
}

/* Repositories for browsers keep ONNX files in a folder of their own. */
static int has_onnx_folder(const viva_checkpoint *ck) {
  const char *folder = path_join(ck->arena, ck->folder, "onnx");
  return folder != NULL && path_is_folder(ck->rt, folder);
}

static viva_status no_checkpoint(const listing *l, viva_error *error) {
  const viva_checkpoint *ck = l->ck;
  const char *has = l->foreign            ? l->foreign
                    : has_onnx_folder(ck) ? "ONNX files alone: fetch the model's safetensors"
                                          : NULL;
  if (l->gguf.count == 0 && is_cache_root(ck, error)) return VIVA_E_NOT_FOUND;
  if (l->gguf.count > 1)
    error_set(error, VIVA_E_ARGUMENT, "the folder holds %zu GGUF files; give the path of one of them", l->gguf.count);
  else
    error_set(error, VIVA_E_NOT_FOUND,
              "the folder holds no checkpoint; expected " INDEX_NAME ", " SINGLE_NAME
              ", other .safetensors files or one .gguf file%s%s",
              has ? ". It has " : "", has ? has : "");
  error_at(error, ck->path, NULL, 0, VIVA_NO_OFFSET);
  return l->gguf.count > 1 ? VIVA_E_ARGUMENT : VIVA_E_NOT_FOUND;
}

static viva_status scan(checkpoint_build *b, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  mem *m = &ck->rt->mem;
  listing l = {.ck = ck, .safetensors = {.item_bytes = sizeof(char *)}, .gguf = {.item_bytes = sizeof(char *)}};
  int result = ck->rt->io->list(ck->rt->io->user, ck->folder, visit, &l);
  viva_status status;
  if (l.no_memory)
    status = build_no_memory(ck->path, "the folder's names", error);
  else if (result < 0)
    status = io_fail(error, "list the folder", ck->path, result);
  else if (l.safetensors.count > 0)
    status = open_all(b, &l.safetensors, error);
  else if (l.gguf.count == 1)
    status = build_open_single(b, *(const char **)(void *)l.gguf.items, error);
  else
    status = no_checkpoint(&l, error);
  grow_free(m, &l.safetensors);
  grow_free(m, &l.gguf);
  return status;
}

viva_status shards_open_folder(checkpoint_build *b, const char *path, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  int exists;
  ck->folder = path;
  const char *index = path_join(ck->arena, path, INDEX_NAME);
  const char *single = path_join(ck->arena, path, SINGLE_NAME);
  if (index == NULL || single == NULL) return build_no_memory(path, "a path", error);
  /* The single file comes first, as in transformers: an index beside it is a stale one. */
  TRY(path_exists(ck->rt, single, &exists, error));
  if (exists) return build_open_single(b, single, error);
  TRY(path_exists(ck->rt, index, &exists, error));
  if (exists) return shards_open_index(b, index, error);
  return scan(b, error);
}
