/* viva/tensor_text.h: tensors as text, as NumPy's array2string prints arrays.
 *
 *   char text[4096];
 *   viva_tensor_format(x, NULL, text, sizeof text, NULL, &error);
 *   puts(text);
 *
 *   [[ 1.     2.5    3.   ]
 *    [-0.125  0.     1.   ]]
 */
#ifndef VIVA_TENSOR_TEXT_H
#define VIVA_TENSOR_TEXT_H

#include "viva/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_format_options {
  size_t size;         /* sizeof(viva_format_options) */
  uint64_t threshold;  /* with more elements than this the middle of long axes is "...": 1000 */
  uint32_t edge_items; /* what is then shown at each end: 3 */
  uint32_t line_width; /* 75 */
  uint32_t precision;  /* most digits behind the point; at most 17: 8 */
  uint32_t reserved;   /* 0 */
} viva_format_options;

VIVA_API viva_format_options viva_format_options_default(void);

/* Floats have as few digits as tell them apart from their neighbours, BOOL is True or False, a tensor without elements
 * "[]". Independent of the locale. Errors: E_ARGUMENT, E_STATE (it lies on a device).
 *
 * options: NULL for the defaults
 * text:    receives as much as fits, and a zero byte; NULL when size is 0
 * length:  receives the length of the whole text without its zero byte; NULL when it is not wanted */
VIVA_API viva_status viva_tensor_format(const viva_tensor *a, const viva_format_options *options, char *text,
                                        size_t size, size_t *length, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
