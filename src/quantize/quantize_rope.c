/* quantize/quantize_rope.c: the divisors that a GGUF file brings as a tensor, as keys of config.json.
 *
 * llama.cpp's converter computes rope_freqs.weight from Llama 3's rope_scaling and drops that. The four numbers come back out
 * of the divisors: those of short waves are 1, those of long ones are the factor, and between them the trained context shows.
 */
#include <string.h>

#include "load/load.h"
#include "quantize/quantize.h"

#include "number/math_f64.h"

#define PI 3.14159265358979323846
/* What every Llama 3 has; a context other than these was not seen. */
#define LOW_FREQ_FACTOR  1.0
#define HIGH_FREQ_FACTOR 4.0
/* The divisors are floats of a chain of float operations: some units in the last place of 24 bits. */
#define TOLERANCE 1e-5

static double apart(double a, double b) { return a > b ? a - b : b - a; }

/* What Llama 3's rule divides the frequency of a pair by. */
static double llama3_divisor(double wavelength, double factor, double original) {
  if (wavelength < original / HIGH_FREQ_FACTOR) return 1;
  if (wavelength > original / LOW_FREQ_FACTOR) return factor;
  double smooth = (original / wavelength - LOW_FREQ_FACTOR) / (HIGH_FREQ_FACTOR - LOW_FREQ_FACTOR);
  return 1 / ((1 - smooth) / factor + smooth);
}

static int fits(const viva_model_config *c, const float *divisors, double factor, uint64_t original) {
  for (uint64_t i = 0; i < c->rotary_dim / 2; i++) {
    double wavelength = 2 * PI * math_pow(c->rope_theta, (double)(2 * i) / (double)c->rotary_dim);
    double expected = llama3_divisor(wavelength, factor, (double)original);
    if (apart((double)divisors[i], expected) > TOLERANCE * expected) return 0;
  }
  return 1;
}

static int find_llama3(viva_model_config *c, const float *divisors) {
  static const uint64_t contexts[] = {8192, 2048, 4096, 16384, 32768, 65536, 131072};
  double factor = (double)divisors[c->rotary_dim / 2 - 1]; /* of the longest wave */
  for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
    if (!fits(c, divisors, factor, contexts[i])) continue;
    if (!(factor > 1)) return 1; /* all are 1: nothing is scaled */
    c->rope_type = VIVA_ROPE_LLAMA3;
    c->rope_factor = factor;
    c->rope_low_freq_factor = LOW_FREQ_FACTOR;
    c->rope_high_freq_factor = HIGH_FREQ_FACTOR;
    c->rope_original_context = contexts[i];
    return 1;
  }
  return 0;
}

viva_status quantize_rope(quantize_job *j, viva_error *error) {
  const plan_item *item = j->p.rope_factors;
  viva_model_config *c = &j->p.config;
  if (!item) return VIVA_OK;
  uint8_t *raw = arena_alloc(j->arena, (size_t)item->view->bytes);
  float *divisors = arena_alloc(j->arena, item->cols * sizeof *divisors);
  if (!raw || !divisors) return error_set(error, VIVA_E_MEMORY, "no memory for the RoPE factors");
  TRY(checkpoint_read_part(j->ck, item->view, 0, raw, (size_t)item->view->bytes, error));
  TRY(type_dequant(item->view->type, raw, divisors, item->cols, error));
  if (c->rope_type == VIVA_ROPE_DEFAULT && item->cols > 0 && item->cols == c->rotary_dim / 2 &&
      find_llama3(c, divisors))
    return VIVA_OK;
  return checkpoint_fail(j->ck, item->view, error, VIVA_E_UNSUPPORTED,
                         "the file says how positions are scaled by a tensor that is not made by Llama 3's rule, which "
                         "config.json cannot say; quantize the Hugging Face folder that the file was made from");
}
