/* engine/engine.h: what viva_engine is inside, for model/ and tests. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "backend/backend.h"

struct viva_engine {
  runtime *rt;      /* one reference */
  pool *pool;       /* the runtime's */
  backend *backend; /* backend->ops is the table */
  _Atomic uint32_t references;
};

/* As viva_engine_open with the file table given: for tests. io NULL: the system's. */
viva_status engine_open(const viva_engine_options *options, const io_table *io, viva_engine **engine,
                        viva_error *error);

#endif
