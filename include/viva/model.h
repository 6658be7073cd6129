/* viva/model.h: models, sessions, generation.
 *
 * A viva_model is immutable and may be shared by any number of threads. A viva_session is one timeline on a model: its
 * KV cache, its position and its last logits; one thread at a time. Both are independent of the handles they were made
 * from: each keeps what it needs alive.
 */
#ifndef VIVA_MODEL_H
#define VIVA_MODEL_H

#include "viva/checkpoint.h"
#include "viva/engine.h"
#include "viva/linear.h"
#include "viva/sampling.h"
#include "viva/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_model viva_model;
typedef struct viva_session viva_session;

/* ---- loading ---------------------------------------------------------------------------------------------------- */

/* How steps of few tokens run: decoding, of one session or several. Fixed for a model. */
typedef enum viva_decode_path {
  VIVA_DECODE_AUTO = 0,      /* PERSISTENT where the device has it, else GRAPH, else PLAIN */
  VIVA_DECODE_PLAIN = 1,     /* an operation at a time: what the other is checked against */
  VIVA_DECODE_GRAPH = 2,     /* CUDA: a step is one captured graph, where the model and the step allow it (docs/gpu.md).
                            E_UNSUPPORTED on devices without it */
  VIVA_DECODE_PERSISTENT = 3 /* CUDA: in that graph all layers of a step of one token are one kernel, where the model
                            allows it (docs/decode.md); the same bits. E_UNSUPPORTED as GRAPH */
} viva_decode_path;

typedef struct viva_model_options {
  size_t size;         /* sizeof(viva_model_options) */
  const char *weights; /* NULL: as stored (F32, BF16, F16, FP8, NVFP4 and viva's own formats kept; GGUF block types
                          become BF16, and, with a warning, FP8 in blocks that are not 16, 32, 64 or 128 columns wide).
                          Else a rule, see below. Norms and biases are F32 */
  const char *tokenizer_path; /* NULL: beside the model (or in the GGUF file); a model without one works with ids */
  uint64_t context;           /* 0: the model's own. Default capacity of its sessions; RoPE "dynamic" scales to it */
  uint64_t num_layers;        /* 0: all. Else only the first so many (for debugging) */
  viva_dtype kv;              /* VIVA_F16 (default), VIVA_F32 or VIVA_E4M3: type of the KV caches */
  viva_load_mode load;        /* READ */
  viva_progress_fn progress;  /* NULL: none. Bytes of the weights; can cancel */
  void *progress_user;
  viva_activation_mode act; /* how rows enter layers whose weights are packed (FP8, NVFP4, 2:4), however many rows;
                               AUTO: 16 (docs/numerics.md) */
  viva_decode_path decode;  /* AUTO */
  uint64_t
      cache_bytes; /* 0: no limit. Else the most that the KV caches of all sessions take together, for each KV type */
  viva_accumulation accumulate; /* of prefill with act FP8 on a GPU */
  int32_t reserved;             /* 0 */
} viva_model_options;

/* The rule of options.weights: a list, separated by commas. The first entry without '=' is the format of every matrix
 * (none: as stored); entries PATTERN=FORMAT change those whose name the pattern fits; later entries win.
 *
 *   format:  f32 bf16 f16 fp8 fp8-b16 fp8-b32 fp8-b64 fp8-b128 nvfp4 int8-24 int4-24 int4-24-g32 int4-24-g64
 *            int4-24-channel, or "stored". FP8 and INT4 formats may be followed by the scales' type, :f32, :f16 or
 *            (FP8) :e8m0; nvfp4 by the scale search, :mse, :absmax or :four-over-six
 *   pattern: parts of a Hugging Face name, whole words between dots: "mlp.down_proj", "layers.3", "layers.0-1",
 *            "layers.0-1.self_attn", "lm_head", "q_proj"; parts must follow each other in the name
 *
 *   "fp8"    "fp8,mlp.down_proj=bf16,layers.0-1=bf16"    "nvfp4,lm_head=fp8"    "lm_head=fp8-b16:f16"
 *
 * The table in which tokens are looked up is never packed. It is as stored when the rule does not begin with a format
 * for all, F32 or BF16 when that is f32 or bf16, else held in 16 bits: F16 where the file has F16 (with f16 also where
 * it has F32 or block types), else BF16. A head that is tied to it is that table when its format is the same, else a
 * packed copy of its own: with "fp8" the head is FP8, "fp8,lm_head=stored" leaves it alone. A pattern that fits no
 * matrix is an error. */

