/* arrays.c: named arrays from files, as FP32. */
#include "arrays.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages.h"
#include "signals.h"
#include "units.h"

enum { PIPE_FIRST = 1 << 20 }; /* bytes */

int path_ends(const char *path, const char *end) {
  const size_t length = strlen(path), wanted = strlen(end);
  return length > wanted && strcmp(path + length - wanted, end) == 0;
}

static viva_status fail(viva_error *error, viva_status code, const char *path, const char *what, const char *why) {
  *error = (viva_error){.code = code, .offset = VIVA_NO_OFFSET};
  text_format(error->file, sizeof error->file, "%s", path);
  text_format(error->message, sizeof error->message, "%s%s%s", what, why[0] != 0 ? ": " : "", why);
  return code;
}

/* Room for more of a->pipe: twice as much. 1: no memory. */
static int grow_pipe(arrays *a, size_t *room) {
  const size_t wanted = *room > 0 ? 2 * *room : PIPE_FIRST;
  char *grown = wanted > *room ? realloc(a->pipe, wanted) : NULL;
  if (grown == NULL) return 1;
  a->pipe = grown;
  *room = wanted;
  return 0;
}

static viva_status read_pipe(arrays *a, viva_error *error) {
  static const char name[] = "standard input";
  size_t room = 0;
  for (;;) {
    if (a->pipe_bytes == room && grow_pipe(a, &room))
      return fail(error, VIVA_E_MEMORY, name, "no memory for all that it has", "");
    const ssize_t got = read(STDIN_FILENO, a->pipe + a->pipe_bytes, room - a->pipe_bytes);
    if (got < 0 && errno == EINTR && !signals_stopped()) continue;
    if (got < 0 && errno == EINTR) return fail(error, VIVA_E_CANCELLED, name, "stopped", "");
    if (got < 0) return fail(error, VIVA_E_IO, name, "cannot read", strerror(errno));
    if (got == 0) break;
    a->pipe_bytes += (size_t)got;
  }
  if (a->pipe_bytes % sizeof(float) == 0) return VIVA_OK;
  return fail(error, VIVA_E_FORMAT, name, "its size is no multiple of 4 bytes", "");
}

viva_status arrays_open(viva_engine *engine, const char *path, arrays *a, viva_error *error) {
  *a = (arrays){.engine = engine};
  if (strcmp(path, "-") == 0) {
    const viva_status status = read_pipe(a, error);
    if (status != VIVA_OK) arrays_close(a);
    return status;
  }
  if (path_ends(path, ".f32") || path_ends(path, ".raw") || path_ends(path, ".bin")) {
    a->raw = path;
    return VIVA_OK;
  }
  if (path_ends(path, ".npy") || path_ends(path, ".npz")) return viva_npy_open(path, NULL, &a->npy, error);
  viva_checkpoint_options options = viva_checkpoint_options_default();
  options.log = message_log;
  return viva_checkpoint_open(path, &options, &a->checkpoint, error);
}

void arrays_close(arrays *a) {
  viva_checkpoint_close(a->checkpoint);
  viva_npy_close(a->npy);
  free(a->pipe);
  *a = (arrays){.engine = NULL};
}

size_t arrays_count(const arrays *a) {
  if (a->raw != NULL || a->pipe != NULL) return 1;
  return a->npy != NULL ? viva_npy_count(a->npy) : viva_checkpoint_tensor_count(a->checkpoint);
}

static viva_stored_tensor floats(uint64_t bytes) {
  return (viva_stored_tensor){.size = sizeof(viva_stored_tensor),
                              .name = "",
                              .type_name = "F32",
                              .dtype = VIVA_F32,
                              .rank = 1,
                              .bytes = bytes,
                              .elements = bytes / sizeof(float),
                              .shape = {bytes / sizeof(float)}};
}

static viva_status raw_info(const char *path, viva_stored_tensor *info, viva_error *error) {
  struct stat file;
  if (stat(path, &file) != 0) return fail(error, VIVA_E_IO, path, "cannot open the file", strerror(errno));
  if (!S_ISREG(file.st_mode))
    return fail(
        error, VIVA_E_IO, path,
        "expected a file of floats, found a folder, device or pipe; floats from a pipe are read by 'viva compress -'",
        "");
  if (file.st_size % 4 != 0) return fail(error, VIVA_E_FORMAT, path, "its size is no multiple of 4 bytes", "");
  *info = floats((uint64_t)file.st_size);
  info->file = path;
  return VIVA_OK;
}

