/* cmd_compress.c: viva compress: tensors of files, or floats from a pipe, into a container. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arrays.h"
#include "command.h"
#include "compress_args.h"
#include "json_out.h"
#include "progress.h"
#include "protect.h"
#include "signals.h"
#include "taken_names.h"
#include "units.h"
#include "visible.h"

enum {
  PIECE_VALUES = 1 << 16,
  STEM_BYTES = 256,
  EMPTY_BYTES = 4 /* of a tensor without values, as compress.h has it */
};

typedef struct args {
  compress_args how;
  const char *to;
  text_list tensors;
} args;

#define AT(field)  offsetof(args, field)
#define HOW(field) (offsetof(args, how) + offsetof(compress_args, field))

static const option file_options[] = {
    {'o', OPTION_TEXT, "output", "PATH", AT(to), "the container to write; '-': standard output", 0, 0},
    {0, OPTION_TEXTS, "tensor", "NAME", AT(tensors), "only this tensor; may be given several times", 0, 0},
    {'t', OPTION_COUNT, "threads", "N", HOW(threads),
     "threads to compute with; 0: physical cores within affinity and cgroup quota", 0, 1024},
    {0, OPTION_COUNT, "workers", "N", HOW(workers),
     "from a pipe: threads that compress chunks beside the reading; 0: none", 0, 256},
    {0, OPTION_SET, "json", NULL, HOW(json), "print one JSON object instead of the table", 0, 0},
    {'q', OPTION_SET, "quiet", NULL, HOW(quiet), "print errors only", 0, 0},
};

static const option_group groups[] = {
    OPTION_GROUP("Files", file_options, 0),
    OPTION_GROUP("Compression", compress_codec_options, AT(how)),
};

static void defaults(void *values) {
  args *a = values;
  memset(a, 0, sizeof *a);
  compress_args_defaults(&a->how);
}

typedef struct job {
  output *out;   /* the table; NULL when the container goes there, or nothing is wanted */
  output *bytes; /* the container, or NULL: to a path */
  const args *a;
  viva_engine *engine;
  viva_container_writer *writer;
  viva_error error;
  viva_error writing; /* of a chunk from a pipe */
  int unwritten;      /* it failed */
  json_out json;
  size_t inputs;              /* how many files: an array without a name has its file's, where there are several */
  taken_names names;          /* of what is in the container */
  viva_compressed_desc piped; /* what the chunks from a pipe have been */
  uint64_t before, after, tensors;
} job;

static int put_bytes(void *user, const void *bytes, size_t count) {
  output_bytes(user, bytes, count);
  return output_failed(user);
}

/* After a failure: what was wrong, but for standard output, of which main speaks. Returns the exit code. */
static int fail(const job *j, const viva_error *error) {
  return j->bytes != NULL && output_failed(j->bytes) ? CODE_IO : message_error(error);
}

/* -- the table */

static void print_begin(job *j) {
  if (j->out == NULL || !j->a->how.json) return;
  j->json = (json_out){j->out, 0};
  json_begin(&j->json, '{');
  json_key(&j->json, "tensors"), json_begin(&j->json, '[');
}

/* What was done about the bound, or "". */
static void remark(const viva_compressed_desc *info, char *text, size_t size) {
  text[0] = 0;
  if (!info->bound_met)
    text_format(text, size, "above the bound");
  else if (info->segments_raw > 0)
    text_format(text, size, "%" PRIu64 " of %" PRIu64 " segments raw", info->segments_raw, info->segments);
  else if (info->blocks_raised > 0)
    text_format(text, size, "%" PRIu64 " of %" PRIu64 " blocks with more bits", info->blocks_raised, info->blocks);
}

