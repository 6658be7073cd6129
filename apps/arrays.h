/* arrays.h: named arrays from files of every kind the library reads, as FP32. */
#ifndef APPS_ARRAYS_H
#define APPS_ARRAYS_H

#include <viva/viva.h>

#include "args.h"

typedef struct arrays {
  viva_engine *engine;
  viva_checkpoint *checkpoint; /* safetensors, GGUF, a model's folder; or */
  viva_npy *npy;               /* .npy, .npz; or: */
  const char *raw;             /* a path whose bytes are floats; or: */
  char *pipe;                  /* all that standard input had, floats */
  size_t pipe_bytes;
} arrays;

/* Opens path: .npy and .npz; .f32, .raw and .bin as floats without a header; "-": floats from standard input, which are read
 * to their end; everything else as a checkpoint. */
viva_status arrays_open(viva_engine *engine, const char *path, arrays *a, viva_error *error);
void arrays_close(arrays *a);

size_t arrays_count(const arrays *a);
viva_status arrays_info(const arrays *a, size_t index, viva_stored_tensor *info, viva_error *error);

/* 1 when its elements can be read as FP32: floating-point types and GGUF's blocks. */
int arrays_real(const viva_stored_tensor *info);

/* A tensor of FP32 with the array's shape and values, in the engine's memory. */
viva_status arrays_read(const arrays *a, size_t index, viva_tensor **tensor, viva_error *error);

/* 1 when name is wanted: the list is empty or has it. */
int arrays_wanted(const text_list *names, const char *name);
/* 0 when each of the names is one of a's, else the exit code after a message. */
int arrays_check_names(const arrays *a, const text_list *names, const char *path);

/* 1 when path ends in ".end". */
int path_ends(const char *path, const char *end);

#endif
