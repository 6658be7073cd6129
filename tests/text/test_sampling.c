/* Sampling: known answers, the oracle's candidates, the distribution of draws, limits of the options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "golden.h"
#include "number/math_f64.h"
#include "text/sampling_inner.h"
#include "viva/sampling.h"

#define INPUT(logits, n, history, count, sequence, position, scratch, bytes)                                           \
  &(viva_sample_input) { sizeof(viva_sample_input), logits, n, history, count, sequence, position, scratch, bytes }

/* The vectors that come with the authors' Random123 library (kat_vectors, philox4x32 10). */
static void test_philox(void **state) {
  (void)state;
  static const uint32_t cases[][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                       {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
                                        0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                       {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
                                        0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  for (size_t i = 0; i < 3; i++) {
    uint32_t out[4];
    philox4x32(cases[i], cases[i] + 4, out);
    assert_memory_equal(out, cases[i] + 6, sizeof out);
  }
}

static void test_uniform(void **state) {
  (void)state;
  /* words 0 and 1 of the third vector: seed = key, position and sequence = counter */
  double expected = (double)((0x94fdccebULL << 32 | 0xd16cfe09ULL) >> 11) * 0x1p-53;
  assert_true(viva_sample_uniform(0x299f31d0a4093822ULL, 0x0370734413198a2eULL, 0x85a308d3243f6a88ULL) == expected);
  double sum = 0;
  for (uint64_t i = 0; i < 100000; i++) {
    double u = viva_sample_uniform(42, 0, i);
    assert_true(u >= 0 && u < 1);
    sum += u;
  }
  assert_true(fabs(sum / 1e5 - 0.5) < 4 * 0.2887 / sqrt(1e5)); /* four standard errors of a mean of uniforms */
}

/* 2^-51: half an ulp of the last sum, as much of the product's, and the error of r. expl is right to 2^-63. */
static void test_exp(void **state) {
  (void)state;
  double worst = 0;
  for (int i = 0; i <= 2000000; i++) {
    double x = i < 1000000 ? -1e-6 * i : -708.0 * (i - 1000000) / 1e6;
    long double exact = expl((long double)x);
    double relative = (double)fabsl(((long double)math_exp(x) - exact) / exact);
    if (relative > worst) worst = relative;
  }
  print_message("exp: relative error at most 2^%.2f\n", log2(worst));
  assert_true(worst <= 0x1p-51);
  assert_true(math_exp(0) == 1);
  assert_true(math_exp(-0.0) == 1);
  assert_true(math_exp(MATH_EXP_LOWEST) > 0);
  assert_true(math_exp(nextafter(MATH_EXP_LOWEST, -INFINITY)) == 0);
  assert_true(math_exp(-INFINITY) == 0);
  assert_true(math_exp(-1e300) == 0);
}

/* The bits that every machine must give. */
static void test_exp_bits(void **state) {
  (void)state;
  uint64_t total = 0;
  for (int i = 0; i < 100000; i++) {
    double value = math_exp(-0.0070003 * i);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    total = golden_mix(total, bits);
  }
  assert_true(total == 0xfaf8e479a7ef5632ULL); /* the same steps in Python give these bits */
}

static void test_keys(void **state) {
  (void)state;
  static const float falling[] = {INFINITY, 3e38f, 1, 0x1p-149f, 0, -0x1p-149f, -1, -3e38f, -INFINITY};
  for (size_t i = 0; i < 9; i++) {
    assert_true(key_logit(logit_key(falling[i], 5)) == falling[i]);
    if (i > 0) assert_true(logit_key(falling[i - 1], UINT32_MAX) < logit_key(falling[i], 0));
  }
  assert_true(logit_key(-0.0f, 3) == logit_key(0.0f, 3));
  /* the sort and the heap agree, ties and all */
  enum { N = 5000 };
  static uint64_t keys[N], sorted[N], spare[N], best[N];
  uint64_t random = 1;
  for (uint32_t i = 0; i < N; i++) {
    random = golden_mix(random, 1);
    keys[i] = logit_key((float)((int)(random % 701) - 350) / 16, i);
  }
  memcpy(sorted, keys, sizeof keys);
  keys_sort(sorted, spare, N);
  for (size_t i = 1; i < N; i++) assert_true(sorted[i - 1] < sorted[i]);
  static const size_t ks[] = {1, 2, 3, 40, 512, N - 1, N};
  for (size_t i = 0; i < 7; i++) {
    keys_select(keys, N, best, ks[i]);
    assert_memory_equal(best, sorted, ks[i] * sizeof *best);
  }
}

/* ---- the oracle's cases (tests/python/sampling_oracle.py makes the same ones) ---- */

enum { MOST = 300, SETTINGS = 12 };

typedef struct setting {
  float temperature, top_p, min_p, penalty;
  int32_t top_k;
} setting;

static const setting settings[SETTINGS] = {{1, 1, 0, 1, 0},         {0.7f, 1, 0, 1, 0},      {1.5f, 1, 0, 1, 5},
                                           {1, 0.9f, 0, 1, 0},      {0.9f, 0.5f, 0, 1, 0},   {1, 1, 0.1f, 1, 0},
                                           {0.8f, 0.95f, 0, 1, 40}, {2, 0.8f, 0.05f, 1, 12}, {1, 1, 0, 1.3f, 20},
                                           {0, 1, 0, 1, 0},         {1, 1, 0, 1, 1},         {1, 0, 0, 1, 0}};

static viva_sampling_options options_of(const setting *s) {
  viva_sampling_options o = viva_sampling_options_default();
  o.temperature = s->temperature;
  o.top_p = s->top_p;
  o.min_p = s->min_p;
  o.repetition_penalty = s->penalty;
  o.top_k = s->top_k;
  return o;
}

static size_t make_case(uint64_t index, float *logits, viva_token history[10]) {
  uint64_t random = golden_mix(index, 1);
  size_t n = 1 + random % 300;
  for (size_t i = 0; i < n; i++) {
    random = golden_mix(random, 1);
    logits[i] = index % 2 ? (float)((random >> 8) % 48) / 8 - 3 : (float)((double)(random >> 40) / 0x1p20 - 8);
  }
  for (uint64_t k = 2; k < 12; k++) history[k - 2] = (viva_token)(golden_mix(random, k) % n);
  return n;
}

static void test_candidates(void **state) {
  (void)state;
  char path[4096], word[8];
  const char *root = getenv("VIVA_SOURCE_DIR");
  snprintf(path, sizeof path, "%s/tests/golden/sampling.txt", root ? root : ".");
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  static uint64_t scratch[3 * 1000];
  unsigned long long index, count, hash;
  double first, last;
  size_t cases = 0;
  while (fscanf(file, "%7s", word) == 1 && strcmp(word, "case") == 0) {
    assert_int_equal(fscanf(file, "%llu %llu %llx %lf %lf", &index, &count, &hash, &first, &last), 5);
    float logits[MOST];
    viva_token history[10];
    viva_candidate found[MOST];
    size_t n = make_case(index, logits, history), kept;
    viva_sampling_options o = options_of(&settings[index % SETTINGS]);
    assert_int_equal(viva_sample_candidates(INPUT(logits, n, history, 10, 0, 0, scratch, viva_sample_scratch(n)), &o,
                                            found, MOST, &kept, NULL),
                     VIVA_OK);
    assert_int_equal(kept, count);
    uint64_t total = 0;
    double sum = 0;
    for (size_t i = 0; i < kept; i++) {
      total = golden_mix(total, (uint64_t)found[i].id + 1);
      sum += (double)found[i].probability;
    }
    assert_true(total == hash);
    /* FP32 keeps 6e-8 of a probability; the file has nine digits. */
    assert_true(fabs((double)found[0].probability - first) <= 1e-6);
    assert_true(fabs((double)found[kept - 1].probability - last) <= 1e-6);
    assert_true(fabs(sum - 1) <= 1e-6);
    cases++;
  }
  assert_int_equal(cases, 1000);
  assert_string_equal(word, "draw");
  /* The seed's own setting. */
  float logits[1000];
  uint64_t random = 7;
  for (size_t i = 0; i < 1000; i++) {
    random = golden_mix(random, 1);
    logits[i] = (float)((double)(random >> 40) / 0x1p20 - 8);
  }
  viva_sampling_options o = options_of(&settings[6]);
  assert_int_equal(o.seed, 42);
  for (uint64_t position = 0; position < 64; position++) {
    int expected;
    viva_token id;
    assert_int_equal(fscanf(file, "%d", &expected), 1);
    assert_int_equal(viva_sample(INPUT(logits, 1000, NULL, 0, 0, position, scratch, sizeof scratch), &o, &id, NULL),
                     VIVA_OK);
    assert_int_equal(id, expected);
  }
  fclose(file);
}

/* Probability that χ² with k degrees of freedom exceeds x (Wilson and Hilferty's approximation). */
static double chi2_tail(double x, double k) {
  double z = (cbrt(x / k) - (1 - 2 / (9 * k))) / sqrt(2 / (9 * k));
  return 0.5 * erfc(z / sqrt(2));
}

/* A million draws at each of eight settings. The seed is fixed, so the result is too. */
static void test_distribution(void **state) {
  (void)state;
  enum { N = 24, DRAWS = 1000000 };
  float logits[N];
  uint64_t scratch[3 * N], random = 5;
  for (size_t i = 0; i < N; i++) {
    random = golden_mix(random, 1);
    logits[i] = (float)(random >> 40) / 0x1p24f * 6;
  }
  for (size_t s = 0; s < 8; s++) {
    viva_sampling_options o = options_of(&settings[s]);
    viva_candidate kept[N];
    size_t count, seen[N] = {0}, cells = 0;
    assert_int_equal(
        viva_sample_candidates(INPUT(logits, N, NULL, 0, 0, 0, scratch, sizeof scratch), &o, kept, N, &count, NULL),
        VIVA_OK);
    for (uint64_t position = 0; position < DRAWS; position++) {
      viva_token id;
      assert_true(viva_sample(INPUT(logits, N, NULL, 0, s, position, scratch, sizeof scratch), &o, &id, NULL) ==
                  VIVA_OK);
      seen[id]++;
    }
    double chi2 = 0;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
      double expected = DRAWS * (double)kept[i].probability;
      assert_true(expected > 5); /* or χ² would not be χ² */
      chi2 += ((double)seen[kept[i].id] - expected) * ((double)seen[kept[i].id] - expected) / expected;
      total += seen[kept[i].id];
      cells++;
    }
    assert_int_equal(total, DRAWS); /* nothing but candidates was drawn */
    double p = chi2_tail(chi2, (double)cells - 1);
    print_message("setting %zu: %zu candidates, chi2 %.1f, p %.3f\n", s, cells, chi2, p);
    assert_true(p > 1e-3);
  }
}

/* ---- single rules ---- */

static viva_status one(const float *logits, size_t n, viva_sampling_options o, viva_token *id) {
  static uint64_t scratch[3 * 64];
  return viva_sample(INPUT(logits, n, NULL, 0, 0, 0, scratch, sizeof scratch), &o, id, NULL);
}

static void test_argmax(void **state) {
  (void)state;
  viva_token id;
  float logit;
  viva_error error;
  const float logits[] = {-INFINITY, 1, 3, 3, -2}, nan[] = {1, NAN}, infinite[] = {1, INFINITY, INFINITY},
              low[] = {-INFINITY, -INFINITY};
  assert_int_equal(viva_argmax(logits, 5, &id, &logit, NULL), VIVA_OK);
  assert_int_equal(id, 2);
  assert_true(logit == 3);
  assert_int_equal(viva_argmax(infinite, 3, &id, NULL, NULL), VIVA_OK);
  assert_int_equal(id, 1);
  assert_int_equal(viva_argmax(low, 2, &id, NULL, NULL), VIVA_OK);
  assert_int_equal(id, 0);
  assert_int_equal(viva_argmax((const float[]){-0.0f, 0.0f}, 2, &id, NULL, NULL), VIVA_OK);
  assert_int_equal(id, 0);
  assert_int_equal(viva_argmax(nan, 2, &id, NULL, &error), VIVA_E_NUMERIC);
  assert_non_null(strstr(error.message, "id 1 is NaN"));
  assert_int_equal(viva_argmax((const float[]){NAN}, 1, &id, NULL, &error), VIVA_E_NUMERIC);
  assert_int_equal(viva_argmax(logits, 0, &id, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_argmax(NULL, 2, &id, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_argmax(logits, 2, NULL, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_argmax(logits, (size_t)INT32_MAX + 1, &id, NULL, &error), VIVA_E_ARGUMENT);
}

static void test_softmax(void **state) {
  (void)state;
  float p[3] = {0, logf(2), -INFINITY};
  viva_error error;
  assert_int_equal(viva_softmax(p, 3, p, NULL), VIVA_OK); /* in place */
  /* one rounding of logf and one of the result: 2 · 2^-24 */
  assert_true(fabsf(p[0] - 1.0f / 3) <= 1.2e-7f && fabsf(p[1] - 2.0f / 3) <= 1.2e-7f && p[2] == 0);
  assert_int_equal(viva_softmax((const float[]){3e38f, -3e38f}, 2, p, NULL), VIVA_OK);
  assert_true(p[0] == 1 && p[1] == 0);
  assert_int_equal(viva_softmax((const float[]){NAN}, 1, p, &error), VIVA_E_NUMERIC);
  assert_int_equal(viva_softmax((const float[]){INFINITY}, 1, p, &error), VIVA_E_NUMERIC);
  assert_int_equal(viva_softmax((const float[]){-INFINITY}, 1, p, &error), VIVA_E_NUMERIC);
  assert_int_equal(viva_softmax(p, 0, p, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_softmax(p, 1, NULL, &error), VIVA_E_ARGUMENT);
}

static void test_extremes(void **state) {
  (void)state;
  const float logits[] = {1, 5, 5, -INFINITY, 0}, single[] = {-7};
  viva_token id;
  viva_sampling_options o = viva_sampling_options_default();
  o.temperature = 0;
  assert_int_equal(one(logits, 5, o, &id), VIVA_OK);
  assert_int_equal(id, 1);
  /* A temperature near 0: the tied largest two share everything, nothing overflows. */
  uint64_t scratch[3 * 5];
  viva_candidate kept[5];
  size_t count;
  static const float cold[] = {1e-30f, 1e-45f};
  for (size_t i = 0; i < 2; i++) {
    o.temperature = cold[i];
    assert_int_equal(
        viva_sample_candidates(INPUT(logits, 5, NULL, 0, 0, 0, scratch, sizeof scratch), &o, kept, 5, &count, NULL),
        VIVA_OK);
    assert_int_equal(count, 2);
    assert_true(kept[0].id == 1 && kept[1].id == 2 && kept[0].probability == 0.5f);
  }
  /* An infinite one: all that are possible are alike. */
  o.temperature = INFINITY;
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 5, NULL, 0, 0, 0, scratch, sizeof scratch), &o, kept, 5, &count, NULL),
      VIVA_OK);
  assert_int_equal(count, 4);
  assert_true(kept[3].probability == 0.25f && kept[3].id == 4);
  o = viva_sampling_options_default();
  o.top_k = 100; /* more than there are */
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 5, NULL, 0, 0, 0, scratch, sizeof scratch), &o, kept, 5, &count, NULL),
      VIVA_OK);
  assert_int_equal(count, 4);
  o.top_k = 0;
  o.min_p = 1;
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 5, NULL, 0, 0, 0, scratch, sizeof scratch), &o, kept, 5, &count, NULL),
      VIVA_OK);
  assert_int_equal(count, 2);
  o.top_p = 0;
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 5, NULL, 0, 0, 0, scratch, sizeof scratch), NULL, kept, 5, &count, NULL),
      VIVA_OK);
  assert_int_equal(count, 4);
  assert_int_equal(one(single, 1, o, &id), VIVA_OK);
  assert_int_equal(id, 0);
}

