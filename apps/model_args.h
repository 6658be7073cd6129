/* model_args.h: the options that choose a model, how it is held and what it runs on; shared by the commands. */
#ifndef APPS_MODEL_ARGS_H
#define APPS_MODEL_ARGS_H

#include <viva/viva.h>

#include "args.h"

typedef struct model_args {
  const char *path;         /* -m */
  const char *tokenizer;    /* --tokenizer */
  uint64_t context;         /* -c */
  uint64_t threads;         /* -t */
  uint64_t num_layers;      /* --num-layers */
  const char *weights;      /* --weights: a rule, or NULL: as stored */
  const char *weights_flag; /* what the command calls it; NULL: --weights */
  int act;                  /* --act: index */
  int kv;                   /* --kv: index */
  int load;                 /* --load: index */
  int device;               /* --device: index */
  count_list devices;       /* --devices */
  int decode;               /* --decode: index */
  int kernels;              /* --kernels: index */
  int quiet, verbose;
} model_args;

void model_args_defaults(model_args *args);

/* Rows for a model_args; each command's groups take those it knows. */
enum {
  MODEL_PATH_OPTIONS = 1,
  MODEL_TOKENIZER_OPTIONS = 1,
  MODEL_HOLD_OPTIONS = 5,
  MODEL_DEVICE_OPTIONS = 4,
  MODEL_WHICH_DEVICE_OPTIONS = 2, /* of these, the first */
  MODEL_TALK_OPTIONS = 2
};
extern const option model_path_options[MODEL_PATH_OPTIONS];           /* -m */
extern const option model_tokenizer_options[MODEL_TOKENIZER_OPTIONS]; /* --tokenizer */
extern const option model_hold_options[MODEL_HOLD_OPTIONS];           /* --weights --act --kv --load
                                                                         --num-layers */
extern const option model_device_options[MODEL_DEVICE_OPTIONS];       /* --device --devices --kernels --decode */
extern const option model_talk_options[MODEL_TALK_OPTIONS];           /* -q -v */

/* The library's option structs for these arguments. devices: room for --devices, as long as the options are used. */
viva_engine_options model_args_engine(const model_args *args, int32_t devices[COUNT_LIST_MAX]);
viva_model_options model_args_model(const model_args *args);

/* An engine with a model on it. */
typedef struct loaded {
  viva_engine *engine;
  viva_model *model;
  viva_device_info device;
  viva_memory_plan plan;
  const char *weights; /* the rule it is held by, or "as stored" */
  const char *act;     /* how rows enter packed weights: "16", "fp8", "int8"; NULL: the model has none */
  double seconds;      /* for engine and model */
} loaded;

/* The rule that --weights gave, or "as stored". */
const char *model_args_weights(const model_args *args);

/* "activations 16 bits", "activations fp8" ... for a figure of this model, "" where nothing is packed. Static. */
const char *model_mode(const loaded *what);

/* Opens engine and model, with a progress bar, and says on standard error what was opened unless args->quiet.
 * Returns 0, or the exit code after a message; *what is then empty. command: for messages. */
int model_open(const model_args *args, const char *command, loaded *what);
void model_close(loaded *what);

/* As model_open, on an engine that is there (NULL: on one of its own). */
int model_open_on(const model_args *args, const char *command, viva_engine *engine, loaded *what);

/* 0 when -m was given, else the exit code after a message. */
int model_args_need_path(const model_args *args, const char *command);

/* The tokenizer for a model path: of the file itself (GGUF, tokenizer.json), else of its folder. The caller releases
 * it. Returns 0, or the exit code after a message. */
int model_open_tokenizer(const char *path, viva_tokenizer **tokenizer);

#endif