VIVA_API viva_model_options viva_model_options_default(void);

/* What a model needs, computed before anything but headers is read. */
typedef struct viva_memory_plan {
  size_t size;              /* sizeof(viva_memory_plan), set by the caller before the call */
  uint64_t parameters;      /* number of weights */
  uint64_t weight_bytes;    /* as they will be held */
  uint64_t bytes_per_token; /* weights that one decoded token reads */
  uint64_t kv_bytes;        /* KV cache of one session of the given context */
  uint64_t work_bytes;      /* activations, logits, loading buffers */
  uint64_t needed_bytes;    /* the sum */
  uint64_t available_bytes; /* on the engine's device now; 0 when unknown */
  uint64_t context;         /* the context this plan is for */
  uint64_t largest_context; /* that fits, up to the model's own limit or, if larger, context; 0: none */
  uint64_t page_bytes;      /* of 64 positions of the KV cache */
  /* Of an engine on several devices; then weight_bytes lie in the host's memory, and what each device holds is beside them:
   * its share of them, of the KV cache, and its work space. Needed is what the host needs, where the devices are not it. */
  uint64_t devices;                /* 0: one device, the figures above are all */
  uint64_t device_bytes;           /* of the device that holds most */
  uint64_t device_available_bytes; /* on the device that has least; 0 when unknown */
} viva_memory_plan;

/* Plans without loading. Errors: those of viva_checkpoint_open and viva_checkpoint_config, E_UNSUPPORTED (architecture:
 * the message names it and the supported ones), E_FORMAT (a tensor missing or of the wrong shape: named),
 * E_ARGUMENT (weights, kv, num_layers). Does not refuse a plan that is too large. */
VIVA_API viva_status viva_model_plan(viva_engine *engine, const char *path, const viva_model_options *options,
                                     viva_memory_plan *plan, viva_error *error);

/* Loads a model: a GGUF file, a folder with config.json and safetensors, a .safetensors file or an index beside one.
 * Reads headers, plans, refuses with the numbers when it does not fit, then reads the weights in parallel.
 * Errors: those of viva_model_plan and viva_tokenizer_load, E_LIMIT (does not fit: needed, available, the largest
 * context and the value of the weights option that would fit), E_IO, E_MEMORY, E_CANCELLED. A failed load leaves
 * nothing behind.
 *
 * options: NULL for the defaults
 * model:   receives one reference, ended by viva_model_release */
VIVA_API viva_status viva_model_load(viva_engine *engine, const char *path, const viva_model_options *options,
                                     viva_model **model, viva_error *error);

VIVA_API viva_model *viva_model_retain(viva_model *model);
VIVA_API void viva_model_release(viva_model *model); /* NULL is allowed */

/* The model's configuration. config->size set by the caller. */
VIVA_API viva_status viva_model_get_config(const viva_model *model, viva_model_config *config, viva_error *error);

/* The plan it was loaded by (available_bytes as it was then). plan->size set by the caller. */
VIVA_API viva_status viva_model_get_plan(const viva_model *model, viva_memory_plan *plan, viva_error *error);

/* What it holds: "llama 135M BF16", "llama 135M FP8 b16:e8m0 + NVFP4 in 30 matrices, head BF16". The most used format
 * of the layers first, then others with the number of their matrices; the head when it differs. Belongs to the model. */
VIVA_API const char *viva_model_description(const viva_model *model);

