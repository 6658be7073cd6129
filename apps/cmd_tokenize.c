/* cmd_tokenize.c: viva tokenize: a text's token ids. */
#include <inttypes.h>
#include <string.h>

#include "command.h"
#include "input.h"
#include "json_out.h"
#include "model_args.h"
#include "protect.h"

typedef struct tokenize_args {
  const char *path;
  input_args input;
  int ids, counts, offsets, special, bos, like_generate;
} tokenize_args;

#define AT(field) offsetof(tokenize_args, field)

static const option model_options[] = {
    {'m', OPTION_TEXT, "model", "PATH", AT(path), "a GGUF file, a folder with a tokenizer's files, or one of those", 0,
     0},
};

static const option output_options[] = {
    {0, OPTION_SET, "ids", NULL, AT(ids), "print one JSON array on one line instead of one token a line", 0, 0},
    {0, OPTION_SET, "count", NULL, AT(counts), "print how many tokens there are, and nothing else", 0, 0},
    {0, OPTION_SET, "offsets", NULL, AT(offsets), "also print which bytes of the text each token stands for", 0, 0},
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

/* What is being printed. */
typedef struct printing {
  output *out;
  const tokenize_args *args;
  const viva_tokenizer *tokenizer;
  viva_encoder *encoder;
  json_out json;
  uint64_t count;
} printing;

static void print_token(printing *p, viva_token id, const viva_span *span) {
  const char *piece = "";
  size_t bytes = 0;
  /* Every id came from this tokenizer: there is a written form. */
  (void)viva_tokenizer_id_to_token(p->tokenizer, id, &piece, &bytes, NULL);
  output_format(p->out, "%d\t", (int)id);
  if (span) output_format(p->out, "%zu\t%zu\t", span->begin, span->end);
  output_visible(p->out, piece, bytes);
  output_text(p->out, "\n");
}

static void print_tokens(printing *p, const viva_token *ids, const viva_span *spans, size_t count) {
  p->count += count;
  if (p->args->counts) return;
  for (size_t i = 0; i < count && !output_failed(p->out); i++) {
    if (p->args->ids)
      json_integer(&p->json, ids[i]);
    else
      print_token(p, ids[i], spans ? &spans[i] : NULL);
  }
}

/* One more part of the text; bytes NULL: its end. */
static int take(void *arg, const char *bytes, size_t count) {
  printing *p = arg;
  const viva_token *ids;
  const viva_span *spans = NULL, **wanted = p->args->offsets ? &spans : NULL;
  size_t found;
  viva_error error = {0};
  viva_status status = bytes ? viva_encoder_push(p->encoder, bytes, count, &ids, wanted, &found, &error)
                             : viva_encoder_finish(p->encoder, &ids, wanted, &found, &error);
  if (status != VIVA_OK) return message_error(&error);
  print_tokens(p, ids, spans, found);
  return 0;
}

static int print_all(printing *p) {
  const tokenize_args *args = p->args;
  const viva_span nowhere = {0, 0};
  viva_token bos = viva_tokenizer_bos(p->tokenizer);
  int puts_bos = args->bos || (args->like_generate && viva_tokenizer_add_bos(p->tokenizer) > 0);
  if (puts_bos && bos < 0) return message_fail(CODE_INPUT, "this tokenizer has no BOS token: leave --bos away");
  if (args->ids) json_begin(&p->json, '[');
  if (puts_bos) print_tokens(p, &bos, args->offsets ? &nowhere : NULL, 1);
  int code = input_parts(&args->input, "tokenize", "text", 0, take, p);
  if (code == 0) code = take(p, NULL, 0);
  if (code != 0) return code;
  if (args->ids) json_end(&p->json, ']'), output_text(p->out, "\n");
  if (args->counts) output_format(p->out, "%" PRIu64 "\n", p->count);
  return 0;
}

static int run(output *out, void *values, const operands *rest) {
  const tokenize_args *args = values;
  viva_tokenizer *tokenizer = NULL;
  viva_error error = {0};
  (void)rest;
  if (args->path == NULL)
    return message_usage("tokenize", "no model: give one with -m PATH (a GGUF file, a folder, or tokenizer.json)");
  if (args->ids + args->counts + args->offsets > 1)
    return message_usage("tokenize", "--ids, --count and --offsets print different things: give one of them");
  int code = args->input.text == NULL ? protect_stream(args->input.file) : 0;
  if (code == 0) code = model_open_tokenizer(args->path, &tokenizer);
  if (code != 0) return code;
  printing p = {.out = out, .args = args, .tokenizer = tokenizer, .json = {out, 0}};
  viva_encode_options options = viva_encode_options_default();
  options.match_special = args->special || args->like_generate;
  code = viva_encoder_create(tokenizer, &options, &p.encoder, &error) ? message_error(&error) : print_all(&p);
  viva_encoder_free(p.encoder);
  viva_tokenizer_release(tokenizer);
  return code;
}

const command command_tokenize = {
    .name = "tokenize",
    .synopsis = "-m MODEL [-p TEXT | -f FILE] [OPTIONS]",
    .summary = "Prints a text's token ids",
    .details =
        "\nWithout --ids each line is an id, a tab and the token as the vocabulary writes it (byte-level\n"
        "tokens show a space as \xC4\xA0); with --offsets, begin and end come between them. The text is taken byte\n"
        "for byte, and may have any size: memory does not grow with it as long as there are spaces in it.\n"
        "\nThe defaults differ from those of viva generate, which reads special tokens in the prompt as such\n"
        "(--no-special: as text) and puts BOS before it where the model's rule says so (--bos, --no-bos).\n"
        "Here both are off, so that the ids are those of the text alone; --like-generate turns them on.\n",
    .examples = "  viva tokenize -m model.gguf -p 'Hello world'\n"
                "  viva tokenize -m model.gguf -f text.txt --ids\n"
                "  zcat corpus.gz | viva tokenize -m tokenizer.json --count\n"
                "  viva tokenize -m model.gguf -p '<|im_start|>user' --like-generate\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(tokenize_args),
    .defaults = defaults,
    .run = run,
};
