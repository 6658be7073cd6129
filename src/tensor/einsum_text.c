/* tensor/einsum_text.c: the text of an einsum: labels for the axes of each operand and of the result. */
#include <string.h>

#include "base/error.h"
#include "tensor/einsum.h"

static int label_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  return -1;
}

static viva_status refuse_text(const char *text, const char *at, const char *why, viva_error *error) {
  error_set(error, VIVA_E_ARGUMENT, *at ? "einsum: %s, at \"%.20s\"" : "einsum: %s, at its end%s", why, at);
  error_at(error, NULL, text, -1, (uint64_t)(at - text));
  return VIVA_E_ARGUMENT;
}

static const char *skip(const char *at) {
  while (*at == ' ') at++;
  return at;
}

static viva_status add(einsum_labels *l, uint8_t label, const char *text, const char *at, viva_error *error) {
  if (l->count == VIVA_TENSOR_MAX_RANK) return refuse_text(text, at, "more than 8 labels in one place", error);
  l->of[l->count++] = label;
  return VIVA_OK;
}

/* The axes that no letter names. */
static int open_axes(const char *at, uint32_t rank) {
  int letters = 0;
  for (; label_of(*at) >= 0 || *at == '.' || *at == ' '; at++) letters += label_of(*at) >= 0;
  return (int)rank > letters ? (int)rank - letters : 0;
}

/* Reads labels up to the next comma, arrow or end. dots: how many axes "..." stands for; < 0: rank less the letters. */
static viva_status read_labels(const char *text, const char **cursor, int dots, uint32_t rank, einsum_labels *l,
                               viva_error *error) {
  const char *at = skip(*cursor), *const first = at;
  int seen = 0;
  l->count = 0;
  for (; *at && *at != ',' && *at != '-'; at = skip(at)) {
    const int label = label_of(*at);
    if (label >= 0) {
      TRY(add(l, (uint8_t)label, text, at, error));
      at++;
      continue;
    }
    if (strncmp(at, "...", 3) != 0 || seen) return refuse_text(text, at, "expected a letter or one \"...\"", error);
    if (dots < 0) dots = open_axes(first, rank);
    for (int i = dots; i-- > 0;) TRY(add(l, (uint8_t)(EINSUM_LETTERS + i), text, at, error));
    seen = 1, at += 3;
  }
  *cursor = at;
  return VIVA_OK;
}

/* The result that the text leaves out: "...", then labels that occur once, in alphabetic order. */
static void implied(einsum *s, uint64_t once) {
  s->result.count = 0;
  for (uint32_t i = s->dots; i-- > 0;) s->result.of[s->result.count++] = (uint8_t)(EINSUM_LETTERS + i);
  for (uint32_t label = 0; label < EINSUM_LETTERS; label++)
    if (once >> label & 1 && s->result.count < VIVA_TENSOR_MAX_RANK) s->result.of[s->result.count++] = (uint8_t)label;
}

static viva_status refuse_labels(const viva_tensor *t, uint32_t k, uint32_t labels, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_SIZE, "einsum: operand %u is %s and has %u labels", (unsigned)k,
                   tensor_shape_text(t, text), (unsigned)labels);
}

static viva_status refuse_size(const viva_tensor *t, uint32_t k, uint32_t axis, uint64_t size, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_SIZE, "einsum: axis %u of operand %u, %s, must have the size %llu", (unsigned)axis,
                   (unsigned)k, tensor_shape_text(t, text), (unsigned long long)size);
}

/* The first axis with this label, which is there. */
static uint32_t first_of(const einsum_labels *l, uint8_t label) {
  uint32_t axis = 0;
  while (l->of[axis] != label) axis++;
  return axis;
}

/* again: labels that occur more than once. */
static viva_status take_sizes(einsum *s, uint32_t k, uint64_t *again, viva_error *error) {
  const viva_tensor *t = s->tensors[k];
  const einsum_labels *l = &s->axes[k];
  if (l->count != t->rank) return refuse_labels(t, k, l->count, error);
  for (uint32_t i = 0; i < l->count; i++) {
    const uint8_t label = l->of[i];
    const uint64_t here = t->shape[i], bit = einsum_bit(label);
    uint64_t *size = &s->sizes[label];
    const uint32_t first = first_of(l, label);
    if (here != t->shape[first])
      return refuse_size(t, k, i, t->shape[first], error); /* no diagonal, not even of size 1 */
    *again |= s->seen & bit;
    if (label >= EINSUM_LETTERS && (uint32_t)(label - EINSUM_LETTERS) >= s->dots)
      s->dots = (uint32_t)(label - EINSUM_LETTERS) + 1;
    if (!(s->seen & bit) || *size == 1)
      *size = here;
    else if (here != *size && here != 1)
      return refuse_size(t, k, i, *size, error);
    s->seen |= bit;
  }
  return VIVA_OK;
}

static viva_status read_result(const char *text, const char *at, einsum *s, viva_error *error) {
  uint64_t found = 0;
  if (s->dots > 0 && !strstr(at, "..."))
    return refuse_text(text, at, "operands have axes under \"...\", which the result must have too", error);
  TRY(read_labels(text, &at, (int)s->dots, 0, &s->result, error));
  if (*at) return refuse_text(text, at, "expected the end", error);
  for (uint32_t i = 0; i < s->result.count; i++) {
    const uint64_t bit = einsum_bit(s->result.of[i]);
    if (!(s->seen & bit)) return refuse_text(text, at, "the result has a label that no operand has", error);
    if (found & bit) return refuse_text(text, at, "the result names a label twice", error);
    found |= bit;
  }
  return VIVA_OK;
}

viva_status einsum_read(const char *text, einsum *s, viva_error *error) {
  const char *at = text;
  uint64_t again = 0;
  s->seen = 0, s->dots = 0;
  for (uint32_t k = 0; k < s->count; k++) {
    TRY(read_labels(text, &at, -1, s->tensors[k]->rank, &s->axes[k], error));
    if (k + 1 < s->count && *at != ',') return refuse_text(text, at, "there are more operands", error);
    if (k + 1 < s->count) at++;
  }
  for (uint32_t k = 0; k < s->count; k++) TRY(take_sizes(s, k, &again, error));
  if (*at == '\0') {
    implied(s, s->seen & ~again);
    return VIVA_OK;
  }
  if (at[0] != '-' || at[1] != '>') return refuse_text(text, at, "expected \"->\" or the end", error);
  return read_result(text, at + 2, s, error);
}
