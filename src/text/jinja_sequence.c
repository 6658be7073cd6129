/* text/jinja_sequence.c: filters over sequences: chosen, mapped, sorted, grouped. */
#include <string.h>

#include "text/jinja.h"

static jinja_value nothing(void) { return (jinja_value){.kind = J_UNDEFINED}; }

jinja_value jinja_fold(jinja *j, jinja_value v) {
  return v.kind == J_STRING ? jinja_string(j, jinja_change_case(j, *v.as.string, CASE_LOWER)) : v;
}

/* "a.b.0" of an item: each part a member, or an index when it is a number. missing: what stands for a part that is not
 * there, or NULL. */
static jinja_value attribute_or(jinja *j, jinja_value item, const jinja_value *path, const jinja_value *missing) {
  if (path->kind == J_INT) return jinja_item(j, &item, path);
  jinja_text t = jinja_to_text(j, path);
  for (size_t at = 0; at <= t.bytes && !j->status;) {
    size_t end = at;
    int64_t index;
    while (end < t.bytes && t.text[end] != '.') end++;
    jinja_text part = jinja_part(t, at, end);
    jinja_value key = num_i64(part.text, part.bytes, &index) == 0 ? jinja_int(index) : jinja_string(j, part);
    item = jinja_item(j, &item, &key);
    if (item.kind == J_UNDEFINED && missing) item = *missing;
    at = end + 1;
  }
  return item;
}

static jinja_value attribute_of(jinja *j, jinja_value item, const jinja_value *path) {
  return attribute_or(j, item, path, NULL);
}

/* ---- select, reject, selectattr, rejectattr: [attribute,] [test, arguments] */

static jinja_arguments without_first(const jinja_arguments *a, size_t count) {
  jinja_arguments rest = *a;
  size_t drop = count < a->count ? count : a->count;
  if (drop > 0) rest.items += drop; /* no arguments have no array */
  rest.count -= drop;
  return rest;
}

jinja_value jinja_select(jinja *j, const jinja_value *of, const jinja_arguments *a, int by_attribute, int keep) {
  jinja_list *items = jinja_iterate(j, of), *chosen;
  size_t at = by_attribute ? 1 : 0;
  unsigned which = 0;
  int tests = a->count > at;
  char quoted[64];
  jinja_value result = jinja_list_new(j, &chosen);
  if (by_attribute && a->count == 0) jinja_fail(j, VIVA_E_ARGUMENT, "the filter needs an attribute's name");
  if (tests && !j->status) {
    jinja_text name = jinja_to_text(j, &a->items[at]);
    if (!jinja_test_find(name, &which))
      jinja_fail(j, VIVA_E_UNSUPPORTED, "the test '%s' is not supported",
                 error_quote(quoted, sizeof quoted, name.text, name.bytes));
  }
  if (!items || j->status) return nothing();
  jinja_arguments rest = without_first(a, at + 1);
  for (size_t i = 0; i < items->count && jinja_step(j, 1); i++) {
    jinja_value value = by_attribute ? attribute_of(j, items->items[i], &a->items[0]) : items->items[i];
    if (j->status) return nothing();
    int holds = tests ? jinja_test(j, which, &value, &rest) : jinja_true(&value);
    if (holds == keep) jinja_list_add(j, chosen, items->items[i]);
  }
  return result;
}

/* map(attribute="x", default=...), map("filter", arguments) */
jinja_value jinja_map(jinja *j, const jinja_value *of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, of), *list;
  const jinja_value *attribute = jinja_argument(a, SIZE_MAX, "attribute");
  const jinja_value *missing = jinja_argument(a, SIZE_MAX, "default");
  unsigned which = 0;
  char quoted[64];
  jinja_value result = jinja_list_new(j, &list);
  if (!attribute && a->count == 0) jinja_fail(j, VIVA_E_ARGUMENT, "map needs a filter, or attribute=");
  if (!attribute && !j->status) {
    jinja_text name = jinja_to_text(j, &a->items[0]);
    if (!jinja_filter_find(name, &which))
      jinja_fail(j, VIVA_E_UNSUPPORTED, "the filter '%s' is not supported",
                 error_quote(quoted, sizeof quoted, name.text, name.bytes));
  }
  if (!items || j->status) return nothing();
  jinja_arguments rest = without_first(a, 1);
  for (size_t i = 0; i < items->count && jinja_step(j, 1); i++) {
    jinja_value value = attribute ? attribute_or(j, items->items[i], attribute, missing)
                                  : jinja_filter(j, which, items->items[i], &rest);
    jinja_list_add(j, list, value);
  }
  return result;
}

/* ---- order */

typedef struct sort_item {
  jinja_value key, item;
} sort_item;

static int in_order(jinja *j, const sort_item *a, const sort_item *b, int reverse) {
  int order = jinja_compare(j, &a->key, &b->key);
  return reverse ? order >= 0 : order <= 0;
}

/* Stable, n log n, without recursion: runs of one, two, four ... are merged. */
static void merge_sort(jinja *j, sort_item *items, size_t count, int reverse) {
  sort_item *other = jinja_alloc(j, (count + 1) * sizeof *other);
  for (size_t run = 1; other && run < count && !j->status; run *= 2) {
    for (size_t low = 0; low < count; low += 2 * run) {
      size_t middle = low + run < count ? low + run : count, high = low + 2 * run < count ? low + 2 * run : count;
      size_t a = low, b = middle;
      for (size_t to = low; to < high && !j->status; to++)
        other[to] = b == high || (a < middle && in_order(j, &items[a], &items[b], reverse)) ? items[a++] : items[b++];
    }
    if (!j->status) memcpy(items, other, count * sizeof *items);
  }
}

