/* suggest.h: "did you mean": the known word nearest to a mistyped one. */
#ifndef APPS_SUGGEST_H
#define APPS_SUGGEST_H

#include <stddef.h>

/* Offers one known word. best and distance hold the nearest so far; start with NULL and SUGGEST_NONE. */
enum { SUGGEST_NONE = 1000 };
void suggest_offer(const char *typed, const char *known, const char **best, size_t *distance);

#endif
