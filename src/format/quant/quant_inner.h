/* format/quant/quant_inner.h: the parts of quant.h's implementation, for each other.
 *
 *   quant.c           opening, looking up
 *   quant_config.c    which files say how the weights are quantised, and the dialects' own keys
 *   quant_groups.c    compressed-tensors' groups
 *   quant_modelopt.c  ModelOpt's algorithms
 *   quant_viva.c      viva's own words
 *   quant_pattern.c   regular expressions and wildcards of names
 *   quant_modules.c   the matrices of a checkpoint
 *   quant_matrix.c    the tensors of a matrix
 *   quant_rows.c      from matrices to values
 *   quant_describe.c  what is quantised, in words
 */
#ifndef FORMAT_QUANT_QUANT_INNER_H
#define FORMAT_QUANT_QUANT_INNER_H

#include "format/checkpoint_build.h"
#include "format/config/config_values.h"
#include "format/quant/quant.h"

typedef enum quant_method {
  METHOD_NONE,
  METHOD_COMPRESSED_TENSORS,
  METHOD_FP8,    /* "fp8": DeepSeek's blocks, or one scale */
  METHOD_FBGEMM, /* "fbgemm_fp8" */
  METHOD_MODELOPT,
  METHOD_VIVA
} quant_method;

typedef enum quant_layout { LAYOUT_DENSE, LAYOUT_FP8, LAYOUT_NVFP4, LAYOUT_INT8_24, LAYOUT_INT4_24 } quant_layout;

typedef enum quant_strategy {
  STRATEGY_TENSOR,
  STRATEGY_CHANNEL,
  STRATEGY_GROUP, /* group columns to a scale */
  STRATEGY_BLOCK  /* block_rows × block_cols weights to a scale */
} quant_strategy;

/* How a set of matrices is stored. */
typedef struct quant_scheme_args {
  quant_layout layout;
  quant_strategy strategy;
  uint64_t block_rows, block_cols; /* BLOCK; GROUP: 1 and the group */
  int pairs;                       /* viva's 2:4 */
} quant_scheme_args;

/* -- quant_pattern.c */

/* A list of names of modules. */
typedef struct name_list {
  grow exact;            /* of const char *, sorted by names_seal */
  grow patterns;         /* of struct pattern * */
  int linear, embedding; /* classes */
  int parts;             /* exact ones may be a run of whole parts of a name */
} name_list;

typedef enum name_syntax {
  NAMES_COMPRESSED_TENSORS, /* a name, "re:" and a regular expression that matches from the beginning, or a class */
  NAMES_WILDCARDS,          /* shell's * ? [a-z] */
  NAMES_PARTS               /* a run of whole parts of a name: "mlp.gate" is in "model.layers.0.mlp.gate" */
} name_syntax;

typedef enum name_match { MATCH_NONE, MATCH_CLASS, MATCH_PATTERN, MATCH_EXACT } name_match; /* rising precedence */

/* E_UNSUPPORTED: a pattern that is beyond what is understood, without a place; E_LIMIT: more than the files pay for. text
 * must outlive the list. */
viva_status names_add(quant *q, name_list *list, name_syntax syntax, json_string text, viva_error *error);
void names_seal(name_list *list);
/* E_LIMIT: patterns and names take longer than the files pay for. */
viva_status names_match(quant *q, const name_list *list, const char *module, name_match *found, viva_error *error);
void names_free(mem *m, name_list *list);

/* -- quant.c */

typedef struct quant_group {
  quant_scheme_args args;
  name_list targets;
  const viva_error
      *unread; /* why its scheme is not read; counts for a module that it says how is stored. NULL: it is */
} quant_group;

typedef struct quant_module {
  const char *name; /* zero-ended */
  quant_matrix m;
} quant_module;

/* viva's dialect names every matrix. */
typedef struct viva_module {
  const char *name;
  quant_scheme_args args;
} viva_module;

struct quant {
  const viva_checkpoint *ck;
  arena *arena;
  quant_method method;
  const char *scheme;
  const char *config_path; /* the file that says so */
  viva_error unread;    /* why the configuration could not be read, E_UNSUPPORTED; counts when something is quantised */
  grow groups;          /* of quant_group: compressed-tensors, ModelOpt's mixtures; others have one, for every module */
  name_list ignore;     /* modules that are dense */
  int algo_null;        /* ModelOpt: quant_algo is null, nothing is quantised */
  int sparse;           /* sparse-24-bitmask may be used */
  grow viva;            /* of viva_module *, sorted */
  grow modules;         /* of quant_module *, sorted by name */
  unsigned char *roles; /* quant_role of each of ck->tensors */
  allowance allowance;  /* of opening */
};

/* -- quant_config.c */

extern const char quant_dialects[]; /* in words: "compressed-tensors, fp8, ..." */

/* Fills method, scheme, groups, ignore, viva. */
viva_status quant_config_read(quant *q, viva_error *error);

/* The file with an arena of its own, which the caller frees: for one of many small objects, whose reading takes kilobytes. */
viva_status quant_scratch(const config_file *file, config_file *scratch);

/* The text of a scheme's name, in the arena: "compressed-tensors float-quantized". */
viva_status quant_set_scheme(quant *q, const config_file *file, const char *dialect, json_string word);

/* Adds the strings of a list (not given: none) to names. what: "a list of names". */
viva_status quant_names(quant *q, const config_file *file, const config_value *list, name_syntax syntax,
                        name_list *names);

/* As quant_names, for modules that are left dense: a pattern that is not understood is told and left out, because the
 * tensors themselves say what is dense. */
viva_status quant_ignored_names(quant *q, const config_file *file, const config_value *list, name_syntax syntax,
                                name_list *names);

/* Two sizes of 1 or more, rows and columns of a block: [128, 128], or "128x128" in older files. */
viva_status quant_block_sizes(const config_file *file, const config_value *list, uint64_t sizes[2]);

/* A new group at the end of q->groups; NULL with an error: no memory. */
quant_group *quant_add_group(quant *q, viva_error *error);

/* A dialect with one scheme for every module. */
viva_status quant_one_group(quant *q, const config_file *file, quant_scheme_args args);

/* -- quant_groups.c, quant_modelopt.c, quant_viva.c: a dialect's part of the object "quantization_config" */

viva_status quant_read_modelopt(quant *q, const config_file *file, json_string object);
viva_status quant_read_compressed_tensors(quant *q, const config_file *file, json_string object);
viva_status quant_read_viva(quant *q, const config_file *file, json_string object);

/* -- quant_modules.c */

/* Makes q->modules and q->roles from the checkpoint's tensors. */
viva_status quant_find_modules(quant *q, viva_error *error);

/* -- quant_matrix.c */

/* A matrix while its parts are looked up. */
typedef struct quant_making {
  quant *q;
  const char *module;
  size_t module_bytes;
  quant_scheme_args args;
  quant_matrix m;
  viva_error *error;
} quant_making;

/* Each fills k->m, whose codes are there. E_FORMAT: a part that is missing or does not fit. */
viva_status quant_make_fp8(quant_making *k);
viva_status quant_make_nvfp4(quant_making *k);
viva_status quant_make_sparse(quant_making *k);
viva_status quant_make_viva(quant_making *k);

/* E_FORMAT at a tensor. */
viva_status quant_fail(const quant_making *k, const tensor_view *view, const char *what);

/* The tensor called module (bytes long) + suffix. */
const tensor_view *quant_part(const viva_checkpoint *ck, const char *module, size_t bytes, const char *suffix);

#endif
