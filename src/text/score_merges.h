/* text/score_merges.h: a SentencePiece vocabulary's scores as a list of merges.
 *
 * SentencePiece joins the neighbours whose joint token has the highest score. The reference works with merges, made from
 * the scores when a model is converted (transformers, convert_slow_tokenizer.generate_merges): every way to cut a token
 * in two tokens, by score, then by the length of the parts, the longer left part first. The same list is made here.
 */
#ifndef TEXT_SCORE_MERGES_H
#define TEXT_SCORE_MERGES_H

#include "text/merges.h"

/* scores: [v->count], by id. merges: receives the list. Errors: E_MEMORY, E_FORMAT (a score that is no number),
 * E_UNSUPPORTED (a token of more than SCORE_TOKEN_MOST bytes: each of its cuts is looked up). */
#define SCORE_TOKEN_MOST 2048
viva_status score_merges(mem *m, const vocab *v, const float *scores, merge_list *merges, viva_error *error);

/* The same of tokens that no vocabulary was made of yet: distinct, [count], ids are indices; empty ones count for nothing. */
viva_status score_merges_of(mem *m, const token_text *tokens, const float *scores, size_t count, merge_list *merges,
                            viva_error *error);

#endif
