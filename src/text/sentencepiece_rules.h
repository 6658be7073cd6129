/* text/sentencepiece_rules.h: what tokenizers of the SentencePiece kind do around merging, as the tokenizer.json of
 * Llama 2 and Gemma says it.
 */
#ifndef TEXT_SENTENCEPIECE_RULES_H
#define TEXT_SENTENCEPIECE_RULES_H

#include "text/compile.h"

/* Sets normalizer, decoder and the model's rules: spaces become U+2581, one is put in front of every text when
 * space_prefix (and taken off the front of decoded text), unknown characters become their bytes. */
void sentencepiece_rules(int space_prefix, tokenizer_spec *spec);

#endif
