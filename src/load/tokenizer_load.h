/* load/tokenizer_load.h: a GGUF file's vocabulary, for those who write it as something else. */
#ifndef LOAD_TOKENIZER_LOAD_H
#define LOAD_TOKENIZER_LOAD_H

#include "format/checkpoint.h"
#include "text/tokenizer.h"

/* Reads the keys of a GGUF checkpoint; texts point into it and into a. E_NOT_FOUND when it has no tokenizer. */
viva_status tokenizer_read_source(const viva_checkpoint *ck, arena *a, token_source *s, viva_error *error);

/* Loads the tokenizer that belongs to a model: path, or NULL for the one beside (or in) its files. *out stays NULL
 * when there is none, and when it uses something viva does not know: *problem is then its message, from rt's memory. */
viva_status tokenizer_load(runtime *rt, const viva_checkpoint *ck, const char *path, viva_tokenizer **out,
                           char **problem, viva_error *error);

#endif
