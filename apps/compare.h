/* compare.h: what viva compare measures, and how it is shown.
 *
 *   cmd_compare.c      the command line, the order of the steps
 *   compare_score.c    both models over the same windows of a text
 *   compare_weights.c  matrix by matrix
 *   compare_print.c    for people and for programs
 *   compare_html.c     a picture
 */
#ifndef APPS_COMPARE_H
#define APPS_COMPARE_H

#include <viva/viva.h>

#include "output.h"
#include "progress.h"
#include "stats.h"
#include "tokens.h"

/* ---- over a text */

typedef struct score {
  uint64_t context, scored; /* tokens of a window; of them, those that are scored */
  uint64_t windows, done;
  stats nll[2];          /* of the reference and of the model */
  stats kl;              /* KL(reference ‖ model) of each scored position, natural logarithm */
  double *kls;           /* [windows × scored]: all of them */
  double *at_position;   /* [scored]: the mean of KL at each position of the windows */
  uint64_t same_top;     /* positions where both have the same most probable token */
  uint64_t shared_top_5; /* tokens that are among the five most probable of both, over all positions */
  progress bar;
} score;

/* Windows as viva perplexity has them. Fills s from windows on; kls and at_position are the caller's to free. E_CANCELLED: whole windows so far. */
viva_status score_text(viva_model *reference, viva_model *model, const token_list *tokens, size_t threads, score *s,
                       viva_error *error);

double score_perplexity(const score *s, int which);
/* Standard errors: of the perplexity, by the deviation of the logarithms, and of the mean of KL. */
double score_perplexity_error(const score *s, int which);
double score_kl_error(const score *s);
/* The value below which this share of all KLs lies. Sorts kls. */
double score_kl_at(score *s, double share);

/* ---- weights */

enum { COMPARE_PROJECTIONS = 7 }; /* VIVA_PROJ_Q to VIVA_PROJ_DOWN */

typedef struct weight_errors {
  uint64_t layers;
  double (*layer)[COMPARE_PROJECTIONS]; /* [layers]: √(Σ(model − reference)² / Σ reference²) */
  char (*format)[COMPARE_PROJECTIONS][32];
  double embedding, head, all;
  char embedding_format[32], head_format[32];
} weight_errors;

extern const char *const compare_projections[COMPARE_PROJECTIONS]; /* "q" ... "down" */

/* Both must have one shape (checked by the caller). errors_free ends it, also after a failure. */
viva_status errors_measure(const viva_model *reference, const viva_model *model, uint64_t layers, progress *bar,
                           weight_errors *errors, viva_error *error);
void errors_free(weight_errors *errors);

/* ---- shown */

typedef struct comparison {
  const char *reference, *model;           /* paths */
  const char *reference_text, *model_text; /* what they are: "llama 135M FP8 …" */
  const char *reference_weights, *weights; /* the rules they are held by, or "as stored" */
  const char *mode;                        /* of the model's activations, "" where nothing is packed */
  const char *input;                       /* the text's file, or what it is */
  uint64_t bytes[2], parameters;           /* of the weights of the reference and of the model */
  score *score;
  const weight_errors *errors; /* NULL: shapes differ */
} comparison;

/* layers: with a table of the errors of the weights by layer. The summary comes last. */
void compare_print(output *out, const comparison *c, int layers);
void compare_json(output *out, const comparison *c, double seconds);

/* A page without anything from outside (a page_fn; what is a comparison). */
void compare_page(output *out, const void *what);

#endif
