/* The whole way round: a model is loaded by a rule and runs; viva_quantize writes it by the same rule; what it wrote is loaded as
 * stored and gives the same ids, the same text, the same logits, bit for bit. Written once more without packing, it gives what
 * the packed one gives when it is unpacked. Whatever is refused leaves words, and no file.
 *
 *   CHOICES 255 RULE 255 TEXT 255 TOKENIZER 255 MEMBERS 255 CHANGES
 *
 * CHOICES: a byte for each choice below. RULE: of the weights. TEXT: what the model reads. TOKENIZER: tokenizer.json (empty:
 * none). MEMBERS: more of config.json, each followed by a comma. CHANGES: 4 bytes each, an offset of 24 bits and a new byte: to
 * the weights of a small random model, or to all of tests/golden/tiny.gguf.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/models.h"
#include "fuzz/parts.h"
#include "lib/small_model.h"
#include "viva/chat.h"
#include "viva/viva.h"

enum { CHOICES, RULE, TEXT, TOKENIZER, MEMBERS, CHANGES, PARTS };
enum { TOKENS = 3, MOST_IDS = 4096, MOST_TEXT = 512, MOST_MEMBERS = 1024 };
/* of CHOICES */
enum { BASE, SIZES, DTYPE, FLAGS, VOCAB, SEED, LOAD, ACT };

const size_t part_count = PARTS;

static viva_engine *engine;
static memory_io *files;
static uint8_t *tiny;
static size_t tiny_bytes;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  files = memory_io_create();
  small_model_copy(files, "/tiny", "tests/golden/tiny.gguf");
  const void *bytes = memory_io_get(files, "/tiny", &tiny_bytes);
  tiny = malloc(tiny_bytes);
  if (!tiny) abort();
  engine = engine_on(files);
  memcpy(tiny, bytes, tiny_bytes);
  return 0;
}

/* ---- the model */

static unsigned choice(const part *choices, size_t number) {
  return number < choices->bytes ? (unsigned char)choices->text[number] : 0;
}

static char *text_of(const part *p, size_t most) {
  size_t n = p->bytes < most ? p->bytes : most;
  char *text = malloc(n + 1);
  require(text != NULL);
  memcpy(text, p->text, n);
  text[n] = 0;
  return text;
}

static void change(uint8_t *data, size_t bytes, const part *changes) {
  const uint8_t *c = (const uint8_t *)changes->text;
  for (size_t i = 0; i + 4 <= changes->bytes; i += 4)
    data[((size_t)c[i] | (size_t)c[i + 1] << 8 | (size_t)c[i + 2] << 16) % bytes] = c[i + 3];
}

static void put_folder(const part *parts, const char *members) {
  static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3"};
  static const viva_dtype dtypes[] = {VIVA_F32, VIVA_BF16, VIVA_F16};
  static const struct {
    size_t hidden, ffn, heads, kv_heads, head_dim;
  } sizes[] = {{16, 24, 2, 1, 8}, {32, 32, 2, 1, 16}, {64, 64, 2, 1, 16}, {20, 38, 3, 1, 6}};
  static const size_t vocabs[] = {40, 64, 300, 432};
  const part *c = &parts[CHOICES];
  unsigned which = choice(c, SIZES) % 4, flags = choice(c, FLAGS);
  small_model m = {.model_type = families[choice(c, BASE) / 2 % 4],
                   .hidden = sizes[which].hidden,
                   .ffn = sizes[which].ffn,
                   .heads = sizes[which].heads,
                   .kv_heads = sizes[which].kv_heads,
                   .head_dim = sizes[which].head_dim,
                   .layers = 1 + (choice(c, SIZES) >> 2) % 2,
                   .vocab = vocabs[choice(c, VOCAB) % 4],
                   .dtype = dtypes[choice(c, DTYPE) % 3],
                   .attention_bias = flags & 1,
                   .mlp_bias = flags >> 1 & 1,
                   .untied = flags >> 2 & 1,
                   .tied_head = flags >> 3 & 1,
                   .seed = choice(c, SEED),
                   .config = members};
  size_t bytes;
  uint64_t header = 0;
  small_model_put(files, "/in", &m);
  const void *made = memory_io_get(files, "/in/model.safetensors", &bytes);
  uint8_t *changed = malloc(bytes);
  require(changed != NULL);
  memcpy(changed, made, bytes);
  memcpy(&header, changed, sizeof header);
  change(changed + sizeof header + header, bytes - sizeof header - (size_t)header, &parts[CHANGES]);
  memory_io_put(files, "/in/model.safetensors", changed, bytes);
  free(changed);
  if (parts[TOKENIZER].bytes) memory_io_put(files, "/in/tokenizer.json", parts[TOKENIZER].text, parts[TOKENIZER].bytes);
}

