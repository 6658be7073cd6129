/* pack/pack.h: FP32 rows into packed rows, and back. Pure functions of their arguments: thread-safe, no allocation.
 *
 * Every way into a packed format (viva_prepack_*, a loaded model, viva quantize) goes through pack_rows, or gives its bytes
 * (pack_unit.h, on a device), so equal weights give equal bytes. A matrix is packed in three steps, the first two by any number
 * of threads on any cut of the rows:
 *
 *   pack_survey s = {0};                       needed only when pack_needs_survey(&spec): NVFP4's one number for the
 *   pack_survey_rows(&spec, …, &s);            matrix, and whether every scale fits its type
 *   pack_settle(&spec, &s);
 *   pack_rows(&spec, …);
 *
 * Rules (E4M3 is the OCP "fn" form):
 * - FP8: scale = absmax / 448 of the row or block, 1 when that is zero (also when absmax / 448 underflows to 0: then the
 *   smallest subnormal is used); E8M0: the smallest power of two that is not below absmax / 448. Codes are made from the
 *   scale as stored: e4m3(w / scale), the division in FP32, saturating.
 * - Scales held as F16 or E8M0 must fit: when one of the matrix would be infinite, or F16 below 2^−19 (fewer than 6
 *   significant bits), or E8M0 below 2^−127, the whole matrix gets F32 scales (pack_settle).
 * - INT8 2:4: scale = absmax / 127 of the whole row (before pruning); of each 4 columns the 2 largest magnitudes stay, ties
 *   to the lower index; code = round to nearest even, within ±127. −0 counts as 0.
 * - INT4 2:4: as INT8 with absmax / 7 of the row or group of 32, 64 or 128 columns. With `pairs` the choice is 2 of the 4
 *   neighbouring pairs of every 8 columns, by |a| + |b| (the original's selection): see weight.pairs for how it is stored.
 *   A mask's choice is stored in the same way; a mask does not go with `pairs` (it is ignored there).
 * - NVFP4: per matrix G = 2688 / absmax (1 for a zero matrix; at most 2^118, so that G / s is finite), per block
 *   s = e4m3(absmax / 6 · G), 0.125 where that is 0; code = e2m1(w · (G / s)) ties to even. With `multiplier` G is
 *   absmax / 2688 (at least 2^−118), s = e4m3(absmax / 6 / G) and code = e2m1(w · (1 / (s · G))).
 *   NVFP4_SEARCH_MSE takes of the 16 E4M3 codes from 8 below that s to 7 above it (half of it to just below twice it) the
 *   one with the least Σ (w − value)², the lower one among equals; NEAR of the 5 codes 1 below that s to 1 above it, 4 and
 *   5 above it (near absmax / 4), where 90 % of Gaussian blocks have their best one: 21.737 dB on 2^22 values, by MSE
 *   21.804, by the 8 codes from 2 below to 5 above 21.769; on uniform values 20.89, 21.07, 21.06; FOUR_OVER_SIX takes
 *   e4m3(absmax / 4 · G) when that has less. A block with a NaN or an infinity, when they are allowed, takes the s of absmax.
 */
#ifndef PACK_PACK_H
#define PACK_PACK_H

#include "pack/weight.h"

typedef enum nvfp4_search {
  NVFP4_SEARCH_MSE = 0,
  NVFP4_SEARCH_ABSMAX = 1,
  NVFP4_SEARCH_FOUR_OVER_SIX = 2,
  NVFP4_SEARCH_NEAR = 3 /* compress/ */
} nvfp4_search;

typedef struct pack_spec {
  weight_format format; /* any, dense ones included */
  uint32_t block;       /* FP8: 0, 16, 32, 64, 128. INT4 2:4: 0, 32, 64, 128. NVFP4: 16. Others: 0 */
  scale_type scale;     /* FP8: F32, F16, E8M0. INT4 2:4: F16, F32. INT8 2:4: F32. NVFP4: E4M3 */
  nvfp4_search search;  /* NVFP4 */
  int multiplier;       /* NVFP4: ModelOpt's dialect */
  int pairs;            /* INT4 2:4 */
  int allow_nonfinite; /* NaN becomes the format's NaN, or 0 where it has none; infinities become the largest code (dense:
                           stay infinite) */
  float global;        /* NVFP4, set by pack_settle */
} pack_spec;

