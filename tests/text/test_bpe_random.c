/* Small random vocabularies with lists of merges in any order, against the definition of merging: which first pairs are merged
 * before their turn (bpe_near_pair) follows from the whole list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/num.h"
#include "golden.h"
#include "text/bpe_lane.h"
#include "text/bpe_many.h"

enum { BYTES = 256, CHARACTERS = 8, MADE = 40, TOKENS = BYTES + CHARACTERS + MADE };
enum { LETTERS = 5, LONGEST = 8 /* symbols */, COPIES = 3, MERGES = MADE * LONGEST + COPIES, NO_RANK = UINT16_MAX };

/* Merges as tokens were made of two; with some in each other's places; with all; or, as for files that have no merges, all ways
 * to cut each token in two, whether or not the parts come before it. */
typedef enum list_style { AS_MADE, SWAPPED, SHUFFLED, OF_TOKENS, STYLES } list_style;
enum { LISTS = 200 /* of each style and kind of symbols */, SEEDS = LISTS * STYLES * 2, PIECES = 40 /* for each */ };

/* Ids are those of BYTES (symbols, or <0xNN> for characters that are none), then of characters, then of what is made of them. */
typedef struct model {
  int byte_level;
  char texts[TOKENS][4 * LONGEST + 1]; /* in the vocabulary */
  size_t lengths[TOKENS];              /* in symbols */
  size_t symbols, count;
  const char *letters[LETTERS]; /* symbols, as pieces have them, of which tokens and most pieces are made */
  uint32_t letter_ids[LETTERS];
  merge_ids merges[MERGES];
  size_t merge_count;
  uint16_t ranks[TOKENS][TOKENS]; /* of pairs */
} model;

/* Of one style: lists that have a pair twice, that make_list tells of; pieces with merges before their turn, and in it. */
typedef struct tally {
  size_t doubled, used_below, early, late;
} tally;

static const char *const characters[CHARACTERS] = {
    "a", "b", "<", "\xe2\x96\x81", "\xc3\xa9", "\xe4\xb8\xad", "\xc3\x9f", "\xf0\x9f\x98\x80"};

static uint32_t below(uint64_t *random, size_t limit) {
  *random = golden_mix(*random, 1);
  return (uint32_t)((*random >> 20) % limit);
}

static uint32_t find(const model *m, const char *text, size_t bytes) {
  for (uint32_t id = 0; id < m->count; id++)
    if (m->texts[id][bytes] == 0 && strncmp(m->texts[id], text, bytes) == 0) return id;
  return BPE_NO_ID;
}

static void make_symbols(model *m, uint64_t *random) {
  static const char *const bytes[] = {"a", "b", " ", "\xe2", "\x96", "\xa9", "\xff", "\x01"};
  for (uint32_t i = 0; i < BYTES; i++) snprintf(m->texts[i], sizeof *m->texts, "<0x%02X>", i);
  for (uint32_t i = 0; i < BYTES && m->byte_level; i++)
    m->texts[i][utf8_encode(byte_alphabet_char((uint8_t)i), m->texts[i])] = 0;
  m->count = BYTES;
  for (size_t i = 0; i < CHARACTERS && !m->byte_level; i++)
    if (below(random, 3) || (i == CHARACTERS - 1 && m->count == BYTES)) strcpy(m->texts[m->count++], characters[i]);
  m->symbols = m->count;
  for (size_t i = 0; i < m->symbols; i++) m->lengths[i] = 1;
  for (size_t i = 0; i < LETTERS; i++) {
    const char *byte = bytes[below(random, sizeof bytes / sizeof *bytes)];
    m->letter_ids[i] = m->byte_level ? (uint8_t)*byte : BYTES + below(random, m->count - BYTES);
    m->letters[i] = m->byte_level ? byte : m->texts[m->letter_ids[i]];
  }
}

static uint32_t any_part(const model *m, uint64_t *random) {
  const uint32_t at = below(random, LETTERS + m->count - m->symbols);
  return at < LETTERS ? m->letter_ids[at] : (uint32_t)m->symbols + at - LETTERS;
}

