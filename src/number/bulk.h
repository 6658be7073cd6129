/* number/bulk.h: the variants of the bulk conversions. number.h's *_n functions choose one; tests compare them. */
#ifndef NUMBER_BULK_H
#define NUMBER_BULK_H

#include <stddef.h>

typedef struct number_bulk {
  void (*bf16_to_f32)(const void *from, void *to, size_t count);
  void (*bf16_from_f32)(const void *from, void *to, size_t count);
  void (*f16_to_f32)(const void *from, void *to, size_t count);
  void (*f16_from_f32)(const void *from, void *to, size_t count);
  void (*e4m3_to_f32)(const void *from, void *to, size_t count);
  void (*e4m3_from_f32)(const void *from, void *to, size_t count);
  void (*e5m2_to_f32)(const void *from, void *to, size_t count);
  void (*e5m2_from_f32)(const void *from, void *to, size_t count);
  void (*e8m0_to_f32)(const void *from, void *to, size_t count);
  void (*e8m0_from_f32)(const void *from, void *to, size_t count);
  void (*e2m1_to_f32)(const void *from, void *to, size_t count);
  void (*e2m1_from_f32)(const void *from, void *to, size_t count);
  void (*int4_to_f32)(const void *from, void *to, size_t count);
  void (*int4_from_f32)(const void *from, void *to, size_t count);
  void (*e4m3_scaled_from_f32)(const void *from, float scale, void *to, size_t count);
  void (*int8_scaled_from_f32)(const void *from, float scale, void *to, size_t count);
  float (*f32_absmax)(const void *from, size_t count, int *nonfinite); /* nonfinite is not NULL */
  size_t (*f32_find_nonfinite)(const void *from, size_t count);
  size_t (*bf16_find_nonfinite)(const void *from, size_t count);
  size_t (*f16_find_nonfinite)(const void *from, size_t count);
} number_bulk;

/* One element after another, with the definitions of number.h. */
const number_bulk *number_bulk_scalar(void);

/* NULL when the library was built for another processor. Only for CPUs with AVX2 and F16C. */
const number_bulk *number_bulk_avx2(void);

#endif
