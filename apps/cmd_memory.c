/* cmd_memory.c: viva memory: the original's memory hierarchy, which is a model, and this machine's, its GPU's among them, measured. */
#include <inttypes.h>
#include <string.h>

#include "command.h"
#include "compress_args.h"
#include "json_out.h"
#include "messages.h"
#include "units.h"

typedef struct memory_args {
  double megabytes;
  const char *file;
  int no_measure, json;
} memory_args;

#define AT(field) offsetof(memory_args, field)

typedef struct measured {
  viva_measured_level levels[VIVA_MEASURED_LEVELS];
  int has_gpu;
  viva_device_info gpu;
  viva_measured_level gpu_levels[VIVA_MEASURED_DEVICE_LEVELS];
} measured;

static const option options[] = {
    {0, OPTION_REAL, "size", "MB", AT(megabytes), "what the transfer times are for", 0, 1e9},
    {'f', OPTION_TEXT, "file", "PATH", AT(file), "measure storage by reading this file (the system's cache may answer)",
     0, 0},
    {0, OPTION_SET, "no-measure", NULL, AT(no_measure), "the model alone", 0, 0},
    {0, OPTION_SET, "json", NULL, AT(json), "print one JSON object", 0, 0},
};

static const option_group groups[] = {OPTION_GROUP("Options", options, 0)};

static void defaults(void *values) {
  memory_args *args = values;
  memset(args, 0, sizeof *args);
  args->megabytes = 2;
}

/* Microseconds for so many MB at so many GB/s; the model counts 1024 MB to a GB, the machine's rates are of 10^9 bytes. */
static double measured_us(double megabytes, double gb_per_s) {
  return gb_per_s > 0 ? megabytes * (1 << 20) / (gb_per_s * 1e9) * 1e6 : 0;
}

static void print_model(output *out, double megabytes) {
  output_format(out, "The original's memory hierarchy: a model, nothing measured\n%-12s %14s %12s %16s   %s\n", "level",
                "GB/s", "latency ns", "transfer us", "its label");
  for (int i = 0; i < VIVA_MEMORY_LEVELS; i++) {
    double us = 0;
    (void)viva_transfer_time_us(megabytes, (viva_memory_level)i, &us, NULL);
    output_format(out, "%-12s %14.1f %12.0f %16.4f   %s\n", viva_memory_level_name((viva_memory_level)i),
                  viva_memory_bandwidth_gbps((viva_memory_level)i), viva_memory_latency_ns((viva_memory_level)i), us,
                  viva_memory_level_label((viva_memory_level)i));
  }
}

static void print_levels(output *out, double megabytes, const viva_measured_level *levels, int count) {
  output_format(out, "%-15s %11s %12s %16s   %s\n", "level", "GB/s", "latency ns", "transfer us", "over");
  for (int i = 0; i < count; i++) {
    const viva_measured_level *l = &levels[i];
    char bytes[32] = "";
    if (l->gb_per_s <= 0) continue;
    if (l->bytes > 0) units_bytes(l->bytes, bytes, sizeof bytes);
    output_format(out, "%-15s %11.1f %12.1f %16.4f   %s\n", l->name, l->gb_per_s, l->latency_ns,
                  measured_us(megabytes, l->gb_per_s), bytes);
  }
}

static void print_measured(output *out, double megabytes, const measured *m) {
  output_text(out, "\nThis machine, measured by one thread\n");
  print_levels(out, megabytes, m->levels, VIVA_MEASURED_LEVELS);
  if (!m->has_gpu) return;
  output_format(out, "\nGPU %d, %s, measured by all of it\n", (int)m->gpu.index, m->gpu.name);
  print_levels(out, megabytes, m->gpu_levels, VIVA_MEASURED_DEVICE_LEVELS);
}

static void json_levels(json_out *json, const viva_measured_level *levels, int count) {
  json_begin(json, '[');
  for (int i = 0; i < count; i++) {
    if (levels[i].gb_per_s <= 0) continue;
    json_begin(json, '{');
    json_key(json, "level"), json_text(json, levels[i].name);
    json_key(json, "bytes"), json_unsigned(json, levels[i].bytes);
    json_key(json, "gb_per_s"), json_double(json, levels[i].gb_per_s);
    json_key(json, "latency_ns"), json_double(json, levels[i].latency_ns);
    json_end(json, '}');
  }
  json_end(json, ']');
}

