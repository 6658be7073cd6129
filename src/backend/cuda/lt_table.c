#include "backend/cuda/lt_table.h"

/* A class of problems: form and least sizes. The first row that fits is taken. Outputs are of 16 bits. */
typedef struct lt_row {
  lt_gpu gpu;
  lt_type input;
  lt_scales scales;
  int full;
  int least_m, least_n, least_k;
  lt_algorithm algorithm;
} lt_row;

#define SM90                                                                                                           \
  { 9, 0, 132 }

/* NVIDIA H200, cuBLASLt 13.1 (lab/gemm/01_fused.cu and 02_whole.cu: all that the library proposes, and their
 * relatives that it accepts, over two machines): each row within 1.5 % of the best at 8192³ and at M 2048 with N × K
 * 14336 × 4096, 4096 × 14336, 6144 × 4096, 4096 × 4096. Fast sums since by bench_layers, which finds the same algorithm the best
 * at 8192³ and at M 2048 with the eight weight shapes of Llama-3.1-8B and 70B. Below M 512 nothing was measured. */
static const lt_row rows[] = {
    {SM90, LT_E4M3, LT_SCALES_OUTER, 0, 512, 0, 0, {66, 20, 36, 1, 0, 0, 1, 0, 3}},
    {SM90, LT_E4M3, LT_SCALES_OUTER, 1, 4096, 4096, 0, {66, 20, 36, 1, 0, 0, 7, 0, 5}},
    {SM90, LT_E4M3, LT_SCALES_OUTER, 1, 512, 0, 0, {66, 20, 36, 1, 0, 0, 5, 0, 3}},
    {SM90, LT_F16, LT_SCALES_NONE, 0, 4096, 4096, 0, {66, 24, 35, 1, 0, 0, 7, 0, 5}},
    {SM90, LT_F16, LT_SCALES_NONE, 0, 512, 8192, 0, {66, 20, 35, 1, 0, 0, 1, 0, 3}},
    {SM90, LT_F16, LT_SCALES_NONE, 0, 512, 0, 0, {66, 23, 35, 1, 0, 0, 4, 0, 3}},
};

static int fits(const lt_row *row, const lt_gpu *gpu, const lt_problem *p) {
  return row->gpu.major == gpu->major && row->gpu.minor == gpu->minor && row->gpu.sms == gpu->sms &&
         row->input == p->input && row->scales == p->scales && row->full == p->full && p->m >= row->least_m &&
         p->n >= row->least_n && p->k >= row->least_k;
}

const lt_algorithm *lt_table_find(const lt_gpu *gpu, const lt_problem *problem) {
  if (problem->output != LT_F16 && problem->output != LT_BF16) return NULL;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (fits(&rows[i], gpu, problem)) return &rows[i].algorithm;
  }
  return NULL;
}
