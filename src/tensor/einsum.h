/* tensor/einsum.h: what an einsum's text says of its operands. */
#ifndef TENSOR_EINSUM_H
#define TENSOR_EINSUM_H

#include "tensor/operand.h"

enum {
  EINSUM_OPERANDS = 16,
  EINSUM_LETTERS = 52,
  EINSUM_LABELS =
      EINSUM_LETTERS + VIVA_TENSOR_MAX_RANK /* 60: bits of a set; "..." becomes labels behind the letters, numbered
                                                           from the last */
};

/* Labels of the axes of a tensor, in order. */
typedef struct einsum_labels {
  uint32_t count;
  uint8_t of[2 * VIVA_TENSOR_MAX_RANK]; /* a result's text may name too many, which is then refused */
} einsum_labels;

typedef struct einsum {
  uint32_t count;
  const viva_tensor *const *tensors;
  viva_dtype type;                     /* of the result */
  einsum_labels axes[EINSUM_OPERANDS]; /* of each tensor */
  einsum_labels result;
  uint64_t seen; /* the labels that operands have; only their sizes are set */
  uint64_t sizes[EINSUM_LABELS];
  uint32_t dots; /* labels that "..." stands for */
} einsum;

static inline uint64_t einsum_bit(uint8_t label) { return (uint64_t)1 << label; }

static inline uint64_t einsum_set(const einsum_labels *l) {
  uint64_t set = 0;
  for (uint32_t i = 0; i < l->count; i++) set |= einsum_bit(l->of[i]);
  return set;
}

/* count and tensors are set; the rest but type is read. E_ARGUMENT, with the byte of the text; E_SIZE. */
viva_status einsum_read(const char *text, einsum *s, viva_error *error);

/* Any operands, two or more: they are joined from the left. */
viva_status einsum_join(const einsum *s, goal *g, viva_error *error);

#endif
