/* pack/gemv_order.c: a weight in the order of the small-batch kernels, made by the host. */
#include "pack/gemv_order.h"

static void make_record(const weight *w, const gemv_order *o, size_t row, size_t col, uint8_t *to) {
  const size_t coded = o->code_bytes + o->position_bytes;
  for (size_t i = 0; i < coded; i += 4) {
    const uint32_t word = gemv_record_word(w, row, col, (uint32_t)(i / 4));
    memcpy(to + i, &word, sizeof word);
  }
  for (size_t i = coded; i < o->record_bytes; i++) to[i] = gemv_record_scale(w, row, col, (uint32_t)(i - coded));
}

void gemv_order_tiles(const weight *w, size_t tile, size_t tiles, void *to) {
  const gemv_order o = gemv_order_of(w);
  float *row_scales = (float *)(void *)((uint8_t *)to + o.row_scales_offset);
  const float decoded = w->format == WEIGHT_NVFP4 ? GEMV_NVFP4_SCALE : 1;
  for (size_t t = tile; t < tile + tiles; t++) {
    const size_t row = t * GEMV_TILE;
    for (size_t r = 0; r < o.records; r++)
      make_record(w, &o, row, r * GEMV_RECORD, (uint8_t *)to + (t * o.records + r) * o.record_bytes);
    for (size_t i = row; i < row + GEMV_TILE; i++) row_scales[i] = i < w->rows ? weight_row_scale(w, i) * decoded : 0;
  }
}
