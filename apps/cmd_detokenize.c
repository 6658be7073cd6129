/* cmd_detokenize.c: viva detokenize: the text of token ids. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "input.h"
#include "model_args.h"
#include "tokens.h"

typedef struct detokenize_args {
  const char *path;
  input_args input;
  int special;
} detokenize_args;

#define AT(field) offsetof(detokenize_args, field)

static const option options[] = {
    {'m', OPTION_TEXT, "model", "PATH", AT(path), "a GGUF file, a folder with tokenizer.json, or that file", 0, 0},
    {'f', OPTION_TEXT, "file", "PATH", AT(input.file),
     "read the ids from this file; without ids and -f, or with '-f -', from standard input", 0, 0},
    {0, OPTION_SET, "special", NULL, AT(special), "also print special tokens, in their written form", 0, 0},
};

static const option_group groups[] = {OPTION_GROUP("Options", options, 0)};

static void defaults(void *values) { memset(values, 0, sizeof(detokenize_args)); }

/* The operands as one text: "1 2 3", or an array that the shell has cut at its spaces. */
static char *join(const operands *rest) {
  size_t total = 1;
  for (size_t i = 0; i < rest->count; i++) total += strlen(rest->items[i]) + 1;
  char *text = malloc(total);
  if (text == NULL) return NULL;
  size_t used = 0;
  for (size_t i = 0; i < rest->count; i++) {
    size_t length = strlen(rest->items[i]);
    memcpy(text + used, rest->items[i], length);
    text[used + length] = ' ';
    used += length + 1;
  }
  text[used] = 0;
  return text;
}

static int read_ids(const detokenize_args *args, const operands *rest, token_list *tokens) {
  if (rest->count > 0) {
    if (args->input.file != NULL)
      return message_usage("detokenize", "ids are given both on the command line and with --file: give one of them");
    char *text = join(rest);
    if (text == NULL) return message_fail(CODE_LIMIT, "no memory for the command line");
    int code = tokens_parse(text, strlen(text), "token ids", tokens);
    free(text);
    return code;
  }
  input text;
  int code = input_read(&args->input, "detokenize", "token ids", 0, &text);
  if (code != 0) return code;
  code = tokens_parse(text.bytes, text.count, args->input.file != NULL ? args->input.file : "standard input", tokens);
  input_free(&text);
  return code;
}

static int detokenize(output *out, const viva_tokenizer *tokenizer, const token_list *tokens, int special) {
  viva_decode_options decode = viva_decode_options_default();
  decode.skip_special = !special;
  viva_error error = {0};
  size_t bytes = 0;
  viva_status status = viva_tokenizer_decode(tokenizer, tokens->ids, tokens->count, &decode, NULL, 0, &bytes, &error);
  if (status != VIVA_OK && status != VIVA_E_SIZE) {
    int code = message_error(&error);
    return status == VIVA_E_ARGUMENT ? CODE_INPUT : code; /* an id outside the vocabulary is input, not a wrong flag */
  }
  char *text = malloc(bytes + 1);
  if (text == NULL) return message_fail(CODE_LIMIT, "no memory for %zu bytes of text", bytes);
  status = viva_tokenizer_decode(tokenizer, tokens->ids, tokens->count, &decode, text, bytes, &bytes, &error);
  if (status == VIVA_OK) {
    output_bytes(out, text, bytes);
    if (out->terminal && bytes > 0 && text[bytes - 1] != '\n') output_text(out, "\n");
  }
  free(text);
  return status == VIVA_OK ? CODE_OK : message_error(&error);
}

/* Rows of the model's table that no token stands for (Qwen pads to 151,936) have no text, and generation may give them:
 * their ids are left out, as generate leaves them out. Ids beyond the table stay, and are refused. */
static void drop_padding(const char *path, const viva_tokenizer *tokenizer, token_list *tokens) {
  uint64_t known = viva_tokenizer_vocab_size(tokenizer), rows = 0;
  size_t kept = 0;
  int beyond = 0;
  for (size_t i = 0; i < tokens->count; i++) beyond |= tokens->ids[i] >= 0 && (uint64_t)tokens->ids[i] >= known;
  if (!beyond) return;
  viva_checkpoint *checkpoint;
  viva_model_config config = {.size = sizeof config};
  if (viva_checkpoint_open(path, NULL, &checkpoint, NULL) != VIVA_OK) return; /* a tokenizer.json alone */
  if (viva_checkpoint_config(checkpoint, &config, NULL) == VIVA_OK) rows = config.vocab_size;
  viva_checkpoint_close(checkpoint);
  for (size_t i = 0; i < tokens->count; i++) {
    uint64_t id = (uint64_t)tokens->ids[i];
    if (tokens->ids[i] < 0 || id < known || id >= rows) tokens->ids[kept++] = tokens->ids[i];
  }
  tokens->count = kept;
}

static int run(output *out, void *values, const operands *rest) {
  const detokenize_args *args = values;
  if (args->path == NULL)
    return message_usage("detokenize", "no model: give one with -m PATH (a GGUF file, a folder, or tokenizer.json)");
  token_list tokens = {NULL, 0};
  viva_tokenizer *tokenizer = NULL;
  int code = read_ids(args, rest, &tokens);
  if (code == 0) code = model_open_tokenizer(args->path, &tokenizer);
  if (code == 0) drop_padding(args->path, tokenizer, &tokens);
  if (code == 0) code = detokenize(out, tokenizer, &tokens, args->special);
  viva_tokenizer_release(tokenizer);
  tokens_free(&tokens);
  return code;
}

const command command_detokenize = {
    .name = "detokenize",
    .synopsis = "-m MODEL [IDS... | -f FILE] [OPTIONS]",
    .summary = "Prints the text of token ids",
    .details = "\nIds are a JSON array or numbers separated by white space. The text is printed exactly; bytes that\n"
               "are not UTF-8 become U+FFFD; a line end is added only on a terminal.\n",
    .examples = "  viva detokenize -m model.gguf 19556 905\n"
                "  viva tokenize -m model.gguf -f text.txt --ids | viva detokenize -m model.gguf\n",
    COMMAND_GROUPS(groups),
    .max_operands = SIZE_MAX,
    .values_size = sizeof(detokenize_args),
    .defaults = defaults,
    .run = run,
};