/* Its tokenizer, or NULL when it has none. Belongs to the model: retain it to keep it longer. */
VIVA_API viva_tokenizer *viva_model_tokenizer(const viva_model *model);

/* ---- weights of a model, and models of weights ------------------------------------------------------------------ */

typedef enum viva_projection {
  VIVA_PROJ_Q = 0,
  VIVA_PROJ_K = 1,
  VIVA_PROJ_V = 2,
  VIVA_PROJ_O = 3,
  VIVA_PROJ_GATE = 4,
  VIVA_PROJ_UP = 5,
  VIVA_PROJ_DOWN = 6,
  VIVA_PROJ_EMBEDDING = 7, /* layer is 0 */
  VIVA_PROJ_HEAD = 8       /* layer is 0 */
} viva_projection;

/* One matrix of a model. Of a loaded model the handle keeps the whole model alive.
 * Errors: E_ARGUMENT (a layer or projection that does not exist), E_MEMORY. Thread-safe.
 *
 * weight: receives one reference, ended by viva_packed_weight_release */
VIVA_API viva_status viva_model_weight(const viva_model *model, uint64_t layer, viva_projection projection,
                                       viva_packed_weight **weight, viva_error *error);

/* The activation mode of its packed layers: 16, FP8 or INT8; never AUTO. */
VIVA_API viva_activation_mode viva_model_act(const viva_model *model);

/* The parts of one layer. Weights: any format, as the configuration's shapes are; norms and biases: 1-D tensors of F32,
 * F16 or BF16, copied. What the configuration does not have (biases, q_norm, k_norm) must be NULL. */
typedef struct viva_layer_parts {
  size_t size;                          /* sizeof(viva_layer_parts) */
  viva_packed_weight *q, *k, *v, *o;    /* [heads · head_dim][hidden], [kv_heads · head_dim][hidden] twice,
                                            [hidden][heads · head_dim] */
  viva_packed_weight *gate, *up, *down; /* [intermediate][hidden] twice, [hidden][intermediate] */
  const viva_tensor *attention_norm;    /* [hidden]: input_layernorm */
  const viva_tensor *mlp_norm;          /* [hidden]: post_attention_layernorm */
  const viva_tensor *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
  const viva_tensor *q_norm, *k_norm; /* [head_dim] */
} viva_layer_parts;

typedef struct viva_parts_options {
  size_t size;               /* sizeof(viva_parts_options) */
  viva_activation_mode act;  /* AUTO: 16 */
  viva_dtype kv;             /* VIVA_F16, VIVA_F32 or VIVA_E4M3 */
  uint64_t context;          /* 0: config's max_position_embeddings */
  viva_tokenizer *tokenizer; /* NULL: none. Retained */
  uint64_t cache_bytes;      /* as in viva_model_options */
  viva_decode_path decode;   /* AUTO */
  viva_accumulation accumulate;
} viva_parts_options;

VIVA_API viva_parts_options viva_parts_options_default(void);

/* A configuration to begin with: of the family "llama", max_position_embeddings 2048, rms_norm_eps 1e-6, rope_theta
 * 10000 without scaling, no biases, head not tied, no bos and no eos. To be set: hidden_size, intermediate_size,
 * num_layers, num_heads, num_kv_heads, head_dim, rotary_dim (most often head_dim) and vocab_size. */
VIVA_API viva_model_config viva_model_config_default(void);

/* What a model is made of. */
typedef struct viva_model_parts {
  size_t size;                    /* sizeof(viva_model_parts) */
  viva_packed_weight *embedding;  /* dense, [vocab][hidden] */
  const viva_layer_parts *layers; /* config->num_layers of them, each with its size set */
  const viva_tensor *final_norm;  /* [hidden] */
  viva_packed_weight *head; /* [vocab][hidden], any format; NULL: the embedding (config must say that it is tied) */
} viva_model_parts;

VIVA_API viva_model_parts viva_model_parts_default(void);