static void test_penalty(void **state) {
  (void)state;
  const float logits[] = {2, 1.5f, -1};
  const viva_token history[] = {0, 0, 0, 2}; /* three times counts once: 2 / 1.25 = 1.6, above 1.5 */
  uint64_t scratch[9];
  viva_candidate kept[3];
  size_t count;
  viva_sampling_options o = viva_sampling_options_default();
  o.repetition_penalty = 1.25f;
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 3, history, 4, 0, 0, scratch, sizeof scratch), &o, kept, 3, &count, NULL),
      VIVA_OK);
  assert_int_equal(kept[0].id, 0);
  /* e^(-1.25 - 1.6): the penalty makes a negative logit more negative */
  assert_true(fabs((double)(kept[2].probability / kept[0].probability) - exp(-2.85)) < 1e-6);
  o.repetition_penalty = 1.5f;
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 3, history, 4, 0, 0, scratch, sizeof scratch), &o, kept, 3, &count, NULL),
      VIVA_OK);
  assert_int_equal(kept[0].id, 1);
  viva_token id;
  viva_error error;
  o.repetition_penalty = 1e-45f;
  assert_int_equal(viva_sample(INPUT(logits, 3, history, 4, 0, 0, scratch, sizeof scratch), &o, &id, &error),
                   VIVA_E_NUMERIC);
  assert_non_null(strstr(error.message, "makes the logit of id 0 infinite"));
  o.temperature = 0; /* argmax also sees the penalty */
  o.repetition_penalty = 1.5f;
  assert_int_equal(viva_sample(INPUT(logits, 3, history, 4, 0, 0, scratch, sizeof scratch), &o, &id, NULL), VIVA_OK);
  assert_int_equal(id, 1);
}

