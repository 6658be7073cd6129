/* load/tokenizer_load.c: from files to text/: a GGUF file's metadata, or what tokenizer_folder.c knows. */
#include <string.h>

#include "format/checkpoint_build.h"
#include "format/gguf/gguf.h"
#include "load/tokenizer_folder.h"
#include "load/tokenizer_load.h"
#include "text/gguf_pre.h"

/* ---- GGUF */

static viva_status key_error(const viva_checkpoint *ck, const char *key, viva_error *error, const char *expected) {
  error_set(error, VIVA_E_FORMAT, "expected %s; the file is damaged or was written by a faulty converter", expected);
  error_at(error, ck->path, key, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

static viva_status get_text(const viva_checkpoint *ck, arena *a, const char *key, const char **text,
                            viva_error *error) {
  const gguf_value *value = gguf_find(ck->gguf, key);
  const char *found;
  size_t bytes;
  *text = NULL;
  if (!value) return VIVA_OK;
  if (gguf_string(value, &found, &bytes)) return key_error(ck, key, error, "a string");
  *text = arena_text(a, found, bytes);
  return *text ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
}

static viva_status get_texts(const viva_checkpoint *ck, arena *a, const char *key, allowance *allowed,
                             const token_text **texts, size_t *count, viva_error *error) {
  const gguf_value *value = gguf_find(ck->gguf, key);
  *texts = NULL;
  *count = 0;
  if (!value) return VIVA_OK;
  if (!value->is_array || value->type != GGUF_STRING) return key_error(ck, key, error, "an array of strings");
  /* The list, and the strings, which the header holds. */
  TRY(allowance_memory(allowed, (uint64_t)value->count * (sizeof(token_text) + sizeof(uint64_t)), "the vocabulary",
                       ck->path, error));
  token_text *list = arena_alloc(a, ((size_t)value->count + 1) * sizeof *list);
  if (!list) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  size_t at = 0, n = 0;
  while (n < value->count && gguf_next_string(value, &at, &list[n].text, &list[n].bytes)) n++;
  *texts = list;
  *count = n;
  return VIVA_OK;
}

/* A kind that is not known is an ordinary token's, as llama.cpp has it. */
static viva_status get_kinds(const viva_checkpoint *ck, arena *a, token_source *s, viva_error *error) {
  static const char key[] = "tokenizer.ggml.token_type";
  const gguf_value *value = gguf_find(ck->gguf, key);
  size_t tokens = s->token_count, unknown = 0;
  if (!value) return VIVA_OK;
  if (!value->is_array || value->count != tokens) return key_error(ck, key, error, "an array with one type per token");
  int32_t *list = arena_alloc(a, (tokens + 1) * sizeof *list);
  if (!list) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  for (size_t i = 0; i < tokens; i++) {
    int64_t kind;
    if (gguf_element_i64(value, i, &kind)) return key_error(ck, key, error, "an array of integers");
    unknown += kind < 0 || kind > TOKEN_BYTE;
    list[i] = kind < 0 || kind > TOKEN_BYTE ? TOKEN_NORMAL : (int32_t)kind;
  }
  if (unknown)
    runtime_log(ck->rt, VIVA_LOG_WARN, "%s: %s: %zu tokens have a type that is not known; they count as ordinary text",
                ck->path, key, unknown);
  s->kinds = list;
  return VIVA_OK;
}

static viva_status get_scores(const viva_checkpoint *ck, arena *a, size_t tokens, const float **scores,
                              viva_error *error) {
  static const char key[] = "tokenizer.ggml.scores";
  const gguf_value *value = gguf_find(ck->gguf, key);
  *scores = NULL;
  if (!value) return VIVA_OK;
  if (!value->is_array || value->count != tokens) return key_error(ck, key, error, "an array with one score per token");
  float *list = arena_alloc(a, (tokens + 1) * sizeof *list);
  if (!list) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  for (size_t i = 0; i < tokens; i++) {
    double score;
    if (gguf_element_f64(value, i, &score)) return key_error(ck, key, error, "an array of numbers");
    list[i] = (float)score;
  }
  *scores = list;
  return VIVA_OK;
}

/* A file without types says nothing about which tokens are text: those that its keys name are not. */
static viva_status default_kinds(arena *a, token_source *s, viva_error *error) {
  const int64_t named[] = {s->bos, s->eos};
  if (s->kinds || s->token_count == 0) return VIVA_OK;
  int32_t *list = arena_alloc(a, s->token_count * sizeof *list);
  if (!list) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  for (size_t i = 0; i < s->token_count; i++) list[i] = TOKEN_NORMAL;
  for (size_t i = 0; i < sizeof named / sizeof *named; i++)
    if (named[i] >= 0) list[named[i]] = TOKEN_CONTROL;
  s->kinds = list;
  return VIVA_OK;
}

/* The id, or -1. An id outside the vocabulary names no token: such files are about, and the key is left out
 * (level INFO: gguf_config warns of the same key). */
static viva_status get_id(const viva_checkpoint *ck, const char *key, size_t tokens, viva_log_level level, int64_t *id,
                          viva_error *error) {
  const gguf_value *value = gguf_find(ck->gguf, key);
  *id = -1;
  if (value && gguf_i64(value, id)) return key_error(ck, key, error, "a token id");
  if (*id < 0 || (uint64_t)*id < tokens) return VIVA_OK;
  runtime_log(ck->rt, level, "%s: %s is %lld, outside the vocabulary of %zu: the key is left out", ck->path, key,
              (long long)*id, tokens);
  *id = -1;
  return VIVA_OK;
}

/* missing: what the key means when it is not there. */
static viva_status get_flag(const viva_checkpoint *ck, const char *key, int missing, int *flag, viva_error *error) {
  const gguf_value *value = gguf_find(ck->gguf, key);
  int64_t number;
  *flag = missing;
  if (!value || gguf_bool(value, flag) == 0) return VIVA_OK;
  if (gguf_i64(value, &number) || (number != 0 && number != 1)) return key_error(ck, key, error, "true or false");
  *flag = (int)number; /* writers without a type for it */
  return VIVA_OK;
}

/* Whether a text begins with the BOS token when the file does not say so: llama.cpp, which files without the key were
 * written for, goes by the vocabulary's kind and the pre-tokenizer's name (llama-vocab.cpp). */
static int adds_bos(const token_source *s) {
  const gguf_pre *pre = s->pre ? gguf_pre_find(s->pre) : NULL;
  if (!s->model || s->bos < 0) return 0;
  return strcmp(s->model, "llama") == 0 || (pre && pre->add_bos);
}

/* A token that is asked for and not named cannot be added. */
static void check_frame(const viva_checkpoint *ck, int64_t id, const char *name, int *flag) {
  if (!*flag || id >= 0) return;
  runtime_log(ck->rt, VIVA_LOG_WARN,
              "%s: tokenizer.ggml.add_%s_token is true, but no such token is named: none is added", ck->path, name);
  *flag = 0;
}

static viva_status read_source(const viva_checkpoint *ck, arena *a, token_source *s, viva_error *error) {
  s->path = ck->path;
  TRY(get_text(ck, a, "tokenizer.ggml.model", &s->model, error));
  TRY(get_text(ck, a, "tokenizer.ggml.pre", &s->pre, error));
  TRY(get_texts(ck, a, "tokenizer.ggml.tokens", &s->allowed, &s->tokens, &s->token_count, error));
  TRY(get_texts(ck, a, "tokenizer.ggml.merges", &s->allowed, &s->merges, &s->merge_count, error));
  int scored = s->model && strcmp(s->model, "gpt2") != 0; /* byte-level vocabularies have no use for scores */
  if (scored) TRY(get_scores(ck, a, s->token_count, &s->scores, error));
  TRY(get_kinds(ck, a, s, error));
  TRY(get_id(ck, "tokenizer.ggml.bos_token_id", s->token_count, VIVA_LOG_INFO, &s->bos, error));
  TRY(get_id(ck, "tokenizer.ggml.eos_token_id", s->token_count, VIVA_LOG_INFO, &s->eos, error));
  TRY(get_id(ck, "tokenizer.ggml.unknown_token_id", s->token_count, VIVA_LOG_WARN, &s->unk, error));
  token_source_default_ids(s);
  TRY(get_flag(ck, "tokenizer.ggml.add_space_prefix", TOKEN_UNSAID, &s->add_space_prefix, error));
  TRY(get_flag(ck, "tokenizer.ggml.add_bos_token", adds_bos(s), &s->add_bos, error));
  TRY(get_flag(ck, "tokenizer.ggml.add_eos_token", 0, &s->add_eos, error));
  check_frame(ck, s->bos, "bos", &s->add_bos);
  check_frame(ck, s->eos, "eos", &s->add_eos);
  return default_kinds(a, s, error);
}

/* BPE without merges (or, for SentencePiece's kind, scores) would cut every text into single bytes and say nothing. */
static viva_status check_merges(const viva_checkpoint *ck, const token_source *s, viva_error *error) {
  int is_llama = strcmp(s->model, "llama") == 0;
  int needs = is_llama || strcmp(s->model, "gpt2") == 0 || strcmp(s->model, "gemma4") == 0;
  if (!needs || s->merge_count > 0 || (is_llama && s->scores)) return VIVA_OK;
  error_set(error, VIVA_E_FORMAT,
            "the file has no merges, without which its vocabulary is of no use: convert it again");
  error_at(error, ck->path, "tokenizer.ggml.merges", -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

static viva_status no_vocabulary(const viva_checkpoint *ck, const char *key, viva_error *error) {
  error_set(error, VIVA_E_NOT_FOUND, "the GGUF file holds no tokenizer; give the path of a tokenizer.json");
  error_at(error, ck->path, key, -1, VIVA_NO_OFFSET);
  return VIVA_E_NOT_FOUND;
}

/* No vocabulary at all, or one that nothing says the kind of: with ids the model runs. */
static viva_status check_there(const viva_checkpoint *ck, viva_error *error) {
  static const char kind[] = "tokenizer.ggml.model", list[] = "tokenizer.ggml.tokens";
  int has_kind = gguf_find(ck->gguf, kind) != NULL, has_list = gguf_find(ck->gguf, list) != NULL;
  const char *name;
  size_t bytes;
  int left_out = has_kind && gguf_string(gguf_find(ck->gguf, kind), &name, &bytes) == 0 &&
                 ((bytes == 8 && memcmp(name, "no_vocab", 8) == 0) || (bytes == 4 && memcmp(name, "none", 4) == 0));
  if (!has_list && (!has_kind || left_out)) return no_vocabulary(ck, kind, error);
  if (has_kind && has_list) return VIVA_OK;
  const char *missing = has_list ? kind : list;
  error_set(error, VIVA_E_UNSUPPORTED,
            "the GGUF file has no key %s, which its tokenizer needs; give the path of a tokenizer.json", missing);
  error_at(error, ck->path, missing, -1, VIVA_NO_OFFSET);
  return VIVA_E_UNSUPPORTED;
}

viva_status tokenizer_read_source(const viva_checkpoint *ck, arena *a, token_source *s, viva_error *error) {
  *s = (token_source){.allowed = ck->allowance};
  TRY(check_there(ck, error));
  TRY(read_source(ck, a, s, error));
  if (s->token_count == 0) return no_vocabulary(ck, "tokenizer.ggml.tokens", error);
  if (!s->pre || s->pre[0] == 0) {
    s->pre = "default";
    if (strcmp(s->model, "gpt2") == 0)
      runtime_log(ck->rt, VIVA_LOG_WARN, "%s: tokenizer.ggml.pre is missing; texts are cut by llama.cpp's default",
                  ck->path);
  }
  return check_merges(ck, s, error);
}

static viva_status from_gguf(runtime *rt, const viva_checkpoint *ck, viva_tokenizer **out, viva_error *error) {
  arena *a = arena_create(&rt->mem, (size_t)64 << 10);
  if (!a) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  token_source s;
  viva_status status = tokenizer_read_source(ck, a, &s, error);
  if (!status) status = tokenizer_from_source(rt, &s, out, error);
  arena_free(a);
  return status;
}

static viva_status from_gguf_path(runtime *rt, const char *path, viva_tokenizer **out, viva_error *error) {
  viva_checkpoint *ck;
  TRY(checkpoint_open(rt, path, VIVA_LOAD_READ, &ck, error));
  viva_status status = from_gguf(rt, ck, out, error);
  viva_checkpoint_close(ck);
  return status;
}

/* ---- whatever lies at path */

/* A folder whose model is a GGUF file has the tokenizer in that file. */
static viva_status from_folder(runtime *rt, const char *folder, viva_tokenizer **out, viva_error *error) {
  const char *file;
  arena *a = arena_create(&rt->mem, 4096);
  if (!a) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  viva_status status = folder_gguf(rt, a, folder, &file, error);
  if (status == VIVA_OK)
    status = file ? from_gguf_path(rt, file, out, error) : tokenizer_from_folder(rt, folder, out, error);
  arena_free(a);
  return status;
}

viva_status tokenizer_from_path(runtime *rt, const char *path, viva_tokenizer **out, viva_error *error) {
  io_stat stat;
  if (rt->io->stat_path(rt->io->user, path, &stat) == 0 && stat.is_folder) return from_folder(rt, path, out, error);
  io_file file;
  char magic[4] = {0};
  TRY(io_open(rt->io, path, &file, error));
  viva_status status = file.stat.bytes < 4 ? VIVA_OK : io_read(&file, magic, sizeof magic, 0, error);
  io_close(&file);
  if (status) return status;
  if (memcmp(magic, "GGUF", 4) == 0) return from_gguf_path(rt, path, out, error);
  return tokenizer_from_one_file(rt, path, out, error);
}

viva_status tokenizer_load(runtime *rt, const viva_checkpoint *ck, const char *path, viva_tokenizer **out,
                           char **problem, viva_error *error) {
  viva_error local = {0};
  viva_status status;
  *out = NULL;
  if (path) return tokenizer_from_path(rt, path, out, error);
  status = ck->container == CONTAINER_GGUF ? from_gguf(rt, ck, out, &local)
                                           : tokenizer_from_folder(rt, ck->folder, out, &local);
  if (status == VIVA_E_NOT_FOUND) return VIVA_OK;
  if (status == VIVA_E_UNSUPPORTED) { /* the model itself can be run, with ids */
    runtime_log(rt, VIVA_LOG_WARN, "%s: the model is loaded without its tokenizer: %s", ck->path, local.message);
    *problem = mem_alloc(&rt->mem, sizeof local.message);
    if (!*problem) return error_set(error, VIVA_E_MEMORY, "no memory for a message");
    memcpy(*problem, local.message, sizeof local.message);
    return VIVA_OK;
  }
  if (status && error) *error = local;
  return status;
}
