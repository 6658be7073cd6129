/* model/rope.c: each step is in the type that transformers does it in: the frequencies in FP32 (where it has FP32
 * tensors) from double scalars (where it has Python floats), the angle as an FP32 product. Only pow, sin and cos are
 * better here.
 */
#include "model/rope.h"

#include "base/error.h"
#include "number/math_f64.h"

#define PI 3.14159265358979323846

/* 1 / base^(2i/d), as 1.0 / (base ** (torch.arange(0, d, 2) / d)) */
static float position_frequency(double base, size_t i, size_t d) {
  return (float)math_pow((double)(float)base, (double)((float)(2 * i) / (float)d));
}

static void plain(const viva_model_config *config, double base, float divisor, rope *r) {
  for (size_t i = 0; i < r->pairs; i++)
    r->inv_freq[i] = (1.0f / position_frequency(base, i, (size_t)config->rotary_dim)) / divisor;
}

/* A larger base for contexts beyond the trained one. Its length is fixed when the session is made. */
static void dynamic(const viva_model_config *config, uint64_t context, rope *r) {
  double base = config->rope_theta, d = (double)config->rotary_dim;
  uint64_t trained = config->max_position_embeddings;
  if (context > trained && config->rotary_dim > 2) {
    double ratio = config->rope_factor * (double)context / (double)trained - (config->rope_factor - 1);
    base *= math_pow(ratio, d / (d - 2));
  }
  plain(config, base, 1, r);
}

static void llama3(const viva_model_config *config, rope *r) {
  double original = (double)config->rope_original_context;
  float low = (float)config->rope_low_freq_factor, factor = (float)config->rope_factor;
  float span = (float)(config->rope_high_freq_factor - config->rope_low_freq_factor);
  float longest = (float)(original / config->rope_low_freq_factor);
  float shortest = (float)(original / config->rope_high_freq_factor);
  plain(config, config->rope_theta, 1, r);
  for (size_t i = 0; i < r->pairs; i++) {
    float inv = r->inv_freq[i], wavelength = (float)(2 * PI) / inv;
    if (wavelength > longest) {
      r->inv_freq[i] = inv / factor;
    } else if (!(wavelength < shortest)) {
      float smooth = ((float)original / wavelength - low) / span;
      r->inv_freq[i] = (1.0f - smooth) * inv / factor + smooth * inv;
    }
  }
}

/* The dimension that turns `rotations` times over the trained context. */
static double correction_dim(const viva_model_config *config, double rotations) {
  double context = (double)config->rope_original_context, d = (double)config->rotary_dim;
  return d * math_log(context / (rotations * 2 * PI)) / (2 * math_log(config->rope_theta));
}

static double floor_of(double x) {
  double whole = (double)(int64_t)x;
  return whole > x ? whole - 1 : whole;
}

static void yarn(const viva_model_config *config, rope *r) {
  double low = correction_dim(config, config->rope_beta_fast), high = correction_dim(config, config->rope_beta_slow);
  double last = (double)config->rotary_dim - 1;
  /* Beyond these both mean "none" and "all"; this keeps the conversion to an integer defined for any file. */
  if (!(low > -1e9)) low = -1e9;
  if (!(high < 1e9)) high = 1e9;
  if (low > 1e9) low = 1e9;
  if (high < -1e9) high = -1e9;
  if (config->rope_truncate) {
    low = floor_of(low);
    high = -floor_of(-high);
  }
  if (low < 0) low = 0;
  if (high > last) high = last;
  if (low == high) high += 0.001; /* as transformers: no division by zero */
  float factor = (float)config->rope_factor;
  for (size_t i = 0; i < r->pairs; i++) {
    float frequency = position_frequency(config->rope_theta, i, (size_t)config->rotary_dim);
    float extrapolated = 1.0f / frequency, interpolated = 1.0f / (factor * frequency);
    float ramp = ((float)i - (float)low) / (float)(high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    float keep = 1.0f - ramp;
    r->inv_freq[i] = interpolated * (1.0f - keep) + extrapolated * keep;
  }
  r->scaling = (float)config->rope_attention_factor;
}

viva_status rope_init(rope *r, const viva_model_config *config, uint64_t context, const float *factors, float *inv_freq,
                      viva_error *error) {
  *r = (rope){.pairs = (size_t)(config->rotary_dim / 2), .scaling = 1, .inv_freq = inv_freq};
  switch (config->rope_type) {
  case VIVA_ROPE_LINEAR: plain(config, config->rope_theta, (float)config->rope_factor, r); break;
  case VIVA_ROPE_DYNAMIC: dynamic(config, context, r); break;
  case VIVA_ROPE_LLAMA3: llama3(config, r); break;
  case VIVA_ROPE_YARN: yarn(config, r); break;
  case VIVA_ROPE_DEFAULT: plain(config, config->rope_theta, 1, r); break;
  }
  for (size_t i = 0; i < r->pairs; i++) {
    if (factors) inv_freq[i] /= factors[i];
    /* Real models lie in (0, 1]. The bound leaves room for odd factors and keeps every angle a number. */
    if (!(inv_freq[i] >= 0 && inv_freq[i] <= 1e3f))
      return error_set(error, VIVA_E_FORMAT,
                       "the RoPE parameters give pair %zu a frequency outside 0 to 1000 radians per position; check "
                       "rope_theta and the RoPE scaling in the model's configuration",
                       i);
  }
  return VIVA_OK;
}

void rope_row(const rope *r, size_t position, float *out) {
  float *cosines = out, *sines = out + r->pairs;
  for (size_t i = 0; i < r->pairs; i++) {
    float angle = (float)position * r->inv_freq[i];
    double sine, cosine;
    math_sin_cos((double)angle, &sine, &cosine);
    cosines[i] = (float)cosine * r->scaling;
    sines[i] = (float)sine * r->scaling;
  }
}