static void test_refused(void **state) {
  (void)state;
  const float logits[] = {1, 2, 3};
  viva_token id;
  viva_sampling_options o;
#define REFUSED(change)                                                                                                \
  (o = viva_sampling_options_default(), o.change, assert_int_equal(one(logits, 3, o, &id), VIVA_E_ARGUMENT))
  REFUSED(size = 8);
  REFUSED(temperature = NAN);
  REFUSED(temperature = -1);
  REFUSED(top_p = NAN);
  REFUSED(top_p = -0.1f);
  REFUSED(top_p = 1.1f);
  REFUSED(min_p = NAN);
  REFUSED(min_p = -1);
  REFUSED(min_p = 2);
  REFUSED(repetition_penalty = NAN);
  REFUSED(repetition_penalty = 0);
  REFUSED(repetition_penalty = -1);
  REFUSED(repetition_penalty = INFINITY);
  REFUSED(top_k = -1);
#undef REFUSED
  o = viva_sampling_options_default();
  static const float bad[][2] = {{NAN, 1}, {1, NAN}, {INFINITY, 1}, {-INFINITY, -INFINITY}};
  for (size_t i = 0; i < 4; i++)
    for (int cold = 0; cold < 2; cold++) {
      o.temperature = cold ? 0 : 1;
      assert_int_equal(one(bad[i], 2, o, &id), VIVA_E_NUMERIC);
    }
  uint64_t scratch[10];
  viva_candidate kept[3];
  size_t count;
  viva_error error;
  const viva_token outside[] = {0, 3}, negative[] = {-1};
  assert_int_equal(viva_sample(INPUT(logits, 3, outside, 2, 0, 0, scratch, sizeof scratch), NULL, &id, &error),
                   VIVA_E_ARGUMENT);
  assert_non_null(strstr(error.message, "history[1] is id 3; there are 3 logits"));
  assert_int_equal(viva_sample(INPUT(logits, 3, negative, 1, 0, 0, scratch, sizeof scratch), NULL, &id, &error),
                   VIVA_E_ARGUMENT);
  assert_int_equal(viva_sample(INPUT(logits, 3, NULL, 1, 0, 0, scratch, sizeof scratch), NULL, &id, &error),
                   VIVA_E_ARGUMENT);
  assert_int_equal(viva_sample(INPUT(logits, 3, NULL, 0, 0, 0, scratch, sizeof scratch), NULL, NULL, &error),
                   VIVA_E_ARGUMENT);
  assert_int_equal(viva_sample(INPUT(logits, 0, NULL, 0, 0, 0, scratch, sizeof scratch), NULL, &id, &error),
                   VIVA_E_ARGUMENT);
  assert_int_equal(viva_sample(INPUT(logits, 3, NULL, 0, 0, 0, scratch, viva_sample_scratch(3) - 1), NULL, &id, &error),
                   VIVA_E_SIZE);
  assert_int_equal(viva_sample(INPUT(logits, 3, NULL, 0, 0, 0, NULL, 1000), NULL, &id, &error), VIVA_E_SIZE);
  assert_int_equal(viva_sample(INPUT(logits, 3, NULL, 0, 0, 0, (char *)scratch + 1, 72), NULL, &id, &error),
                   VIVA_E_ARGUMENT);
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 3, NULL, 0, 0, 0, scratch, sizeof scratch), NULL, kept, 2, &count, &error),
      VIVA_E_SIZE);
  assert_int_equal(count, 3);
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 3, NULL, 0, 0, 0, scratch, sizeof scratch), NULL, NULL, 2, &count, &error),
      VIVA_E_ARGUMENT);
  assert_int_equal(
      viva_sample_candidates(INPUT(logits, 3, NULL, 0, 0, 0, scratch, sizeof scratch), NULL, kept, 3, NULL, &error),
      VIVA_E_ARGUMENT);
  assert_int_equal(viva_sample(NULL, NULL, &id, &error), VIVA_E_ARGUMENT);
  assert_non_null(strstr(error.message, "input is NULL"));
  assert_int_equal(viva_sample_scratch(SIZE_MAX), SIZE_MAX);
}

