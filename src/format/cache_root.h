/* format/cache_root.h: folders of Hugging Face's cache that people give instead of a snapshot in it.
 *
 *   ~/.cache/huggingface/hub/models--OWNER--NAME/snapshots/REVISION/   holds the files
 *                                               /refs/main             REVISION
 */
#ifndef FORMAT_CACHE_ROOT_H
#define FORMAT_CACHE_ROOT_H

#include "format/checkpoint_build.h"

/* 1, and an error that names a snapshot, when the folder is one above it. E_NOT_FOUND. */
int cache_root(runtime *rt, arena *a, const char *folder, viva_error *error);

#endif
