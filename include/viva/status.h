/* viva/status.h: what a call can return, and where the fault lies.
 *
 * Every call that can fail returns a viva_status and takes an optional viva_error (NULL is allowed). The list below is
 * the only one: the enum, viva_status_name, viva_status_text and docs/errors.md are made from it.
 */
#ifndef VIVA_STATUS_H
#define VIVA_STATUS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VIVA_API __attribute__((visibility("default")))
#else
#define VIVA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* name, value (pinned, never renumbered), text.
 * A path that does not exist is E_IO (the system refused to open it); E_NOT_FOUND is a name inside something that was
 * opened: a tensor, a key, a token, a checkpoint in a folder. */
#define VIVA_STATUS_MAP(X)                                                                                             \
  X(OK, 0, "success")                                                                                                  \
  X(E_ARGUMENT, -1, "an argument is wrong: null, out of range, or contradicting another")                              \
  X(E_MEMORY, -2, "the allocator returned no memory")                                                                  \
  X(E_IO, -3, "the operating system refused to open, read, write or map a file")                                       \
  X(E_FORMAT, -4, "a file is damaged or breaks its format's rules")                                                    \
  X(E_UNSUPPORTED, -5, "the file is well formed but uses something this version cannot run")                           \
  X(E_NOT_FOUND, -6, "no tensor, key, token or checkpoint of that name")                                               \
  X(E_DTYPE, -7, "the data has another type than the call needs")                                                      \
  X(E_SIZE, -8, "a buffer's size does not match the shape")                                                            \
  X(E_LIMIT, -9, "the work does not fit: memory plan, context capacity, or a fixed limit")                             \
  X(E_CANCELLED, -10, "a callback asked to stop")                                                                      \
  X(E_NO_CUDA, -11, "no usable CUDA device, or CUDA is switched off")                                                  \
  X(E_STATE, -12, "the object is in a state that does not allow this call")                                            \
  X(E_NUMERIC, -13, "a value is NaN or infinite where a number is needed")                                             \
  X(E_INTERNAL, -14, "a fault in viva itself: please report it")                                                       \
  X(E_DEVICE, -15, "the device failed or was lost: release everything on its engine and open a new one")

typedef enum viva_status {
#define VIVA_STATUS_ENUM(name, value, text) VIVA_##name = value,
  VIVA_STATUS_MAP(VIVA_STATUS_ENUM)
#undef VIVA_STATUS_ENUM
} viva_status;

#define VIVA_NO_OFFSET UINT64_MAX

/* What went wrong, and where. Lives in the caller's memory; a failing call fills it, a successful one leaves it as it
 * was. Strings end with a zero byte, are valid UTF-8 without control characters, and are cut when they do not fit. */
typedef struct viva_error {
  viva_status code;
  int32_t reserved;
  uint64_t offset;   /* byte offset in the file, or VIVA_NO_OFFSET */
  char file[512];    /* path of the file, or "" */
  char item[128];    /* tensor name, metadata key or option, or "" */
  char message[512]; /* what was expected, what was found, what to do */
} viva_error;

/* "VIVA_E_FORMAT" for VIVA_E_FORMAT; "unknown status" for a value outside the list. Static string, never NULL. */
VIVA_API const char *viva_status_name(viva_status status);

/* The list's text for a status. Static string, never NULL. */
VIVA_API const char *viva_status_text(viva_status status);

/* Writes "FILE: ITEM: at byte N: MESSAGE" (absent parts are left out) into buffer, always ended by a zero byte, cut at
 * size. Returns the length the whole text would have; for an error whose code is VIVA_OK the text is "". error must not
 * be NULL; buffer may be when size is 0. Thread-safe. */
VIVA_API size_t viva_error_format(const viva_error *error, char *buffer, size_t size);

/* Bytes (1 to 4) of the UTF-8 character at the beginning of text that can be shown on a terminal as it is; 0 when text has none
 * there, or one that could forge or hide what stands around it: a control character (C0, DEL, C1), a line or paragraph
 * separator, a mark of direction. Names from files are asked for with this before they are printed; every message of the
 * library has gone through it. bytes 0 gives 0. Thread-safe, and safe in a signal handler. */
VIVA_API size_t viva_visible(const char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
