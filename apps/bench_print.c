/* bench_print.c: rows of viva bench as Markdown, CSV, JSON. Column names are llama-bench's where it has them. */
#include <inttypes.h>
#include <string.h>

#include "bench.h"
#include "json_out.h"
#include "units.h"

static const char *backend(const bench_row *row) { return row->device.kind == VIVA_DEVICE_CUDA ? "CUDA" : "CPU"; }

static void test_name(const bench_row *row, char *text, size_t size) {
  text_format(text, size, "%s%" PRIu64, row->prompt > 0 ? "pp" : "tg", row->prompt > 0 ? row->prompt : row->generated);
}

double bench_read(const bench_row *row) {
  if (row->generated == 0) return 0.0;
  return (double)row->plan.bytes_per_token * row->rate.mean / (double)row->sequences; /* a pass serves them all */
}

/* Share of the read bandwidth, in percent. */
static double share(const bench_row *row) {
  return row->read_rate.mean > 0 ? 100.0 * bench_read(row) / row->read_rate.mean : 0.0;
}

/* The first column: the rows of one run have the same model in it. */
static int model_column(const bench_row *row, char *text, size_t size) {
  enum { LEAST = 30 };
  size_t length = text_format(text, size, "%s%s%s", row->model, row->mode[0] ? ", " : "", row->mode);
  return length > LEAST ? (int)length : LEAST;
}

static void print_md(output *out, const bench_row *row) {
  char model[256], size[32], params[32], test[32], speed[64], read[32] = "", part[32] = "";
  int width = model_column(row, model, sizeof model);
  units_bytes(row->plan.weight_bytes, size, sizeof size);
  units_count(row->plan.parameters, params, sizeof params);
  test_name(row, test, sizeof test);
  text_format(speed, sizeof speed, "%.2f \xC2\xB1 %.2f", row->rate.mean, stats_deviation(&row->rate));
  if (row->generated > 0) {
    text_format(read, sizeof read, "%.2f", bench_read(row) * 1e-9);
    text_format(part, sizeof part, "%.1f", share(row));
  }
  /* The sign is one character of two bytes: one more in the width. */
  output_format(out, "| %-*s | %10s | %10s | %-10s | %7" PRId32 " | %13s | %21s | %7s | %9s |\n", width, model, size,
                params, backend(row), row->device.threads, test, speed, read, part);
}

/* A field of a CSV line: in quotes, with quotes doubled and \xNN for what a terminal must not get. */
static void csv_text(output *out, const char *text) {
  output_text(out, "\"");
  for (size_t left = strlen(text), bytes; left > 0; text += bytes, left -= bytes) {
    const size_t shown = viva_visible(text, left);
    bytes = shown > 0 ? shown : 1;
    if (*text == '"') output_text(out, "\"");
    if (shown > 0)
      output_bytes(out, text, shown);
    else
      output_format(out, "\\x%02X", (unsigned char)*text);
  }
  output_text(out, "\"");
}

static void print_csv(output *out, const bench_row *row) {
  const char *texts[] = {viva_version(), row->device.name, row->path, row->model, backend(row), row->device.kernels};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) csv_text(out, texts[i]), output_text(out, ",");
  output_format(out, "%" PRIu64 ",%" PRIu64 ",%" PRId32 ",%" PRIu64 ",%" PRIu64 ",", row->plan.weight_bytes,
                row->plan.parameters, row->device.threads, row->prompt, row->generated);
  output_format(out, "%.0f,%.0f,%.6f,%.6f,", row->nanoseconds.mean, stats_deviation(&row->nanoseconds), row->rate.mean,
                stats_deviation(&row->rate));
  output_format(out, "%" PRIu64 ",%.4f,%.4f,%.3f,%s,", row->plan.bytes_per_token, bench_read(row) * 1e-9,
                row->read_rate.mean * 1e-9, share(row), row->act ? row->act : "");
  csv_text(out, row->weights), output_text(out, "\n");
}

