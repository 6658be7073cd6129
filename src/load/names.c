/* load/names.c */
#include "load/names.h"

#include <stdio.h>
#include <string.h>

#include "base/ck.h"

#define G(name) offsetof(decoder, name)
#define L(name) offsetof(decoder_layer, name)

const slot names_global[] = {
    {"model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB, DIM_HIDDEN, NEED_EITHER, 0, G(embedding)},
    {"lm_head.weight", "output.weight", DIM_VOCAB, DIM_HIDDEN, NEED_EITHER, 0, G(head)},
    {"model.norm.weight", "output_norm.weight", DIM_NONE, DIM_HIDDEN, NEED_ALWAYS, 0, G(output_norm)},
    {NULL, "rope_freqs.weight", DIM_NONE, DIM_PAIRS, NEED_IF_THERE, 0, G(rope_factors)},
};
const size_t names_global_count = sizeof names_global / sizeof *names_global;

#define HF "model.layers.%."
#define GG "blk.%."
const slot names_layer[] = {
    {HF "input_layernorm.weight", GG "attn_norm.weight", DIM_NONE, DIM_HIDDEN, NEED_ALWAYS, 0, L(attention_norm)},
    {HF "self_attn.q_proj.weight", GG "attn_q.weight", DIM_Q, DIM_HIDDEN, NEED_ALWAYS, 1, L(q)},
    {HF "self_attn.k_proj.weight", GG "attn_k.weight", DIM_KV, DIM_HIDDEN, NEED_ALWAYS, 1, L(k)},
    {HF "self_attn.v_proj.weight", GG "attn_v.weight", DIM_KV, DIM_HIDDEN, NEED_ALWAYS, 0, L(v)},
    {HF "self_attn.q_proj.bias", GG "attn_q.bias", DIM_NONE, DIM_Q, NEED_QKV_BIAS, 1, L(q_bias)},
    {HF "self_attn.k_proj.bias", GG "attn_k.bias", DIM_NONE, DIM_KV, NEED_QKV_BIAS, 1, L(k_bias)},
    {HF "self_attn.v_proj.bias", GG "attn_v.bias", DIM_NONE, DIM_KV, NEED_QKV_BIAS, 0, L(v_bias)},
    {HF "self_attn.q_norm.weight", GG "attn_q_norm.weight", DIM_NONE, DIM_HEAD, NEED_QK_NORM, 0, L(q_norm)},
    {HF "self_attn.k_norm.weight", GG "attn_k_norm.weight", DIM_NONE, DIM_HEAD, NEED_QK_NORM, 0, L(k_norm)},
    {HF "self_attn.o_proj.weight", GG "attn_output.weight", DIM_HIDDEN, DIM_Q, NEED_ALWAYS, 0, L(o)},
    {HF "self_attn.o_proj.bias", GG "attn_output.bias", DIM_NONE, DIM_HIDDEN, NEED_O_BIAS, 0, L(o_bias)},
    {HF "post_attention_layernorm.weight", GG "ffn_norm.weight", DIM_NONE, DIM_HIDDEN, NEED_ALWAYS, 0, L(mlp_norm)},
    {HF "mlp.gate_proj.weight", GG "ffn_gate.weight", DIM_FFN, DIM_HIDDEN, NEED_ALWAYS, 0, L(gate)},
    {HF "mlp.up_proj.weight", GG "ffn_up.weight", DIM_FFN, DIM_HIDDEN, NEED_ALWAYS, 0, L(up)},
    {HF "mlp.gate_proj.bias", GG "ffn_gate.bias", DIM_NONE, DIM_FFN, NEED_MLP_BIAS, 0, L(gate_bias)},
    {HF "mlp.up_proj.bias", GG "ffn_up.bias", DIM_NONE, DIM_FFN, NEED_MLP_BIAS, 0, L(up_bias)},
    {HF "mlp.down_proj.weight", GG "ffn_down.weight", DIM_HIDDEN, DIM_FFN, NEED_ALWAYS, 0, L(down)},
    {HF "mlp.down_proj.bias", GG "ffn_down.bias", DIM_NONE, DIM_HIDDEN, NEED_MLP_BIAS, 0, L(down_bias)},
};
const size_t names_layer_count = sizeof names_layer / sizeof *names_layer;

int names_format(const slot *s, container_kind kind, size_t number, char *buffer, size_t size) {
  const char *pattern = kind == CONTAINER_GGUF ? s->gguf : s->hf;
  if (!pattern) return 1;
  const char *mark = strchr(pattern, '%');
  if (mark)
    snprintf(buffer, size, "%.*s%zu%s", (int)(mark - pattern), pattern, number, mark + 1);
  else
    snprintf(buffer, size, "%s", pattern);
  return 0;
}

/* The names that tell the prefix of a Hugging Face checkpoint: in every model of the families. */
#define FIRST_NORM "layers.0.input_layernorm.weight"
#define LAST_NORM  "norm.weight"
#define HEAD       "lm_head."
#define USUAL      "model."

static int has(const viva_checkpoint *ck, const char *prefix, size_t bytes, const char *name) {
  char full[NAMES_BYTES];
  snprintf(full, sizeof full, "%.*s%s", (int)bytes, prefix, name);
  return checkpoint_find(ck, full) != NULL;
}

/* Is there a tensor of the head behind this prefix? Its weight may be stored under another name: weight_packed. */
static int has_head(const viva_checkpoint *ck, const char *prefix, size_t bytes) {
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const char *name = ck->tensors[i].name;
    if (strncmp(name, prefix, bytes) == 0 && strncmp(name + bytes, HEAD, sizeof HEAD - 1) == 0) return 1;
  }
  return 0;
}

