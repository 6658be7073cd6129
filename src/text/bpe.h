/* text/bpe.h: byte-pair encoding of one piece.
 *
 * A piece begins as symbols: one for each byte (byte-level vocabularies) or for each character. The pair of neighbours
 * with the lowest rank merges, the leftmost one among equals, until no pair is in the table. Short pieces do this in an
 * array on the stack; long ones with a linked list and a heap, n·log n whatever the text. words.h puts a memory of
 * pieces in front.
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "text/merges.h"

#define BPE_NO_RANK UINT32_MAX
#define BPE_NO_ID   UINT32_MAX

#define BPE_WHOLE 65536 /* bits */

/* The model's rules beside its merges. */
typedef struct bpe_rules {
  int byte_level;     /* symbols are bytes, written in the byte alphabet in the vocabulary */
  int ignore_merges;  /* a piece that is a token is taken whole */
  int byte_fallback;  /* a symbol that the vocabulary lacks becomes its bytes, <0xNN>, when all are tokens */
  int fuse_unknown;   /* one unknown for a run of them */
  token_text unknown; /* takes the place of any other; text NULL: it is left out, as the reference does */
  token_text prefix;  /* continuing_subword_prefix: before every symbol but the first; "" for none */
  token_text suffix;  /* end_of_word_suffix: behind the last symbol */
} bpe_rules;

/* A token by its last merge (bpe_tree.h). */
typedef struct bpe_token {
  _Alignas(32) uint32_t left; /* BPE_NO_ID: it is one symbol, or odd */
  uint32_t right;
  uint32_t time;       /* of the merge: its rank + 1; 0: none */
  uint32_t prefix;     /* the longest token that it begins with, but itself; BPE_NO_ID: none */
  uint32_t bytes;      /* 0: merging its text gives something else */
  uint32_t head, tail; /* the times of the merges that take its first and its last symbol; BPE_NO_RANK: none does */
} bpe_token;

_Static_assert(sizeof(bpe_token) == 32, "two tokens fill a line of the cache");

/* A token whose own merges do not come in the order of their ranks: what it keeps apart from is tried out. */
#define BPE_ODD UINT32_MAX /* its time */

/* A place of the tree of prefixes is a text that tokens begin with: a token's is its id, those of others come behind. Edges
 * lead on from it, one for each byte that can follow, in the order of the bytes' last six bits. */
typedef struct bpe_place {
  uint64_t bytes; /* that can follow: bit (byte & 63) */
  uint32_t first; /* edge */
  uint32_t place; /* this; BPE_NO_ID: no token begins so */
} bpe_place;

/* The bytes between two places, from the low end up, and in the last byte how many, with BPE_SHARES. */
typedef struct bpe_edge {
  uint64_t label;
  bpe_place to;
} bpe_edge;

#define BPE_LABEL_MOST 7
#define BPE_SHARES     ((uint64_t)0x80 << 56) /* the next edge's first byte has the same bit */

/* Tokens as merges make them, and by what they begin with. */
typedef struct bpe_tree {
  bpe_token *tokens;   /* [vocab count]; NULL: pieces are merged in other ways */
  uint32_t bytes[256]; /* the place of one byte, or BPE_NO_ID */
  bpe_place *pairs;    /* [256][256] of two; edges begin there */
  bpe_edge *edges;
} bpe_tree;

/* Two first symbols beside each other, each by its row: a byte, or where symbols are characters, one of ASCII, U+2581 or any
 * other. */
#define BPE_ROWS       256
#define BPE_OTHER_ROW  128 /* of characters: these have no ranks here */
#define BPE_BLANK_ROW  129
#define BPE_BLANK_CODE 0x2581            /* as SentencePiece writes spaces */
#define BPE_NEAR_RANKS ((size_t)1 << 24) /* merges of which there is such a table */
#define BPE_NEAR_NONE  UINT32_C(0x1fa0000)
typedef struct bpe_near_pair {
  uint32_t rank;   /* BPE_NEAR_NONE: they do not merge, or it is not known here */
  uint32_t merged; /* what the two become */
  /* Bounds of the pairs beside this one. One of which the rank is below `left` of the pair before it, and not above `right` of
   * the pair behind it, is merged whatever else a piece has, and may be so before all others. */
  uint32_t left, right;
} bpe_near_pair;

