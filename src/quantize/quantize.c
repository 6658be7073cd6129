/* quantize/quantize.c: viva_quantize: a plan of the model, a plan of the files, then matrix after matrix. */
#include "quantize/quantize.h"

#include <math.h>
#include <string.h>

#include "base/commit.h"
#include "base/options.h"

viva_quantize_options viva_quantize_options_default(void) {
  return (viva_quantize_options){.size = sizeof(viva_quantize_options)};
}

static viva_status open_input(quantize_job *j, const char *from, viva_error *error) {
  const char *asked = j->options->weights;
  viva_model_options options = viva_model_options_default();
  j->dense = strcmp(asked, "dense") == 0;
  options.weights = j->dense ? NULL : asked;
  TRY(checkpoint_open(j->engine->rt, from, VIVA_LOAD_READ, &j->ck, error));
  TRY(plan_begin(&j->p, j->engine, j->ck, &options, error));
  return load_tie(&j->p, error);
}

static double relative(double error2, double original2) { return original2 > 0 ? sqrt(error2 / original2) : 0; }

static viva_status tell(const quantize_job *j, const quantize_output *out, viva_error *error) {
  char word[32];
  if (!j->options->on_tensor || out->item->vector) return VIVA_OK;
  quantize_word(&out->spec, 1, word, sizeof word);
  viva_quantize_tensor told = {.name = out->name,
                               .format = word,
                               .out_features = out->item->rows,
                               .in_features = out->item->cols,
                               .bytes_before = out->bytes_before,
                               .bytes_after = out->bytes_after,
                               .error = relative(out->error2, out->original2),
                               .norm = sqrt(out->original2)};
  if (j->options->on_tensor(j->options->on_tensor_user, &told))
    return error_set(error, VIVA_E_CANCELLED, "quantizing was cancelled");
  return VIVA_OK;
}

static viva_status write_shards(quantize_job *j, const char *folder, viva_error *error) {
  static const char *const metadata[] = {"format", "pt"}; /* transformers refuses files that do not say it */
  stream *s;
  TRY(stream_open(j->engine->rt, folder, j->tensors, j->tensor_count, metadata, 1, &s, error));
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < j->output_count && !status; i++) {
    status = quantize_write(j, &j->outputs[i], s, error);
    if (!status) status = tell(j, &j->outputs[i], error);
  }
  j->files += stream_files(s);
  if (!status) return stream_finish(s, error);
  stream_abort(s);
  return status;
}

static viva_status write_folder(quantize_job *j, const char *to, viva_error *error) {
  runtime *rt = j->engine->rt;
  const commit_options options = {.replace = j->options->overwrite,
                                  .inputs = (const void *)j->inputs.items,
                                  .input_count = j->inputs.count,
                                  .may_replace = folder_may_replace};
  commit c;
  TRY(commit_begin(rt, to, CLAIM_FOLDER, &options, &c, error));
  const char *folder = c.claim.temporary;
  viva_status status = folder_room(j, folder, to, error);
  if (!status) status = quantize_write_files(j, folder, error); /* small, and the first to show what is wrong */
  if (!status) status = write_shards(j, folder, error);
  if (!status) status = commit_publish(&c, error);
  commit_end(&c);
  return status;
}

static viva_status check_memory(const quantize_job *j, viva_error *error) {
  uint64_t needed = quantize_memory(j), available = budget_available(j->engine->backend);
  char texts[2][32];
  if (available == 0 || needed <= available) return VIVA_OK;
  return error_set(error, VIVA_E_LIMIT,
                   "the largest matrix needs %s of memory, but %s are available; use fewer threads",
                   budget_text(needed, texts[0]), budget_text(available, texts[1]));
}

static viva_status run(quantize_job *j, const char *from, const char *to, viva_error *error) {
  runtime *rt = j->engine->rt;
  j->arena = arena_create(&rt->mem, (size_t)16 << 10);
  if (!j->arena) return error_set(error, VIVA_E_MEMORY, "no memory to quantize a model");
  TRY(open_input(j, from, error));
  TRY(folder_check(rt, j->ck, from, to, j->options->overwrite, error));
  TRY(folder_inputs(j, error));
  TRY(quantize_rope(j, error));
  TRY(quantize_list(j, error));
  TRY(check_memory(j, error));
  for (size_t i = 0; i < j->output_count; i++)
    if (j->outputs[i].surveyed) TRY(quantize_survey(j, &j->outputs[i], error));
  TRY(quantize_layout(j, error));
  return write_folder(j, to, error);
}

static void sum_up(const quantize_job *j, viva_quantize_result *r) {
  double error2 = 0, original2 = 0;
  r->tensors = j->tensor_count;
  r->files = j->files;
  for (size_t i = 0; i < j->output_count; i++) {
    const quantize_output *out = &j->outputs[i];
    r->bytes_before += out->item->copy ? 0 : out->bytes_before; /* a tied table lies in the input once */
    r->bytes_after += out->bytes_after;
    r->packed += (uint64_t)out->packed;
    error2 += out->error2;
    original2 += out->original2;
  }
  r->error = relative(error2, original2);
}

static void end(quantize_job *j) {
  mem *m = &j->engine->rt->mem;
  mem_free(m, j->outputs);
  mem_free(m, j->tensors);
  grow_free(m, &j->inputs);
  if (j->p.engine) plan_end(&j->p);
  viva_checkpoint_close(j->ck);
  arena_free(j->arena);
}

viva_status viva_quantize(viva_engine *engine, const char *from, const char *to, const viva_quantize_options *options,
                          viva_quantize_result *result, viva_error *error) {
  viva_quantize_options o = viva_quantize_options_default();
  viva_quantize_result filled = {.size = sizeof filled};
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; give what viva_engine_open gave");
  if (!from || !to) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL; give a path", from ? "to" : "from");
  TRY(options_read(&o, options, "viva_quantize_options", error));
  TRY(options_reserved(o.reserved, "viva_quantize_options", error));
  if (!o.weights) {
    error_set(error, VIVA_E_ARGUMENT, "no format is given; expected a rule such as fp8 or nvfp4, or dense");
    error_at(error, NULL, "weights", -1, VIVA_NO_OFFSET);
    return VIVA_E_ARGUMENT;
  }
  if (result)
    TRY(options_fill(result, &filled, "viva_quantize_result", error)); /* a wrong size shows before the work */
  quantize_job j = {.engine = engine, .options = &o};
  viva_status status = run(&j, from, to, error);
  if (!status && result) {
    sum_up(&j, &filled);
    status = options_fill(result, &filled, "viva_quantize_result", error);
  }
  end(&j);
  return status;
}