viva_status arrays_info(const arrays *a, size_t index, viva_stored_tensor *info, viva_error *error) {
  *info = (viva_stored_tensor){.size = sizeof *info};
  if (a->raw != NULL) return raw_info(a->raw, info, error);
  if (a->pipe != NULL) {
    *info = floats(a->pipe_bytes);
    return VIVA_OK;
  }
  if (a->npy != NULL) return viva_npy_info(a->npy, index, info, error);
  return viva_checkpoint_tensor(a->checkpoint, index, info, error);
}

int arrays_real(const viva_stored_tensor *info) {
  switch (info->dtype) {
  case VIVA_DTYPE_NONE:
  case VIVA_F64:
  case VIVA_F32:
  case VIVA_F16:
  case VIVA_BF16: return 1;
  default: return 0;
  }
}

static viva_status read_file(const char *path, char *to, uint64_t bytes, viva_error *error) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = file >= 0 ? 1 : -1;
  while (bytes > 0 && got > 0) {
    got = read(file, to, bytes < 1 << 30 ? (size_t)bytes : (size_t)1 << 30);
    if (got < 0 && errno == EINTR)
      got = 1;
    else if (got > 0)
      to += got, bytes -= (uint64_t)got;
  }
  const int reason = errno;
  if (file >= 0) close(file);
  if (got < 0) return fail(error, VIVA_E_IO, path, "cannot read the file", strerror(reason));
  return bytes == 0 ? VIVA_OK : fail(error, VIVA_E_IO, path, "the file became shorter while it was read", "");
}

/* The array's own elements, then FP32. */
static viva_status read_npy(const arrays *a, size_t index, const viva_stored_tensor *info, float *to,
                            viva_error *error) {
  if (info->dtype == VIVA_F32) return viva_npy_read(a->npy, index, to, (size_t)info->bytes, error);
  viva_tensor *stored = NULL;
  viva_status status = viva_tensor_create(a->engine, info->dtype, info->rank, info->shape, &stored, error);
  if (status == VIVA_OK)
    status = viva_npy_read(a->npy, index, viva_tensor_elements(stored), (size_t)info->bytes, error);
  if (status == VIVA_OK) status = viva_tensor_to_f32(stored, to, (size_t)info->elements, error);
  viva_tensor_release(stored);
  return status;
}

viva_status arrays_read(const arrays *a, size_t index, viva_tensor **tensor, viva_error *error) {
  viva_stored_tensor info;
  *tensor = NULL;
  viva_status status = arrays_info(a, index, &info, error);
  if (status == VIVA_OK) status = viva_tensor_create(a->engine, VIVA_F32, info.rank, info.shape, tensor, error);
  if (status != VIVA_OK) return status;
  float *to = viva_tensor_elements(*tensor);
  if (a->pipe != NULL)
    memcpy(to, a->pipe, a->pipe_bytes);
  else if (a->raw != NULL)
    status = read_file(a->raw, (char *)to, info.bytes, error);
  else if (a->npy != NULL)
    status = read_npy(a, index, &info, to, error);
  else
    status = viva_checkpoint_read_f32(a->checkpoint, info.name, to, (size_t)info.elements, error);
  if (status == VIVA_OK) return VIVA_OK;
  viva_tensor_release(*tensor);
  *tensor = NULL;
  return status;
}

int arrays_wanted(const text_list *names, const char *name) {
  for (size_t i = 0; i < names->count; i++)
    if (strcmp(names->items[i], name) == 0) return 1;
  return names->count == 0;
}

int arrays_check_names(const arrays *a, const text_list *names, const char *path) {
  for (size_t n = 0; n < names->count; n++) {
    int found = 0;
    for (size_t i = 0; i < arrays_count(a) && !found; i++) {
      viva_stored_tensor info;
      found = arrays_info(a, i, &info, NULL) == VIVA_OK && strcmp(info.name, names->items[n]) == 0;
    }
    if (!found) return message_fail(CODE_INPUT, "%s: there is no tensor '%s'", path, names->items[n]);
  }
  return CODE_OK;
}
