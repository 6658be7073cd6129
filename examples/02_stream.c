/* 02_stream.c: show the text while it is made, with a bar while the model loads; stop after so many characters.
 *
 *   ./stream model.gguf 'Once upon a time' 200
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <viva/viva.h>

/* Called now and then with the bytes loaded so far. Anything but 0 would cancel. */
static int show_progress(void *user, uint64_t done, uint64_t total) {
  (void)user;
  fprintf(stderr, "\rloading %3.0f %%%s", 100.0 * (double)done / (double)total, done == total ? "\n" : "");
  return 0;
}

/* Called with each piece: whole characters, never a part of a stop string. Anything but 0 stops the generation. */
static int show_text(void *user, const char *text, size_t bytes) {
  long *left = user;
  fwrite(text, 1, bytes, stdout);
  fflush(stdout);
  *left -= (long)bytes;
  return *left <= 0;
}

int main(int argc, char **argv) {
  viva_engine *engine = NULL;
  viva_model *model = NULL;
  viva_generate_result *result = NULL;
  viva_error error = {0};
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL TEXT BYTES\n", argv[0]);
    return 1;
  }
  long left = strtol(argv[3], NULL, 10);
  viva_model_options load = viva_model_options_default();
  load.progress = show_progress;
  viva_generate_options options = viva_generate_options_default();
  options.max_new_tokens = 100;
  options.on_text = show_text;
  options.on_text_user = &left;

  viva_status status = viva_engine_open(NULL, &engine, &error);
  if (!status) status = viva_model_load(engine, argv[1], &load, &model, &error);
  if (!status) status = viva_generate(model, argv[2], strlen(argv[2]), &options, &result, &error);
  if (status)
    fprintf(stderr, "%s: %s\n", viva_status_name(status), error.message);
  else
    printf("\n[%s]\n", viva_stop_reason_name(result->stop_reason)); /* "cancelled" when the callback has stopped it */
  viva_generate_result_free(result);
  viva_model_release(model);
  viva_engine_release(engine);
  return status ? 1 : 0;
}
