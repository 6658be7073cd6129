#include "text/gguf_pre.h"

#include <stdio.h>
#include <string.h>

/* Patterns, from the tokenizer.json of the models named. */
#define GPT2         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BLANKS       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3       CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS
#define QWEN2        CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS
#define QWEN35       CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS
#define CASED(tail)                                                                                                    \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" tail                     \
  "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" tail "|"
#define TEKKEN            CASED("") "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS
#define O200K             CASED(CONTRACTIONS "?") "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS
#define O200K_DIGITS      CASED(CONTRACTIONS "?") "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS
#define ASCII_PUNCTUATION "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define DEEPSEEK_WORDS                                                                                                 \
  ASCII_PUNCTUATION "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" BLANKS
#define CJK          "[一-龥぀-ゟ゠-ヿ]+"
#define DEEPSEEK_CJK "[一-龥ࠀ-一가-퟿]+"
#define DIGIT_GROUPS "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))" /* threes, counted from the end of a run */
#define ASIAN                                                                                                          \
  "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}\\x{ff65}-\\x{"     \
  "ff9f}"                                                                                                              \
  "\\x{2f00}-\\x{2fdf}\\x{0e40}-\\x{0e7f}\\x{0e80}-\\x{0eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}" \
  "\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+"
#define KIMI_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI                                                                                                           \
  "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+" CONTRACTIONS                                      \
  "?|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*" CONTRACTIONS                                                \
  "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"

