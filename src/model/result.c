/* model/result.c: what viva_generate gives back: one block of memory. */
#include <string.h>

#include "model/generator.h"

typedef struct result_box {
  viva_generate_result result; /* first: the caller's pointer is the box's */
  runtime *rt;                 /* one reference: its memory */
} result_box;

static const void *place(char **at, const buffer *b) {
  char *begin = *at;
  if (b->bytes) memcpy(begin, b->data, b->bytes);
  *at += b->bytes;
  return begin;
}

viva_status viva_generator_result(const viva_generator *generator, viva_generate_result **result, viva_error *error) {
  const viva_generator *g = generator;
  if (!result) return error_set(error, VIVA_E_ARGUMENT, "result is NULL; give a place for it");
  *result = NULL;
  if (!g) return error_set(error, VIVA_E_ARGUMENT, "generator is NULL");
  runtime *rt = g->model->engine->rt;
  size_t bytes = sizeof(result_box) + g->chosen.bytes + g->top.bytes + g->tokens.bytes + g->text.bytes + 1;
  result_box *box = mem_zalloc(&rt->mem, bytes);
  if (!box) return error_set(error, VIVA_E_MEMORY, "no memory for the result");
  box->rt = runtime_retain(rt);
  const buffer text = {.data = g->text.data, .bytes = g->shown}; /* not what is held back */
  viva_generate_result *r = &box->result;
  char *at = (char *)(box + 1);
  const viva_logprob *chosen = place(&at, &g->chosen), *top = place(&at, &g->top);
  const viva_token *tokens = place(&at, &g->tokens);
  *r = (viva_generate_result){.prompt_tokens = tokens,
                              .prompt_count = g->prompt_count,
                              .tokens = tokens + g->prompt_count,
                              .token_count = g->count,
                              .text = place(&at, &text),
                              .text_bytes = g->shown,
                              .stop_reason = g->reason,
                              .logprobs = g->o.logprobs,
                              .total_tokens = g->prompt_count + g->count,
                              .ms_per_token = g->steps ? g->decode_seconds * 1000 / (double)g->steps : 0,
                              .prefill_seconds = g->prefill_seconds,
                              .decode_seconds = g->decode_seconds,
                              .token_logprobs = g->o.logprobs ? chosen : NULL,
                              .top_logprobs = g->o.logprobs ? top : NULL};
  *result = r;
  return VIVA_OK;
}

void viva_generate_result_free(viva_generate_result *result) {
  if (!result) return;
  result_box *box = (result_box *)result;
  runtime *rt = box->rt;
  mem_free(&rt->mem, box);
  runtime_release(rt);
}

const char *viva_stop_reason_name(viva_stop_reason reason) {
  static const char *const names[] = {[VIVA_STOP_LENGTH] = "length",
                                      [VIVA_STOP_EOS] = "eos",
                                      [VIVA_STOP_STRING] = "stop",
                                      [VIVA_STOP_CANCELLED] = "cancelled"};
  return (unsigned)reason < sizeof names / sizeof *names ? names[reason] : "unknown";
}