/* A model made of handles, which it retains; each layer and projection may have a format of its own. Everything is
 * checked against config. Equal weights give the same bits as viva_model_load with the same formats.
 * Errors: E_ARGUMENT (NULL, or present where config has none, or of another engine; config breaks a rule), E_SIZE (a
 * shape: the message names layer and projection, the shape found and that expected), E_DTYPE (the embedding is not
 * dense), E_MEMORY.
 *
 * config:      as viva_checkpoint_config gives it, or from viva_model_config_default: num_layers, sizes, RoPE, biases.
 *              Read are the rope_ members that its rope_type uses. permuted_qk must be 0; bos_token is -1 (none) or, as
 *              the eos_tokens, below vocab_size. An error about it names the member
 * parts:       only read during the call
 * options:     NULL for the defaults
 * model:       receives one reference, ended by viva_model_release */
VIVA_API viva_status viva_model_from_parts(viva_engine *engine, const viva_model_config *config,
                                           const viva_model_parts *parts, const viva_parts_options *options,
                                           viva_model **model, viva_error *error);

/* The model base with layers first to first + count - 1 of other; embedding, norms at the end, head, tokenizer and context are
 * base's. No weight is copied: both models live as long as this one. It is what tells where damage arises: a model in
 * few bits, one layer at a time within the whole one.
 * Errors: E_ARGUMENT (NULL, another engine, layers that do not exist, packed weights in both with different activations),
 * E_SIZE (shapes, biases or RoPE differ: the item names which), E_MEMORY.
 *
 * model: receives one reference, ended by viva_model_release */
VIVA_API viva_status viva_model_splice(const viva_model *base, const viva_model *other, uint64_t first, uint64_t count,
                                       viva_model **model, viva_error *error);

/* ---- sessions --------------------------------------------------------------------------------------------------- */

typedef struct viva_session_options {
  size_t size;            /* sizeof(viva_session_options) */
  uint64_t capacity;      /* 0: the model's context. The most tokens that the session can hold */
  viva_dtype kv;          /* VIVA_DTYPE_NONE: the model's option. VIVA_F16, VIVA_F32 or VIVA_E4M3 */
  uint32_t prefill_chunk; /* 0: chosen. Most tokens processed at once in prefill; results do not depend on it */
  int32_t reserve; /* 1: all pages of the capacity are taken now, so that no step can fail for memory. 0: a page is
                             taken when it is needed, and a step that finds none is E_LIMIT */
  int32_t reserved;
} viva_session_options;

VIVA_API viva_session_options viva_session_options_default(void);

/* Errors: E_ARGUMENT, E_LIMIT (does not fit: the numbers), E_MEMORY. session: freed by viva_session_free. */
VIVA_API viva_status viva_session_create(viva_model *model, const viva_session_options *options, viva_session **session,
                                         viva_error *error);
VIVA_API void viva_session_free(viva_session *session); /* NULL is allowed */

/* Receives logits row by row: position is that of the token which the row follows, counted from the session's beginning
 * (not from the call's); logits (vocab_size values) are valid during the call. Return 0 to go on, anything else to stop
 * with VIVA_E_CANCELLED. */
typedef int (*viva_logits_fn)(void *user, uint64_t position, const float *logits, size_t vocab_size);

typedef struct viva_prefill_options {
  size_t size;              /* sizeof(viva_prefill_options) */
  float *all_logits;        /* NULL, or count × vocab_size values: logits of every position are written here */
  size_t all_logits_count;  /* number of floats at all_logits; must be count × vocab_size */
  viva_logits_fn on_logits; /* NULL, or called for every position, chunk by chunk, in order */
  void *on_logits_user;
  viva_progress_fn progress; /* NULL, or called after each chunk with tokens done and count; can cancel */
  void *progress_user;
} viva_prefill_options;

VIVA_API viva_prefill_options viva_prefill_options_default(void);