/* Tokens by one merge or several. A few have none, but others that use them. */
static void make_tokens(model *m, uint64_t *random) {
  m->merge_count = 0;
  memset(m->ranks, 0xff, sizeof m->ranks);
  for (uint32_t tries = 10 + below(random, 90); tries > 0 && m->count < m->symbols + MADE; tries--) {
    const uint32_t left = any_part(m, random), right = any_part(m, random);
    char text[2 * sizeof *m->texts];
    m->lengths[m->count] = m->lengths[left] + m->lengths[right];
    if (m->lengths[m->count] > LONGEST || m->ranks[left][right] != NO_RANK) continue;
    uint32_t id = find(m, text, (size_t)snprintf(text, sizeof text, "%s%s", m->texts[left], m->texts[right]));
    if (id == BPE_NO_ID) strcpy(m->texts[id = (uint32_t)m->count++], text);
    if (below(random, 16)) m->merges[m->merge_count++] = (merge_ids){left, right, id};
    m->ranks[left][right] = 0; /* no second time */
  }
}

/* Of the tokens as they were made, or from the last one back. */
static void list_all_ways(model *m, int backward) {
  m->merge_count = 0;
  for (size_t i = m->symbols; i < m->count; i++) {
    const uint32_t id = (uint32_t)(backward ? m->symbols + m->count - 1 - i : i);
    for (const char *text = m->texts[id], *cut = text + 1; *cut; cut++) {
      const uint32_t left = find(m, text, (size_t)(cut - text)), right = find(m, cut, strlen(cut));
      if (left != BPE_NO_ID && right != BPE_NO_ID) m->merges[m->merge_count++] = (merge_ids){left, right, id};
    }
  }
}

/* Returns whether a merge uses what two symbols become below the rank of these. */
static int make_list(model *m, uint64_t *random, list_style style) {
  static const int swaps[STYLES] = {[SWAPPED] = 3, [SHUFFLED] = 200};
  uint16_t made[TOKENS] = {0}; /* that rank */
  make_tokens(m, random);
  if (style == OF_TOKENS) list_all_ways(m, (int)below(random, 2));
  for (int copies = below(random, 4) ? 0 : COPIES; copies > 0; copies--, m->merge_count++)
    m->merges[m->merge_count] = m->merges[below(random, m->merge_count)];
  for (int i = 0; i < swaps[style]; i++) {
    merge_ids *a = &m->merges[below(random, m->merge_count)], *b = &m->merges[below(random, m->merge_count)], old = *a;
    *a = *b;
    *b = old;
  }
  memset(m->ranks, 0xff, sizeof m->ranks);
  for (uint16_t i = 0; i < m->merge_count; i++) { /* of a pair given twice the later rank counts */
    const merge_ids *merge = &m->merges[i];
    m->ranks[merge->left][merge->right] = i;
    if (m->lengths[merge->result] == 2) made[merge->result] = i;
  }
  for (size_t i = 0; i < m->merge_count; i++)
    if (made[m->merges[i].left] > i || made[m->merges[i].right] > i) return 1;
  return 0;
}

static void compile(const model *m, runtime *rt, vocab *v, bpe *b) {
  const bpe_rules rules = {.byte_level = m->byte_level, .byte_fallback = !m->byte_level};
  vocab_entry entries[TOKENS];
  for (uint32_t id = 0; id < m->count; id++)
    entries[id] = (vocab_entry){{m->texts[id], strlen(m->texts[id])}, id, VOCAB_MODEL};
  assert_int_equal(vocab_create(&rt->mem, entries, m->count, v, NULL), VIVA_OK);
  if (m->byte_level) assert_int_equal(vocab_index_bytes(&rt->mem, v, NULL), VIVA_OK);
  assert_int_equal(bpe_create(&rt->mem, v, &rules, m->merges, m->merge_count, b, NULL), VIVA_OK);
  assert_true(b->lanes);
}

