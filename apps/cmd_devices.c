/* cmd_devices.c: viva devices: what models can run on here. */
#include <inttypes.h>
#include <string.h>

#include "command.h"
#include "json_out.h"
#include "units.h"

typedef struct devices_args {
  int json;
} devices_args;

static const option options[] = {
    {0, OPTION_SET, "json", NULL, offsetof(devices_args, json), "print one JSON object", 0, 0},
};

static const option_group groups[] = {OPTION_GROUP("Options", options, 0)};

static void defaults(void *values) { memset(values, 0, sizeof(devices_args)); }

static const char *kind_name(viva_device_kind kind) { return kind == VIVA_DEVICE_CUDA ? "cuda" : "cpu"; }

/* "" when memory is unknown */
static void memory_text(uint64_t bytes, char *text, size_t size) {
  text[0] = 0;
  if (bytes > 0) units_bytes(bytes, text, size);
}

static void print_row(output *out, const viva_device_info *d) {
  char total[32], available[32], threads[16] = "";
  memory_text(d->memory_total, total, sizeof total);
  memory_text(d->memory_available, available, sizeof available);
  if (d->threads > 0) text_format(threads, sizeof threads, "%" PRId32, d->threads);
  output_format(out, "%-6s %5" PRId32 "  %7s  %-9s  %11s  %11s  %s\n", kind_name(d->kind), d->index, threads,
                d->kernels, total, available, d->name);
}

static void print_object(json_out *json, const viva_device_info *d) {
  json_begin(json, '{');
  json_key(json, "device"), json_text(json, kind_name(d->kind));
  json_key(json, "index"), json_integer(json, d->index);
  json_key(json, "name"), json_text(json, d->name);
  json_key(json, "kernels"), json_text(json, d->kernels);
  json_key(json, "threads"), json_integer(json, d->threads);
  json_key(json, "memory_total"), json_unsigned(json, d->memory_total);
  json_key(json, "memory_available"), json_unsigned(json, d->memory_available);
  json_end(json, '}');
}

/* Why device CUDA cannot be opened: the library's own words. Returns 1 when it can be. */
static int cuda_opens(viva_error *error) {
  viva_engine_options engine_options = viva_engine_options_default();
  engine_options.device = VIVA_DEVICE_CUDA;
  viva_engine *engine = NULL;
  viva_status status = viva_engine_open(&engine_options, &engine, error);
  viva_engine_release(engine);
  return status == VIVA_OK;
}

static int run(output *out, void *values, const operands *rest) {
  const devices_args *args = values;
  (void)rest;
  json_out json = {out, 0};
  viva_error error = {0};
  viva_device_info device = {.size = sizeof device};
  viva_status status;
  if (args->json) {
    json_begin(&json, '{');
    json_key(&json, "devices");
    json_begin(&json, '[');
  } else {
    output_format(out, "%-6s %5s  %7s  %-9s  %11s  %11s  %s\n", "device", "index", "threads", "kernels", "memory",
                  "available", "name");
  }
  for (size_t i = 0; (status = viva_device_list(i, &device, &error)) == VIVA_OK; i++) {
    if (args->json) {
      print_object(&json, &device);
    } else {
      print_row(out, &device);
    }
  }
  if (status != VIVA_E_NOT_FOUND) return message_error(&error);
  int cuda = cuda_opens(&error);
  if (args->json) {
    json_end(&json, ']');
    json_key(&json, "cuda"), json_boolean(&json, cuda);
    if (!cuda) json_key(&json, "cuda_message"), json_text(&json, error.message);
    json_end(&json, '}');
    output_text(out, "\n");
  } else if (!cuda) {
    output_text(out, "\nno CUDA: ");
    output_text(out, error.message);
    output_text(out, "\n");
  }
  return CODE_OK;
}

const command command_devices = {
    .name = "devices",
    .synopsis = "[OPTIONS]",
    .summary = "Lists the devices that models can run on",
    .details =
        "\nThreads are those that viva takes when -t is not given. When CUDA cannot be used, the last line says\n"
        "why. The environment variable VIVA_NO_CUDA switches it off.\n",
    COMMAND_GROUPS(groups),
    .values_size = sizeof(devices_args),
    .defaults = defaults,
    .run = run,
};