/* Appends count tokens to the session. Afterwards viva_session_logits gives the logits that follow the last one.
 * Errors: E_LIMIT (position + count > capacity: the three numbers), E_ARGUMENT (count 0, a token outside the
 * vocabulary: its index and value), E_SIZE (all_logits_count ≠ count × vocab_size), E_NUMERIC (NaN logits),
 * E_CANCELLED. After any error the session is as it was before the call.
 *
 * options: NULL for the defaults: the last position's logits only */
VIVA_API viva_status viva_session_prefill(viva_session *session, const viva_token *tokens, size_t count,
                                          const viva_prefill_options *options, viva_error *error);

/* Appends one token; afterwards viva_session_logits gives the logits that follow it. Allocates nothing in a session that
 * reserves. Errors as above. */
VIVA_API viva_status viva_session_decode(viva_session *session, viva_token token, viva_error *error);

/* As viva_session_decode and viva_argmax in one: nothing but the token goes in and out, the logits stay on the
 * device (viva_session_logits can still fetch them). */
VIVA_API viva_status viva_session_decode_argmax(viva_session *session, viva_token token, viva_token *next,
                                                viva_error *error);

/* Appends tokens[i] to sessions[i] for i < count, reading the weights once. All must be different sessions of one
 * model with one KV type (E_ARGUMENT otherwise).
 * The result is bit for bit that of count calls of viva_session_decode (on a GPU: of up to 16). On an error no session has
 * changed; the error's item names the session ("sessions[3]"). */
VIVA_API viva_status viva_sessions_decode(viva_session *const *sessions, const viva_token *tokens, size_t count,
                                          viva_error *error);

/* ---- steps */

typedef enum viva_step_logits {
  VIVA_STEP_NONE = 0, /* tokens go into the cache, no logits are made */
  VIVA_STEP_LAST = 1, /* those that follow the last token: the session's, as after a prefill */
  VIVA_STEP_ALL = 2   /* those of every token; the session keeps the last ones */
} viva_step_logits;

/* One of the largest logits of a row. */
typedef struct viva_top {
  viva_token id;
  float logit;
} viva_top;

/* What a step does for one session. */
typedef struct viva_step_part {
  size_t size; /* sizeof(viva_step_part); the parts of an array have one size */
  viva_session *session;
  const viva_token *tokens;
  size_t count;
  viva_step_logits logits;
  uint32_t top_k;    /* 0, or so many of the largest logits of each row that has some are written to top */
  viva_top *top;     /* [1 (LAST) or count (ALL)][top_k], the largest first, equal ones by rising id */
  float *all_logits; /* ALL: NULL, or room for count × vocab_size values */
} viva_step_part;

VIVA_API viva_step_part viva_step_part_default(void); /* LAST */

typedef struct viva_step_options {
  size_t size;               /* sizeof(viva_step_options) */
  viva_progress_fn progress; /* NULL, or called after each pass with tokens done and all; can cancel */
  void *progress_user;
} viva_step_options;

VIVA_API viva_step_options viva_step_options_default(void);

/* Appends each part's tokens to its session, reading the weights once for all: prefill of some beside decode of others. All
 * must be different sessions of one model with one KV type. The result of each row is bit for bit that of separate calls
 * (on a GPU: in steps of up to 16 rows, docs/gpu.md).
 * No parts: nothing happens, VIVA_OK. Steps of different sessions may run in several threads.
 * Errors: those of viva_session_prefill, and E_LIMIT when no page of the KV cache is left. The error's item names the part
 * ("parts[3]"), the message its token; no session has changed.
 *
 * parts:   count structs, each with its size set
 * options: NULL for the defaults */
VIVA_API viva_status viva_step(const viva_step_part *parts, size_t count, const viva_step_options *options,
                               viva_error *error);

