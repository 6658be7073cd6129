/* cmd_decompress.c: viva decompress: a container back to arrays. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arrays.h"
#include "command.h"
#include "compress_args.h"
#include "input.h"
#include "protect.h"
#include "signals.h"
#include "units.h"

typedef struct args {
  compress_args how; /* threads, quiet */
  const char *to;
  text_list tensors;
  int recover, mapped;
} args;

#define AT(field)  offsetof(args, field)
#define HOW(field) (offsetof(args, how) + offsetof(compress_args, field))

static const option options[] = {
    {'o', OPTION_TEXT, "output", "PATH", AT(to),
     "the file to write: .safetensors or .npz (all tensors), .npy (one), else floats without a header, one tensor "
     "after "
     "another; '-': standard output",
     0, 0},
    {0, OPTION_TEXTS, "tensor", "NAME", AT(tensors), "only this tensor; may be given several times", 0, 0},
    {0, OPTION_SET, "recover", NULL, AT(recover), "of a container whose end is missing, take what is whole", 0, 0},
    {0, OPTION_SET, "mmap", NULL, AT(mapped), "map the container in place of reading it", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", HOW(threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
    {'q', OPTION_SET, "quiet", NULL, HOW(quiet), "print errors only", 0, 0},
};

static const option_group groups[] = {OPTION_GROUP("Options", options, 0)};

static void defaults(void *values) {
  args *a = values;
  memset(a, 0, sizeof *a);
  compress_args_defaults(&a->how);
}

/* -- floats without a header, through a pipe */

typedef struct pipe_job {
  const args *a;
  output *out;
  const char *from; /* for messages */
  int wanted;       /* the tensor that comes now */
  uint64_t values, tensors;
} pipe_job;

static int64_t read_input(void *user, void *to, size_t count) {
  ssize_t got;
  do got = read(*(int *)user, to, count);
  while (got < 0 && errno == EINTR && !signals_stopped());
  return got;
}

static int put_values(void *user, const viva_container_tensor *t, const viva_stream_chunk *chunk, const float *values) {
  pipe_job *j = user;
  if (chunk == NULL) {
    j->wanted = arrays_wanted(&j->a->tensors, t->name);
    j->tensors += (uint64_t)j->wanted;
  } else if (j->wanted) {
    output_bytes(j->out, values, (size_t)chunk->values * sizeof *values);
    j->values += chunk->values;
  }
  return signals_stopped() || output_failed(j->out);
}

/* from "-": standard input. Returns the exit code. */
static int scan(viva_engine *engine, pipe_job *j) {
  viva_error error = {0};
  int file = STDIN_FILENO;
  if (strcmp(j->from, "-") != 0) file = input_open(j->from);
  if (file < 0 && signals_stopped()) return message_fail(CODE_INTERRUPTED, "stopped");
  if (file < 0) return message_fail(CODE_IO, "%s: cannot open the file: %s", j->from, strerror(errno));
  const viva_status status = viva_container_scan(engine, read_input, &file, put_values, j, &error);
  if (file != STDIN_FILENO) close(file);
  output_flush(j->out);
  if (status == VIVA_OK && j->a->tensors.count > j->tensors)
    return message_fail(CODE_INPUT, "%s: a tensor given with --tensor is not there", j->from);
  if (status == VIVA_OK) return CODE_OK;
  if (status == VIVA_E_CANCELLED && output_failed(j->out)) return CODE_OK; /* main says why */
  if (status == VIVA_E_CANCELLED || signals_stopped()) return message_fail(CODE_INTERRUPTED, "stopped");
  text_format(error.file, sizeof error.file, "%s", j->from);
  return message_error(&error);
}

static int scan_to_pipe(viva_engine *engine, pipe_job *j) {
  int code = protect_stream(j->from);
  return code != CODE_OK ? code : scan(engine, j);
}

/* Floats into a file that appears when it is complete. */
static int scan_to_file(viva_engine *engine, pipe_job *j, const char *path) {
  static output out;
  viva_file *file;
  int code = output_begin(path, &j->from, strcmp(j->from, "-") != 0, &file);
  if (code != CODE_OK) return code;
  output_open_file(&out, file);
  j->out = &out;
  code = scan(engine, j);
  if (code == CODE_OK) return output_commit(&out);
  viva_file_abort(file);
  return code;
}

/* -- files of named arrays */

typedef struct loaded_arrays {
  viva_tensor_data *list;
  viva_tensor **tensors;
  size_t count;
} loaded_arrays;

static viva_status load(viva_engine *engine, viva_container *c, size_t index, loaded_arrays *l, viva_error *error) {
  viva_container_tensor t = {.size = sizeof t};
  viva_compressed *compressed = NULL;
  viva_tensor *tensor = NULL;
  viva_status status = viva_container_info(c, index, &t, error);
  if (status == VIVA_OK) status = viva_container_load(c, index, &compressed, error);
  if (status == VIVA_OK) status = viva_decompress(engine, compressed, &tensor, error);
  viva_compressed_release(compressed);
  if (status != VIVA_OK) return status;
  viva_tensor_data *d = &l->list[l->count];
  *d = (viva_tensor_data){.name = t.name, .dtype = VIVA_F32, .rank = t.rank, .data = viva_tensor_elements(tensor)};
  memcpy(d->shape, t.shape, sizeof d->shape);
  d->bytes = (size_t)t.elements * sizeof(float);
  l->tensors[l->count++] = tensor;
  return VIVA_OK;
}

static viva_status write_arrays(const char *to, const loaded_arrays *l, viva_error *error) {
  if (path_ends(to, ".npz")) return viva_npz_write(to, l->list, l->count, NULL, error);
  if (path_ends(to, ".safetensors")) return viva_safetensors_write(to, l->list, l->count, NULL, 0, NULL, error);
  return viva_npy_write(to, &l->list[0], NULL, error);
}

/* The names that were asked for must be there; a .npy file holds one array. */
static int check_count(const args *a, const char *from, size_t count) {
  if (a->tensors.count > 0 && count < a->tensors.count)
    return message_fail(CODE_INPUT, "%s: a tensor given with --tensor is not there", from);
  if (path_ends(a->to, ".npy") && count != 1)
    return message_fail(CODE_INPUT, "%s has %zu tensors, a .npy file holds one: choose it with --tensor, or write .npz",
                        from, count);
  return CODE_OK;
}

static int convert(viva_engine *engine, const args *a, const char *from, viva_container *c) {
  viva_error error = {0};
  const size_t most = viva_container_count(c);
  loaded_arrays l = {.list = calloc(most + 1, sizeof *l.list), .tensors = calloc(most + 1, sizeof(viva_tensor *))};
  viva_status status = VIVA_OK;
  int code = CODE_OK;
  if (l.list == NULL || l.tensors == NULL) code = message_fail(CODE_LIMIT, "no memory for %zu tensors", most);
  for (size_t i = 0; i < most && status == VIVA_OK && code == CODE_OK; i++) {
    viva_container_tensor t = {.size = sizeof t};
    status = viva_container_info(c, i, &t, &error);
    if (status == VIVA_OK && arrays_wanted(&a->tensors, t.name)) status = load(engine, c, i, &l, &error);
    if (signals_stopped()) code = message_fail(CODE_INTERRUPTED, "stopped; nothing was written");
  }
  if (status == VIVA_OK && code == CODE_OK) code = check_count(a, from, l.count);
  if (status == VIVA_OK && code == CODE_OK) status = write_arrays(a->to, &l, &error);
  if (status != VIVA_OK) code = message_error(&error);
  for (size_t i = 0; i < l.count; i++) viva_tensor_release(l.tensors[i]);
  free(l.list);
  free(l.tensors);
  return code;
}

static int convert_file(viva_engine *engine, const args *a, const char *from) {
  int code = output_try(a->to, &from, 1);
  if (code != CODE_OK) return code;
  viva_container_options o = viva_container_options_default();
  viva_container *c = NULL;
  viva_error error = {0};
  o.mode = a->mapped ? VIVA_LOAD_MMAP : VIVA_LOAD_READ;
  o.recover = a->recover;
  if (a->mapped) signals_mapped(from, "leave --mmap away");
  if (viva_container_open(engine, from, &o, &c, &error) != VIVA_OK) {
    message_rename(&error, "recover", "--recover");
    return message_error(&error);
  }
  code = convert(engine, a, from, c);
  viva_container_close(c);
  return code;
}

/* Without an END the scan is told what is whole, then an error: with --recover that is no failure of the arrays. */
static int run(output *out, void *values, const operands *rest) {
  const args *a = values;
  viva_engine *engine = NULL;
  if (rest->count != 1) return message_usage("decompress", "expected one container, or '-' for standard input");
  if (a->to == NULL)
    return message_usage("decompress", "no output: give a path with -o, or '-o -' for standard output");
  const int arrays_wanted_out =
      path_ends(a->to, ".npz") || path_ends(a->to, ".npy") || path_ends(a->to, ".safetensors");
  if (arrays_wanted_out && strcmp(rest->items[0], "-") == 0)
    return message_usage("decompress",
                         "a container from a pipe becomes floats: give -o a path that ends in .f32, or '-'");
  if (a->recover && !arrays_wanted_out)
    return message_usage("decompress",
                         "--recover goes with .npy, .npz and .safetensors; floats come as far as they are "
                         "whole in any case");
  int code = compress_args_engine(&a->how, &engine);
  if (code != CODE_OK) return code;
  pipe_job j = {.a = a, .out = out, .from = rest->items[0]};
  if (arrays_wanted_out)
    code = convert_file(engine, a, rest->items[0]);
  else if (strcmp(a->to, "-") == 0)
    code = scan_to_pipe(engine, &j);
  else
    code = scan_to_file(engine, &j, a->to);
  viva_engine_release(engine);
  return code;
}

const command command_decompress = {
    .name = "decompress",
    .synopsis = "IN -o OUT [OPTIONS]",
    .summary = "Writes the values of compressed tensors",
    .details =
        "\nIN is a container that 'viva compress' has written, or '-': one from standard input. Every checksum is\n"
        "looked at; damaged data are refused with the place. Values are FP32. A file appears when it is\n"
        "complete; through a pipe comes what is whole.\n",
    .examples = "  viva decompress model.viva -o model.safetensors\n"
                "  viva decompress weights.viva -o weights.npy --tensor lm_head.weight\n"
                "  viva decompress - -o - <data.viva | consumer\n",
    COMMAND_GROUPS(groups),
    .max_operands = 1,
    .values_size = sizeof(args),
    .defaults = defaults,
    .run = run,
};
