/* viva/checkpoint.h: model files as they lie on disk: named tensors, metadata, configuration.
 *
 * A checkpoint is a safetensors file, a sharded index (model.safetensors.index.json), a folder that holds either, or a
 * GGUF file (version 2 or 3). Opening one reads and checks its headers; tensor data is read on demand. No engine is
 * needed. A checkpoint also opens when viva cannot run the model in it.
 *
 *   viva_checkpoint *ck;
 *   viva_error error;
 *   if (viva_checkpoint_open("model.safetensors", NULL, &ck, &error)) return report(&error);
 *   size_t bytes;
 *   viva_checkpoint_tensor_bytes(ck, "model.norm.weight", &bytes, &error);
 *   uint16_t *bf16 = malloc(bytes);
 *   viva_checkpoint_read_bf16(ck, "model.norm.weight", bf16, bytes, &error);
 *   viva_bf16_to_f32(bf16, f32, bytes / 2);
 *   viva_checkpoint_close(ck);
 */
#ifndef VIVA_CHECKPOINT_H
#define VIVA_CHECKPOINT_H

#include "viva/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_checkpoint viva_checkpoint;

typedef struct viva_checkpoint_options {
  size_t size;         /* sizeof(viva_checkpoint_options) */
  viva_load_mode load; /* READ */
  int32_t reserved;
  const viva_allocator *allocator; /* NULL: the C library's; copied, its user pointer must outlive the handle */
  viva_log_fn log;                 /* NULL: silent; gets errors and warnings, such as what was ignored in the files */
  void *log_user;
} viva_checkpoint_options;

VIVA_API viva_checkpoint_options viva_checkpoint_options_default(void);

/* Opens the file or folder at path and checks every header in it: sizes, offsets, names, types, coverage. Untrusted
 * input: nothing in a file can make this crash, hang, or allocate more than a small multiple of the file's size.
 * Errors: E_IO (cannot open or read), E_FORMAT (place and rule in the error), E_UNSUPPORTED (GGUF version 1, unknown
 * tensor type, more than 8 dimensions), E_NOT_FOUND (folder without a checkpoint, missing shard), E_MEMORY, E_ARGUMENT
 * (also a folder with several GGUF files: name one).
 *
 * options:    NULL for the defaults
 * checkpoint: receives the handle; the caller ends it with viva_checkpoint_close. Immutable: shareable by threads. */
VIVA_API viva_status viva_checkpoint_open(const char *path, const viva_checkpoint_options *options,
                                          viva_checkpoint **checkpoint, viva_error *error);

/* NULL is allowed. Strings got from the checkpoint end with it. */
VIVA_API void viva_checkpoint_close(viva_checkpoint *checkpoint);

/* The container: "safetensors", "safetensors shards" (several files), "GGUF 2", "GGUF 3". Static string. */
VIVA_API const char *viva_checkpoint_format(const viva_checkpoint *checkpoint);

/* One tensor. Strings belong to the checkpoint. */
typedef struct viva_stored_tensor {
  size_t size; /* sizeof(viva_stored_tensor), set by the caller before the call */
  const char *name;
  const char *type_name; /* the file's own word: "BF16", "F8_E4M3", "Q4_1", "Q6_K" ... */
  viva_dtype dtype;      /* VIVA_DTYPE_NONE for GGUF's block types */
  uint32_t rank;         /* 0 (one element) to 8 */
  uint64_t shape[8];     /* outermost first, as in safetensors: a weight is [out][in]. GGUF's order is turned round */
  uint64_t elements;
  uint64_t bytes;   /* as stored */
  uint64_t offset;  /* of the first byte, from the beginning of the file */
  const char *file; /* path of the file that holds it */
} viva_stored_tensor;

/* Number of tensors. They are ordered by name (bytewise). */
VIVA_API size_t viva_checkpoint_tensor_count(const viva_checkpoint *checkpoint);

/* Describes tensor index. Errors: E_ARGUMENT, E_NOT_FOUND (index ≥ count). */
VIVA_API viva_status viva_checkpoint_tensor(const viva_checkpoint *checkpoint, size_t index, viva_stored_tensor *info,
                                            viva_error *error);

/* Describes the tensor called name. Errors: E_ARGUMENT, E_NOT_FOUND (the error names it and the file). */
VIVA_API viva_status viva_checkpoint_find(const viva_checkpoint *checkpoint, const char *name, viva_stored_tensor *info,
                                          viva_error *error);

