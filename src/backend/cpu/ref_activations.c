/* backend/cpu/ref_activations.c: activations in plain C. */
#include <math.h>

#include "backend/cpu/activations.h"
#include "backend/cpu/ref.h"

/* v / (1 + e^−u) is v/2 · (1 + tanh(u/2)), with one exponential and no cancellation. */
static float gated(float v, float u) { return v / (1.0f + ref_exp(-u)); }

static float gelu_tanh(float v) { return gated(v, GELU_TANH_SCALE * (v + GELU_TANH_CUBE * v * v * v)); }

/* erf in double: Maclaurin's series below ERF_SERIES, all terms positive once e^−v² is taken out:
 * erf(v) = 2/√π · e^−v² · Σ 2^n v^(2n+1) / (1·3·…·(2n+1)). Above it 1 to float's last bit. */
double ref_erf(double v) {
  const double magnitude = fabs(v);
  if (v != v) return v;
  if (magnitude >= ERF_ONE) return v < 0 ? -1 : 1;
  double term = magnitude, sum = magnitude;
  for (int n = 1; term > sum * ERF_PRECISION; n++) {
    term *= 2 * magnitude * magnitude / (2 * n + 1);
    sum += term;
  }
  /* e^−v² as (e^(−v²/64))^64: the power series needs few terms for arguments below 1/2 */
  const double r = -magnitude * magnitude / 64;
  double e = 1;
  for (int n = 13; n >= 1; n--) e = 1 + e * r / n;
  for (int i = 0; i < 6; i++) e *= e;
  const double value = ERF_FACTOR * e * sum;
  return v < 0 ? -value : value;
}

void ref_activate(activation act, float *y, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const float v = y[i];
    switch (act) {
    case ACTIVATION_GELU_TANH: y[i] = gelu_tanh(v); break;
    case ACTIVATION_GELU_ERF: y[i] = (float)(0.5 * (double)v * (1 + ref_erf((double)v * SQRT_HALF))); break;
    case ACTIVATION_SILU: y[i] = gated(v, v); break;
    case ACTIVATION_NONE: break;
    }
  }
}

void ref_activations(cpu_kernels *k) { k->activate = ref_activate; }