/* m: NULL with --no-measure. */
static void print_json(output *out, double megabytes, const measured *m) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  json_key(&json, "size_mb"), json_double(&json, megabytes);
  json_key(&json, "model"), json_begin(&json, '[');
  for (int i = 0; i < VIVA_MEMORY_LEVELS; i++) {
    double us = 0;
    (void)viva_transfer_time_us(megabytes, (viva_memory_level)i, &us, NULL);
    json_begin(&json, '{');
    json_key(&json, "level"), json_text(&json, viva_memory_level_name((viva_memory_level)i));
    json_key(&json, "label"), json_text(&json, viva_memory_level_label((viva_memory_level)i));
    json_key(&json, "capacity_bytes"), json_double(&json, viva_memory_capacity_bytes((viva_memory_level)i));
    json_key(&json, "gbps"), json_double(&json, viva_memory_bandwidth_gbps((viva_memory_level)i));
    json_key(&json, "latency_ns"), json_double(&json, viva_memory_latency_ns((viva_memory_level)i));
    json_key(&json, "transfer_us"), json_double(&json, us);
    json_end(&json, '}');
  }
  json_end(&json, ']');
  json_key(&json, "measured"), json_levels(&json, m ? m->levels : NULL, m ? VIVA_MEASURED_LEVELS : 0);
  if (m != NULL && m->has_gpu) {
    json_key(&json, "gpu"), json_begin(&json, '{');
    json_key(&json, "index"), json_unsigned(&json, (uint64_t)m->gpu.index);
    json_key(&json, "name"), json_text(&json, m->gpu.name);
    json_key(&json, "measured"), json_levels(&json, m->gpu_levels, VIVA_MEASURED_DEVICE_LEVELS);
    json_end(&json, '}');
  }
  json_end(&json, '}');
  output_text(out, "\n");
}

/* The first one, if there is any. */
static int find_gpu(viva_device_info *gpu) {
  for (size_t i = 0; viva_device_list(i, gpu, NULL) == VIVA_OK; i++)
    if (gpu->kind == VIVA_DEVICE_CUDA) return 1;
  return 0;
}

static viva_status measure_gpu(measured *m, viva_error *error) {
  viva_engine_options how = viva_engine_options_default();
  viva_engine *engine = NULL;
  how.device = VIVA_DEVICE_CUDA;
  how.device_index = m->gpu.index;
  how.threads = 1;
  how.log = message_log;
  viva_status status = viva_engine_open(&how, &engine, error);
  if (status == VIVA_OK) status = viva_measure_device_memory(engine, m->gpu_levels, error);
  viva_engine_release(engine);
  return status;
}

static int measure(const memory_args *args, measured *m) {
  compress_args how;
  viva_engine *engine = NULL;
  viva_error error = {0};
  compress_args_defaults(&how);
  how.threads = 1;
  const int code = compress_args_engine(&how, &engine);
  if (code != CODE_OK) return code;
  viva_status status = viva_measure_memory(engine, args->file, m->levels, &error);
  viva_engine_release(engine);
  m->has_gpu = status == VIVA_OK && find_gpu(&m->gpu);
  if (m->has_gpu) status = measure_gpu(m, &error);
  return status == VIVA_OK ? CODE_OK : message_error(&error);
}

static int run(output *out, void *values, const operands *rest) {
  const memory_args *args = values;
  measured m = {.gpu.size = sizeof m.gpu};
  (void)rest;
  for (int i = 0; i < VIVA_MEASURED_LEVELS; i++) m.levels[i].size = sizeof m.levels[i];
  for (int i = 0; i < VIVA_MEASURED_DEVICE_LEVELS; i++) m.gpu_levels[i].size = sizeof m.gpu_levels[i];
  const int code = args->no_measure ? CODE_OK : measure(args, &m);
  if (code != CODE_OK) return code;
  if (args->json) {
    print_json(out, args->megabytes, args->no_measure ? NULL : &m);
    return CODE_OK;
  }
  print_model(out, args->megabytes);
  if (!args->no_measure) print_measured(out, args->megabytes, &m);
  return CODE_OK;
}

const command command_memory = {
    .name = "memory",
    .synopsis = "[OPTIONS]",
    .summary = "Shows the memory hierarchy: the original's model, and this machine's",
    .details =
        "\nThe model has the original's figures, which contradict its own labels (caches slower than HBM); they\n"
        "are kept as it has them. The second table is measured here, by one thread, over half of each level. Where\n"
        "there is a GPU, a third one has its memory and the copies to it and back.\n",
    .examples = "  viva memory --size 64\n"
                "  viva memory --file model.safetensors\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(memory_args),
    .defaults = defaults,
    .run = run,
};