/* Items with their keys: the item's own value, or that of attribute. */
static sort_item *keyed(jinja *j, const jinja_list *items, const jinja_value *attribute, int with_case) {
  sort_item *sorted = jinja_alloc(j, (items->count + 1) * sizeof *sorted);
  for (size_t i = 0; sorted && i < items->count && !j->status; i++) {
    jinja_value key = attribute ? attribute_of(j, items->items[i], attribute) : items->items[i];
    sorted[i] = (sort_item){with_case ? key : jinja_fold(j, key), items->items[i]};
  }
  return sorted;
}

static int flag(const jinja_arguments *a, size_t at, const char *name) {
  const jinja_value *v = jinja_argument(a, at, name);
  return v && jinja_true(v);
}

static const jinja_value *attribute_argument(const jinja_arguments *a, size_t at) {
  const jinja_value *v = jinja_argument(a, at, "attribute");
  return v && v->kind != J_NONE ? v : NULL;
}

jinja_value jinja_sort(jinja *j, const jinja_value *of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, of), *list;
  jinja_value result = jinja_list_new(j, &list);
  if (!items || j->status) return nothing();
  sort_item *sorted = keyed(j, items, attribute_argument(a, 2), flag(a, 1, "case_sensitive"));
  if (sorted) merge_sort(j, sorted, items->count, flag(a, 0, "reverse"));
  for (size_t i = 0; i < items->count && !j->status; i++) jinja_list_add(j, list, sorted[i].item);
  return result;
}

static jinja_value pair(jinja *j, jinja_value first, jinja_value second) {
  jinja_list *list;
  jinja_value result = jinja_list_new(j, &list);
  result.tuple = 1;
  jinja_list_add(j, list, first);
  jinja_list_add(j, list, second);
  return result;
}

jinja_value jinja_dictsort(jinja *j, const jinja_value *of, const jinja_arguments *a) {
  const jinja_value *by = jinja_argument(a, 1, "by");
  int by_value = by && by->kind == J_STRING && jinja_text_is(*by->as.string, "value");
  jinja_list *list;
  if (of->kind != J_DICT) {
    jinja_fail(j, VIVA_E_ARGUMENT, "dictsort needs a mapping, not %s", jinja_kind_name(of));
    return nothing();
  }
  const jinja_dict *dict = of->as.dict;
  jinja_value result = jinja_list_new(j, &list);
  sort_item *sorted = jinja_alloc(j, (dict->count + 1) * sizeof *sorted);
  for (size_t i = 0; sorted && i < dict->count && !j->status; i++) {
    jinja_value key = by_value ? dict->members[i].value : dict->members[i].key;
    sorted[i] = (sort_item){flag(a, 0, "case_sensitive") ? key : jinja_fold(j, key),
                            pair(j, dict->members[i].key, dict->members[i].value)};
  }
  if (sorted) merge_sort(j, sorted, dict->count, flag(a, 2, "reverse"));
  for (size_t i = 0; sorted && i < dict->count && !j->status; i++) jinja_list_add(j, list, sorted[i].item);
  return result;
}

jinja_value jinja_unique(jinja *j, const jinja_value *of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, of), *list, *seen;
  jinja_value result = jinja_list_new(j, &list), keys = jinja_list_new(j, &seen);
  if (!items || j->status) return nothing();
  sort_item *all = keyed(j, items, attribute_argument(a, 1), flag(a, 0, "case_sensitive"));
  for (size_t i = 0; all && i < items->count && !j->status; i++) {
    if (jinja_contains(j, &keys, &all[i].key)) continue;
    jinja_list_add(j, seen, all[i].key);
    jinja_list_add(j, list, all[i].item);
  }
  return result;
}

/* [(key, [items]), ...] in order of the keys. */
jinja_value jinja_groupby(jinja *j, const jinja_value *of, const jinja_arguments *a) {
  jinja_list *items = jinja_iterate(j, of), *list, *group = NULL;
  const jinja_value *attribute = attribute_argument(a, 0);
  jinja_value result = jinja_list_new(j, &list);
  if (!attribute) jinja_fail(j, VIVA_E_ARGUMENT, "groupby needs an attribute's name");
  if (!items || j->status) return nothing();
  sort_item *sorted = keyed(j, items, attribute, flag(a, 2, "case_sensitive"));
  if (sorted) merge_sort(j, sorted, items->count, 0);
  for (size_t i = 0; i < items->count && !j->status; i++) {
    if (i == 0 || !jinja_equal(j, &sorted[i - 1].key, &sorted[i].key)) {
      jinja_value members = jinja_list_new(j, &group);
      jinja_list_add(j, list, pair(j, attribute_of(j, sorted[i].item, attribute), members));
    }
    jinja_list_add(j, group, sorted[i].item);
  }
  return result;
}

jinja_value jinja_batch(jinja *j, const jinja_value *of, const jinja_arguments *a) {
  const jinja_value *size = jinja_argument(a, 0, "linecount"), *fill = jinja_argument(a, 1, "fill_with");
  jinja_list *items = jinja_iterate(j, of), *list, *row = NULL;
  jinja_value result = jinja_list_new(j, &list);
  if (!size || size->kind != J_INT || size->as.integer < 1)
    jinja_fail(j, VIVA_E_ARGUMENT, "batch needs a number above 0");
  for (size_t i = 0; items && !j->status && i < items->count; i++) {
    if (i % (size_t)size->as.integer == 0) jinja_list_add(j, list, jinja_list_new(j, &row));
    if (!j->status) jinja_list_add(j, row, items->items[i]);
  }
  while (row && fill && fill->kind != J_NONE && !j->status && row->count < (size_t)size->as.integer)
    jinja_list_add(j, row, *fill);
  return result;
}
