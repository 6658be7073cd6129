/* base/secret.h: keys for hash tables of what files hold: nobody can write names that collide on purpose. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdint.h>

void secret_key(uint64_t key[2]);

#endif