static void print_object(output *out, const bench_row *row) {
  json_out json = {out, 0};
  json_begin(&json, '{');
  json_key(&json, "viva_version"), json_text(&json, viva_version());
  json_key(&json, "cpu_info"), json_text(&json, row->device.name);
  json_key(&json, "model_filename"), json_text(&json, row->path);
  json_key(&json, "model_type"), json_text(&json, row->model);
  json_key(&json, "weights"), json_text(&json, row->weights);
  if (row->act) json_key(&json, "act"), json_text(&json, row->act);
  json_key(&json, "backends"), json_text(&json, backend(row));
  json_key(&json, "kernels"), json_text(&json, row->device.kernels);
  json_key(&json, "model_size"), json_unsigned(&json, row->plan.weight_bytes);
  json_key(&json, "model_n_params"), json_unsigned(&json, row->plan.parameters);
  json_key(&json, "n_threads"), json_integer(&json, row->device.threads);
  json_key(&json, "n_prompt"), json_unsigned(&json, row->prompt);
  json_key(&json, "n_gen"), json_unsigned(&json, row->generated);
  json_key(&json, "avg_ns"), json_double(&json, row->nanoseconds.mean);
  json_key(&json, "stddev_ns"), json_double(&json, stats_deviation(&row->nanoseconds));
  json_key(&json, "avg_ts"), json_double(&json, row->rate.mean);
  json_key(&json, "stddev_ts"), json_double(&json, stats_deviation(&row->rate));
  json_key(&json, "samples_ts"), json_begin(&json, '[');
  for (uint64_t i = 0; i < row->rate.count; i++) json_double(&json, row->samples[i]);
  json_end(&json, ']');
  json_key(&json, "bytes_per_token"), json_unsigned(&json, row->plan.bytes_per_token);
  json_key(&json, "gb_per_s"), json_double(&json, bench_read(row) * 1e-9);
  json_key(&json, "read_bandwidth_gb_per_s"), json_double(&json, row->read_rate.mean * 1e-9);
  json_key(&json, "read_share_percent"), json_double(&json, share(row));
  json_end(&json, '}');
}

void bench_print_begin(output *out, bench_form form, const bench_row *first) {
  if (form == BENCH_MD) {
    char model[256];
    int width = model_column(first, model, sizeof model);
    output_format(out, "| %-*s | %10s | %10s | %-10s | %7s | %13s | %20s | %7s | %9s |\n", width, "model", "size",
                  "params", "backend", "threads", "test", "t/s", "GB/s", "% of read");
    output_text(out, "| ");
    for (int i = 0; i < width; i++) output_text(out, "-");
    output_text(out, " | ---------: | ---------: | ---------- | ------: | ------------: "
                     "| -------------------: | ------: | --------: |\n");
  } else if (form == BENCH_CSV) {
    output_text(out, "viva_version,cpu_info,model_filename,model_type,backends,kernels,model_size,model_n_params,"
                     "n_threads,n_prompt,n_gen,avg_ns,stddev_ns,avg_ts,stddev_ts,bytes_per_token,gb_per_s,"
                     "read_bandwidth_gb_per_s,read_share_percent,act,weights\n");
  } else if (form == BENCH_JSON) {
    output_text(out, "[");
  }
}

void bench_print_row(output *out, bench_form form, const bench_row *row, size_t number) {
  switch (form) {
  case BENCH_MD: print_md(out, row); break;
  case BENCH_CSV: print_csv(out, row); break;
  case BENCH_JSON:
    output_text(out, number > 0 ? ",\n  " : "\n  ");
    print_object(out, row);
    break;
  case BENCH_JSONL:
    print_object(out, row);
    output_text(out, "\n");
    break;
  }
}

void bench_print_end(output *out, bench_form form) {
  if (form == BENCH_JSON) output_text(out, "\n]\n");
}
