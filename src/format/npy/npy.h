/* format/npy/npy.h: NumPy's .npy and .npz: what an open file is, and the header of one array.
 *
 * A .npy, NEP 1:
 *
 *   93 'NUMPY' major minor    major 1: header length in 2 bytes; 2 and 3: in 4 bytes; little endian
 *   header                    a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, spaces, '\n'
 *   data                      elements in order, nothing after them
 *
 * A .npz is a zip file of such files (zip.h).
 */
#ifndef FORMAT_NPY_H
#define FORMAT_NPY_H

#include "format/npy/zip.h"
#include "viva/npy.h"

enum {
  NPY_MAX_RANK = 8,
  NPY_PREFIX_BYTES = 12,         /* magic, version, the longer form of the length */
  NPY_MAX_HEADER_BYTES = 1 << 16 /* prefix included; NumPy itself reads no header above 10,000 bytes */
};

typedef struct npy_header {
  viva_dtype dtype;
  char type_name[16]; /* "<f4" */
  int swap;           /* the elements' bytes are in the other order */
  int fortran;        /* column-major: the first index varies fastest */
  uint32_t rank;
  uint64_t shape[NPY_MAX_RANK];
  uint64_t elements, bytes;
  size_t header_bytes; /* data begins here */
} npy_header;

/* Reads a header from the first bytes of an array: all of it, when it is shorter than NPY_MAX_HEADER_BYTES. The
 * error has no place yet but the offset. E_FORMAT, E_UNSUPPORTED, E_LIMIT. */
viva_status npy_header_read(const void *bytes, size_t count, npy_header *header, viva_error *error);

/* Writes the header that numpy.save writes, at most NPY_HEADER_ROOM bytes; 0 when NumPy has no such type. */
#define NPY_HEADER_ROOM 512
size_t npy_header_write(viva_dtype dtype, uint32_t rank, const uint64_t *shape, char *bytes);

typedef struct npy_array {
  const char *name; /* zero-ended, in the arena */
  npy_header header;
  zip_member place; /* of a .npy: stored, from 0 to the file's end, no checksum */
} npy_array;

struct viva_npy {
  runtime *rt; /* one reference */
  arena *arena;
  const char *path;
  io_file io;
  int is_zip;
  npy_array *arrays;
  size_t count;
};

/* As the public calls, on a runtime (retained by the file). */
viva_status npy_open(runtime *rt, const char *path, viva_npy **out, viva_error *error);
viva_status npy_write(runtime *rt, const char *path, const viva_tensor_data *array, viva_error *error);
viva_status npz_write(runtime *rt, const char *path, const viva_tensor_data *arrays, size_t count, viva_error *error);

#endif
