/* format/checkpoint_build.h: what a checkpoint is while its files are being read. Private to format/.
 *
 * checkpoint_open makes a build, the readers (safetensors.c, shards.c, gguf.c) add files and tensors, and
 * checkpoint_build_finish sorts what was found into the checkpoint's arena.
 */
#ifndef FORMAT_CHECKPOINT_BUILD_H
#define FORMAT_CHECKPOINT_BUILD_H

#include "base/json.h"
#include "format/checkpoint.h"
#include "format/sort.h"

/* A list whose length is not known beforehand. */
typedef struct grow {
  char *items;
  size_t item_bytes, count, capacity;
} grow;

/* A zeroed new item at the end; NULL: no memory. Earlier items may move. */
void *grow_add(mem *m, grow *g);
void grow_free(mem *m, grow *g);

/* Pointers to the items from the first-th on, sorted; mem_free'd by the caller. NULL: no memory. */
const void **grow_sorted(mem *m, const grow *g, size_t first, sort_compare compare);

/* A sort_compare of tensor_view. */
int tensor_view_by_name(const void *a, const void *b);

struct metadata_entry {
  const char *key, *type_name, *text; /* zero-ended, in the arena or static */
  uint64_t count;
};

typedef struct checkpoint_build {
  viva_checkpoint *ck;
  grow tensors;  /* of tensor_view, in any order */
  grow metadata; /* of struct metadata_entry */
} checkpoint_build;

/* -- checkpoint_build.c */

/* Room for count files; called once. */
viva_status checkpoint_build_files(checkpoint_build *b, size_t count, viva_error *error);

/* Opens path (which must live in the arena) as the next file, and maps it in map mode. */
viva_status checkpoint_build_add_file(checkpoint_build *b, const char *path, viva_error *error);

/* Sorts tensors by name into the arena. Two with one name: E_FORMAT. */
viva_status checkpoint_build_finish(checkpoint_build *b, viva_error *error);

/* E_MEMORY for what was to be held in memory. */
viva_status checkpoint_build_no_memory(const char *path, const char *what, viva_error *error);

/* folder + "/" + name in the arena; NULL: no memory. */
const char *path_join(arena *a, const char *folder, const char *name);
/* The folder of path, "." when it has none; NULL: no memory. */
const char *path_folder(arena *a, const char *path);
int path_ends_with(const char *path, const char *end);

/* 0 also when the system does not say: opening it as a file will then tell why. */
int path_is_folder(runtime *rt, const char *path);
viva_status path_exists(runtime *rt, const char *path, int *exists, viva_error *error);

/* -- safetensors.c */

/* Reads and checks the header of ck->files[file]. With keep_metadata its __metadata__ is kept. */
viva_status safetensors_read(checkpoint_build *b, uint32_t file, int keep_metadata, viva_error *error);

/* -- shards.c */

/* *unreadable: it failed because the file is no index. */
viva_status shards_open_index(checkpoint_build *b, const char *path, int *unreadable, viva_error *error);

/* Opens a file, and with it the shards of its kind ("model-00002-of-00003.safetensors") that lie beside it. */
viva_status shards_open_file(checkpoint_build *b, const char *path, viva_error *error);

/* How many shards a file's name tells of; 0: it does not count them. */
size_t shards_told(const char *path);

/* -- folder.c */

viva_status shards_open_folder(checkpoint_build *b, const char *path, viva_error *error);

/* The one GGUF file of a folder without safetensors, in a: what shards_open_folder opens there. NULL: it is not that. */
viva_status folder_gguf(runtime *rt, arena *a, const char *folder, const char **path, viva_error *error);

/* -- checkpoint.c */

/* Opens one file: GGUF by its first bytes, else safetensors. */
viva_status checkpoint_build_open_single(checkpoint_build *b, const char *path, viva_error *error);

/* A JSON file pays, and is charged for its text and the table of its keys, which is the most that it can cost. Returns the
 * charge, to be given back when both are freed, in *charged. E_LIMIT. */
viva_status checkpoint_build_charge_json(allowance *a, size_t bytes, const char *path, uint64_t *charged,
                                         viva_error *error);

/* -- metadata.c */

#define METADATA_MOST ((size_t)256 << 10) /* bytes of a value; longer ones are cut */

/* Of an entry beside its texts: the list while it grows and the final one, and the ends of two texts in the arena. */
#define METADATA_COST (4 * sizeof(struct metadata_entry) + 32)

/* An entry's memory from the allowance of opening. Escapes are counted as one byte: who writes many, pays elsewhere. */
viva_status metadata_charge(viva_checkpoint *ck, size_t key_bytes, size_t text_bytes, viva_error *error);

/* text in printable form, whole up to METADATA_MOST, in the arena; NULL: no memory. */
const char *metadata_text(viva_checkpoint *ck, const char *text, size_t bytes);

/* Adds one entry; text is copied in printable form and cut. E_MEMORY. */
viva_status metadata_add(checkpoint_build *b, json_string key, const char *type_name, json_string text, uint64_t count,
                         viva_error *error);

/* Adds config.json's keys and moves all entries to the checkpoint. (gguf_open has its own.) */
viva_status metadata_finish(checkpoint_build *b, viva_error *error);

/* -- foreign_file.c */

/* What a file is that begins with these bytes and is no checkpoint, and what to do about it; "" when unknown. */
const char *foreign_file_hint(const void *first, size_t bytes);

/* -- similar.c */

/* Writes up to three tensor names close to name as "; did you mean A, B?"; "" when there are none. Returns buffer. */
const char *similar_names(const viva_checkpoint *ck, const char *name, char *buffer, size_t size);

#endif
