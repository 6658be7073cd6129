/* tensor/blas.h: OpenBLAS, opened at run time when it is there.
 *
 * libviva needs no other library to start: cblas functions are looked up in libopenblas.so.0 at the first product that
 * is worth it. Where there is none, gemm.h's own loops do the work.
 */
#ifndef TENSOR_BLAS_H
#define TENSOR_BLAS_H

/* CBLAS's values. */
enum { BLAS_ROW_MAJOR = 101, BLAS_PLAIN = 111, BLAS_TURNED = 112 };

typedef struct blas {
  void (*sgemm)(int order, int turn_a, int turn_b, int m, int n, int k, float alpha, const float *a, int lda,
                const float *b, int ldb, float beta, float *c, int ldc);
  void (*dgemm)(int order, int turn_a, int turn_b, int m, int n, int k, double alpha, const double *a, int lda,
                const double *b, int ldb, double beta, double *c, int ldc);
  void (*sgemv)(int order, int turn, int m, int n, float alpha, const float *a, int lda, const float *x, int x_step,
                float beta, float *y, int y_step);
  void (*dgemv)(int order, int turn, int m, int n, double alpha, const double *a, int lda, const double *x, int x_step,
                double beta, double *y, int y_step);
  /* 1: nobody else in the process had it open: it was told to use one thread, and our threads may call it at once.
   * 0: it is the program's too, and keeps the threads that the program gave it; we call it from one thread. */
  int ours;
} blas;

/* NULL: there is none. Thread-safe; opened once for the process. */
const blas *blas_get(void);

#endif
