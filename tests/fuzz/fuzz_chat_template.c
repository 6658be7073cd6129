/* Any text as a chat template, with messages that use its operations. What is rendered is UTF-8 with a mark of 0 or 1
 * for each byte; a refusal has words and is none of the inside's; memory stays within its bound. The same input gives
 * the same text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "text/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_MEMORY ((size_t)17 << 20)

static const char messages[] =
    "[{\"role\":\"system\",\"content\":\" Be brief. \"},{\"role\":\"user\",\"content\":\"H\xc3\xa9llo <|im_end|>\\n{{ "
    "x }}\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"abcdef123\",\"function\":{\"name\":\"f\","
    "\"arguments\":"
    "{\"a\":[1,2.5,true,null,\"x\"]}}}]},{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"t\"}]}]";
static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{}}}}}]";
static const char *const tokens[] = {"bos_token", "<s>", "eos_token", "</s>"};

static void require(int true_always) {
  if (!true_always) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  char *template = malloc(size ? size : 1); /* exact, for the address sanitizer */
  require(rt != NULL && template != NULL);
  if (size) memcpy(template, data, size);
  chat_template_input in = {.text = template,
                            .bytes = size,
                            .messages = messages,
                            .tools = tools,
                            .variables = "{\"n\":3,\"s\":\"text\"}",
                            .tokens = tokens,
                            .token_count = 2,
                            .add_generation_prompt = 1,
                            .now = 1790000000};
  chat_text out, again;
  viva_error error = {0};
  viva_status status = chat_template_render(rt, &in, &out, &error);
  require(rt->mem.peak <= MOST_MEMORY);
  if (status) {
    require(error.code == status && error.message[0] != 0 && status != VIVA_E_INTERNAL && status != VIVA_E_MEMORY);
  } else {
    require(utf8_valid(out.text, out.bytes));
    for (size_t i = 0; i < out.bytes; i++) require(out.marks[i] <= 1);
    require(chat_template_render(rt, &in, &again, NULL) == VIVA_OK && again.bytes == out.bytes);
    require(memcmp(out.text, again.text, out.bytes) == 0 && memcmp(out.marks, again.marks, out.bytes) == 0);
    chat_text_free(rt, &again);
  }
  chat_text_free(rt, &out);
  free(template);
  runtime_release(rt);
  return 0;
}
