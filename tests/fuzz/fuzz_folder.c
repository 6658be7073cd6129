/* A whole folder: configuration, tokenizer and weights changed together, so that what one file says and another does not is
 * found. Whatever the bytes say, there are tokens and text, or an error with words; a model that was planned is loaded or
 * refused, its end tokens are rows of it, and a text that gives an id without a row is refused.
 *
 *   CHOICES 255 RULE 255 PROMPT 255 config.json 255 generation_config.json 255 tokenizer.json 255 tokenizer_config.json 255
 *   HEADER 255 FILL
 *
 * An empty part is a file that is not there. HEADER is that of model.safetensors; its data are FILL again and again, as far as
 * the header's largest offset goes, but for a limit.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/models.h"
#include "fuzz/parts.h"
#include "viva/chat.h"
#include "viva/viva.h"

enum { CHOICES, RULE, PROMPT, CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG, HEADER, FILL, PARTS };
enum { MOST_DATA = 1 << 16, MOST_IDS = 4096, MOST_TEXT = 256 };

const size_t part_count = PARTS;

static viva_engine *engine;
static memory_io *files;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  files = memory_io_create();
  engine = engine_on(files);
  return 0;
}

/* ---- the folder */

static void put_file(const char *path, const part *p) {
  if (p->bytes) memory_io_put(files, path, p->text, p->bytes);
}

/* The largest number of the header up to the limit: where its data end, if it is right. */
static size_t data_bytes(const part *header) {
  size_t most = 0;
  for (size_t i = 0; i < header->bytes;) {
    size_t value = 0, begin = i;
    for (; i < header->bytes && header->text[i] >= '0' && header->text[i] <= '9'; i++)
      if (value <= MOST_DATA) value = value * 10 + (size_t)(header->text[i] - '0');
    if (value <= MOST_DATA && value > most) most = value;
    i += i == begin;
  }
  return most;
}

static void put_weights(const part *header, const part *fill) {
  size_t data = data_bytes(header), bytes = 8 + header->bytes + data;
  uint64_t length = header->bytes;
  uint8_t *file = malloc(bytes);
  require(file != NULL);
  memcpy(file, &length, sizeof length);
  memcpy(file + 8, header->text, header->bytes);
  for (size_t i = 0; i < data; i++)
    file[8 + header->bytes + i] = fill->bytes ? (uint8_t)fill->text[i % fill->bytes] : 0;
  memory_io_put(files, "/m/model.safetensors", file, bytes);
  free(file);
}

/* ---- what is asked of it */

/* 1 when the prompt's ids, as viva_generate takes them, are rows of the model. */
static int has_rows(const viva_model *model, const viva_model_config *config, const part *prompt) {
  static viva_token ids[MOST_IDS];
  const viva_tokenizer *t = viva_model_tokenizer(model);
  const viva_encode_options options = {sizeof options, 1, 0, NULL};
  viva_error error = {0};
  size_t count;
  if (said(viva_tokenizer_encode(t, prompt->text, prompt->bytes, &options, ids, MOST_IDS, &count, &error), &error))
    return 0;
  for (size_t i = 0; i < count; i++) {
    require(ids[i] >= 0 && (size_t)ids[i] < viva_tokenizer_vocab_size(t));
    if ((uint64_t)ids[i] >= config->vocab_size) return 0;
  }
  return 1;
}

static void check_chat(const viva_model *model) {
  static char text[4096];
  static const viva_chat_message message = {"user", "Hello <s>"};
  viva_chat_options o = viva_chat_options_default();
  viva_error error = {0};
  size_t bytes;
  o.messages = &message;
  o.message_count = 1;
  said(viva_chat_render(model, &o, text, sizeof text, &bytes, &error), &error);
}

static void check_run(viva_model *model, const viva_model_config *config, const part *prompt, unsigned choices) {
  viva_generate_options o = viva_generate_options_default();
  viva_generate_result *result = NULL;
  viva_error error = {0};
  o.max_new_tokens = 1 + (choices >> 4 & 1);
  o.logprobs = choices >> 5 & 1;
  viva_status status = viva_model_tokenizer(model)
                           ? viva_generate(model, prompt->text, prompt->bytes, &o, &result, &error)
                           : viva_generate_tokens(model, (viva_token[]){0}, 1, &o, &result, &error);
  if (!said(status, &error) && viva_model_tokenizer(model)) require(has_rows(model, config, prompt));
  if (!status) require(result->text[result->text_bytes] == 0);
  viva_generate_result_free(result);
}

static void check_model(viva_model *model, const part *prompt, unsigned choices) {
  viva_model_config config = {.size = sizeof config};
  viva_memory_plan plan = {.size = sizeof plan};
  viva_error error = {0};
  require(!said(viva_model_get_config(model, &config, &error), &error));
  require(!said(viva_model_get_plan(model, &plan, &error), &error));
  require(config.model_type[0] && viva_model_description(model)[0]);
  for (uint32_t i = 0; i < config.num_eos; i++)
    require(config.eos_tokens[i] >= 0 && (uint64_t)config.eos_tokens[i] < config.vocab_size);
  if (choices & 64) check_chat(model);
  check_run(model, &config, prompt, choices);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  part parts[MAX_PARTS];
  parts_cut(data, size, parts);
  unsigned choices = parts[CHOICES].bytes ? (unsigned char)parts[CHOICES].text[0] : 0;
  viva_model_options o = viva_model_options_default();
  viva_model *model = NULL;
  viva_error error = {0};
  part prompt = parts[PROMPT];
  if (prompt.bytes > MOST_TEXT) prompt.bytes = MOST_TEXT;
  char *rule = malloc(parts[RULE].bytes + 1);
  require(rule != NULL);
  memcpy(rule, parts[RULE].text, parts[RULE].bytes);
  rule[parts[RULE].bytes] = 0;
  o.weights = rule[0] ? rule : NULL;
  o.load = choices & 1 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
  o.context = choices & 2 ? 64 : 0;
  o.kv = choices & 4 ? VIVA_E4M3 : choices & 8 ? VIVA_F32 : VIVA_F16;
  put_file("/m/config.json", &parts[CONFIG]);
  put_file("/m/generation_config.json", &parts[GENERATION]);
  put_file("/m/tokenizer.json", &parts[TOKENIZER]);
  put_file("/m/tokenizer_config.json", &parts[TOKENIZER_CONFIG]);
  put_weights(&parts[HEADER], &parts[FILL]);
  viva_memory_plan plan = {.size = sizeof plan};
  viva_status planned = said(viva_model_plan(engine, "/m", &o, &plan, &error), &error);
  viva_status loaded = said(viva_model_load(engine, "/m", &o, &model, &error), &error);
  require(!planned || loaded);
  if (!loaded) check_model(model, &prompt, choices);
  viva_model_release(model);
  memory_io_drop(files, "/m");
  require(memory_io_open_count(files) == 0 && memory_io_file_count(files) == 0);
  free(rule);
  return 0;
}
