#include "base/secret.h"

#include <sys/random.h>
#include <time.h>

void secret_key(uint64_t key[2]) {
  if (getrandom(key, 2 * sizeof key[0], GRND_NONBLOCK) == 2 * sizeof key[0]) return;
  /* Early at boot there is no randomness yet: where things lie and when it is are hard to know from outside too. */
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  key[0] = (uint64_t)(uintptr_t)key ^ (uint64_t)now.tv_nsec << 32;
  key[1] = (uint64_t)(uintptr_t)&clock_gettime ^ (uint64_t)now.tv_sec;
}
