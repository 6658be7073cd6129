/* tests/lib/far_device.h: a device whose memory the host may not touch: the guard of backend.h.
 *
 * It computes with the CPU's kernels on memory that is mapped without rights outside its own calls, so whatever would fault on
 * a GPU faults here; and every pointer of a call is checked for the side that it must be on. What is computed on it is what
 * the CPU computes, bit for bit. It has every optional slot: second forms of weights (without which it does not multiply),
 * packing, and whole decode steps.
 */
#ifndef TESTS_FAR_DEVICE_H
#define TESTS_FAR_DEVICE_H

#include <pthread.h>

#include "engine/engine.h"

typedef struct far_device {
  backend base;
  backend_ops ops;
  backend *cpu;   /* the engine's own, whose kernels it uses */
  backend **slot; /* where the device stands in for the CPU */
  pthread_mutex_t lock;
  uint8_t *arena; /* [arena_bytes], no rights outside a call */
  size_t arena_bytes, used;
  struct far_block *blocks;
  int open;           /* calls within calls */
  int steps_open;     /* step_begin without step_end */
  uint64_t available; /* bytes of memory that it says it has; 0: as the CPU */
  long calls_left;    /* calls until it is lost; -1: it stays */
  int lost;
  _Atomic int hangs;                     /* 1: calls do not come back until it is 0 again */
  size_t allocations, downloads, packed; /* counted; packed: rows */
  struct far_upload *late;               /* not made yet, the last one first */
  uint8_t *pinned;                       /* [pinned_bytes] */
  size_t pinned_bytes;
} far_device;

enum {
  FAR_PREPARE = 1, /* with weight_bytes and weight_prepare */
  FAR_PACK = 2,    /* with pack_rows */
  FAR_PIN = 4      /* with host_alloc: uploads from there are made as late as they may be */
};

/* The engine computes on the device until far_end. Everything made on it must be gone by then. */
void far_begin(far_device *far, viva_engine *engine, int flags);
void far_end(far_device *far);
/* In place of the CPU that *slot is: one of an engine's several devices. */
void far_begin_at(far_device *far, backend **slot, int flags);

/* With decode_step, for up to 4 rows. */
void far_add_decode(far_device *far);

/* For what adds to it: the device of a backend; a pointer of the device's, or NULL (fails for the host's). */
far_device *far_of(backend *b);
void *far_dev(const far_device *far, const void *p);

#endif