/* Letters, runs of one among them, and now and then any character. *count: of ids, which are its symbols. */
static uint32_t make_piece(const model *m, uint64_t *random, uint8_t *text, viva_token *ids, size_t *count) {
  const size_t most = 1 + below(random, below(random, 2) ? BPE_ITEM_BYTES : LANE_SHORT);
  const int is_run = below(random, 6) == 0;
  *count = 0;
  for (uint32_t bytes = 0;;) {
    const char *symbol = m->letters[is_run ? 0 : below(random, LETTERS)];
    if (below(random, 16) == 0) symbol = characters[below(random, CHARACTERS)];
    const uint32_t n = (uint32_t)strlen(symbol), id = m->byte_level ? BPE_NO_ID : find(m, symbol, n);
    if (bytes > 0 && bytes + n > most) return bytes;
    if (id != BPE_NO_ID) ids[(*count)++] = (viva_token)id;
    for (size_t i = 0; id == BPE_NO_ID && i < n; i++) ids[(*count)++] = (uint8_t)symbol[i];
    memcpy(text + bytes, symbol, n);
    bytes += n;
  }
}

/* The definition: again and again the lowest rank, leftmost first. Returns how many ids are left. */
static size_t merge_slowly(const model *m, viva_token *ids, size_t count) {
  for (;; count--) {
    size_t best = 0, least = NO_RANK;
    for (size_t i = 0; i + 1 < count; i++)
      if (m->ranks[ids[i]][ids[i + 1]] < least) least = m->ranks[ids[best = i]][ids[i + 1]];
    if (least == NO_RANK) return count;
    ids[best] = (viva_token)m->merges[least].result;
    memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof *ids);
  }
}

static void check_pieces(const model *m, const bpe *b, uint64_t *random, size_t seed, tally *t) {
  uint8_t text[PIECES][BPE_ITEM_BYTES];
  viva_token ids[PIECES][BPE_ITEM_BYTES], expected[PIECES][BPE_ITEM_BYTES];
  size_t counts[PIECES];
  bpe_item items[PIECES];
  for (size_t i = 0; i < PIECES; i++)
    items[i] = (bpe_item){text[i], ids[i], make_piece(m, random, text[i], expected[i], &counts[i]), 0};
  bpe_merge_many(b, items, PIECES);
  for (size_t i = 0; i < PIECES; i++) {
    const size_t count = merge_slowly(m, expected[i], counts[i]);
    if (items[i].count != count || memcmp(ids[i], expected[i], count * sizeof **ids))
      fail_msg("seed %zu, piece %zu of %u bytes", seed, i, items[i].bytes);
    bpe_lane lane;
    lane_begin(b, &lane, text[i], items[i].bytes, LANE_MOST);
    const size_t begun = (size_t)__builtin_popcountll(lane_left(&lane));
    t->early += begun < counts[i];
    t->late += count < begun;
  }
}

static void test_random_lists(void **state) {
  (void)state;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  static model m;
  tally shown[STYLES * 2] = {0}; /* with characters, and with bytes */
  for (size_t seed = 0; seed < SEEDS; seed++) {
    uint64_t random = golden_mix(seed, 1);
    vocab v;
    bpe b;
    m.byte_level = seed / STYLES % 2;
    tally *t = &shown[seed % (STYLES * 2)];
    make_symbols(&m, &random);
    t->used_below += (size_t)make_list(&m, &random, seed % STYLES);
    compile(&m, rt, &v, &b);
    check_pieces(&m, &b, &random, seed, t);
    t->doubled += b.has_doubles != 0;
    bpe_destroy(&rt->mem, &b);
    vocab_destroy(&rt->mem, &v);
  }
  runtime_release(rt);
  for (size_t i = 0; i < STYLES * 2; i++) {
    assert_true(shown[i].doubled > LISTS / 8 && (i % STYLES == AS_MADE || shown[i].used_below > LISTS / 4));
    assert_true(shown[i].late > LISTS * PIECES / 3);
    assert_true(shown[i].early > LISTS * PIECES / (i < STYLES ? 8 : 2)); /* most characters have no row (bpe.h) */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_lists)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
