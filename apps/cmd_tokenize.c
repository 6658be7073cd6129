/* cmd_tokenize.c: viva tokenize: a text's token ids. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "input.h"
#include "json_out.h"
#include "model_args.h"
#include "tokens.h"

typedef struct tokenize_args {
  const char *path;
  input_args input;
  int ids, special, bos, like_generate;
} tokenize_args;

#define AT(field) offsetof(tokenize_args, field)

static const option model_options[] = {
    {'m', OPTION_TEXT, "model", "PATH", AT(path), "a GGUF file, a folder with tokenizer.json, or that file", 0, 0},
};

static const option output_options[] = {
    {0, OPTION_SET, "ids", NULL, AT(ids), "print one JSON array on one line instead of one token a line", 0, 0},
    {0, OPTION_SET, "special", NULL, AT(special),
     "special tokens written in the text become their ids; other added tokens always do", 0, 0},
    {0, OPTION_SET, "bos", NULL, AT(bos), "put the BOS token before the text", 0, 0},
    {0, OPTION_SET, "like-generate", NULL, AT(like_generate),
     "the tokens that viva generate begins with: special tokens as with --special, BOS where the model wants it", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Model", model_options, 0),
    OPTION_GROUP("Text", input_options, AT(input)),
    OPTION_GROUP("Standard input", input_newline_options, AT(input)),
    OPTION_GROUP("Tokens", output_options, 0),
};

static void defaults(void *values) {
  tokenize_args *args = values;
  memset(args, 0, sizeof *args);
  args->input.drop_newline = 1;
}

static void print_array(output *out, const token_list *tokens) {
  json_out json = {out, 0};
  json_begin(&json, '[');
  for (size_t i = 0; i < tokens->count; i++) json_integer(&json, tokens->ids[i]);
  json_end(&json, ']');
  output_text(out, "\n");
}

static void print_listing(output *out, const viva_tokenizer *tokenizer, const token_list *tokens) {
  for (size_t i = 0; i < tokens->count && !output_failed(out); i++) {
    const char *piece = "";
    size_t bytes = 0;
    /* Every id came from this tokenizer: there is a written form. */
    (void)viva_tokenizer_id_to_token(tokenizer, tokens->ids[i], &piece, &bytes, NULL);
    output_format(out, "%d\t", (int)tokens->ids[i]);
    output_visible(out, piece, bytes);
    output_text(out, "\n");
  }
}

static int tokenize(output *out, const tokenize_args *args, const input *text) {
  viva_tokenizer *tokenizer = NULL;
  int code = model_open_tokenizer(args->path, &tokenizer);
  if (code != 0) return code;
  token_list tokens = {NULL, 0};
  int special = args->special || args->like_generate;
  int bos = args->bos || (args->like_generate && viva_tokenizer_add_bos(tokenizer) > 0);
  code = tokens_encode(tokenizer, text->bytes, text->count, special, bos, &tokens);
  if (code == 0) {
    if (args->ids) {
      print_array(out, &tokens);
    } else {
      print_listing(out, tokenizer, &tokens);
    }
  }
  tokens_free(&tokens);
  viva_tokenizer_release(tokenizer);
  return code;
}

static int run(output *out, void *values, const operands *rest) {
  const tokenize_args *args = values;
  (void)rest;
  if (args->path == NULL)
    return message_usage("tokenize", "no model: give one with -m PATH (a GGUF file, a folder, or tokenizer.json)");
  input text;
  int code = input_read(&args->input, "tokenize", "text", 0, &text);
  if (code != 0) return code;
  code = tokenize(out, args, &text);
  input_free(&text);
  return code;
}

const command command_tokenize = {
    .name = "tokenize",
    .synopsis = "-m MODEL [-p TEXT | -f FILE] [OPTIONS]",
    .summary = "Prints a text's token ids",
    .details = "\nWithout --ids each line is an id, a tab and the token as the vocabulary writes it (byte-level\n"
               "tokens show a space as \xC4\xA0). The text is taken byte for byte.\n"
               "\nThe defaults differ from those of viva generate, which reads special tokens in the prompt as such\n"
               "(--no-special: as text) and puts BOS before it where the model's rule says so (--bos, --no-bos).\n"
               "Here both are off, so that the ids are those of the text alone; --like-generate turns them on.\n",
    .examples = "  viva tokenize -m model.gguf -p 'Hello world'\n"
                "  viva tokenize -m model.gguf -f text.txt --ids\n"
                "  viva tokenize -m model.gguf -p '<|im_start|>user' --like-generate\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(tokenize_args),
    .defaults = defaults,
    .run = run,
};