static const gguf_pre table[] = {
    {"gpt-2 gpt2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4 mpt olmo jais "
     "trillion granite-docling jina-v1-en jina-v2-code roberta-bpe",
     {GPT2},
     0,
     0,
     0},
    /* What llama.cpp cuts by where a file names nothing (llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_DEFAULT). */
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, 0, 0, 0},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", {PRE_DIGITS, GPT2}, 0, 0, 0},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", {LLAMA3}, 1, 0, 1},
    {"dbrx smaug-bpe chatglm-bpe", {LLAMA3}, 0, 0, 0},
    {"glm4 glm5", {LLAMA3}, 1, 0, 0},
    {"minicpm5",
     {"\\p{N}{1,3}", CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS},
     1,
     0,
     0},
    {"gemma4 granite-embed-multi-311m sarvam-moe", {PRE_SENTENCEPIECE}, 0, 0, 0},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez", {QWEN2}, 0, 1, 0},
    {"stablelm2 hunyuan solar-open grok-2", {QWEN2}, 0, 0, 0},
    {"qwen35", {QWEN35}, 0, 0, 0},
    {"tekken", {TEKKEN}, 1, 0, 1},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {O200K}, 0, 0, 0},
    {"deepseek-llm deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_CJK, PRE_DIGITS}, 0, 0, 0},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", {"\\p{N}{1,3}", CJK, DEEPSEEK_WORDS}, 0, 0, 0},
    {"youtu",
     {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
      O200K_DIGITS},
     1,
     0,
     0},
    {"falcon", {PRE_PUNCTUATION, GPT2, PRE_ALPHABET, PRE_DIGIT_RUNS, "[0-9][0-9][0-9]"}, 0, 0, 0},
    {"poro-chat bloom gpt3-finnish", {BLOOM}, 0, 0, 0},
    {"viking", {BLOOM, PRE_DIGITS}, 0, 0, 0},
    {"bailingmoe bailingmoe2 llada-moe",
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
      "\\s+(?!\\S)|\\s+"},
     0,
     0,
     0},
    {"seed-coder",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" BLANKS},
     0,
     0,
     0},
    {"ufakzeka", {"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS}, 0, 0, 0},
    {"exaone-moe",
     {CONTRACTIONS
      "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
     0,
     0,
     0},
    {"tiny_aya cohere2moe", {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K}, 0, 0, 0},
    {"granite-embed-multi-97m", {O200K}, 1, 0, 0},
    {"superbpe", {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}, 0, 0, 0},
    {"spark2_5",
     {"\\p{N}{1,3}", CJK,
      ASCII_PUNCTUATION "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|"
                        "\\s+(?!\\S)|\\s+",
      PRE_DIGITS},
     0,
     0,
     0},
    {"jais-2",
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
                   "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|"
                   "\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"},
     0,
     0,
     0},
    {"kimi-k2", {KIMI}, 0, 0, 0},
    {"afmoe", {DIGIT_GROUPS, ASIAN, DEEPSEEK_WORDS}, 0, 0, 0},
    {"chameleon",
     {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", PRE_DIGITS, "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     0,
     0,
     1},
    {"laguna", {"[^\\n]+|[\\n]+", QWEN2}, 0, 0, 0},
};
enum { ROWS = sizeof table / sizeof *table };

const gguf_pre *gguf_pre_find(const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < ROWS; i++)
    for (const char *at = table[i].names; *at;) {
      size_t word = strcspn(at, " ");
      if (word == length && memcmp(at, name, word) == 0) return &table[i];
      at += word + strspn(at + word, " ");
    }
  return NULL;
}

/* A message has no room for all of them: one name for each rule, and how many others there are. */
void gguf_pre_list(char *buffer, size_t size) {
  size_t at = 0, others = 0;
  for (size_t i = 0; i < ROWS; i++)
    for (const char *c = table[i].names; *c; c++) others += *c == ' ';
  for (size_t i = 0; i < ROWS && at < size; i++) {
    int word = (int)strcspn(table[i].names, " ");
    int n = snprintf(buffer + at, size - at, "%s%.*s", i ? " " : "", word, table[i].names);
    at += n > 0 ? (size_t)n : 0;
  }
  if (at < size) snprintf(buffer + at, size - at, " and %zu other names of these", others);
}

static viva_status read_stage(const char *text, arena *a, pre_stage *stage, viva_error *error) {
  *stage = (pre_stage){.kind = STAGE_ALPHABET};
  if (strcmp(text, PRE_ALPHABET) == 0) return VIVA_OK;
  *stage = (pre_stage){.kind = STAGE_SPLIT, .pattern = {.kind = PATTERN_NUMERIC}};
  if (strcmp(text, PRE_DIGITS) == 0) return VIVA_OK;
  stage->behavior = SPLIT_CONTIGUOUS;
  if (strcmp(text, PRE_DIGIT_RUNS) == 0) return VIVA_OK;
  stage->pattern.kind = PATTERN_PUNCTUATION;
  if (strcmp(text, PRE_PUNCTUATION) == 0) return VIVA_OK;
  stage->behavior = SPLIT_ISOLATED;
  return pattern_from_regex(a, text, strlen(text), &stage->pattern, error);
}

viva_status gguf_pre_apply(const gguf_pre *pre, tokenizer_spec *spec, viva_error *error) {
  enum { MOST = sizeof pre->stages / sizeof *pre->stages };
  pre_stage *stages = arena_alloc(spec->parts, (MOST + 1) * sizeof *stages);
  normal_op *op = arena_alloc(spec->parts, sizeof *op);
  if (!stages || !op) return error_set(error, VIVA_E_MEMORY, "no memory for a pre-tokenizer");
  size_t count = 0;
  int spelled = 0;
  while (count < MOST && pre->stages[count]) {
    TRY(read_stage(pre->stages[count], spec->parts, &stages[count], error));
    spelled |= stages[count++].kind == STAGE_ALPHABET;
  }
  if (!spelled) stages[count++] = (pre_stage){.kind = STAGE_ALPHABET};
  if (pre->nfc) {
    TRY(normal_form_op(spec->parts, FORM_NFC, op, error));
    spec->normal = (normalizer){op, 1};
  }
  spec->stages = stages;
  spec->stage_count = count;
  spec->rules.ignore_merges = pre->ignore_merges;
  return VIVA_OK;
}
