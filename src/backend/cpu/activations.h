/* backend/cpu/activations.h: the constants of the activations. */
#ifndef BACKEND_CPU_ACTIVATIONS_H
#define BACKEND_CPU_ACTIVATIONS_H

/* GELU tanh as v / (1 + e^−u), u = 2√(2/π) · (v + 0.044715 v³) (Hendrycks and Gimpel, arXiv:1606.08415). */
#define GELU_TANH_SCALE 1.5957691216f
#define GELU_TANH_CUBE  0.044715f

/* erf, to 1e-12 (tests/backend_cpu/test_outer.c) */
#define ERF_FACTOR    1.1283791670955126 /* 2/√π */
#define ERF_ONE       5.7                /* 1 − erf(5.7) is 7.6e-16 */
#define ERF_PRECISION 1e-17
#define SQRT_HALF     0.70710678118654752

#endif
