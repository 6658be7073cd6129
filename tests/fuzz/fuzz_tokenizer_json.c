/* Any bytes as a tokenizer.json: refused, or a tokenizer that encodes and decodes. */
#include <stdlib.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(viva_tokenizer *t) {
  static const char text[] = "hello <s>world 123\xff e\xcc\x81 ab ab";
  viva_token ids[256];
  char out[1024];
  size_t count, bytes;
  const viva_encode_options options = {sizeof options, 1, 1, NULL};
  viva_status status = viva_tokenizer_encode(t, text, sizeof text - 1, &options, ids, 256, &count, NULL);
  /* E_LIMIT: the rules make too much of the text. */
  if (status != VIVA_OK && status != VIVA_E_SIZE && status != VIVA_E_LIMIT) abort();
  if (status != VIVA_OK) return;
  for (size_t i = 0; i < count; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= viva_tokenizer_vocab_size(t)) abort();
  status = viva_tokenizer_decode(t, ids, count, NULL, out, sizeof out, &bytes, NULL);
  if (status != VIVA_OK && status != VIVA_E_SIZE) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  viva_tokenizer *t = NULL;
  viva_error error;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_status status = tokenizer_from_json(rt, "fuzz", (const char *)data, size, &t, &error);
  if ((status == VIVA_OK) != (t != NULL)) abort();
  if (t) use(t);
  viva_tokenizer_release(t);
  runtime_release(rt);
  return 0;
}
