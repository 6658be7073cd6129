/* format/safetensors/folder.c: a checkpoint in a folder: one file, an index, or whatever shards lie there. */
#include <string.h>

#include "format/cache_root.h"
#include "format/checkpoint_build.h"
#include "format/gguf/gguf.h"

#define INDEX_NAME      "model.safetensors.index.json"
#define SINGLE_NAME     "model.safetensors"
#define SAFETENSORS_END ".safetensors"
#define GGUF_END        ".gguf"

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
  if (what) {
    l->foreign = what;
    return 0;
  }
  grow *list = path_ends_with(name, SAFETENSORS_END) ? &l->safetensors
               : path_ends_with(name, GGUF_END)      ? &l->gguf
                                                     : NULL;
  if (!list || name[0] == '.' || gguf_is_later_part(name)) return 0; /* the first part opens the others */
  const char **place = grow_add(&l->ck->rt->mem, list);
  if (place) *place = path_join(l->ck->arena, l->ck->folder, name);
  l->no_memory = !place || !*place;
  return l->no_memory;
}

static int compare_paths(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens all files, by name: the system's order must not show. */
static viva_status open_all(checkpoint_build *b, const grow *paths, viva_error *error) {
  mem *m = &b->ck->rt->mem;
  const void **order = grow_sorted(m, paths, 0, compare_paths);
  if (!order) return checkpoint_build_no_memory(b->ck->path, "the folder's names", error);
  viva_status status = checkpoint_build_files(b, paths->count, error);
  for (size_t i = 0; status == VIVA_OK && i < paths->count; i++) {
    status = checkpoint_build_add_file(b, *(const char *const *)order[i], error);
    if (status == VIVA_OK) status = safetensors_read(b, (uint32_t)i, i == 0, error);
  }
  mem_free(m, order);
  return status == VIVA_OK ? checkpoint_build_finish(b, error) : status;
}

/* Repositories for browsers keep ONNX files in a folder of their own. */
static int has_onnx_folder(const viva_checkpoint *ck) {
  const char *folder = path_join(ck->arena, ck->folder, "onnx");
  return folder && path_is_folder(ck->rt, folder);
}

static viva_status no_checkpoint(const listing *l, viva_error *error) {
  const viva_checkpoint *ck = l->ck;
  const char *has = l->foreign            ? l->foreign
                    : has_onnx_folder(ck) ? "ONNX files alone: fetch the model's safetensors"
                                          : NULL;
  if (l->gguf.count == 0 && cache_root(ck->rt, ck->arena, ck->folder, error)) return VIVA_E_NOT_FOUND;
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
    status = checkpoint_build_no_memory(ck->path, "the folder's names", error);
  else if (result < 0)
    status = io_fail(error, "list the folder", ck->path, result);
  else if (l.safetensors.count > 0)
    status = open_all(b, &l.safetensors, error);
  else if (l.gguf.count == 1)
    status = checkpoint_build_open_single(b, *(const char **)(void *)l.gguf.items, error);
  else
    status = no_checkpoint(&l, error);
  grow_free(m, &l.safetensors);
  grow_free(m, &l.gguf);
  return status;
}

viva_status folder_gguf(runtime *rt, arena *a, const char *folder, const char **path, viva_error *error) {
  viva_checkpoint ck = {.rt = rt, .arena = a, .folder = folder};
  listing l = {.ck = &ck, .safetensors = {.item_bytes = sizeof(char *)}, .gguf = {.item_bytes = sizeof(char *)}};
  (void)rt->io->list(rt->io->user, folder, visit, &l); /* one that may not be listed is read by its files' names */
  *path = l.safetensors.count == 0 && l.gguf.count == 1 ? *(const char **)(void *)l.gguf.items : NULL;
  grow_free(&rt->mem, &l.safetensors);
  grow_free(&rt->mem, &l.gguf);
  return l.no_memory ? checkpoint_build_no_memory(folder, "the folder's names", error) : VIVA_OK;
}

/* An index that is no index, or an empty one, is a download that went wrong: shards do without. */
static viva_status open_without_index(checkpoint_build *b, const char *index, const viva_error *reason,
                                      viva_error *error) {
  viva_error ignored = {0};
  viva_status status = scan(b, &ignored);
  if (status == VIVA_E_NOT_FOUND) { /* nothing there: the index is what is wrong */
    if (error) *error = *reason;
    return reason->code;
  }
  if (status != VIVA_OK) {
    if (error) *error = ignored;
    return status;
  }
  runtime_log(b->ck->rt, VIVA_LOG_WARN, "%s: %s; the shards are read without it", index, reason->message);
  return VIVA_OK;
}

viva_status shards_open_folder(checkpoint_build *b, const char *path, viva_error *error) {
  viva_checkpoint *ck = b->ck;
  viva_error reason = {0};
  int exists, unreadable;
  ck->folder = path;
  const char *index = path_join(ck->arena, path, INDEX_NAME);
  const char *single = path_join(ck->arena, path, SINGLE_NAME);
  if (!index || !single) return checkpoint_build_no_memory(path, "a path", error);
  /* The single file comes first, as in transformers: an index beside it is a stale one. */
  TRY(path_exists(ck->rt, single, &exists, error));
  if (exists) return checkpoint_build_open_single(b, single, error);
  TRY(path_exists(ck->rt, index, &exists, error));
  if (!exists) return scan(b, error);
  viva_status status = shards_open_index(b, index, &unreadable, &reason);
  if (unreadable) return open_without_index(b, index, &reason, error);
  if (status != VIVA_OK && error) *error = reason;
  return status;
}
