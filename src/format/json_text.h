/* format/json_text.h: builds JSON as text in memory. After a failed allocation nothing more is added and no_memory is set:
 * look once at the end. */
#ifndef FORMAT_JSON_TEXT_H
#define FORMAT_JSON_TEXT_H

#include "format/checkpoint_build.h"

typedef struct json_text {
  mem *m;
  grow text; /* of char */
  int no_memory;
} json_text;

json_text json_text_begin(mem *m);
void json_text_free(json_text *j);

void json_text_bytes(json_text *j, const char *text, size_t bytes); /* as they are */
void json_text_put(json_text *j, const char *text);                 /* as it is */
void json_text_u64(json_text *j, uint64_t value);
void json_text_double(json_text *j, double value); /* shortest that reads back; finite */
/* In quotes, with the escapes that safetensors' reference writer uses. UTF-8. */
void json_text_string(json_text *j, const char *text, size_t bytes);
void json_text_quoted(json_text *j, const char *text); /* the same for a zero-ended text */

#endif
