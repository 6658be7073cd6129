/* load/missing.c: why a tensor that the model needs is not there. */
#include "load/missing.h"

#include <stdio.h>
#include <string.h>

#include "format/checkpoint_build.h"

/* Names that tell it. */
static const struct {
  const char *part, *cause;
} causes[] = {
    {".base_layer.", "the file holds a LoRA adapter that was not merged: merge it first (peft: merge_and_unload)"},
    {"qkv", "the file holds q, k and v as one matrix, which viva does not read for this family"},
    {"query_key_value", "the file holds q, k and v as one matrix, which viva does not read for this family"},
    {"W_pack", "the file holds q, k and v as one matrix, which viva does not read for this family"},
    {"gate_up_proj", "the file holds gate and up as one matrix, which viva does not read for this family"},
};

static const char *cause_in_names(const viva_checkpoint *ck) {
  for (size_t c = 0; c < sizeof causes / sizeof *causes; c++)
    for (size_t i = 0; i < ck->tensor_count; i++)
      if (strstr(ck->tensors[i].name, causes[c].part)) return causes[c].cause;
  return NULL;
}

void missing_cause(const viva_checkpoint *ck, char *text, size_t size) {
  const char *cause = cause_in_names(ck);
  size_t parts = ck->file_count > 0 ? shards_told(ck->files[0].path) : 0;
  if (cause)
    snprintf(text, size, "%s", cause);
  else if (parts > ck->file_count)
    snprintf(text, size, "of its %zu parts %zu %s here: fetch the others", parts, ck->file_count,
             ck->file_count == 1 ? "is" : "are");
  else
    snprintf(text, size, "the file is incomplete, or its configuration belongs to another model");
}
