/* The weights rule on any text: a refusal names the option; what is read answers every name in the same way twice over. */
#include <stdlib.h>
#include <string.h>

#include "load/rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int true_always) {
  if (!true_always) abort();
}

/* The answer found entry by entry. */
static int by_entries(const rule *r, const char *name, pack_spec *spec) {
  rule_entry entry;
  int found = 0;
  for (const char *at = NULL; rule_next(r, &at, &entry);) {
    require(entry.stored || entry.spec.format < WEIGHT_FORMATS);
    require(!entry.pattern || entry.pattern_bytes > 0);
    if (!rule_fits(&entry, name)) continue;
    found = !entry.stored;
    *spec = entry.spec;
  }
  return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[] = {"lm_head",
                                      "model.layers.0.mlp.down_proj",
                                      "model.layers.17.self_attn.q_proj",
                                      "model.layers.18446744073709551615.mlp.up_proj",
                                      "",
                                      "a..b."};
  char *text = malloc(size + 1); /* exact, for the address sanitizer */
  require(text != NULL);
  if (size) memcpy(text, data, size);
  text[size] = 0;
  rule r;
  viva_error error = {0};
  viva_status status = rule_read(text, &r, &error);
  require(status == VIVA_OK || (status == VIVA_E_ARGUMENT && strcmp(error.item, "weights") == 0));
  require(rule_read(text, &r, NULL) == status);
  for (size_t i = 0; status == VIVA_OK && i < sizeof names / sizeof *names; i++) {
    pack_spec spec = {0}, again = {0};
    int found = rule_format(&r, names[i], &spec);
    require(found == by_entries(&r, names[i], &again));
    require(!found || (spec.format == again.format && spec.block == again.block && spec.scale == again.scale));
    require(!found || weight_dense(spec.format) || spec.format == WEIGHT_INT8_24 || spec.block <= 128);
  }
  free(text);
  return 0;
}