static void print_tensor(job *j, const char *name, const viva_compressed_desc *info) {
  char text[64], shown[256];
  j->before += 4 * info->num_elements;
  j->after += info->memory_bytes;
  j->tensors++;
  if (j->out == NULL) return;
  if (j->a->how.json) {
    json_begin(&j->json, '{');
    json_key(&j->json, "name"), json_text(&j->json, name);
    json_key(&j->json, "codec"), json_text(&j->json, info->config.codec == VIVA_CODEC_NVFP4 ? "nvfp4" : "affine");
    json_key(&j->json, "bits"), json_unsigned(&j->json, info->config.bits_per_value);
    json_key(&j->json, "block"), json_unsigned(&j->json, info->config.block_size);
    json_key(&j->json, "values"), json_unsigned(&j->json, info->num_elements);
    json_key(&j->json, "bytes"), json_unsigned(&j->json, info->memory_bytes);
    json_key(&j->json, "error_percent"), json_double(&j->json, info->error_pct);
    json_key(&j->json, "bound_met"), json_boolean(&j->json, info->bound_met);
    json_key(&j->json, "blocks_raised"), json_unsigned(&j->json, info->blocks_raised);
    json_key(&j->json, "segments_raw"), json_unsigned(&j->json, info->segments_raw);
    json_end(&j->json, '}');
    return;
  }
  remark(info, text, sizeof text);
  visible_copy(shown, sizeof shown, name, strlen(name), "");
  if (j->tensors == 1)
    output_format(j->out, "%-40s %12s %12s %7s %9s\n", "tensor", "values", "bytes", "ratio", "error %");
  output_format(j->out, "%-40s %12" PRIu64 " %12" PRIu64 " %7.3f %9.4f%s%s\n", name[0] != 0 ? shown : "(array)",
                info->num_elements, info->memory_bytes, info->compression_ratio, info->error_pct,
                text[0] != 0 ? "  " : "", text);
}

static void print_end(job *j) {
  if (j->out == NULL) return;
  const double ratio = j->after > 0 ? (double)j->before / (double)j->after : 0;
  if (j->a->how.json) {
    json_end(&j->json, ']');
    json_key(&j->json, "bytes_before"), json_unsigned(&j->json, j->before);
    json_key(&j->json, "bytes_after"), json_unsigned(&j->json, j->after);
    json_key(&j->json, "ratio"), json_double(&j->json, ratio);
    json_end(&j->json, '}');
    output_text(j->out, "\n");
    return;
  }
  char from[32], to[32];
  units_bytes(j->before, from, sizeof from);
  units_bytes(j->after, to, sizeof to);
  output_format(j->out, "\n%" PRIu64 " tensors, %s in FP32 -> %s: ratio %.3f\n", j->tensors, from, to, ratio);
}

/* The library's names of what was wrong become the program's. */
static void name_options(viva_error *error) {
  message_rename(error, "block_size", "--block");
  message_rename(error, "bits_per_value", "--bits");
  message_rename(error, "symmetric", "--symmetric");
  message_rename(error, "max_error_pct", "--max-error");
  message_rename(error, "segment", "--segment");
}

/* -- files */

static viva_status compress_tensor(job *j, const viva_stored_tensor *info, const viva_tensor *values) {
  const compress_args *how = &j->a->how;
  viva_compression_config config = compress_args_config(how);
  config.segment = compress_args_segment(how, info->rank > 0 ? info->shape[info->rank - 1] : 1, config.block_size);
  const viva_analyze_options options = compress_args_analyze(how);
  const viva_container_tensor described = {.size = sizeof described, .name = info->name, .dtype = info->dtype};
  viva_compressed_desc made = {.size = sizeof made};
  viva_compressed *c = NULL;
  viva_status status = how->codec == CODEC_ADAPTIVE
                           ? viva_analyze_and_compress(j->engine, values, &options, &c, &j->error)
                           : viva_compress(j->engine, values, &config, &c, &j->error);
  if (status == VIVA_OK) status = viva_container_add(j->writer, &described, c, &j->error);
  if (status == VIVA_OK) status = viva_compressed_info(c, &made, &j->error);
  if (status == VIVA_OK) print_tensor(j, info->name, &made);
  viva_compressed_release(c);
  return status;
}

/* The file's name without its folder and its ending. */
static void stem_of(const char *path, char *stem, size_t size) {
  const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path, *dot = strrchr(name, '.');
  text_format(stem, size, "%.*s", (int)(dot != NULL ? (size_t)(dot - name) : strlen(name)), name);
}

