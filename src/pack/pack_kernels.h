/* pack/pack_kernels.h: the inner loops of packing, and the plain C and AVX2 forms of each, equal bit for bit. */
#ifndef PACK_PACK_KERNELS_H
#define PACK_PACK_KERNELS_H

#include "pack/nvfp4_math.h"
#include "pack/pack.h"

/* Columns worked on at once: whole blocks of every format (a multiple of 128), and floats that stay in the first cache. */
#define PACK_CHUNK       1024
#define PACK_LEAST_BLOCK 16
#define NVFP4_TRIED      16
#define PACK_MOST_SCALES (PACK_CHUNK / PACK_LEAST_BLOCK)

/* 64 columns of a 2:4 row, made ready: v in the order in which the block holds them (zeros behind the last column and for
 * what a mask drops), size what the choice goes by (not negative; a NaN counts as 0). */
typedef struct sparse_input {
  const float *v, *size;
  float scales[2]; /* of the first 32 columns, of the others */
} sparse_input;

typedef struct pack_kernels {
  /* to[b] = largest finite magnitude of block b of values[0 .. count), the last may be short. block: 16 to 128, of which
   * PACK_CHUNK is a multiple. Returns 1 when a value is NaN or infinite. */
  int (*block_absmax)(const float *values, size_t count, size_t block, float *to);
  /* to[i] = values[i] / by[i / block], and values[i] · by[i / block]. */
  void (*block_divide)(const float *values, size_t count, size_t block, const float *by, float *to);
  void (*block_multiply)(const float *values, size_t count, size_t block, const float *by, float *to);
  /* to[i] = |values[i]|, 0 for NaN. */
  void (*sizes)(const float *values, size_t count, float *to);
  /* 64 columns into the order of a block by pairs (weight.h: of each 8 columns 0 2 4 6 1 3 5 7), and each size the sum of
   * the pair's two. In place is allowed. */
  void (*pair_up)(const float *from_v, const float *from_size, float *v, float *size);
  /* 32 codes and 16 nibbles of one block. int8: within ±127; int4: within ±7, as bytes. */
  void (*sparse_int8)(const sparse_input *in, int8_t codes[SPARSE_24_KEPT], uint8_t index[SPARSE_24_GROUPS / 2]);
  void (*sparse_int4)(const sparse_input *in, uint8_t codes[SPARSE_24_KEPT / 2], uint8_t index[SPARSE_24_GROUPS / 2]);
  /* NVFP4: which factor has the least squares[i] · Σ (w · factors[i] − its code's value)², the sum over the 16 values one
   * after another; the first among equals, NVFP4_TRIED when none is finite. tried: bit i is set for what may be chosen. There
   * are 8 factors where no bit above 7 is set, else NVFP4_TRIED; all are read. */
  size_t (*nvfp4_least)(const float values[NVFP4_BLOCK], const float *factors, const float *squares, uint32_t tried);
} pack_kernels;

const pack_kernels *pack_kernels_plain(void);
const pack_kernels *pack_kernels_avx2(void); /* NULL when the library was built for another processor */
const pack_kernels *pack_kernels_best(void); /* for this processor */

void nvfp4_make_table(const pack_spec *spec, nvfp4_table *table);

/* codes[b]: the scale of each block of up to PACK_CHUNK columns. Returns 1 when a value is NaN or infinite. */
int nvfp4_choose_scales(const pack_spec *spec, const nvfp4_table *table, const pack_kernels *t, const float *values,
                        size_t count, uint8_t *codes);

/* One row of cols values into codes and scales (of this row). Returns 1 when a value is NaN or infinite. */
int fp8_pack_row(const pack_spec *spec, const pack_kernels *t, const float *values, size_t cols, void *codes,
                 void *scales);
int nvfp4_pack_row(const pack_spec *spec, const nvfp4_table *table, const pack_kernels *t, const float *values,
                   size_t cols, void *codes, void *scales);
/* keep: of this row, or NULL */
int sparse_pack_row(const pack_spec *spec, const pack_kernels *t, const float *values, size_t cols, const uint8_t *keep,
                    void *codes, void *scales);

/* The scale type of the format, whatever the spec of a format with one type says. */
scale_type pack_scale_type(const pack_spec *spec);
/* Columns to a scale; 0: the row. */
size_t pack_block(const pack_spec *spec);
/* The largest code: 448, 127, 7, 6. */
float pack_largest(weight_format format);

/* scales[i]: absmax of a block in, its scale as stored (decoded) out; count ≤ PACK_MOST_SCALES. to: the stored ones. */
void scales_store(scale_type type, float largest, float *scales, size_t count, void *to);
/* 1 when the scale for this absmax (not 0) fits the type, as pack.h says. */
int scale_fits(scale_type type, float largest, float absmax);

#endif
