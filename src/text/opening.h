/* text/opening.h: what opening a tokenizer may cost.
 *
 * A tokenizer has a runtime of its own: while its files are read, all memory that is asked for counts against what their
 * bytes pay for (base/allowance.h), whoever asks; work that is more than reading is charged to rt->allowed where it is done.
 */
#ifndef TEXT_OPENING_H
#define TEXT_OPENING_H

#include "base/runtime.h"

/* allowed: what was paid and spent so far. *own: with the memory, files and log of rt, ended by opening_end. Errors:
 * E_MEMORY. */
viva_status opening_begin(runtime *rt, allowance allowed, runtime **own, viva_error *error);

/* status: of what was opened. Returns it; or, when it is E_MEMORY for the limit's sake, E_LIMIT with the rule. From here on
 * the tokenizer that was made (which has retained own) may ask for whatever it likes. */
viva_status opening_end(runtime *own, const char *path, viva_status status, viva_error *error);

#endif