/* Vocabularies of real models: the kept candidates are as many as top_k says, and the draw is one of them. */
static void test_large_vocabularies(void **state) {
  (void)state;
  static const size_t sizes[] = {49152, 262144};
  static const int32_t top_ks[] = {40, 0};
  for (size_t s = 0; s < 2; s++) {
    size_t n = sizes[s];
    float *logits = malloc(n * sizeof *logits);
    void *scratch = malloc(viva_sample_scratch(n));
    uint64_t random = 1;
    for (size_t i = 0; i < n; i++) {
      random = golden_mix(random, 1);
      logits[i] = (float)(random >> 40) / 0x1p24f * 20 - 10;
    }
    for (size_t k = 0; k < 2; k++) {
      viva_sampling_options o = viva_sampling_options_default();
      o.top_k = top_ks[k];
      viva_candidate *kept = malloc(n * sizeof *kept);
      size_t count, at = 0, room = viva_sample_scratch(n);
      viva_token id;
      assert_int_equal(
          viva_sample_candidates(INPUT(logits, n, NULL, 0, 0, 0, scratch, room), &o, kept, n, &count, NULL), VIVA_OK);
      assert_int_equal(count, top_ks[k] ? (size_t)top_ks[k] : n);
      assert_int_equal(viva_sample(INPUT(logits, n, NULL, 0, 0, 7, scratch, room), &o, &id, NULL), VIVA_OK);
      while (at < count && kept[at].id != id) at++;
      assert_true(at < count);
      free(kept);
    }
    free(logits);
    free(scratch);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_philox),
      cmocka_unit_test(test_uniform),
      cmocka_unit_test(test_exp),
      cmocka_unit_test(test_exp_bits),
      cmocka_unit_test(test_keys),
      cmocka_unit_test(test_candidates),
      cmocka_unit_test(test_distribution),
      cmocka_unit_test(test_argmax),
      cmocka_unit_test(test_softmax),
      cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_penalty),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_large_vocabularies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
