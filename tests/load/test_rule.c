/* The weights rule: every word, patterns, order, and what is refused. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "load/plan.h"
#include "load/rule.h"

static rule read_rule(const char *text) {
  viva_error error = {0};
  rule r;
  if (rule_read(text, &r, &error)) fail_msg("%s: %s", text, error.message);
  return r;
}

static void expect(const char *text, const char *name, weight_format format, uint32_t block, scale_type scale) {
  rule r = read_rule(text);
  pack_spec spec = {.global = 7};
  assert_int_equal(rule_format(&r, name, &spec), 1);
  if (spec.format != format || spec.block != block || spec.scale != scale)
    fail_msg("%s, %s: format %d, block %u, scale %d", text, name, (int)spec.format, spec.block, (int)spec.scale);
  assert_true(spec.global == 0);
}

static void expect_stored(const char *text, const char *name) {
  rule r = read_rule(text);
  pack_spec spec;
  assert_int_equal(rule_format(&r, name, &spec), 0);
}

static void refused(const char *text, const char *part) {
  viva_error error = {0};
  rule r;
  assert_int_equal(rule_read(text, &r, &error), VIVA_E_ARGUMENT);
  assert_string_equal(error.item, "weights");
  if (!strstr(error.message, part)) fail_msg("%s: \"%s\" does not say \"%s\"", text, error.message, part);
}

static const char down3[] = "model.layers.3.mlp.down_proj";

static void words(void **state) {
  (void)state;
  expect("f32", down3, WEIGHT_F32, 0, SCALE_F32);
  expect("bf16", "lm_head", WEIGHT_BF16, 0, SCALE_F32);
  expect("f16", down3, WEIGHT_F16, 0, SCALE_F32);
  expect("fp8", down3, WEIGHT_FP8, 0, SCALE_F32);
  expect("fp8:e8m0", down3, WEIGHT_FP8, 0, SCALE_E8M0);
  expect("fp8-b16", down3, WEIGHT_FP8, 16, SCALE_F32);
  expect("fp8-b32:f16", down3, WEIGHT_FP8, 32, SCALE_F16);
  expect("fp8-b64:f32", down3, WEIGHT_FP8, 64, SCALE_F32);
  expect("fp8-b128:e8m0", down3, WEIGHT_FP8, 128, SCALE_E8M0);
  expect("nvfp4", down3, WEIGHT_NVFP4, 16, SCALE_E4M3);
  expect("int8-24", down3, WEIGHT_INT8_24, 0, SCALE_F32);
  expect("int4-24", down3, WEIGHT_INT4_24, 128, SCALE_F16);
  expect("int4-24-g32", down3, WEIGHT_INT4_24, 32, SCALE_F16);
  expect("int4-24-g64:f32", down3, WEIGHT_INT4_24, 64, SCALE_F32);
  expect("int4-24-channel", down3, WEIGHT_INT4_24, 0, SCALE_F16);
  expect_stored(NULL, down3);
  expect_stored("stored", down3);
  pack_spec spec;
  rule r = read_rule("nvfp4:four-over-six");
  assert_int_equal(rule_format(&r, down3, &spec), 1);
  assert_int_equal(spec.search, NVFP4_SEARCH_FOUR_OVER_SIX);
  r = read_rule("nvfp4:absmax");
  assert_int_equal(rule_default(&r, &spec), 1);
  assert_int_equal(spec.search, NVFP4_SEARCH_ABSMAX);
  r = read_rule("nvfp4:mse");
  assert_int_equal(rule_format(&r, down3, &spec), 1);
  assert_int_equal(spec.search, NVFP4_SEARCH_MSE);
}

static void patterns(void **state) {
  (void)state;
  const char *mixed = "fp8,mlp.down_proj=bf16,layers.0-1=f32,layers.1.mlp=nvfp4,lm_head=stored";
  expect(mixed, down3, WEIGHT_BF16, 0, SCALE_F32);
  expect(mixed, "model.layers.3.mlp.up_proj", WEIGHT_FP8, 0, SCALE_F32);
  expect(mixed, "model.layers.0.mlp.down_proj", WEIGHT_F32, 0, SCALE_F32); /* the later entry wins */
  expect(mixed, "model.layers.1.mlp.down_proj", WEIGHT_NVFP4, 16, SCALE_E4M3);
  expect(mixed, "model.layers.1.self_attn.q_proj", WEIGHT_F32, 0, SCALE_F32);
  expect(mixed, "model.layers.11.self_attn.q_proj", WEIGHT_FP8, 0, SCALE_F32); /* whole numbers */
  expect_stored(mixed, "lm_head");
  expect_stored("q_proj=fp8", down3);
  expect("q_proj=fp8", "model.layers.10.self_attn.q_proj", WEIGHT_FP8, 0, SCALE_F32);
  expect("layers.9-10.self_attn=fp8", "model.layers.10.self_attn.q_proj", WEIGHT_FP8, 0, SCALE_F32);
  expect_stored("layers.9-10.self_attn=fp8", "model.layers.10.mlp.up_proj");
  expect_stored("layers.self_attn=fp8", "model.layers.10.self_attn.q_proj"); /* parts follow each other */
  expect_stored("proj=fp8,down=fp8,mlp.down_proj.weight=fp8", down3);        /* whole words */
  expect("model.layers.3.mlp.down_proj=fp8", down3, WEIGHT_FP8, 0, SCALE_F32);
  rule r = read_rule("q_proj=fp8");
  pack_spec spec;
  assert_int_equal(rule_default(&r, &spec), 0);
}