/* The KV caches of a model's sessions: pages of page_tokens positions, shared where sessions were copied. */
typedef struct viva_cache_info {
  size_t size;             /* sizeof(viva_cache_info), set by the caller before the call */
  uint64_t page_tokens;    /* 64 */
  uint64_t page_bytes;     /* of the model's own KV type */
  uint64_t pages;          /* that exist, of all KV types, in use or free */
  uint64_t pages_in_use;   /* held by sessions; a shared page counts once */
  uint64_t pages_shared;   /* held by more than one */
  uint64_t pages_promised; /* free, but kept for sessions that reserve */
  uint64_t bytes;          /* of all pages */
  uint64_t limit_bytes;    /* cache_bytes of the options; 0: none */
  uint64_t slab_pages;     /* pages that are taken at once where no session reserves them; of the model's own KV type */
} viva_cache_info;

/* Thread-safe. Errors: E_ARGUMENT. */
VIVA_API viva_status viva_model_cache_info(const viva_model *model, viva_cache_info *info, viva_error *error);

/* Gives back to the device what the model keeps for later steps and sessions: free pages, idle work spaces. Thread-safe. */
VIVA_API void viva_model_trim(viva_model *model);

/* ---- a session's state */

/* The last logits: vocab_size values that belong to the session and are valid until its next call that changes it.
 * Errors: E_STATE (nothing was processed yet, or tokens were truncated since). */
VIVA_API viva_status viva_session_logits(viva_session *session, const float **logits, size_t *vocab_size,
                                         viva_error *error);

VIVA_API uint64_t viva_session_position(const viva_session *session); /* tokens in the cache */
VIVA_API uint64_t viva_session_capacity(const viva_session *session);

/* Forgets all tokens from position on (rewind); with its own position nothing changes. Errors: E_ARGUMENT (position >
 * the session's). */
VIVA_API viva_status viva_session_truncate(viva_session *session, uint64_t position, viva_error *error);

/* Makes to hold what from holds (tokens, and logits if it has them): a shared prefix is processed once. Nothing is copied:
 * both hold the same pages, and the one that writes to a shared page first gets a page of its own, 64 positions. Both must be
 * sessions of one model with one KV type (and one capacity, when the model's RoPE is dynamic); a session copied to itself
 * stays as it is. Errors: E_ARGUMENT, E_LIMIT (to's capacity < from's position; no page left to promise to a session that
 * reserves), E_MEMORY. On an error nothing has changed. */
VIVA_API viva_status viva_session_copy(viva_session *to, const viva_session *from, viva_error *error);

/* ---- generation ------------------------------------------------------------------------------------------------- */

typedef enum viva_stop_reason {
  VIVA_STOP_LENGTH = 0,   /* max_new_tokens reached */
  VIVA_STOP_EOS = 1,      /* an end token: it is in tokens, not in text */
  VIVA_STOP_STRING = 2,   /* a stop string: not in text; the tokens that formed it are in tokens */
  VIVA_STOP_CANCELLED = 3 /* the callback asked to stop */
} viva_stop_reason;

/* "length", "eos", "stop", "cancelled". Static. */
VIVA_API const char *viva_stop_reason_name(viva_stop_reason reason);

/* Called once for every generated token, but not for one that ends the text, with the text that can be shown now, in
 * whole UTF-8 characters. bytes is 0 for a token that gives none yet: part of a character, the beginning of a possible
 * stop string, a special token, a model without tokenizer. Called once more at the end when text was held back. The
 * pieces, joined, are the result's text. Return 0 to go on, anything else to stop with VIVA_STOP_CANCELLED. */
typedef int (*viva_text_fn)(void *user, const char *text, size_t bytes);

