/* viva/types.h: the small types that every other header uses. */
#ifndef VIVA_TYPES_H
#define VIVA_TYPES_H

#include "viva/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Index into a model's vocabulary. */
typedef int32_t viva_token;

/* Element types. Values are pinned. Sub-byte types are packed, first element in the low bits. */
typedef enum viva_dtype {
  VIVA_DTYPE_NONE = 0, /* "as stored", or "not one of these" (a GGUF block type: see viva_stored_tensor.type_name) */
  VIVA_F64 = 1,
  VIVA_F32 = 2,
  VIVA_F16 = 3,
  VIVA_BF16 = 4,
  VIVA_I64 = 5,
  VIVA_I32 = 6,
  VIVA_I16 = 7,
  VIVA_I8 = 8,
  VIVA_U64 = 9,
  VIVA_U32 = 10,
  VIVA_U16 = 11,
  VIVA_U8 = 12,
  VIVA_BOOL = 13,
  VIVA_E4M3 = 14, /* OCP "fn": no infinity, largest 448 */
  VIVA_E5M2 = 15,
  VIVA_E8M0 = 16,
  VIVA_E2M1 = 17,
  VIVA_E2M3 = 18,
  VIVA_E3M2 = 19,
  VIVA_E4M3_FNUZ = 20,
  VIVA_E5M2_FNUZ = 21,
  VIVA_C64 = 22
} viva_dtype;

/* "F32", "BF16", "F8_E4M3" ... (safetensors' spelling). Static string, never NULL. */
VIVA_API const char *viva_dtype_name(viva_dtype dtype);

/* The caller's memory functions. All three must be given and be thread-safe; pointers must be aligned as malloc's are.
 * user is passed through. The library takes every byte from here and gives every byte back. */
typedef struct viva_allocator {
  void *(*alloc)(void *user, size_t bytes);                 /* NULL when there is none; bytes is never 0 */
  void *(*realloc)(void *user, void *memory, size_t bytes); /* as C's realloc; memory may be NULL */
  void (*free)(void *user, void *memory);                   /* memory may be NULL */
  void *user;
} viva_allocator;

/* What an engine's allocator has seen so far. */
typedef struct viva_memory_stats {
  size_t size;          /* set to sizeof(viva_memory_stats) by the caller */
  size_t current_bytes; /* now allocated */
  size_t peak_bytes;    /* most at any time */
  uint64_t allocations; /* calls of alloc and realloc so far */
} viva_memory_stats;

typedef enum viva_log_level {
  VIVA_LOG_ERROR = 0,
  VIVA_LOG_WARN = 1,
  VIVA_LOG_INFO = 2,
  VIVA_LOG_DEBUG = 3
} viva_log_level;

/* Receives one message without a line end. May be called from any thread that is inside a viva call, and while that call holds a
 * lock: it must not call viva itself. */
typedef void (*viva_log_fn)(void *user, viva_log_level level, const char *message);

/* Called now and then during a long job with the work done so far: bytes of weights when a model is loaded, tokens in a
 * prefill. Return 0 to go on, anything else to cancel, also when done is total: the job then ends with
 * VIVA_E_CANCELLED, and every object is as it was before. Called from the thread that started the job. */
typedef int (*viva_progress_fn)(void *user, uint64_t done, uint64_t total);

/* How a model's files reach memory. READ: positioned reads, several at a time (the default); a file that shrinks is
 * reported as VIVA_E_IO. MMAP: mapped, pages come on demand and tensors kept as stored are not copied; a mapped file
 * that shrinks raises SIGBUS, for which the library installs no handler. */
typedef enum viva_load_mode { VIVA_LOAD_READ = 0, VIVA_LOAD_MMAP = 1 } viva_load_mode;

#ifdef __cplusplus
}
#endif
#endif
