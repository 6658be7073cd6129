/* model/tokenizer_load.h: a GGUF file's vocabulary, for those who write it as something else. */
#ifndef MODEL_TOKENIZER_LOAD_H
#define MODEL_TOKENIZER_LOAD_H

#include "format/checkpoint.h"
#include "text/tokenizer.h"

/* Reads the keys of a GGUF checkpoint; texts point into it and into a. E_NOT_FOUND when it has no tokenizer. */
viva_status tokenizer_read_source(const viva_checkpoint *ck, arena *a, token_source *s, viva_error *error);

#endif
