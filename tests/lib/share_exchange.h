/* tests/lib/share_exchange.h: sums in shares (backend/exchange.h) on an exchange that has none, for ranks whose memory is the
 * host's: what a rank must not use is NaN. Rows of floats only. */
#ifndef TESTS_SHARE_EXCHANGE_H
#define TESTS_SHARE_EXCHANGE_H

#include "engine/ranks.h"

/* In place of the ranks' exchange, which it has from then on; closed with it. Steps of so many rows and more run as two. */
void share_exchange_begin(rank_set *r, size_t halves);
/* Norms of shares that were made, of all ranks; before the ranks are closed. */
size_t share_exchange_norms(const rank_set *r);

#endif
