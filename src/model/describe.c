/* model/describe.c: what a model holds, in one line: "llama 135M FP8 b16:e8m0 + NVFP4 in 30 matrices, head BF16". */
#include <stdio.h>
#include <string.h>

#include "engine/packed.h"
#include "model/model.h"

enum {
  PROJECTIONS = 7, /* of a layer */
  KINDS_MAX = 64,  /* more than there are: formats × blocks × types of scales */
  KINDS_SHOWN = 4
};

/* Matrices that are held alike. */
typedef struct kind {
  const weight *like;
  uint64_t values, matrices;
} kind;

static int alike(const weight *a, const weight *b) {
  if (a->format != b->format) return 0;
  return weight_dense(a->format) || (a->block == b->block && a->scales_type == b->scales_type);
}

static size_t count_kinds(const viva_model *model, kind kinds[KINDS_MAX]) {
  size_t count = 0;
  for (size_t i = 0; i < model->dec.layer_count; i++) {
    const decoder_layer *l = &model->dec.layers[i];
    const weight *const all[PROJECTIONS] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    for (size_t j = 0; j < PROJECTIONS; j++) {
      size_t k = 0;
      while (k < count && !alike(kinds[k].like, all[j])) k++;
      if (k == KINDS_MAX) continue;
      if (k == count) kinds[count++] = (kind){.like = all[j]};
      kinds[k].values += (uint64_t)all[j]->rows * all[j]->cols;
      kinds[k].matrices++;
    }
  }
  return count;
}

/* The largest first; equal ones stay in their order. */
static void sort_kinds(kind *kinds, size_t count) {
  for (size_t i = 1; i < count; i++) {
    kind moved = kinds[i];
    size_t at = i;
    for (; at > 0 && kinds[at - 1].values < moved.values; at--) kinds[at] = kinds[at - 1];
    kinds[at] = moved;
  }
}

/* The word of --weights, as a name: "fp8-b16:e8m0" is "FP8 b16:e8m0". */
static void name_kind(const weight *w, char *text, size_t size) {
  static const struct {
    const char *word, *name;
  } formats[WEIGHT_FORMATS] = {[WEIGHT_F32] = {"f32", "F32"},
                               [WEIGHT_BF16] = {"bf16", "BF16"},
                               [WEIGHT_F16] = {"f16", "F16"},
                               [WEIGHT_FP8] = {"fp8", "FP8"},
                               [WEIGHT_NVFP4] = {"nvfp4", "NVFP4"},
                               [WEIGHT_INT8_24] = {"int8-24", "INT8 2:4"},
                               [WEIGHT_INT4_24] = {"int4-24", "INT4 2:4"}};
  char word[PACKED_NAME_BYTES];
  const char *tail = packed_name(w, word) + strlen(formats[w->format].word);
  snprintf(text, size, "%s%s%s", formats[w->format].name, *tail == '-' ? " " : "", *tail == '-' ? tail + 1 : tail);
}

static void add_text(char *text, size_t size, const char *more) {
  size_t used = strlen(text);
  snprintf(text + used, size - used, "%s", more);
}

void model_describe(viva_model *model) {
  char *text = model->description, name[48], part[96];
  const size_t size = sizeof model->description;
  uint64_t n = model->plan.parameters;
  if (n >= 999500000)
    snprintf(part, sizeof part, "%llu.%lluB", (unsigned long long)((n + 50000000) / 1000000000),
             (unsigned long long)((n + 50000000) / 100000000 % 10));
  else if (n >= 999500)
    snprintf(part, sizeof part, "%lluM", (unsigned long long)((n + 500000) / 1000000));
  else
    snprintf(part, sizeof part, "%lluK", (unsigned long long)((n + 500) / 1000));
  snprintf(text, size, "%s %s ", model->config.model_type, part);
  const weight *head = &model->dec.head;
  kind kinds[KINDS_MAX] = {{.like = head}};
  size_t count = count_kinds(model, kinds);
  sort_kinds(kinds, count);
  name_kind(kinds[0].like, name, sizeof name);
  add_text(text, size, name);
  for (size_t i = 1; i < count && i < KINDS_SHOWN; i++) {
    name_kind(kinds[i].like, name, sizeof name);
    snprintf(part, sizeof part, " + %s in %llu matri%s", name, (unsigned long long)kinds[i].matrices,
             kinds[i].matrices == 1 ? "x" : "ces");
    add_text(text, size, part);
  }
  if (count > KINDS_SHOWN) add_text(text, size, " + others");
  if (alike(head, kinds[0].like)) return;
  name_kind(head, name, sizeof name);
  snprintf(part, sizeof part, ", head %s", name);
  add_text(text, size, part);
}