static void wrong(void **state) {
  (void)state;
  refused("", "is no format; expected f32, bf16, f16, fp8, fp8-b16");
  refused("Q4_0", "\"Q4_0\" is no format");
  refused("fp8-b8", "int4-24-channel or stored");
  refused("fp8,mlp=fp9", "in \"mlp=fp9\", \"fp9\" is no format");
  refused("fp8,", "stands behind a comma");
  refused("fp8,bf16", "\"bf16\" stands behind a comma without '='");
  refused("fp8,=bf16", "is no part of a name");
  refused("fp8,a..b=bf16", "in \"a..b=bf16\", \"\" is no part of a name");
  refused("layers.2-1=fp8", "\"2-1\" is no part");
  refused("layers.1-=fp8", "\"1-\" is no part");
  refused("layers.-1=fp8", "\"-1\" is no part");
  refused("layers.0-99999999999999999999=fp8", "is no part");
  refused(" fp8", "\" fp8\" is no format");
  refused("fp8:f64", "\"f64\" cannot follow \"fp8:\"; expected f32, f16 or e8m0");
  refused("fp8:", "\"\" cannot follow");
  refused("int4-24:e8m0", "expected f16 or f32");
  refused("nvfp4:f16", "expected mse, absmax or four-over-six");
  refused("int8-24:f16", "nothing can follow \"int8-24\"");
  refused("bf16:f32", "nothing can follow \"bf16\"");
  refused("stored:f32", "nothing can follow \"stored\"");
  refused("mlp=fp8=bf16", "\"fp8=bf16\" is no format");
  refused("a\n=fp8", "is no part of a name");
}

/* A file's groups are kept where pack.h has blocks of their size: of 16 FP8 only, of 8 none. */
static void groups_that_are_kept(void **state) {
  (void)state;
  static const uint64_t groups[] = {8, 16, 32, 64, 128};
  const tensor_view scales = {0};
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
    plan_item item = {.source = {.kind = QUANT_FP8, .scales = &scales, .scale_type = TYPE_F16, .grouped = 1}};
    pack_spec spec;
    item.source.block_rows = 1, item.source.block_cols = groups[i], item.source.scale_cols = 2;
    assert_int_equal(plan_native(&item, &spec), groups[i] >= 16);
    if (groups[i] >= 16) assert_int_equal(spec.block, groups[i]);
    item.source.kind = QUANT_INT4_24;
    assert_int_equal(plan_native(&item, &spec), groups[i] >= 32);
    if (groups[i] >= 32) assert_int_equal(spec.block, groups[i]);
    item.source.scale_cols = 1; /* one group, of a whole row */
    assert_int_equal(plan_native(&item, &spec), 1);
    assert_int_equal(spec.block, groups[i] >= 32 ? groups[i] : 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(patterns), cmocka_unit_test(wrong),
                                     cmocka_unit_test(groups_that_are_kept)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
