/* compare.h: what viva compare measures, and how it is shown.
 *
 *   cmd_compare.c      the command line, the order of the steps
 *   compare_score.c    both models over the same windows of a text
 *   compare_weights.c  matrix by matrix
 *   compare_layers.c   layer by layer over a part of the text
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
  double *kls;           /* [windows × scored]: all of them, in rising order */
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
/* KL(a || b) of two rows of n logits. */
double score_position_kl(const float *a, const float *b, size_t n);
/* The value below which this share of all KLs lies. */
double score_kl_at(const score *s, double share);

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

/* ---- layers */

typedef struct layer_damage {
  uint64_t layers, context; /* tokens of the window, of which the second half is scored */
  double *kl, *error; /* [layers + 1]: KL and its standard error of the reference with that layer of the model; the
                               last: with its embedding, last norm and head */
} layer_damage;

/* Both must have one shape. The text's first tokens, the reference's layers replaced one by one: where damage arises.
 * damage_free ends it, also after a failure. */
viva_status damage_measure(viva_model *reference, viva_model *model, const token_list *tokens, uint64_t context,
                           progress *bar, layer_damage *damage, viva_error *error);
void damage_free(layer_damage *damage);

/* ---- shown */

typedef struct comparison {
  const char *reference, *model;     /* paths */
  const char *reference_text;        /* what it is: "llama 135M BF16 …" */
  const char *reference_weights;     /* the rule it is held by, or "as stored" */
  char model_text[192], weights[96]; /* likewise */
  char mode[32];                     /* of the model's activations, "" where nothing is packed */
  const char *input;                 /* the text's file, or what it is */
  uint64_t bytes[2], parameters[2];  /* of the weights of the reference and of the model */
  score score;
  weight_errors errors;
  layer_damage damage;           /* layers 0: not measured */
  int has_errors;                /* 0: shapes differ */
  const struct comparison *next; /* the same reference and text with another model, or NULL */
} comparison;

/* layers: with a table of the errors of the weights by layer. The summary comes last. */
void compare_print(output *out, const comparison *c, int layers);
void compare_json(output *out, const comparison *c, double seconds);

/* A page without anything from outside, the comparisons side by side (a page_fn; what is the first). */
void compare_page(output *out, const void *what);

#endif
