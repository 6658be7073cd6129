/* backend/cuda/cuda_kernels.c: the table with the kernels that were compiled. */
#include "backend/cuda/cuda_kernels.h"

/* What is left of a problem after its first rows. */
static void drop_rows(gemv_problem *p, size_t rows) {
  p->m -= (int)rows;
  p->x += rows * p->x_stride;
  if (p->x_scales) p->x_scales += rows;
  p->send.first += rows * p->parts[0].y_stride;
  for (int i = 0; i < p->part_count; i++) {
    gemv_part *part = &p->parts[i];
    const size_t results = rows * part->y_stride;
    part->y = (uint8_t *)part->y + results * (p->output == GEMV_F32 ? sizeof(float) : sizeof(uint16_t));
    if (part->residual) part->residual += results;
  }
}

/* As many rows at a time as there is a kernel for. */
static int run_gemv(const gemv_problem *whole, const cuda_gpu *gpu, int dependent, void *stream) {
  gemv_problem p = *whole;
  int made = 0; /* the norm's rows */
  while (p.m > 0) {
    gemv_problem first = p;
    gemv_plan plan = {.kernel = NULL};
    cudaError_t status = cudaSuccess;
    for (int most = GEMV_MOST_ROWS; !plan.kernel && status == cudaSuccess; most = GEMV_SURE_ROWS) {
      first.m = p.m < most ? p.m : most;
      status = gemv_plan_make(&first, gpu->multiprocessors, gpu->shared_most, &plan);
      if (!plan.kernel && most == GEMV_SURE_ROWS) return (int)cudaErrorInvalidValue;
    }
    plan.dependent = dependent && gpu->major >= 9;
    if (status == cudaSuccess && p.norm.x && !plan.norms && !made++)
      status =
          gemv_norm_rows(&p.norm, p.m, (int)p.w.cols, (uint16_t *)(uintptr_t)p.x, plan.dependent, (cudaStream_t)stream);
    if (status == cudaSuccess) status = gemv_launch(&first, &plan, (cudaStream_t)stream);
    if (status != cudaSuccess) return (int)status;
    drop_rows(&p, (size_t)first.m);
  }
  return 0;
}

static int run_gemv_norm_rows(step_queue q, const gemv_norm *norm, int m, int k, uint16_t *rows) {
  return (int)gemv_norm_rows(norm, m, k, rows, q.dependent, (cudaStream_t)q.stream);
}

static int run_gemv_exchange_rows(step_queue q, const gemv_norm *norm, const step_exchange_args *e, int m, int k,
                                  uint16_t *rows) {
  return (int)gemv_exchange_rows(norm, e, m, k, rows, q.dependent, (cudaStream_t)q.stream);
}

static int run_read_memory(const cuda_gpu *gpu, const void *dev, size_t bytes, void *sink, void *stream) {
  return convert_read_memory(gpu->multiprocessors, dev, bytes, sink, stream);
}

static int run_persist(const persist_program *p, const cuda_gpu *gpu, void *stream) {
  return persist_launch(p, gpu->shared_most, stream);
}

const cuda_kernels cuda_kernels_compiled = {
    .order_weight = convert_order_weight,
    .row_scales = convert_row_scales,
    .pack_rows = pack_units_rows,
    .codes_to_f16 = convert_codes_to_f16,
    .finish = convert_finish,
    .read_memory = run_read_memory,
    .chase = convert_chase,
    .fetch = convert_fetch,
    .put = convert_put,
    .gemv = run_gemv,
    .gemv_norm_rows = run_gemv_norm_rows,
    .gemv_exchange_rows = run_gemv_exchange_rows,
    .gemm = gemm_launch_parts,
    .expand = gemm_expand,
    .rows = gemm_rows,
    .product = step_product,
    .embed = step_embed,
    .rmsnorm = step_rmsnorm,
    .silu_mul = step_silu_mul,
    .take_rows = step_take_rows,
    .load_rows = step_load_rows,
    .store_rows = step_store_rows,
    .count_infinite = step_count_infinite,
    .rope_append = step_rope_append,
    .angles = step_angles,
    .row_angles = step_row_angles,
    .attention = step_attention,
    .turn_attention = step_turn_attention,
    .turn_tiles = step_turn_tiles,
    .top = step_top,
    .exchange = step_exchange,
    .exchange_sum = step_exchange_sum,
    .exchange_norm = step_exchange_norm,
    .exchange_wait = step_exchange_wait,
    .persist_stage_bytes = persist_stage_bytes,
    .persist_run_bytes = persist_run_bytes,
    .persist_work_bytes = persist_work_bytes,
    .persist_product = persist_product,
    .persist_attention = persist_attention,
    .persist_fits = persist_fits,
    .persist_may_have_head = persist_may_have_head,
    .persist_launch = run_persist,
    .quantize_rows = step_quantize_rows,
    .rmsnorm_codes = step_rmsnorm_codes,
    .silu_codes = step_silu_codes,
};
