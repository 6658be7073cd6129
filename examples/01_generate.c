/* 01_generate.c: continue a text, with sampling, stop strings and the numbers of the run.
 *
 *   cc 01_generate.c -o generate $(pkg-config --cflags --libs viva)
 *   ./generate model.gguf 'Once upon a time'
 */
#include <stdio.h>
#include <string.h>
#include <viva/viva.h>

int main(int argc, char **argv) {
  static const char *const stops[] = {"\n\n", "The end"};
  viva_engine *engine = NULL;
  viva_model *model = NULL;
  viva_generate_result *result = NULL;
  viva_error error = {0};
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
    return 1;
  }
  viva_generate_options options = viva_generate_options_default();
  options.max_new_tokens = 100;
  options.sampling.temperature = 0.8f; /* 0, the default, always takes the most probable token */
  options.sampling.top_k = 40;
  options.sampling.top_p = 0.95f;
  options.sampling.seed = 7; /* the same seed gives the same text */
  options.stop_strings = stops;
  options.stop_count = 2;

  viva_status status = viva_engine_open(NULL, &engine, &error);
  if (!status) status = viva_model_load(engine, argv[1], NULL, &model, &error);
  if (!status) status = viva_generate(model, argv[2], strlen(argv[2]), &options, &result, &error);
  if (status) {
    char text[1400];
    viva_error_format(&error, text, sizeof text);
    fprintf(stderr, "%s: %s\n", viva_status_name(status), text);
  } else {
    printf("%s%s\n", argv[2], result->text);
    fprintf(stderr, "[%s: %zu + %zu tokens, %.2f ms per token]\n", viva_stop_reason_name(result->stop_reason),
            result->prompt_count, result->token_count, result->ms_per_token);
  }
  viva_generate_result_free(result); /* NULL is allowed everywhere here */
  viva_model_release(model);
  viva_engine_release(engine);
  return status ? 1 : 0;
}