typedef struct viva_generate_options {
  size_t size;             /* sizeof(viva_generate_options) */
  uint64_t max_new_tokens; /* 50; 0: only the prompt is processed */

  /* temperature 0, top_k 0 (unlimited), top_p 1, min_p 0, repetition_penalty 1, seed 42. The history for the penalty is
   * this call's prompt and output; what a continued session held before is not seen. */
  viva_sampling_options sampling;

  int32_t stop_on_eos; /* 1: stop at the model's end tokens. 0: they are ordinary tokens */

  /* 1: special tokens written in the prompt become their ids. 0: they are ordinary text. */
  int32_t match_special;

  /* BOS before the prompt. -1: by the tokenizer's rule (viva_tokenizer_add_bos), and only at the beginning of a session.
   * 0: never. 1: always. No other token is added. */
  int32_t add_bos;

  /* 0. N: for each token its log probability and the N most probable (of the plain softmax of the logits, before the
   * sampling options). */
  uint32_t logprobs;

  /* NULL, or stop_count zero-ended UTF-8 strings, none empty. One that is the text of a special token means that token. */
  const char *const *stop_strings;
  size_t stop_count;
  viva_text_fn on_text; /* NULL: none */
  void *on_text_user;

  /* NULL: a new one for this call, just large enough for prompt + max_new_tokens. Else the prompt is appended to this one,
   * which afterwards holds the prompt and every generated token but the last: to go on, begin the next prompt with that
   * one. With a session that has logits (viva_session_logits) the prompt may be empty: the text continues from them. */
  viva_session *session;

  uint64_t sequence;         /* 0: counter for the random numbers, see viva_sample; the position is the session's */
  viva_progress_fn progress; /* NULL, or called during prefill with tokens done and total; can cancel */
  void *progress_user;

  /* Ids at which the text ends, beside the model's end tokens, whatever stop_on_eos says: VIVA_STOP_EOS. */
  const viva_token *stop_tokens;
  size_t stop_token_count;

  /* 1: the session then holds every generated token, the last one too. */
  int32_t keep_last;
  int32_t reserved;
} viva_generate_options;

VIVA_API viva_generate_options viva_generate_options_default(void);

typedef struct viva_logprob {
  viva_token id;
  float logprob; /* natural logarithm */
} viva_logprob;

/* What was generated. Belongs to the caller, freed with viva_generate_result_free; everything in it ends with it. */
typedef struct viva_generate_result {
  const viva_token *prompt_tokens;
  size_t prompt_count;
  const viva_token *tokens; /* generated ids; an end token that stopped it included */
  size_t token_count;
  const char *text; /* of tokens: without end token and stop string, a leading space kept. Ended by a zero
                                      byte; "" for a model without tokenizer */
  size_t text_bytes;
  viva_stop_reason stop_reason;
  uint32_t logprobs;     /* N of the options */
  uint64_t total_tokens; /* prompt_count + token_count */
  double ms_per_token;   /* decode time / decode steps; 0 when there was none. Without load and prefill */
  double prefill_seconds;
  double decode_seconds;              /* forward passes, sampling and text of the generated tokens after the first */
  const viva_logprob *token_logprobs; /* token_count, or NULL when logprobs is 0 */
  const viva_logprob *top_logprobs;   /* token_count × logprobs, most probable first, or NULL */
} viva_generate_result;

/* Continues a text. No forward pass is run whose token nobody uses. A stop by on_text is no error: stop_reason says so,
 * and the token just shown is in the result. A cancel by progress, while the prompt is processed, is E_CANCELLED: there
 * is no result yet.
 * Errors: E_ARGUMENT (a prompt without tokens; an option out of range: its name is the error's item), E_STATE (the
 * model has no tokenizer), E_LIMIT (the session's position + prompt + max_new_tokens > capacity: the numbers), and
 * those of viva_session_prefill. After an error a caller's session is where it was.
 *
 * prompt:  bytes of UTF-8, need not end with a zero
 * options: NULL for the defaults
 * result:  receives the result; set to NULL on failure */
VIVA_API viva_status viva_generate(viva_model *model, const char *prompt, size_t bytes,
                                   const viva_generate_options *options, viva_generate_result **result,
                                   viva_error *error);

/* The same for a prompt of ids, which are used as they are (no BOS is added). Works without a tokenizer: text is then
 * empty and stop strings are E_STATE. */
VIVA_API viva_status viva_generate_tokens(viva_model *model, const viva_token *prompt, size_t count,
                                          const viva_generate_options *options, viva_generate_result **result,
                                          viva_error *error);

VIVA_API void viva_generate_result_free(viva_generate_result *result); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