/* *taken: the exit code after a message: its name is another's. */
static viva_status compress_array(job *j, const arrays *a, size_t index, const char *path, int *taken) {
  viva_stored_tensor info;
  viva_tensor *values = NULL;
  char stem[STEM_BYTES];
  viva_status status = arrays_info(a, index, &info, &j->error);
  if (status != VIVA_OK || !arrays_wanted(&j->a->tensors, info.name)) return status;
  if (!arrays_real(&info)) {
    if (!j->a->how.quiet)
      message_note("%s: left out: %s is no type of real numbers", info.name[0] != 0 ? info.name : path, info.type_name);
    return VIVA_OK;
  }
  if (info.name[0] == 0 && j->inputs > 1) {
    stem_of(path, stem, sizeof stem);
    info.name = stem;
  }
  *taken = taken_names_add(&j->names, info.name, path);
  if (*taken != CODE_OK) return VIVA_OK;
  status = arrays_read(a, index, &values, &j->error);
  if (status == VIVA_OK) status = compress_tensor(j, &info, values);
  name_options(&j->error);
  if (status != VIVA_OK && j->error.item[0] == 0) text_format(j->error.item, sizeof j->error.item, "%s", info.name);
  if (status != VIVA_OK && j->error.item[0] == 0 && j->error.file[0] == 0)
    text_format(j->error.file, sizeof j->error.file, "%s", path);
  viva_tensor_release(values);
  return status;
}

static int compress_file(job *j, const char *path) {
  arrays a;
  if (arrays_open(j->engine, path, &a, &j->error) != VIVA_OK) return message_error(&j->error);
  const uint64_t before = j->tensors;
  int code = arrays_check_names(&a, &j->a->tensors, path);
  for (size_t i = 0; i < arrays_count(&a) && code == CODE_OK; i++) {
    if (signals_stopped())
      code = message_fail(CODE_INTERRUPTED, "stopped; nothing was written");
    else if (compress_array(j, &a, i, path, &code) != VIVA_OK)
      code = fail(j, &j->error);
  }
  if (code == CODE_OK && j->tensors == before && arrays_count(&a) > 0)
    code = message_fail(CODE_INPUT, "%s: there is no tensor of real numbers to compress", path);
  arrays_close(&a);
  return code;
}

/* -- a pipe */

static void count_chunk(const viva_stream_chunk *chunk, viva_compressed_desc *info) {
  for (uint64_t b = 0; b < chunk->blocks; b++)
    info->blocks_raised += (chunk->bits > 0 ? chunk->bits : chunk->block_bits[b]) > info->config.bits_per_value;
  info->blocks += chunk->blocks;
  info->bound_met &= chunk->error_pct <= info->config.max_error_pct;
  if (chunk->error_pct > info->error_pct) info->error_pct = chunk->error_pct;
}

static int on_chunk(void *user, const viva_stream_chunk *chunk) {
  job *j = user;
  count_chunk(chunk, &j->piped);
  j->unwritten = viva_container_chunk(j->writer, chunk, &j->writing) != VIVA_OK;
  return j->unwritten;
}

/* Why the stream ended: the library says cancelled whoever did it. */
static int pipe_failed(job *j, viva_status status) {
  if (j->unwritten) return fail(j, &j->writing);
  if (status == VIVA_E_CANCELLED && signals_stopped()) return message_fail(CODE_INTERRUPTED, "stopped");
  return fail(j, &j->error);
}

static int on_progress(void *user, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return signals_stopped();
}

/* A stream stores a chunk with such a value as it is. Returns 0, or the exit code after a message. */
static int check_finite(const job *j, const float *values, size_t count, uint64_t first) {
  for (size_t i = 0; i < count && !j->a->how.keep_nonfinite; i++)
    if (!isfinite(values[i]))
      return message_fail(CODE_INPUT,
                          "standard input: value %" PRIu64 " is %s; mend the data, or keep such blocks in 32 bits with "
                          "--keep-nonfinite",
                          first + i, isnan(values[i]) ? "NaN" : "infinite");
  return CODE_OK;
}