/* Bytes of the tensor as stored. Errors: E_NOT_FOUND. */
VIVA_API viva_status viva_checkpoint_tensor_bytes(const viva_checkpoint *checkpoint, const char *name, size_t *bytes,
                                                  viva_error *error);

/* Copies a tensor's bytes as stored. Errors: E_NOT_FOUND, E_SIZE (bytes is not exactly the tensor's), E_IO (short
 * read).
 *
 * data: bytes long, any alignment, the caller's */
VIVA_API viva_status viva_checkpoint_read(const viva_checkpoint *checkpoint, const char *name, void *data, size_t bytes,
                                          viva_error *error);

/* As viva_checkpoint_read, for a BF16 tensor only: another type gives E_DTYPE, and the error names both types. */
VIVA_API viva_status viva_checkpoint_read_bf16(const viva_checkpoint *checkpoint, const char *name, void *data,
                                               size_t bytes, viva_error *error);

/* Reads any supported floating-point or GGUF block type as FP32 (dequantised exactly as the gguf Python package does).
 * FP8 tensors give their codes' values: the scales that a quantized checkpoint holds beside them (NAME_scale and
 * others) are tensors of their own, which viva_model_load applies and this call does not.
 * Errors: E_NOT_FOUND, E_DTYPE (integer types), E_UNSUPPORTED (a block type viva does not decode), E_SIZE, E_IO.
 *
 * values: elements FP32 values, in the order of shape (outermost first) */
VIVA_API viva_status viva_checkpoint_read_f32(const viva_checkpoint *checkpoint, const char *name, float *values,
                                              size_t elements, viva_error *error);

/* Metadata: safetensors' __metadata__ and config.json's keys, or GGUF's key-value pairs. An array is given as its first
 * elements and its length. Strings belong to the checkpoint. */
typedef struct viva_metadata {
  size_t size; /* sizeof(viva_metadata), set by the caller before the call */
  const char *key;
  const char *type_name; /* "string", "u32", "f32", "array of string" ... */
  const char *text;      /* the value as text, control characters as \xNN; beyond 256 KiB cut with "..." */
  uint64_t count;        /* elements of an array (its type_name begins with "array of"), else 1 */
} viva_metadata;

VIVA_API size_t viva_checkpoint_metadata_count(const viva_checkpoint *checkpoint);
VIVA_API viva_status viva_checkpoint_metadata(const viva_checkpoint *checkpoint, size_t index, viva_metadata *metadata,
                                              viva_error *error);

typedef enum viva_rope_type {
  VIVA_ROPE_DEFAULT = 0,
  VIVA_ROPE_LINEAR = 1,
  VIVA_ROPE_DYNAMIC = 2,
  VIVA_ROPE_LLAMA3 = 3,
  VIVA_ROPE_YARN = 4
} viva_rope_type;

/* A decoder's hyper-parameters, from config.json (and generation_config.json) or from GGUF metadata. */
typedef struct viva_model_config {
  size_t size;           /* sizeof(viva_model_config), set by the caller before the call */
  char architecture[64]; /* the file's word: "LlamaForCausalLM", "Qwen3ForCausalLM", GGUF: "llama", "gemma3" ... */
  char model_type[32];   /* the family viva knows it as: "llama", "mistral", "qwen2", "qwen3"; "" = cannot be run */
  char name[128];        /* general.name, or "" */
  uint64_t hidden_size;
  uint64_t intermediate_size;
  uint64_t num_layers;
  uint64_t num_heads;
  uint64_t num_kv_heads;
  uint64_t head_dim;
  uint64_t rotary_dim; /* head_dim × partial_rotary_factor, even */
  uint64_t vocab_size;
  uint64_t max_position_embeddings;
  uint64_t sliding_window;     /* 0: full attention */
  uint64_t sliding_from_layer; /* layers below this one use full attention (Qwen's max_window_layers); 0 = all slide */
  double rms_norm_eps;
  double rope_theta;
  viva_rope_type rope_type;
  int32_t rope_truncate; /* yarn: floor and ceil the correction range (default 1) */
  double rope_factor;
  double rope_low_freq_factor;    /* llama3 */
  double rope_high_freq_factor;   /* llama3 */
  double rope_beta_fast;          /* yarn */
  double rope_beta_slow;          /* yarn */
  double rope_attention_factor;   /* yarn: multiplier of cos and sin, already resolved (mscale included) */
  uint64_t rope_original_context; /* original_max_position_embeddings */
  int32_t tie_word_embeddings;
  int32_t qkv_bias; /* q, k, v biases */
  int32_t o_bias;   /* attention output bias */
  int32_t mlp_bias;
  int32_t qk_norm;      /* per-head RMSNorm on q and k before RoPE */
  int32_t permuted_qk;  /* GGUF llama: q/k rows lie in interleaved-pair order and are un-permuted at load */
  viva_token bos_token; /* -1: none */
  uint32_t num_eos;
  viva_token eos_tokens[16];
} viva_model_config;