typedef struct bpe {
  const vocab *vocab;
  uint64_t *slots;       /* [slot_count] by pair: left, right and rank, from the high bits down; BPE_FREE */
  uint8_t *pilots;       /* [pilot_count] by hash: what leads each of its pairs to a slot of its own (bpe_pairs.c) */
  uint64_t slot_count;   /* below 2^32 */
  uint64_t pilot_count;  /* the same */
  int has_doubles;       /* a pair was given twice: the later rank counts */
  uint64_t *filter;      /* bits of pairs, of levels one behind the other: bpe_filter_bit */
  uint32_t filter_level; /* the highest: of all pairs */
  uint32_t id_bits;      /* of left, and of right; the rank has those that are left */
  uint64_t key[2];       /* of their hash: random */
  bpe_near_pair *near_pairs;  /* [BPE_ROWS][BPE_ROWS]; NULL: a byte below near_bytes may be no symbol of its own */
  uint32_t near_bytes;        /* 256; 128 where symbols are characters */
  uint32_t *results;          /* [merges]: by rank, the id that the pair becomes */
  uint32_t byte_ids[256];     /* the token of each byte (byte-level) or ASCII character; BPE_NO_ID: there is none */
  uint32_t fallback_ids[256]; /* of <0xNN> */
  uint32_t near_ids[256];     /* below near_bytes, where `complete`: the one of both that a byte becomes */
  uint16_t *pages;            /* [0x110000 / 256] which page a character is in; NULL when byte-level */
  uint32_t *page_ids;         /* [pages][256] the token of each character; page 0 has none */
  bpe_rules rules;            /* prefix and suffix point into vocab-lived memory of the tokenizer */
  uint32_t unknown;           /* BPE_NO_ID: none */
  int complete;        /* every byte or character becomes tokens, ASCII one each: nothing is unknown or left out */
  size_t most_symbols; /* that one byte of a piece can become: 1 or 2 */
  int lanes;           /* short pieces may be merged side by side (bpe_many.h) */
  uint64_t whole[BPE_WHOLE / 64]; /* under ignore_merges: bits of pieces that are tokens, but merge to something else */
  uint32_t whole_lengths[256];    /* bits of how long those are that begin with a byte */
  bpe_tree tree;
} bpe;

/* Compiles merges, in order of rank. Of a pair given twice the later rank counts, as in the reference. v and the rules'
 * texts must outlive the result. Errors: E_FORMAT (an unknown token that is not there and may be asked for), E_LIMIT (more
 * merges than a slot has room for), E_MEMORY. */
viva_status bpe_create(mem *m, const vocab *v, const bpe_rules *rules, const merge_ids *merges, size_t merge_count,
                       bpe *out, viva_error *error);
void bpe_destroy(mem *m, bpe *b);

#define BPE_FREE UINT64_MAX

/* A pair's hash. Under a secret key, so that no file can aim at collisions: halves of a product that depends on all of key
 * and pair. */
