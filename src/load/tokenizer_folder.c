#include "load/tokenizer_folder.h"

#include <stdio.h>
#include <string.h>

#include "format/cache_root.h"
#include "format/checkpoint_build.h"
#include "text/tokenizer_files.h"

/* Gemma's tokenizer.json, the largest known, has 33 MB. */
#define FILE_MOST ((uint64_t)512 << 20)

/* FOLDER/NAME, in a; an empty folder: NAME. NULL: no memory. */
static char *path_in(arena *a, const char *folder, const char *name) {
  size_t length = strlen(folder), slash = length && folder[length - 1] != '/', size = length + slash + strlen(name) + 1;
  char *path = arena_alloc(a, size);
  if (path) snprintf(path, size, "%s%s%s", folder, slash ? "/" : "", name);
  return path;
}

static viva_status read_file(runtime *rt, arena *a, const char *path, text_file *out, viva_error *error) {
  if (!path) return error_set(error, VIVA_E_MEMORY, "no memory for a path");
  TRY(file_read_all(rt, a, path, FILE_MOST, &out->text, &out->bytes, error));
  out->path = path;
  return VIVA_OK;
}

/* Reads a file of the folder when it is there. */
static viva_status read_in(runtime *rt, arena *a, const char *folder, const char *name, text_file *out,
                           viva_error *error) {
  io_stat stat;
  char *path = path_in(a, folder, name);
  if (path && rt->io->stat_path(rt->io->user, path, &stat) != 0) return VIVA_OK;
  return read_file(rt, a, path, out, error);
}

typedef struct file_name {
  const char *name;
  size_t at; /* of its text_file in tokenizer_files */
} file_name;

#define NAME(text, field)                                                                                              \
  { text, offsetof(tokenizer_files, field) }

static viva_status read_names(runtime *rt, arena *a, const char *folder, const file_name *names, size_t count,
                              tokenizer_files *files, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    text_file *file = (text_file *)(void *)((char *)files + names[i].at);
    TRY(read_in(rt, a, folder, names[i].name, file, error));
  }
  return VIVA_OK;
}

/* Of the forms only the one that counts is read. */
static viva_status read_form(runtime *rt, arena *a, const char *folder, tokenizer_files *files, viva_error *error) {
  static const file_name pair[] = {NAME("vocab.json", vocab), NAME("merges.txt", merges)};
  TRY(read_in(rt, a, folder, "tokenizer.json", &files->json, error));
  if (files->json.text) return VIVA_OK;
  TRY(read_in(rt, a, folder, "tokenizer.model", &files->sentencepiece, error));
  if (files->sentencepiece.text) return VIVA_OK;
  TRY(read_in(rt, a, folder, "tekken.json", &files->tekken, error));
  return files->tekken.text ? VIVA_OK : read_names(rt, a, folder, pair, 2, files, error);
}

static viva_status read_beside(runtime *rt, arena *a, const char *folder, tokenizer_files *files, viva_error *error) {
  static const file_name names[] = {NAME("tokenizer_config.json", config), NAME("special_tokens_map.json", special_map),
                                    NAME("added_tokens.json", added_tokens)};
  return read_names(rt, a, folder, names, 3, files, error);
}

/* A clone without Git LFS has pointers in the place of its large files, and a tokenizer is one of them. */
static viva_status check_file(const text_file *file, viva_error *error) {
  const char *hint = file->text ? foreign_file_hint(file->text, file->bytes) : "";
  if (hint[0] == 0 || file->text[0] == '{') return VIVA_OK;
  error_set(error, VIVA_E_FORMAT, "%s", hint);
  error_at(error, file->path, NULL, -1, 0);
  return VIVA_E_FORMAT;
}

static viva_status from_files(runtime *rt, arena *a, const char *folder, const tokenizer_files *files,
                              viva_tokenizer **out, viva_error *error) {
  TRY(check_file(&files->json, error));
  TRY(check_file(&files->sentencepiece, error));
  TRY(check_file(&files->tekken, error));
  viva_status status = tokenizer_from_files(rt, files, out, error);
  if (status == VIVA_E_NOT_FOUND && !cache_root(rt, a, folder, error))
    error_at(error, folder[0] ? folder : ".", NULL, -1, VIVA_NO_OFFSET);
  return status;
}

viva_status tokenizer_from_folder(runtime *rt, const char *folder, viva_tokenizer **out, viva_error *error) {
  tokenizer_files files = {0};
  arena *a = arena_create(&rt->mem, 4096);
  if (!a) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  viva_status status = read_form(rt, a, folder, &files, error);
  if (!status) status = read_beside(rt, a, folder, &files, error);
  if (!status) status = from_files(rt, a, folder, &files, out, error);
  arena_free(a);
  return status;
}

static int ends_with(const char *path, const char *ending) {
  size_t length = strlen(path), bytes = strlen(ending);
  return length >= bytes && memcmp(path + length - bytes, ending, bytes) == 0;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* Is this a file of a model's folder, with the tokenizer beside it? */
static int is_beside(const char *path) {
  return ends_with(path, ".safetensors") || ends_with(path, ".safetensors.index.json") ||
         strcmp(base_name(path), "config.json") == 0;
}

static viva_status read_one(runtime *rt, arena *a, const char *path, const char *folder, tokenizer_files *files,
                            viva_error *error) {
  const char *name = base_name(path);
  int is_pair = strcmp(name, "vocab.json") == 0 || strcmp(name, "merges.txt") == 0;
  if (is_pair) {
    TRY(read_file(rt, a, path_in(a, folder, "vocab.json"), &files->vocab, error));
    TRY(read_file(rt, a, path_in(a, folder, "merges.txt"), &files->merges, error));
    return read_beside(rt, a, folder, files, error); /* the class is said there */
  }
  if (ends_with(path, ".model")) return read_file(rt, a, path, &files->sentencepiece, error);
  int is_tekken = strstr(name, "tekken") && ends_with(name, ".json");
  return read_file(rt, a, path, is_tekken ? &files->tekken : &files->json, error);
}

viva_status tokenizer_from_one_file(runtime *rt, const char *path, viva_tokenizer **out, viva_error *error) {
  tokenizer_files files = {0};
  arena *a = arena_create(&rt->mem, 4096);
  if (!a) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  viva_status status;
  char *folder = arena_text(a, path, (size_t)(base_name(path) - path));
  if (!folder) {
    status = error_set(error, VIVA_E_MEMORY, "no memory for a path");
  } else if (is_beside(path)) {
    status = tokenizer_from_folder(rt, folder[0] ? folder : ".", out, error);
  } else {
    status = read_one(rt, a, path, folder, &files, error);
    if (!status) status = from_files(rt, a, folder, &files, out, error);
  }
  arena_free(a);
  return status;
}
