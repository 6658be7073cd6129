#include "text/tokenizer_files.h"
#include "text/opening.h"

static viva_status from_files(runtime *rt, const tokenizer_files *f, tokenizer_config *config, viva_tokenizer **out,
                              viva_error *error) {
  if (f->json.text) return tokenizer_from_json_file(rt, f->json, config, out, error);
  if (f->sentencepiece.text) {
    TRY(tokenizer_config_add_named(config, error));
    return tokenizer_from_sentencepiece(rt, f->sentencepiece, config, out, error);
  }
  if (f->tekken.text) return tokenizer_from_tekken(rt, f->tekken, config, out, error);
  if (f->vocab.text && f->merges.text) return tokenizer_from_vocab(rt, f->vocab, f->merges, config, out, error);
  if (f->vocab.text || f->merges.text)
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "of vocab.json and merges.txt, which belong together, only one is there");
  return error_set(
      error, VIVA_E_NOT_FOUND,
      "there is no tokenizer: no tokenizer.json, tokenizer.model, tekken.json, nor vocab.json with merges.txt");
}

static viva_status open_files(runtime *rt, const tokenizer_files *files, viva_tokenizer **out, viva_error *error) {
  tokenizer_config config = {.tokens = {.mem = &rt->mem}};
  *out = NULL;
  arena *a = arena_create(&rt->mem, 4096);
  if (!a) return error_set(error, VIVA_E_MEMORY, "no memory to read a tokenizer");
  viva_status status = tokenizer_config_read(rt, a, files, &config, error);
  if (status == VIVA_OK) status = from_files(rt, files, &config, out, error);
  json_tokens_free(&config.tokens);
  arena_free(a);
  return status;
}

/* All files pay; their text lies in memory beside what is made of it. */
static const char *pay(const tokenizer_files *f, allowance *allowed) {
  const text_file *const all[] = {&f->json,   &f->sentencepiece, &f->tekken,      &f->vocab,
                                  &f->merges, &f->config,        &f->special_map, &f->added_tokens};
  const char *path = NULL;
  for (size_t i = 0; i < sizeof all / sizeof(text_file *); i++) {
    if (!all[i]->text) continue;
    allowance_pay(allowed, all[i]->bytes);
    allowed->memory += all[i]->bytes;
    if (!path) path = all[i]->path;
  }
  return path;
}

viva_status tokenizer_from_files(runtime *rt, const tokenizer_files *files, viva_tokenizer **out, viva_error *error) {
  allowance allowed = {0};
  runtime *own;
  const char *path = pay(files, &allowed);
  *out = NULL;
  TRY(opening_begin(rt, allowed, &own, error));
  return opening_end(own, path, open_files(own, files, out, error), error);
}