static inline uint64_t bpe_pair_hash(const bpe *b, uint64_t pair) {
  __extension__ typedef unsigned __int128 wide;
  wide product = (wide)(pair ^ b->key[0]) * b->key[1];
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The one slot where a pair is, if it is a merge. */
static inline size_t bpe_pilot_slot(const bpe *b, uint64_t hash, uint32_t pilot) {
  uint64_t mixed = (hash ^ pilot * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
  return (size_t)((mixed >> 32) * b->slot_count >> 32);
}

static inline size_t bpe_pilot(const bpe *b, uint64_t hash) { return (size_t)((hash >> 32) * b->pilot_count >> 32); }

static inline const uint64_t *bpe_slot(const bpe *b, uint64_t hash) {
  return &b->slots[bpe_pilot_slot(b, hash, b->pilots[bpe_pilot(b, hash)])];
}

/* Most pairs that are asked for are no merges, or come too late. Level n of a filter knows those of ranks below 2^n, by four
 * bits for each: whoever asks for ranks below a low limit finds all in a near cache. */
#define BPE_FILTER_LOWEST 6
static inline size_t bpe_filter_bit(uint64_t hash, uint32_t level) {
  size_t size = (size_t)4 << level;
  return size | (hash & (size - 1));
}

static inline uint32_t bpe_filter_level(const bpe *b, uint32_t limit) {
  uint32_t level = limit <= 1u << BPE_FILTER_LOWEST ? BPE_FILTER_LOWEST : 32 - (uint32_t)__builtin_clz(limit - 1);
  return level < b->filter_level ? level : b->filter_level;
}

static inline uint64_t bpe_pair(const bpe *b, uint32_t left, uint32_t right) {
  return (uint64_t)left << b->id_bits | right;
}

/* The rank of a pair if it is below limit (it may be told beyond it); else BPE_NO_RANK. */
static inline uint32_t bpe_rank_below(const bpe *b, uint32_t left, uint32_t right, uint32_t limit) {
  const uint32_t rank_bits = 64 - 2 * b->id_bits;
  const uint64_t pair = bpe_pair(b, left, right), hash = bpe_pair_hash(b, pair);
  const size_t bit = bpe_filter_bit(hash, bpe_filter_level(b, limit));
  if (!(b->filter[bit / 64] >> bit % 64 & 1)) return BPE_NO_RANK;
  const uint64_t rank = *bpe_slot(b, hash) ^ pair << rank_bits;
  return rank >> rank_bits ? BPE_NO_RANK : (uint32_t)rank;
}

static inline uint32_t bpe_rank(const bpe *b, uint32_t left, uint32_t right) {
  return bpe_rank_below(b, left, right, BPE_NO_RANK);
}

/* How many bytes a byte of a piece counts for in lengths: as it is spelled, in the byte alphabet where symbols are bytes.
 * (The reference drops a symbol that it has no token for, and its offsets then count on as if it had not been there:
 * which is seen only in spelled bytes.) */
static inline size_t bpe_spelled(const bpe *b, uint8_t byte) {
  return b->rules.byte_level && byte_alphabet_char(byte) >= 0x80 ? 2 : 1;
}

static inline const bpe_near_pair *bpe_near(const bpe *b, uint32_t left, uint32_t right) {
  return &b->near_pairs[left * BPE_ROWS + right];
}

static inline uint32_t bpe_near_rank(const bpe *b, uint32_t left, uint32_t right) {
  const uint32_t rank = bpe_near(b, left, right)->rank;
  return rank == BPE_NEAR_NONE ? BPE_NO_RANK : rank;
}

/* The token of a character, or BPE_NO_ID; not when byte-level. */
static inline uint32_t bpe_character(const bpe *b, uint32_t code) {
  return b->page_ids[(size_t)b->pages[code >> 8] << 8 | (code & 255)];
}

/* The first symbols of a piece: their ids, and how many spelled bytes each stands for (lengths may be NULL). ids has room
 * for bpe_symbols_most. Returns how many there are. */
size_t bpe_symbols(const bpe *b, const uint8_t *piece, size_t bytes, uint32_t *ids, uint32_t *lengths);
static inline size_t bpe_symbols_most(const bpe *b, size_t bytes) {
  return b->most_symbols * bytes + b->rules.prefix.bytes + b->rules.suffix.bytes;
}

/* Pieces up to this many symbols merge in an array: quadratic, but without a list, and in cache. Longer ones are rare. */
#define BPE_SHORT_PIECE 40

#define BPE_RANKED_MOST 64
/* The ranks of the pairs of a piece's first symbols, of which there are at most BPE_RANKED_MOST. */
void bpe_first_ranks(const bpe *b, const uint8_t *piece, size_t bytes, const uint32_t *ids, size_t count,
                     uint32_t *ranks);

/* Where ids go: those that fit are stored, all are counted. lengths, when it is not NULL, gets how many spelled
 * bytes of the piece each id stands for. */
typedef struct id_sink {
  viva_token *ids;
  size_t capacity, count;
  uint32_t *lengths; /* as many as ids */
} id_sink;

static inline void id_put(id_sink *sink, uint32_t id) {
  if (sink->count < sink->capacity) sink->ids[sink->count] = (viva_token)id;
  sink->count++;
}

/* Memory of one encode call, kept from piece to piece. Zeroed but for mem at first; ended by bpe_scratch_free. */
typedef struct bpe_scratch {
  mem *mem;
  struct bpe_symbol *symbols;
  uint64_t *heap;
  uint32_t *lengths;
  size_t capacity;             /* symbols */
  struct bpe_streams *streams; /* of bpe_stream.h */
} bpe_scratch;

void bpe_scratch_free(bpe_scratch *scratch);

/* Encodes one piece (valid UTF-8 unless byte-level; not empty). Errors: E_MEMORY, E_LIMIT (a piece of 2^31 bytes or
 * more). */
viva_status bpe_encode(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                       viva_error *error);

/* The bytes of a piece that a token of the model stands for. */
static inline const uint8_t *bpe_token_text(const bpe *b, uint32_t id) {
  const vocab *v = b->vocab;
  return b->rules.byte_level ? v->bytes + v->bytes_at[id] : (const uint8_t *)v->texts + v->text_at[id];
}

static inline size_t bpe_token_bytes(const bpe *b, uint32_t id) {
  const vocab *v = b->vocab;
  return b->rules.byte_level ? v->bytes_at[id + 1] - v->bytes_at[id] : v->text_at[id + 1] - v->text_at[id];
}

/* Fills in `whole`; the tree is there. */
void bpe_find_whole(bpe *b);

/* Merges step by step. Errors: E_MEMORY. */
viva_status bpe_merge_stepwise(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                               viva_error *error);

static inline uint32_t bpe_length_bit(size_t bytes) { return (uint32_t)1 << (bytes < 31 ? bytes : 31); }

/* May a piece be a token that merging does not give? Its first byte and its length tell of nearly all that are not. */
static inline int bpe_may_be_whole(const bpe *b, const uint8_t *piece, size_t bytes) {
  return b->rules.ignore_merges && (!b->tree.tokens || (b->whole_lengths[piece[0]] & bpe_length_bit(bytes)) != 0);
}

/* The two halves of it: under ignore_merges, 1 when the piece is a token (which merging may not give), which is then put; and
 * merging alone. */
int bpe_is_whole(const bpe *b, const uint8_t *piece, size_t bytes);
int bpe_whole_piece(const bpe *b, const uint8_t *piece, size_t bytes, id_sink *sink);
viva_status bpe_merge_piece(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                            viva_error *error);

#endif
