/* load/tokenizer_folder.h: tokenizers in files that hold nothing else, alone or in a folder (text/tokenizer_files.h). */
#ifndef LOAD_TOKENIZER_FOLDER_H
#define LOAD_TOKENIZER_FOLDER_H

#include "text/tokenizer.h"

/* The tokenizer of a folder, with what tokenizer_config.json and its like say. E_NOT_FOUND: it has none. */
viva_status tokenizer_from_folder(runtime *rt, const char *folder, viva_tokenizer **out, viva_error *error);

/* By the file's name: tokenizer.model, tekken.json, vocab.json (with merges.txt beside it) or merges.txt; a file of a model
 * (weights, config.json): the folder that it is in; any other is read as a tokenizer.json, alone. */
viva_status tokenizer_from_one_file(runtime *rt, const char *path, viva_tokenizer **out, viva_error *error);

/* A folder, a GGUF file or any of the above (tokenizer_load.c). */
viva_status tokenizer_from_path(runtime *rt, const char *path, viva_tokenizer **out, viva_error *error);

#endif
