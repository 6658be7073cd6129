/* What an input may cost, for each target: some ten times what the dearest seed costs (VIVA_FUZZ_COSTS=1 prints that), so that an
 * input of a kilobyte whose cost grows with its square is over it; or what the library itself allows, where it counts.
 * A unit is about a nanosecond: 500 for a byte are five times SECURITY.md's promise, because a target does everything
 * twice or more to compare. */
#include <string.h>

#include "fuzz/cost/cost.h"

#define MIB (1 << 20)
/* SECURITY.md's promise; the harness keeps the file itself once more, and what it compares. */
#define MEMORY 64 * MIB, 8

static const struct {
  const char *target;
  fuzz_cost cost;
} budgets[] = {
    {"fuzz_chat_template", {100000000, 500, MEMORY}}, /* a template's own limit of steps */
    {"fuzz_config", {1000000, 500, MEMORY}},
    {"fuzz_container", {5000000, 5000, MEMORY}}, /* decodes what it reads, and encodes it again */
    {"fuzz_folder", {100000000, 500, MEMORY}},   /* a chat template's own limit of steps */
    {"fuzz_generate", {100000000, 500, MEMORY}}, /* two passes of the model, and its tables */
    {"fuzz_gguf", {1000000, 500, MEMORY}},
    {"fuzz_index", {1000000, 500, MEMORY}},
    {"fuzz_json", {1000000, 500, MEMORY}},
    {"fuzz_npy", {5000000, 2000, MEMORY}},    /* writes and reads again */
    {"fuzz_quant", {60000000, 5000, MEMORY}}, /* base/allowance.h's for patterns; tensors of 64 KiB */
    {"fuzz_round", {100000000, 500, MEMORY}}, /* five models loaded, two written */
    {"fuzz_rule", {1000000, 500, MEMORY}},
    {"fuzz_safetensors", {1000000, 500, MEMORY}},
    {"fuzz_schedule", {20000000, 50000, MEMORY}}, /* each byte is a step of a model */
    {"fuzz_tensor", {20000000, 200000, MEMORY}}, /* each six bytes are an operation on 600 elements, done three times */
    {"fuzz_tokenize", {2000000, 5000, MEMORY}},  /* each text 600 bytes long, in five ways */
    {"fuzz_tokenizer_files", {20000000, 500, MEMORY}}, /* an expression's own limit of steps */
    {"fuzz_tokenizer_json", {20000000, 500, MEMORY}},
    {"fuzz_unpack", {1000000, 5000, MEMORY}},
};

const fuzz_cost *fuzz_cost_get(const char *target) {
  for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++)
    if (strcmp(budgets[i].target, target) == 0) return &budgets[i].cost;
  return NULL; /* a new target needs a line */
}