/* The configuration. For an architecture that viva cannot run it fills what it finds and leaves model_type empty; for
 * one that it can run, every rule is checked (heads % kv_heads, ranges).
 * Errors: E_NOT_FOUND (no config.json beside the weights), E_FORMAT (key and value in the error), E_UNSUPPORTED (a key
 * asks for what viva does not run), E_LIMIT (a config.json above 16 MiB), E_IO, E_MEMORY, E_ARGUMENT. */
VIVA_API viva_status viva_checkpoint_config(const viva_checkpoint *checkpoint, viva_model_config *config,
                                            viva_error *error);

/* How the weight matrices of a folder are quantised, by its own configuration. */
typedef struct viva_quantization {
  size_t size;       /* sizeof(viva_quantization), set by the caller before the call */
  char dialect[32];  /* "compressed-tensors", "fp8", "fbgemm_fp8", "modelopt", "viva"; "": none, as in GGUF files */
  char scheme[64];   /* the dialect's word for it: "float-quantized", "NVFP4" ...; "" */
  uint64_t matrices; /* that are quantised */
  uint64_t unused;   /* tensors for quantised activations and KV caches, which a run chooses for itself */
} viva_quantization;

/* Told for each quantised matrix, ordered by name ("model.layers.0.mlp.down_proj"), with its form in the file
 * ("FP8 channel", "FP8 block 128x128", "NVFP4" ...), then for each tensor that is not used, with form NULL. Texts are
 * valid during the call. Must not close the checkpoint. */
typedef void (*viva_quantization_fn)(void *user, const char *name, const char *form);

/* Reads how the matrices are quantised: from quantization_config or hf_quant_config.json and the tensors' headers, not
 * from their values. Thread-safe. Errors: E_UNSUPPORTED (a scheme that viva does not read, by its name), E_FORMAT
 * (configuration and tensors contradict each other), E_LIMIT, E_IO, E_MEMORY, E_ARGUMENT.
 *
 * quantization: filled; after a failure its members but size are zero
 * on_tensor:    NULL: only the numbers; user: its first argument */
VIVA_API viva_status viva_checkpoint_quantization(const viva_checkpoint *checkpoint, viva_quantization *quantization,
                                                  viva_quantization_fn on_tensor, void *user, viva_error *error);

/* BF16 → FP32, exact: appends 16 zero bits. from and to may be unaligned and must not overlap. Thread-safe. */
VIVA_API void viva_bf16_to_f32(const void *from, void *to, size_t elements);

/* to[cols][rows] = from[rows][cols], tiled. Errors: E_SIZE (bytes ≠ rows·cols·4), E_ARGUMENT (overlapping buffers).
 * bytes is the size of from and of to. Thread-safe. */
VIVA_API viva_status viva_transpose_f32(const void *from, void *to, size_t rows, size_t cols, size_t bytes,
                                        viva_error *error);

/* One tensor to be written. */
typedef struct viva_tensor_data {
  const char *name;
  viva_dtype dtype;
  uint32_t rank;
  uint64_t shape[8];
  const void *data; /* elements × size of dtype bytes, C order, little endian */
  size_t bytes;
} viva_tensor_data;

/* Writes a safetensors file: to a temporary file beside path, flushed to the disk, then renamed over path, so that path
 * holds the old file or the whole new one at every moment. Errors: E_ARGUMENT (names double or not UTF-8, sizes
 * contradict shapes), E_IO (the temporary file is removed), E_MEMORY.
 *
 * metadata: metadata_count pairs key, value (strings), or NULL
 * options:  NULL for the defaults (its allocator is used) */
VIVA_API viva_status viva_safetensors_write(const char *path, const viva_tensor_data *tensors, size_t count,
                                            const char *const *metadata, size_t metadata_count,
                                            const viva_checkpoint_options *options, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