/* Reads floats until the end. Returns 0, or the exit code after a message. */
static int feed(job *j, viva_stream *stream) {
  static float values[PIECE_VALUES];
  size_t have = 0; /* bytes of an unfinished piece */
  uint64_t taken = 0;
  for (;;) {
    const ssize_t got = read(STDIN_FILENO, (char *)values + have, sizeof values - have);
    if (got < 0 && errno == EINTR && !signals_stopped()) continue;
    if (got < 0 && errno == EINTR) return message_fail(CODE_INTERRUPTED, "stopped");
    if (got < 0) return message_fail(CODE_IO, "standard input: cannot read: %s", strerror(errno));
    if (got == 0) break;
    have += (size_t)got;
    const size_t whole = have / sizeof *values;
    const int code = check_finite(j, values, whole, taken);
    if (code != CODE_OK) return code;
    const viva_status status = viva_stream_process(stream, values, whole, NULL, &j->error);
    if (status != VIVA_OK) return pipe_failed(j, status);
    taken += whole;
    memmove(values, (char *)values + whole * sizeof *values, have % sizeof *values);
    have %= sizeof *values;
  }
  return have == 0 ? CODE_OK : message_fail(CODE_INPUT, "standard input: its size is no multiple of 4 bytes");
}

/* After the last chunk. */
static void print_piped(job *j, const viva_stream_state *state) {
  viva_compressed_desc *info = &j->piped;
  const double out = (double)state->total_bytes_out;
  info->num_elements = state->values_out;
  info->memory_bytes = state->processed_chunks > 0 ? state->total_bytes_out : EMPTY_BYTES;
  info->segments = state->processed_chunks;
  info->segments_raw = state->raw_chunks;
  info->compression_ratio = out > 0 ? (double)state->total_bytes_in / out : 0;
  print_tensor(j, "(standard input)", info);
}

static int compress_pipe(job *j) {
  const int taken = taken_names_add(&j->names, "", "standard input");
  if (taken != CODE_OK) return taken;
  const compress_args *how = &j->a->how;
  const viva_compression_config config = compress_args_config(how);
  viva_stream_options options = viva_stream_options_default();
  viva_container_tensor t = {.size = sizeof t, .name = "", .dtype = VIVA_F32, .elements = VIVA_UNKNOWN};
  viva_stream *stream = NULL;
  viva_stream_state state = {.size = sizeof state};
  options.workers = (int32_t)how->workers;
  options.on_chunk = on_chunk;
  options.user = j;
  options.progress = on_progress;
  viva_status status = viva_stream_create(j->engine, &config, &options, &stream, &j->error);
  if (status == VIVA_OK) status = viva_stream_info(stream, &state, &j->error);
  t.config = state.config; /* with the segment's length */
  if (status == VIVA_OK) status = viva_container_begin(j->writer, &t, &j->error);
  name_options(&j->error);
  j->piped = (viva_compressed_desc){.config = state.config, .bound_met = 1};
  int code = status == VIVA_OK ? feed(j, stream) : fail(j, &j->error);
  if (code == CODE_OK) {
    status = viva_stream_finish(stream, &state, &j->error);
    if (status != VIVA_OK) code = pipe_failed(j, status);
  }
  viva_stream_free(stream);
  if (code == CODE_OK) print_piped(j, &state);
  return code;
}

/* -- the run */

/* Whether OUT can be written, and is none of the inputs. */
static int try_output(const char *to, const operands *rest) {
  const char **files = calloc(rest->count, sizeof *files);
  size_t count = 0;
  if (files == NULL) return message_fail(CODE_LIMIT, "no memory for %zu paths", rest->count);
  for (size_t i = 0; i < rest->count; i++)
    if (strcmp(rest->items[i], "-") != 0) files[count++] = rest->items[i];
  int code = output_try(to, files, count);
  free(files);
  return code;
}

/* Whether standard output is none of them. */
static int try_pipe(const operands *rest) {
  int code = CODE_OK;
  for (size_t i = 0; i < rest->count && code == CODE_OK; i++) code = protect_stream(rest->items[i]);
  return code;
}

