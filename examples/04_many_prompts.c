/* 04_many_prompts.c: answers many prompts as a server does: while some are read, others are being continued, each step reads
 * the weights once for all, and a text that ends makes room for the next prompt. Every piece is shown as it comes, behind
 * the number of its prompt. What all of them begin with is processed once.
 *
 *   ./many_prompts model.gguf 'Answer in one sentence. ' <prompts.txt        # a prompt each line
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <viva/viva.h>

enum { AT_ONCE = 8, LINE = 1000, CAPACITY = 2048, NEW_TOKENS = 24 };

/* A place for one text at a time: a session that is used again and again. */
typedef struct place {
  viva_session *session;
  viva_generator *generator; /* NULL: free */
  int number;
} place;
static viva_error error;

static void need(viva_status status) {
  if (status != VIVA_OK) fprintf(stderr, "%s: %s\n", viva_status_name(status), error.message), exit(1);
}

/* The next prompt takes the place. One that cannot be answered is told so, and harms no other. */
static void begin(place *p, const viva_session *beginning, int *count) {
  char line[LINE];
  viva_generate_options options = viva_generate_options_default();
  options.max_new_tokens = NEW_TOKENS;
  while (!p->generator && fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    p->number = ++*count;
    need(viva_session_copy(p->session, beginning, &error)); /* shares its pages */
    need(viva_generator_create(p->session, &options, &p->generator, &error));
    if (viva_generator_prompt(p->generator, line, strlen(line), &error) == VIVA_OK) return;
    printf("%d [%s]\n", p->number, error.message), viva_generator_free(p->generator), p->generator = NULL;
  }
}

static void serve(place *places, const viva_session *beginning) {
  for (int count = 0;;) {
    viva_generator *active[AT_ONCE];
    viva_generator_output out[AT_ONCE];
    place *of[AT_ONCE];
    size_t n = 0;
    for (place *p = places; p < places + AT_ONCE; p++) {
      if (!p->generator) begin(p, beginning, &count);
      if (p->generator) out[n].size = sizeof *out, of[n] = p, active[n++] = p->generator;
    }
    if (n == 0) return;
    need(viva_generators_step(active, n, out, &error));
    for (size_t i = 0; i < n; i++) {
      if (out[i].text_bytes) printf("%d %.*s\n", of[i]->number, (int)out[i].text_bytes, out[i].text), fflush(stdout);
      if (out[i].state == VIVA_GENERATOR_DONE) viva_generator_free(of[i]->generator), of[i]->generator = NULL;
    }
  }
}

int main(int argc, char **argv) {
  viva_engine *engine;
  viva_model *model;
  viva_session *beginning;
  place places[AT_ONCE] = {{NULL, NULL, 0}};
  viva_generate_result *result;
  viva_session_options room = {.size = sizeof room, .capacity = CAPACITY, .reserve = 0}; /* pages as they are needed */
  if (argc != 3) return fprintf(stderr, "usage: %s MODEL BEGINNING <PROMPTS\n", argv[0]), 1;
  need(viva_engine_open(NULL, &engine, &error));
  need(viva_model_load(engine, argv[1], NULL, &model, &error)), viva_engine_release(engine); /* the model keeps it */
  need(viva_session_create(model, &room, &beginning, &error));
  viva_generate_options read = viva_generate_options_default();
  read.session = beginning, read.max_new_tokens = 0;
  need(viva_generate(model, argv[2], strlen(argv[2]), &read, &result, &error)), viva_generate_result_free(result);
  for (int i = 0; i < AT_ONCE; i++) need(viva_session_create(model, &room, &places[i].session, &error));
  serve(places, beginning);
  for (int i = 0; i < AT_ONCE; i++) viva_session_free(places[i].session);
  viva_session_free(beginning), viva_model_release(model);
  return 0;
}
