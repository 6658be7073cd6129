#include <stdio.h>
#include <viva/viva.h>
int main(void) {
  const float logits[4] = {0.5f, 2.0f, -1.0f, 2.0f};
  viva_engine *engine = NULL;
  viva_token best = -1;
  viva_error error;
  if (viva_argmax(logits, 4, &best, NULL, &error) || viva_engine_open(NULL, &engine, &error)) return 1;
  viva_engine_release(engine);
  printf("viva %s: argmax %d\n", viva_version(), (int)best);
}