static int compress_all(job *j, const operands *rest) {
  print_begin(j);
  int code = CODE_OK;
  for (size_t i = 0; i < rest->count && code == CODE_OK; i++)
    code = strcmp(rest->items[i], "-") == 0 ? compress_pipe(j) : compress_file(j, rest->items[i]);
  taken_names_free(&j->names);
  if (code != CODE_OK) {
    viva_container_abort(j->writer);
    return code;
  }
  if (viva_container_finish(j->writer, &j->error) != VIVA_OK) return fail(j, &j->error);
  print_end(j);
  return CODE_OK;
}

/* What the options ask for and cannot be. */
static int check_options(const compress_args *how, const operands *rest) {
  const char *useless = how->codec == CODEC_ADAPTIVE ? compress_args_not_adaptive(how) : NULL;
  if (useless != NULL)
    return message_usage("compress", "--codec adaptive chooses the format by itself: leave out %s", useless);
  if (how->codec == CODEC_AFFINE && how->search != VIVA_SEARCH_MSE)
    return message_usage("compress", "--search is for --codec nvfp4: affine has one scale for a block");
  for (size_t i = 0; i < rest->count; i++) {
    if (strcmp(rest->items[i], "-") != 0) continue;
    if (how->codec == CODEC_ADAPTIVE)
      return message_usage("compress", "--codec adaptive needs to see all of a tensor: it cannot read a pipe");
    if (how->row_blocks) return message_usage("compress", "--row-blocks needs a tensor's rows: a pipe has none");
  }
  return CODE_OK;
}

static int run(output *out, void *values, const operands *rest) {
  const args *a = values;
  job j = {.a = a, .inputs = rest->count};
  if (rest->count == 0) return message_usage("compress", "expected a file, or '-' for floats from standard input");
  if (a->to == NULL) return message_usage("compress", "no output: give a path with -o, or '-o -' for standard output");
  const int piped = strcmp(a->to, "-") == 0;
  if (piped && out->terminal)
    return message_usage("compress", "a container is not for a terminal: give a path with -o");
  int code = check_options(&a->how, rest);
  if (code != CODE_OK) return code;
  j.out = piped || a->how.quiet ? NULL : out;
  j.bytes = piped ? out : NULL;
  code = piped ? try_pipe(rest) : try_output(a->to, rest);
  if (code == CODE_OK) code = compress_args_engine(&a->how, &j.engine);
  if (code != CODE_OK) return code;
  if (viva_container_create(j.engine, piped ? NULL : a->to, piped ? put_bytes : NULL, out, &j.writer, &j.error) !=
      VIVA_OK)
    code = message_error(&j.error);
  else
    code = compress_all(&j, rest);
  viva_engine_release(j.engine);
  return piped && code == CODE_IO && output_failed(out) ? CODE_OK : code; /* main says why */
}

const command command_compress = {
    .name = "compress",
    .synopsis = "FILE... -o OUT [OPTIONS]",
    .summary = "Compresses tensors in micro-blocks",
    .details =
        "\nFILE is a safetensors or GGUF file, a model's folder, a .npy or .npz file, floats without a header (.f32,\n"
        ".raw, .bin), or '-': floats from standard input, in constant memory. OUT is a container\n"
        "(docs/formats.md) with a checksum for each chunk; 'viva decompress' reads it. A file appears whole or\n"
        "not at all. The error is measured for each segment, and the worst one shown.\n"
        "Of several files, an array without a name (.npy, floats) is named as its file, without the ending; two\n"
        "tensors of one name are refused.\n",
    .examples = "  viva compress model.safetensors -o model.viva\n"
                "  viva compress weights.npy -o weights.viva --codec affine --bits 5 --block 32 --bound fit\n"
                "  generator | viva compress - -o - --workers 2 | ssh host 'cat >data.viva'\n",
    COMMAND_GROUPS(groups),
    .max_operands = 1000,
    .values_size = sizeof(args),
    .defaults = defaults,
    .run = run,
};