static void put_gguf(const part *parts) {
  uint8_t *changed = malloc(tiny_bytes);
  require(changed != NULL);
  memcpy(changed, tiny, tiny_bytes);
  change(changed, tiny_bytes, &parts[CHANGES]);
  memory_io_put(files, "/in", changed, tiny_bytes);
  free(changed);
}

/* ---- what a model gives */

typedef struct run {
  viva_model *model;
  viva_token ids[MOST_IDS];
  char text[4 * MOST_IDS];
  size_t id_count, text_bytes;
  viva_status encoded, ran; /* as its calls returned */
  float *logits;            /* [tokens][vocab] */
  size_t logit_count;
} run;

static void encode(run *r, const part *text) {
  viva_tokenizer *t = viva_model_tokenizer(r->model);
  const viva_encode_options options = {sizeof options, 1, 1, NULL};
  viva_error error = {0};
  if (!t) return;
  r->encoded = viva_tokenizer_encode(t, text->text, text->bytes < MOST_TEXT ? text->bytes : MOST_TEXT, &options, r->ids,
                                     MOST_IDS, &r->id_count, &error);
  if (said(r->encoded, &error)) return;
  require(!said(viva_tokenizer_decode(t, r->ids, r->id_count, NULL, r->text, sizeof r->text, &r->text_bytes, &error),
                &error) ||
          error.code == VIVA_E_SIZE);
}

/* The logits behind each of the text's first tokens; other ids where there is none, or the model has no row for it. */
static void forward(run *r, size_t vocab) {
  viva_token ids[TOKENS];
  viva_session *session;
  viva_prefill_options o = viva_prefill_options_default();
  viva_error error = {0};
  size_t count = !r->encoded && r->id_count ? r->id_count : TOKENS;
  if (count > TOKENS) count = TOKENS;
  for (size_t i = 0; i < count; i++)
    ids[i] = !r->encoded && r->id_count && (size_t)r->ids[i] < vocab ? r->ids[i] : (viva_token)(i * 7 % vocab);
  r->logit_count = count * vocab;
  r->logits = malloc(r->logit_count * sizeof *r->logits);
  require(r->logits != NULL);
  r->ran = viva_session_create(r->model, NULL, &session, &error);
  if (said(r->ran, &error)) return;
  o.all_logits = r->logits;
  o.all_logits_count = r->logit_count;
  r->ran = viva_session_prefill(session, ids, count, &o, &error);
  said(r->ran, &error);
  require(r->ran != VIVA_E_ARGUMENT);
  viva_session_free(session);
}

/* 0: the model was refused. */
static int run_begin(run *r, const char *path, const char *weights, const part *parts) {
  viva_model_options o = viva_model_options_default();
  viva_model_config config = {.size = sizeof config};
  viva_error error = {0};
  unsigned load = choice(&parts[CHOICES], LOAD);
  static const viva_dtype caches[] = {VIVA_F16, VIVA_F32, VIVA_E4M3, VIVA_F16};
  static const viva_activation_mode acts[] = {VIVA_ACT_AUTO, VIVA_ACT_16, VIVA_ACT_FP8, VIVA_ACT_INT8};
  *r = (run){0};
  o.weights = weights;
  o.load = load & 1 ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
  o.kv = caches[load >> 1 & 3];
  o.act = acts[choice(&parts[CHOICES], ACT) % 4];
  if (said(viva_model_load(engine, path, &o, &r->model, &error), &error)) return 0;
  require(!said(viva_model_get_config(r->model, &config, &error), &error));
  encode(r, &parts[TEXT]);
  forward(r, (size_t)config.vocab_size);
  return 1;
}

