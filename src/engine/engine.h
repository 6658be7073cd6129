/* engine/engine.h: what viva_engine is inside, for model/ and tests. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "backend/backend.h"
#include "base/pool.h"
#include "engine/ranks.h"
#include "tensor/device.h"

struct viva_engine {
  runtime *rt;      /* one reference */
  pool *pool;       /* the runtime's */
  backend *backend; /* backend->ops is the table */
  rank_set *ranks;  /* the devices that models run on, when they are several: then backend is the CPU's; else NULL */
  tensor_device device; /* the backend's memory as tensors see it (tensor_device.c) */
  _Atomic uint32_t references;
};

/* As viva_engine_open with the file table given: for tests. io NULL: the system's. */
viva_status engine_open(const viva_engine_options *options, const io_table *io, viva_engine **engine,
                        viva_error *error);

/* Fills e->device: it goes to whichever backend the engine has at the time of a call. */
void engine_make_device(viva_engine *e);

/* The device in whose memory the engine computes; NULL: the host's. */
const tensor_device *engine_device(const viva_engine *e);

#endif
