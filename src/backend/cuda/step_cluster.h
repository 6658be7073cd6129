/* step_cluster.h: attention by clusters of blocks (sm_90), between the .cu files of a step. */
#ifndef CUDA_STEP_CLUSTER_H
#define CUDA_STEP_CLUSTER_H

#include "backend/cuda/step.h"

struct attend_rows_of;
struct rope_args;

/* turn: NULL, or what rope_append would have done with each row, whose sequence has no other row in the step. rows: whose
 * attention it is. */
int step_cluster_attention(step_queue q, const rope_args *turn, const attention_args *a, const step_half_rows *half,
                           const attend_rows_of &rows, const step_work *work);

/* Bytes of step_work.scratch. */
size_t step_cluster_scratch(head_shape h);

#endif