static void run_end(run *r) {
  viva_model_release(r->model);
  free(r->logits);
}

static void same_config(const viva_model *a, const viva_model *b) {
  viva_model_config x = {.size = sizeof x}, y = {.size = sizeof y};
  viva_error error = {0};
  require(!viva_model_get_config(a, &x, &error) && !viva_model_get_config(b, &y, &error));
  require(strcmp(x.model_type, y.model_type) == 0 && x.max_position_embeddings == y.max_position_embeddings);
  require(x.sliding_window == y.sliding_window && x.rope_type == y.rope_type);
  require(x.num_eos == y.num_eos && memcmp(x.eos_tokens, y.eos_tokens, x.num_eos * sizeof *x.eos_tokens) == 0);
}

static void same_template(const viva_model *a, const viva_model *b) {
  const char *x, *y;
  size_t x_bytes, y_bytes;
  viva_status has = viva_model_chat_template(a, &x, &x_bytes, NULL);
  require(viva_model_chat_template(b, &y, &y_bytes, NULL) == has);
  require(has || (x_bytes == y_bytes && memcmp(x, y, x_bytes) == 0));
}

static void same_run(const run *a, const run *b) {
  require((viva_model_tokenizer(a->model) != NULL) == (viva_model_tokenizer(b->model) != NULL));
  require(a->encoded == b->encoded && a->ran == b->ran && a->logit_count == b->logit_count);
  if (!a->encoded) {
    require(a->id_count == b->id_count && memcmp(a->ids, b->ids, a->id_count * sizeof *a->ids) == 0);
    require(a->text_bytes == b->text_bytes);
    require(a->text_bytes > sizeof a->text || memcmp(a->text, b->text, a->text_bytes) == 0);
  }
  if (!a->ran) require(memcmp(a->logits, b->logits, a->logit_count * sizeof *a->logits) == 0);
}

/* ---- writing */

/* 0: refused, and then nothing is left. */
static int quantize(const char *from, const char *to, const char *rule) {
  viva_quantize_options o = viva_quantize_options_default();
  viva_error error = {0};
  size_t before = memory_io_file_count(files);
  o.weights = rule;
  if (!said(viva_quantize(engine, from, to, &o, NULL, &error), &error)) return 1;
  require(memory_io_file_count(files) == before);
  return 0;
}

/* /in is loaded by the rule already. */
static void go_round(const run *first, const char *rule, const part *parts) {
  static run stored, unpacked, again;
  if (!quantize("/in", "/out", rule)) return;
  require(run_begin(&stored, "/out", NULL, parts));
  same_config(first->model, stored.model);
  same_template(first->model, stored.model);
  same_run(first, &stored);
  run_end(&stored);
  if (!(choice(&parts[CHOICES], LOAD) & 8) || !quantize("/out", "/unpacked", "f32")) return;
  require(run_begin(&unpacked, "/out", "f32", parts));
  require(run_begin(&again, "/unpacked", NULL, parts));
  same_run(&unpacked, &again);
  run_end(&unpacked);
  run_end(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static run first;
  part parts[MAX_PARTS];
  parts_cut(data, size, parts);
  char *rule = text_of(&parts[RULE], MOST_TEXT), *members = text_of(&parts[MEMBERS], MOST_MEMBERS);
  if (choice(&parts[CHOICES], BASE) & 1)
    put_gguf(parts);
  else
    put_folder(parts, members);
  if (run_begin(&first, "/in", strcmp(rule, "dense") == 0 ? NULL : rule, parts)) go_round(&first, rule, parts);
  run_end(&first);
  memory_io_drop(files, "/in");
  memory_io_drop(files, "/out");
  memory_io_drop(files, "/unpacked");
  require(memory_io_open_count(files) == 0 && memory_io_file_count(files) == 1);
  free(rule);
  free(members);
  return 0;
}
