/* format/gguf/gguf_rope.h: what gguf_config.c and gguf_rope.c share. Private to them. */
#ifndef FORMAT_GGUF_GGUF_ROPE_H
#define FORMAT_GGUF_GGUF_ROPE_H

#include "format/gguf/gguf.h"

typedef struct gguf_config_reader {
  const viva_checkpoint *ck;
  const gguf *g;
  viva_model_config *config; /* architecture is set */
  int runnable;              /* a family viva runs: every rule is checked. Else what fits is taken */
  int qk_norm;               /* of the family */
  viva_error *error;
} gguf_config_reader;

/* The value of "ARCH.key", or NULL. */
const gguf_value *gguf_config_find(const gguf_config_reader *r, const char *key);

/* The value of "ARCH.key"; *out stays when there is none. */
viva_status gguf_config_double(const gguf_config_reader *r, const char *key, double *out);
viva_status gguf_config_integer(const gguf_config_reader *r, const char *key, uint64_t *out);

/* An error at a key. */
viva_status gguf_config_fail(const gguf_config_reader *r, viva_status code, const gguf_value *value,
                             const char *problem);

/* Everything about rotary position embedding but its dimension. */
viva_status gguf_rope(const gguf_config_reader *r);

#endif
