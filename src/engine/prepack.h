/* engine/prepack.h: from a tensor to a packed weight. */
#ifndef ENGINE_PREPACK_H
#define ENGINE_PREPACK_H

#include "engine/packed.h"
#include "pack/pack.h"
#include "tensor/tensor.h"

/* What to pack, checked: source is 2-D and of real numbers, keep (NULL or as its shape) of bytes. */
typedef struct prepack_plan {
  const viva_tensor *source;
  const viva_tensor *keep;
  pack_spec spec;
  viva_progress_fn progress;
  void *progress_user;
} prepack_plan;

/* Surveys (when the format needs it) and packs on all threads of the engine. Errors: E_NUMERIC, E_ARGUMENT (keep), E_LIMIT,
 * E_MEMORY, E_CANCELLED. */
viva_status prepack_run(viva_engine *engine, const prepack_plan *plan, viva_packed_weight **packed, viva_error *error);

/* prepack_device.c: 1 when the device packs: it can, and the plan has nothing that only the host does (a mask, F64, a dense
 * format). */
int prepack_by_device(const viva_engine *engine, const prepack_plan *plan);

/* Rows [first, first + rows) of source, wherever it lies, packed by the device into the matrix of all its rows at dev. */
viva_status prepack_slab(viva_engine *engine, const viva_tensor *source, const pack_spec *spec, size_t first,
                         size_t rows, void *dev, pack_place *bad, viva_error *error);

#endif
