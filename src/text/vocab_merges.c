/* A tokenizer from vocab.json and merges.txt, GPT-2's form. The files hold the model only; what is done around it goes by
 * tokenizer_config.json's tokenizer_class, as in transformers.
 *
 *   vocab.json   { text: id }
 *   merges.txt   "left right" on each line, the first rank first; a line that begins with "#version" is none
 */
#include <string.h>

#include "text/tokenizer_files.h"

#define QUOTE_SIZE 80

/* Qwen2Tokenizer's pattern (transformers, tokenization_qwen2.py). */
static const char qwen2_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef struct class_rule {
  const char *name;    /* tokenizer_class */
  const char *pattern; /* NULL: GPT-2's */
  int nfc;
  /* named tokens of a configuration that does not say them: bit i is NAMED_i */
  uint32_t end_of_text;
} class_rule;

static const class_rule rules[] = {
    {"GPT2Tokenizer", NULL, 0, 1u << NAMED_BOS | 1u << NAMED_EOS | 1u << NAMED_UNK},
    {"CodeGenTokenizer", NULL, 0, 1u << NAMED_BOS | 1u << NAMED_EOS | 1u << NAMED_UNK},
    {"Qwen2Tokenizer", qwen2_pattern, 1, 1u << NAMED_EOS | 1u << NAMED_UNK | 1u << NAMED_PAD},
};
enum { RULES = sizeof rules / sizeof *rules };

typedef struct vocab_source {
  runtime *rt;
  arena *arena;
  json_tokens tokens;
  tokenizer_spec spec;
} vocab_source;

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to read vocab.json and merges.txt");
}

/* A folder that does not say its class is GPT-2's: the form was made for it. */
static viva_status find_rule(const tokenizer_config *c, const class_rule **out, viva_error *error) {
  char quoted[QUOTE_SIZE];
  *out = &rules[0];
  if (!c->class_name.text) return VIVA_OK;
  for (size_t i = 0; i < RULES; i++)
    if (strlen(rules[i].name) == c->class_name.bytes &&
        memcmp(rules[i].name, c->class_name.text, c->class_name.bytes) == 0) {
      *out = &rules[i];
      return VIVA_OK;
    }
  return error_set(error, VIVA_E_UNSUPPORTED,
                   "vocab.json and merges.txt of tokenizer_class '%s' are not supported; known: GPT2Tokenizer, "
                   "CodeGenTokenizer, Qwen2Tokenizer; give a tokenizer.json (transformers' AutoTokenizer saves it)",
                   error_quote(quoted, sizeof quoted, c->class_name.text, c->class_name.bytes));
}

static void name_defaults(const class_rule *rule, tokenizer_config *c) {
  static const char text[] = "<|endoftext|>";
  for (int i = 0; i < NAMED_COUNT; i++)
    if (!c->is_said[i] && rule->end_of_text >> i & 1) c->named[i] = (token_text){text, sizeof text - 1};
}

static viva_status read_merges(vocab_source *s, text_file file, viva_error *error) {
  static const char version[] = "#version";
  size_t line = 0;
  for (size_t at = 0; at < file.bytes;) {
    const char *text = file.text + at, *newline = memchr(text, '\n', file.bytes - at);
    size_t bytes = newline ? (size_t)(newline - text) : file.bytes - at;
    at += bytes + 1;
    line++;
    if (bytes > 0 && text[bytes - 1] == '\r') bytes--;
    if (bytes >= sizeof version - 1 && memcmp(text, version, sizeof version - 1) == 0) continue;
    token_text parts[2];
    if (split_merge((token_text){text, bytes}, parts)) {
      char quoted[QUOTE_SIZE];
      error_set(error, VIVA_E_FORMAT, "line %zu is not two tokens with one space between them: '%s'", line,
                error_quote(quoted, sizeof quoted, text, bytes));
      error_at(error, file.path, NULL, 0, (uint64_t)(text - file.text));
      return VIVA_E_FORMAT;
    }
    TRY(merges_add(&s->spec.merges, parts[0], parts[1], error));
  }
  return merges_end(&s->spec.merges, error);
}

static viva_status set_rules(vocab_source *s, const class_rule *rule, const tokenizer_config *c, viva_error *error) {
  static const decode_op byte_level[] = {{.kind = DECODE_BYTE_LEVEL}};
  tokenizer_spec *spec = &s->spec;
  pre_stage *stages = arena_alloc(spec->parts, 3 * sizeof *stages);
  normal_op *op = arena_alloc(spec->parts, sizeof *op);
  size_t count = 0;
  if (!stages || !op) return no_memory(error);
  pre_stage split = {.kind = STAGE_SPLIT, .pattern = {.kind = PATTERN_SCANNER, .scanner = split_gpt2}};
  if (rule->pattern) TRY(pattern_from_regex(spec->parts, rule->pattern, strlen(rule->pattern), &split.pattern, error));
  /* ByteLevel puts a space in front of what it is given: the text, or the pieces of a Split before it. */
  if (c->prefix_space == 1 && !rule->pattern) stages[count++] = (pre_stage){.kind = STAGE_PREFIX_SPACE};
  stages[count++] = split;
  if (c->prefix_space == 1 && rule->pattern) stages[count++] = (pre_stage){.kind = STAGE_PREFIX_SPACE};
  stages[count++] = (pre_stage){.kind = STAGE_ALPHABET};
  if (rule->nfc) {
    TRY(normal_form_op(spec->parts, FORM_NFC, op, error));
    spec->normal = (normalizer){op, 1};
  }
  spec->stages = stages;
  spec->stage_count = count;
  spec->decode_ops = byte_level;
  spec->decode_count = 1;
  return VIVA_OK;
}

static viva_status from_vocab(vocab_source *s, text_file list, text_file merges, tokenizer_config *config,
                              viva_tokenizer **out, viva_error *error) {
  const class_rule *rule;
  json j;
  s->arena = arena_create(&s->rt->mem, 64 * 1024);
  s->spec.parts = arena_create(&s->rt->mem, 1024);
  if (!s->arena || !s->spec.parts) return no_memory(error);
  TRY(find_rule(config, &rule, error));
  name_defaults(rule, config);
  TRY(tokenizer_config_add_named(config, error));
  json_begin(&j, s->rt, s->arena, list.path, list.text, list.bytes);
  TRY(json_take_vocab(&j, &s->tokens, 0, error));
  TRY(json_finish(&j, error));
  TRY(spec_take_vocab(s->rt, &s->spec, s->tokens.entries, s->tokens.entry_count, error));
  TRY(read_merges(s, merges, error));
  TRY(set_rules(s, rule, config, error));
  s->spec.added = config->tokens.added;
  s->spec.added_count = config->tokens.added_count;
  return tokenizer_compile(s->rt, &s->spec, out, error);
}

viva_status tokenizer_from_vocab(runtime *rt, text_file list, text_file merges, tokenizer_config *config,
                                 viva_tokenizer **out, viva_error *error) {
  *out = NULL;
  vocab_source *s = mem_zalloc(&rt->mem, sizeof *s);
  if (!s) return no_memory(error);
  s->rt = rt;
  s->tokens.mem = &rt->mem;
  s->spec = (tokenizer_spec){.path = list.path, .bos = -1, .eos = -1, .config = config};
  viva_status status = from_vocab(s, list, merges, config, out, error);
  if (status != VIVA_OK) error_at(error, list.path, NULL, 0, VIVA_NO_OFFSET);
  json_tokens_free(&s->tokens);
  arena_free(s->arena);
  spec_free(rt, &s->spec);
  mem_free(&rt->mem, s);
  return status;
}
