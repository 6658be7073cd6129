/* backend/cuda/cuda_exchange.h: sums over several GPUs of one host (backend/exchange.h).
 *
 *   up to EXCHANGE_FLOATS   a kernel of our own, into each other's memory (step_exchange.h): in captured steps too (of several rows
 *                           a product sends, the norm after it adds: gemv.h), or in persist.h's
 *   sent ahead              the copy engines, then a kernel that adds (cuda_copies.h)
 *   other large ones        NCCL, where it can be opened; else the kernel, piece after piece
 */
#ifndef CUDA_CUDA_EXCHANGE_H
#define CUDA_CUDA_EXCHANGE_H

#include "backend/cuda/cuda.h"
#include "backend/cuda/library_loader.h"
#include "backend/exchange.h"

/* backend.h's join. E_UNSUPPORTED: a GPU is given twice, or two of them have no way to each other's memory. */
viva_status cuda_join(backend *const *ranks, size_t count, exchange **out, viva_error *error);
/* With other libraries: for tests. */
viva_status cuda_join_with(const library_loader *loader, backend *const *ranks, size_t count, exchange **out,
                           viva_error *error);

/* 1: captured steps can have its kernel in them. */
int cuda_exchange_captured(const exchange *e);

/* The next `count` exchanges of the rank get numbers from *first on; its own thread asks. */
uint32_t cuda_exchange_numbers(exchange *e, size_t rank, uint32_t count);

/* base: dev, or NULL: 0. */
step_exchange_group cuda_exchange_group(const exchange *e, size_t rank, const uint32_t *base);

#endif
