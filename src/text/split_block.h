/* text/split_block.h: the pieces of 64 bytes of text at once, as bits.
 *
 * Where a known pattern cuts ASCII text depends on a few neighbours, so all cuts of a block come from masks of its kinds of
 * characters by shifts. What a block cannot know is left to the scanners of split.h: what lies behind a character beyond
 * ASCII, and a run of white space that the block's end may have cut.
 */
#ifndef TEXT_SPLIT_BLOCK_H
#define TEXT_SPLIT_BLOCK_H

#include <stdint.h>

#define SPLIT_BLOCK 64 /* bytes that are read */

/* text is the begin of a piece. Bit i > 0: a piece begins at text + i. Not all of the block's need be among them, but none is
 * left out before one that is. */
typedef uint64_t (*split_block)(const uint8_t *text);

uint64_t split_block_gpt2(const uint8_t *text);
uint64_t split_block_llama3(const uint8_t *text);
uint64_t split_block_qwen2(const uint8_t *text);

#endif