/* The head lies beside the body or further out: beside "model." in most files, at the top beside "model.language_model." in
 * what transformers writes of multimodal models. */
static void find_head(const viva_checkpoint *ck, spelling *s) {
  size_t bytes = strlen(s->body);
  while (!has_head(ck, s->body, bytes)) {
    if (bytes == 0) return; /* none: it is tied */
    do bytes--;
    while (bytes > 0 && s->body[bytes - 1] != '.');
  }
  snprintf(s->head, sizeof s->head, "%.*s", (int)bytes, s->body);
}

void names_find_spelling(const viva_checkpoint *ck, spelling *s) {
  *s = (spelling){.kind = ck->container, .body = USUAL};
  if (ck->container == CONTAINER_GGUF || has(ck, USUAL, sizeof USUAL - 1, FIRST_NORM)) return;
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const char *name = ck->tensors[i].name;
    size_t bytes = strlen(name), prefix = bytes - (sizeof FIRST_NORM - 1);
    if (bytes < sizeof FIRST_NORM - 1 || prefix >= sizeof s->body || strcmp(name + prefix, FIRST_NORM) != 0) continue;
    if (!has(ck, name, prefix, LAST_NORM)) continue;
    snprintf(s->body, sizeof s->body, "%.*s", (int)prefix, name);
    find_head(ck, s);
    return;
  }
}

int names_in_file(const spelling *how, const slot *s, size_t number, char *buffer, size_t size) {
  char usual[96];
  if (names_format(s, how->kind, number, usual, sizeof usual)) return 1;
  int body = how->kind != CONTAINER_GGUF && strncmp(usual, USUAL, sizeof USUAL - 1) == 0;
  snprintf(buffer, size, "%s%s", body ? how->body : how->head, usual + (body ? sizeof USUAL - 1 : 0));
  return 0;
}

void names_module(const slot *s, size_t number, char *buffer, size_t size) {
  buffer[0] = 0;
  if (names_format(s, CONTAINER_SAFETENSORS, number, buffer, size)) return;
  char *end = strstr(buffer, ".weight");
  if (end) *end = 0;
}

int names_needed(const slot *s, const viva_model_config *config) {
  switch (s->need) {
  case NEED_ALWAYS: return 1;
  case NEED_QKV_BIAS: return config->qkv_bias != 0;
  case NEED_O_BIAS: return config->o_bias != 0;
  case NEED_MLP_BIAS: return config->mlp_bias != 0;
  case NEED_QK_NORM: return config->qk_norm != 0;
  case NEED_EITHER:
  case NEED_IF_THERE: break;
  }
  return 0;
}

static uint64_t product(uint64_t a, uint64_t b) { /* a size beyond 64 bits equals no tensor's */
  uint64_t result;
  return ck_mul(a, b, &result) ? UINT64_MAX : result;
}

uint64_t names_dim(dim d, const viva_model_config *config) {
  switch (d) {
  case DIM_VOCAB: return config->vocab_size;
  case DIM_HIDDEN: return config->hidden_size;
  case DIM_Q: return product(config->num_heads, config->head_dim);
  case DIM_KV: return product(config->num_kv_heads, config->head_dim);
  case DIM_FFN: return config->intermediate_size;
  case DIM_HEAD: return config->head_dim;
  case DIM_PAIRS: return config->rotary_dim / 2;
  case DIM_NONE:
  case DIMS: break;
  }
  return 1;
}

static int ends_with(const char *name, const char *end) {
  size_t n = strlen(name), e = strlen(end);
  return n >= e && memcmp(name + n - e, end, e) == 0;
}

/* Is there a matrix or vector that a tensor NAME.SCALE would scale? "self_attn.p_scale" belongs to no weight. */
static int scales_a_weight(const viva_checkpoint *ck, const char *name) {
  const char *dot = strrchr(name, '.');
  char sibling[NAMES_BYTES];
  if (!dot) return 0;
  snprintf(sibling, sizeof sibling, "%.*s.weight", (int)(dot - name), name);
  return checkpoint_find(ck, sibling) != NULL;
}

leftover names_leftover(const viva_checkpoint *ck, const char *name) {
  /* Buffers that older exports of transformers wrote beside the weights; they are computed here. */
  static const char *const harmless[] = {"rotary_emb.inv_freq", "attn.masked_bias", "attention.bias"};
  /* A weight with a scale beside it (quantized checkpoints) is not the number that its codes alone say. */
  static const char *const scales[] = {"_scale", "_scale_inv", "_scale_2", ".scale", ".scales", ".qzeros", "_packed"};
  for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
    if (ends_with(name, harmless[i])) return LEFTOVER_HARMLESS;
  for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
    if (ends_with(name, scales[i]) && scales_a_weight(ck, name)) return LEFTOVER_SCALE;
  return LEFTOVER_UNKNOWN;
}
