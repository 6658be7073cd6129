/* viva/npy.h: NumPy's files: .npy (one array) and .npz (a zip file of them).
 *
 *   viva_npy *file;
 *   viva_stored_tensor info = {.size = sizeof info};
 *   if (viva_npy_open("weights.npz", NULL, &file, &error)) return report(&error);
 *   for (size_t i = 0; viva_npy_info(file, i, &info, NULL) == VIVA_OK; i++) {
 *     void *data = malloc(info.bytes);
 *     viva_npy_read(file, i, data, info.bytes, &error);                       row-major, this machine's byte order
 *   }
 *   viva_npy_close(file);
 */
#ifndef VIVA_NPY_H
#define VIVA_NPY_H

#include "viva/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_npy viva_npy;

/* Opens either kind of file (told apart by its first bytes) and checks every header in it. Members of a .npz that
 * are not called *.npy are left out. Untrusted input: nothing in a file can make this crash, hang or allocate more
 * than a small multiple of the file's size. Any number of threads may read from one handle. Errors: E_IO, E_FORMAT
 * (place and rule in the error), E_UNSUPPORTED (objects, records, texts, more than 8 dimensions; encrypted members,
 * methods other than "stored" and "deflate"), E_LIMIT, E_MEMORY, E_ARGUMENT.
 *
 * options: NULL for the defaults: allocator, log */
VIVA_API viva_status viva_npy_open(const char *path, const viva_checkpoint_options *options, viva_npy **file,
                                   viva_error *error);
VIVA_API void viva_npy_close(viva_npy *file); /* NULL is allowed */

/* Number of arrays: 1 for .npy. They stand in the file's order. */
VIVA_API size_t viva_npy_count(const viva_npy *file);

/* Describes array index. name is "" in a .npy, else the member's without its ".npy"; type_name is the header's ("<f4");
 * bytes are what viva_npy_read writes; offset is that of the array's data, or of its compressed member.
 * Errors: E_ARGUMENT, E_NOT_FOUND (index ≥ count). */
VIVA_API viva_status viva_npy_info(const viva_npy *file, size_t index, viva_stored_tensor *info, viva_error *error);

/* The index of the array called name. Errors: E_ARGUMENT, E_NOT_FOUND. */
VIVA_API viva_status viva_npy_find(const viva_npy *file, const char *name, size_t *index, viva_error *error);

/* Copies an array's elements: row-major, in this machine's byte order, whatever the file's. A member's checksum is
 * checked. Errors: E_NOT_FOUND, E_SIZE (bytes is not exactly the array's), E_FORMAT (damaged data), E_IO, E_MEMORY.
 *
 * data: bytes long, any alignment, the caller's */
VIVA_API viva_status viva_npy_read(const viva_npy *file, size_t index, void *data, size_t bytes, viva_error *error);

/* Writes one array, byte for byte as numpy.save does; its name is not used. The file appears whole or not at all, as
 * with viva_safetensors_write. Errors: E_ARGUMENT (sizes contradict shapes), E_DTYPE (a type that NumPy lacks: BF16
 * and the 8-bit floats; convert them to F32), E_IO, E_MEMORY.
 *
 * options: NULL for the defaults (its allocator is used) */
VIVA_API viva_status viva_npy_write(const char *path, const viva_tensor_data *array,
                                    const viva_checkpoint_options *options, viva_error *error);

/* Writes arrays, uncompressed, as numpy.savez does. Names must differ, and be UTF-8. Errors: as above. */
VIVA_API viva_status viva_npz_write(const char *path, const viva_tensor_data *arrays, size_t count,
                                    const viva_checkpoint_options *options, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
