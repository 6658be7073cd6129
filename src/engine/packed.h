/* engine/packed.h: what viva_packed_weight is inside, for model/ and tests. */
#ifndef ENGINE_PACKED_H
#define ENGINE_PACKED_H

#include "engine/engine.h"
#include "viva/packed.h"

struct viva_packed_weight {
  _Atomic uint32_t references;
  viva_engine *engine; /* one reference, the last thing given back */
  weight w;            /* its data and scales lie in memory, or in what keep keeps */
  void *memory;        /* of the engine's backend; NULL for a view */
  void *prepared;      /* of the backend: the second form that it wanted; NULL: none, or a view's */
  void (*keep_release)(void *keep);
  void *keep;
};

/* A handle on a matrix that lies in memory of someone else's: a loaded model, a mapped file. view->data and view->scales
 * must stay valid until keep_release(keep) is called: once, by the thread that gives back the last reference, before the
 * engine is released. keep_release NULL: nothing to call. After a failure nothing was taken over. Errors: E_MEMORY. */
viva_status packed_view(viva_engine *engine, const weight *view, void (*keep_release)(void *keep), void *keep,
                        viva_packed_weight **packed, viva_error *error);

/* As packed_view over memory of the engine's backend (its alloc), which is freed with the last reference. */
viva_status packed_own(viva_engine *engine, const weight *view, void *memory, viva_packed_weight **packed,
                       viva_error *error);

/* The matrix; valid while the handle lives. */
const weight *packed_weight(const viva_packed_weight *packed);

#define PACKED_NAME_BYTES 32

/* The word for a format as --weights has it: "fp8", "fp8-b16:f16", "nvfp4", "int8-24", "int4-24-g64", "bf16". Returns
 * name. */
const char *packed_name(const weight *w, char name[PACKED_NAME_BYTES]);

/* What a matrix takes: codes with 2:4 indices, and scales. */
uint64_t packed_code_bytes(const weight *w);
uint64_t packed_scale_bytes(const weight *w);

/* The element type of its scales; VIVA_DTYPE_NONE for dense formats. */
viva_dtype packed_scale_dtype(const weight *w);

#endif
