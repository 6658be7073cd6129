/* generate_check.c: what can be refused before the weights are read. */
#include <inttypes.h>

#include "generate.h"
#include "messages.h"
#include "model_check.h"

static int check_length(const model_seen *seen, const generate_question *q) {
  const viva_tokenizer *tokenizer = seen->tokenizer;
  viva_error error = {0};
  viva_encode_options encode = viva_encode_options_default();
  size_t count = 0;
  encode.match_special = q->match_special;
  encode.add_special = 0;
  viva_status status =
      viva_tokenizer_encode(tokenizer, q->prompt->bytes, q->prompt->count, &encode, NULL, 0, &count, &error);
  if (status != VIVA_OK && status != VIVA_E_SIZE) return message_error(&error); /* E_SIZE: only counted */
  int bos = q->add_bos < 0 ? viva_tokenizer_add_bos(tokenizer) > 0 : q->add_bos;
  uint64_t tokens = count + (uint64_t)bos, context = seen->context;
  uint64_t wanted = q->n_predict < 0 ? 1 : (uint64_t)q->n_predict;
  if (tokens == 0)
    return message_fail(CODE_USAGE, "the prompt has no tokens, so there is nothing to continue; give some text, or add "
                                    "the BOS token with --bos");
  if (context == 0 || (tokens <= context && wanted <= context - tokens)) return 0;
  return message_fail(CODE_LIMIT,
                      "--n-predict: %" PRIu64 " prompt token%s and %" PRIu64
                      " new one%s do not fit into a context of %" PRIu64
                      " token%s; ask for fewer, or give a larger context with -c (--ctx-size)",
                      tokens, tokens == 1 ? "" : "s", wanted, wanted == 1 ? "" : "s", context, context == 1 ? "" : "s");
}

int generate_check(const model_args *model, const generate_question *question) {
  model_seen seen;
  int code = model_check(model, question->stop_tokens, question->chat, &seen);
  if (code == 0 && seen.tokenizer != NULL && !question->chat) code = check_length(&seen, question);
  model_check_free(&seen);
  return code;
}