/* Sizes of a packed matrix in one piece: codes at 0, scales at scales_offset. */
typedef struct pack_sizes {
  size_t row_bytes, scale_row_bytes;
  size_t scales_offset; /* = bytes when there are none */
  size_t bytes;
} pack_sizes;

/* 1 when a size overflows (or rows or cols is 0). */
int pack_measure(const pack_spec *spec, size_t rows, size_t cols, pack_sizes *sizes);

/* The view of a matrix that lies in one piece of memory at data as pack_measure says. */
weight pack_view(const pack_spec *spec, size_t rows, size_t cols, const void *data);

/* Where a value that is NaN or infinite was met. */
typedef struct pack_place {
  int found;
  size_t row, col;
} pack_place;

/* What must be known of the whole matrix before its rows are packed. Zero it before the first rows. */
typedef struct pack_survey {
  float absmax;   /* of the finite values */
  int scales_bad; /* a scale does not fit its type */
  pack_place bad; /* first NaN or infinity (lowest row, then column) when not allowed */
} pack_survey;

int pack_needs_survey(const pack_spec *spec);
/* values: [rows][cols], stride elements apart; row: number of the first, for `bad`. */
void pack_survey_rows(const pack_spec *spec, const float *values, size_t stride, size_t row, size_t rows, size_t cols,
                      pack_survey *survey);
void pack_survey_merge(pack_survey *into, const pack_survey *other);
void pack_settle(pack_spec *spec, const pack_survey *survey);

/* keep of pack_rows: which weights stay, for the 2:4 formats. A byte for each weight, not 0 = kept; exactly 2 in every
 * group of 4 whole columns (at most 2 in a short last one). */
typedef struct pack_keep {
  const uint8_t *bytes; /* NULL: by magnitude */
  size_t stride;        /* bytes from row to row */
} pack_keep;

/* Packs rows [row, row + rows) into the matrix that lies at data (pack_measure of all its rows). values and keep point at
 * the first of these rows. *bad (may be NULL): the first NaN or infinity, when not allowed, else found 0; that row's codes
 * are then undefined. A finite value that F16 or BF16 cannot hold becomes infinite. Each row's bytes depend on that row (and
 * spec) alone. */
void pack_rows(const pack_spec *spec, size_t all_rows, size_t cols, void *data, size_t row, size_t rows,
               const float *values, size_t stride, const pack_keep *keep, pack_place *bad);

/* The first group whose mask is wrong, as a place; found 0: all are right. */
pack_place pack_check_keep(const pack_keep *keep, size_t rows, size_t cols);

/* to[rows][stride] = the values of rows [row, row + rows): code · scale in FP32 (NVFP4: code · (scale / global) or
 * code · (scale · global), each operation rounded), pruned weights +0. w is in the host's memory. */
void unpack_rows(const weight *w, size_t row, size_t rows, float *to, size_t stride);

/* 2:4 formats: the first group (row, its first column as the block holds them) whose index nibble is not one of the six with
 * first < second; found 0: all are right. For bytes that come from a file: kernels and devices may give such a group any
 * value (unpack_rows: each code counts at its place, both when they name the same one), though none reads outside. */
pack_place pack_check_index(const weight *w, size_t row, size_t rows);

/* 2:4 formats whose index is right: the first code that viva never writes, −128 in INT8 and −8 in INT4, by its row and
 * column; found 0: there is none. Kernels multiply bytes by their magnitude and sign, which the least code of two's
 * complement has not in so many bits, so that its product differs from kernel to kernel: such a file is refused. */
pack_place pack_check_codes(const weight *w, size_t row, size_t rows);

#endif
