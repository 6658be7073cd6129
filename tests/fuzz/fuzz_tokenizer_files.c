/* Any bytes as the files of a folder: which form the first byte says; the parts of the rest, between bytes of value 255, are
 * its files. Refused, or a tokenizer that encodes and decodes. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(viva_tokenizer *t) {
  static const char text[] = "hello <s>world 123\xff e\xcc\x81 ab ab";
  viva_token ids[256];
  char out[1024];
  size_t count, bytes;
  const viva_encode_options options = {sizeof options, 1, 1, NULL};
  viva_status status = viva_tokenizer_encode(t, text, sizeof text - 1, &options, ids, 256, &count, NULL);
  if (status == VIVA_E_LIMIT || status == VIVA_E_SIZE) return; /* an expression that asks for too much; many ids */
  if (status != VIVA_OK) abort();
  for (size_t i = 0; i < count; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= viva_tokenizer_vocab_size(t)) abort();
  status = viva_tokenizer_decode(t, ids, count, NULL, out, sizeof out, &bytes, NULL);
  if (status != VIVA_OK && status != VIVA_E_SIZE) abort();
}

/* The next part of the data; none left: a file that is not there. */
static text_file next_part(const uint8_t **at, const uint8_t *end, const char *path) {
  if (*at > end) return (text_file){path, NULL, 0};
  const uint8_t *begin = *at, *separator = begin < end ? memchr(begin, 255, (size_t)(end - begin)) : NULL;
  const uint8_t *stop = separator ? separator : end;
  *at = stop + 1;
  return (text_file){path, (const char *)begin, (size_t)(stop - begin)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  const uint8_t *at = data + 1, *end = data + size;
  tokenizer_files f = {0};
  switch (data[0] % 4) {
  case 0: f.tekken = next_part(&at, end, "tekken.json"); break;
  case 1: f.sentencepiece = next_part(&at, end, "tokenizer.model"); break;
  case 2: f.json = next_part(&at, end, "tokenizer.json"); break;
  default: f.vocab = next_part(&at, end, "vocab.json"); f.merges = next_part(&at, end, "merges.txt");
  }
  f.config = next_part(&at, end, "tokenizer_config.json");
  f.special_map = next_part(&at, end, "special_tokens_map.json");
  f.added_tokens = next_part(&at, end, "added_tokens.json");
  viva_tokenizer *t = NULL;
  viva_error error;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_status status = tokenizer_from_files(rt, &f, &t, &error);
  if ((status == VIVA_OK) != (t != NULL)) abort();
  if (t) use(t);
  viva_tokenizer_release(t);
  runtime_release(rt);
  return 0;
}
