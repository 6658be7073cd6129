/* Merging: the array and the heap against the definition, and hostile pieces on a small stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <time.h>

#include "base/num.h"
#include "golden.h"
#include "text/bpe_many.h"
#include "text/bpe_stream.h"
#include "text/bpe_tree.h"
#include "text/bpe_windows.h"

/* A vocabulary of "a", "b" and merges of them, so that long pieces merge in many overlapping ways. */
enum { LETTERS = 2, MERGES = 60, TOKENS = LETTERS + MERGES, LONGEST = 12 };

typedef struct model {
  runtime *rt;
  char texts[TOKENS][LONGEST + 1];
  vocab vocab;
  bpe bpe;
  token_text merges[2 * MERGES];
} model;

static int find(const model *m, size_t count, const char *text) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(m->texts[i], text) == 0) return (int)i;
  return -1;
}

static const bpe_rules plain = {.byte_level = 1};

static int start(void **state) {
  model *m = calloc(1, sizeof *m);
  m->rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  strcpy(m->texts[0], "a");
  strcpy(m->texts[1], "b");
  uint64_t random = 3;
  for (size_t count = LETTERS; count < TOKENS;) {
    random = golden_mix(random, 1);
    const char *left = m->texts[random % count], *right = m->texts[random / 1000 % count];
    char joined[2 * LONGEST + 1];
    snprintf(joined, sizeof joined, "%s%s", left, right);
    if (strlen(joined) > LONGEST || find(m, count, joined) >= 0) continue;
    m->merges[2 * (count - LETTERS)] = (token_text){left, strlen(left)};
    m->merges[2 * (count - LETTERS) + 1] = (token_text){right, strlen(right)};
    strcpy(m->texts[count++], joined);
  }
  vocab_entry entries[TOKENS];
  for (size_t i = 0; i < TOKENS; i++)
    entries[i] = (vocab_entry){{m->texts[i], strlen(m->texts[i])}, (uint32_t)i, VOCAB_MODEL};
  *state = m;
  if (vocab_create(&m->rt->mem, entries, TOKENS, &m->vocab, NULL) || vocab_index_bytes(&m->rt->mem, &m->vocab, NULL))
    return 1;
  merge_list list = {.mem = &m->rt->mem, .vocab = &m->vocab};
  for (size_t i = 0; i < MERGES; i++)
    assert_int_equal(merges_add(&list, m->merges[2 * i], m->merges[2 * i + 1], NULL), 0);
  int failed =
      merges_end(&list, NULL) || bpe_create(&m->rt->mem, &m->vocab, &plain, list.merges, list.count, &m->bpe, NULL);
  merges_free(&list);
  return failed;
}

static int stop(void **state) {
  model *m = *state;
  bpe_destroy(&m->rt->mem, &m->bpe);
  vocab_destroy(&m->rt->mem, &m->vocab);
  runtime_release(m->rt);
  free(m);
  return 0;
}

/* Pairs whose slots were neighbours under a hash that anybody can work out (hash_mix of the pair and a hash of the texts)
 * are spread by the secret one. */
static void test_secret_slots(void **state) {
  const model *m = *state;
  enum { BITS = 16, PAIRS = 20000 };
  bpe table = m->bpe;
  table.pilot_count = (uint64_t)1 << BITS;
  uint32_t *used = calloc((size_t)1 << BITS, sizeof *used);
  size_t most = 0, count = 0;
  for (uint32_t pair = 0; count < PAIRS; pair++) {
    uint32_t left = pair / 4096, right = pair % 4096;
    if ((hash_mix(((uint64_t)left << 32 | right) ^ m->vocab.seed[0]) & (((uint64_t)1 << BITS) - 1)) >> (BITS - 6))
      continue;
    uint32_t *slot = &used[bpe_pilot(&table, bpe_pair_hash(&table, (uint64_t)left << 32 | right))];
    if (++*slot > most) most = *slot;
    count++;
  }
  free(used);
  assert_true(most <= 10); /* of 20,000 for 65,536 pilots at random: 7 or more once in 10^4 tables, 11 once in 10^9 */
}

/* The definition: again and again the lowest rank, leftmost first. */
static size_t slow(const model *m, const char *piece, size_t bytes, viva_token *ids) {
  size_t count = 0;
  for (size_t i = 0; i < bytes; i++)
    if (piece[i] == 'a' || piece[i] == 'b') ids[count++] = piece[i] - 'a';
  for (;;) {
    size_t best_rank = MERGES, best = 0;
    for (size_t i = 0; i + 1 < count; i++)
      for (size_t r = 0; r < best_rank; r++)
        if (strcmp(m->merges[2 * r].text, m->texts[ids[i]]) == 0 &&
            strcmp(m->merges[2 * r + 1].text, m->texts[ids[i + 1]]) == 0) {
          best_rank = r;
          best = i;
        }
    if (best_rank == MERGES) return count;
    ids[best] = (viva_token)(LETTERS + best_rank);
    count--;
    memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
  }
}

static void test_merging(void **state) {
  const model *m = *state;
  bpe_scratch scratch = {.mem = &m->rt->mem};
  uint64_t random = 9;
  for (int round = 0; round < 2000; round++) {
    char piece[160];
    viva_token expected[160], ids[160];
    random = golden_mix(random, 1);
    size_t bytes = round < 1500 ? random % 50 : random % sizeof piece;
    for (size_t i = 0; i < bytes; i++) {
      random = golden_mix(random, 1);
      piece[i] = random % 40 ? (char)('a' + random / 64 % 2) : 'x'; /* x is not in the vocabulary */
    }
    id_sink sink = {ids, 160, 0, NULL};
    assert_int_equal(bpe_encode(&m->bpe, &scratch, (const uint8_t *)piece, bytes, &sink, NULL), VIVA_OK);
    size_t count = slow(m, piece, bytes, expected);
    assert_int_equal(sink.count, count);
    assert_memory_equal(ids, expected, count * sizeof *ids);
  }
  bpe_scratch_free(&scratch);
}

static void check_unknown(model *m, const char *piece, const viva_token *expected, size_t count) {
  bpe_scratch scratch = {.mem = &m->rt->mem};
  viva_token ids[64];
  id_sink sink = {ids, 64, 0, NULL};
  assert_int_equal(bpe_encode(&m->bpe, &scratch, (const uint8_t *)piece, strlen(piece), &sink, NULL), VIVA_OK);
  assert_int_equal(sink.count, count);
  assert_memory_equal(ids, expected, count * sizeof *ids);
  bpe_scratch_free(&scratch);
}

/* Long pieces, token by token: the ids that merging step by step gives. */
static void test_long_merging(void **state) {
  const model *m = *state;
  enum { BYTES = 6000, TEXTS = 60 };
  bpe_scratch scratch = {.mem = (mem *)&m->rt->mem};
  char *text = malloc(BYTES);
  viva_token *ids = malloc(BYTES * sizeof *ids), *whole = malloc(BYTES * sizeof *whole);
  uint64_t random = 9;
  for (int round = 0; round < TEXTS; round++) {
    size_t period = 1 + (random = golden_mix(random, 1)) % (round % 3 ? 40 : BYTES), bytes = BYTES - random / 64 % 3000;
    for (size_t i = 0; i < bytes; i++)
      text[i] = i >= period ? text[i - period] : "ab"[(random = golden_mix(random, 2)) >> 7 & 1];
    id_sink fast = {ids, BYTES, 0, NULL}, slow_sink = {whole, BYTES, 0, NULL};
    int done = 0;
    assert_int_equal(bpe_forward(&m->bpe, &scratch, (uint8_t *)text, bytes, &fast, &done, NULL), VIVA_OK);
    assert_true(done);
    assert_int_equal(bpe_merge_stepwise(&m->bpe, &scratch, (uint8_t *)text, bytes, &slow_sink, NULL), VIVA_OK);
    assert_int_equal(fast.count, slow_sink.count);
    assert_memory_equal(ids, whole, fast.count * sizeof *ids);
  }
  bpe_scratch_free(&scratch);
  free(text);
  free(ids);
  free(whole);
}

/* ---- vocabularies whose merges come in any order, some tokens by several ---- */

enum { BYTE_TOKENS = 256, MADE = 40, MADE_LONGEST = 9, WAYS = MADE * MADE_LONGEST, ANY_TEXT = 300 };

typedef struct any_model {
  char bytes[BYTE_TOKENS + MADE][MADE_LONGEST + 1];   /* what each token stands for */
  char spelled[BYTE_TOKENS + MADE][MADE_LONGEST + 3]; /* in the byte alphabet */
  merge_ids ways[WAYS];
  size_t way_count;
} any_model;

static uint32_t find_made(const any_model *m, const char *text, size_t bytes, size_t count) {
  for (uint32_t id = 1; id < count; id++)
    if (strlen(m->bytes[id]) == bytes && memcmp(m->bytes[id], text, bytes) == 0) return id;
  return UINT32_MAX;
}

/* Tokens of "abc", each joined of two older ones; and merges for all ways to cut one in two tokens, or for some of them. */
static void make_any(any_model *m, uint64_t *random, int all_ways) {
  size_t count = BYTE_TOKENS;
  m->way_count = 0;
  for (uint32_t byte = 0; byte < BYTE_TOKENS; byte++) {
    m->bytes[byte][0] = (char)byte;
    m->spelled[byte][utf8_encode(byte_alphabet_char((uint8_t)byte), m->spelled[byte])] = 0;
  }
  while (count < BYTE_TOKENS + MADE) {
    uint32_t parts[2];
    for (int i = 0; i < 2; i++) {
      *random = golden_mix(*random, 3);
      size_t at = *random % (3 + count - BYTE_TOKENS);
      parts[i] = (uint32_t)(at < 3 ? 'a' + at : BYTE_TOKENS + at - 3);
    }
    size_t left = strlen(m->bytes[parts[0]]), right = strlen(m->bytes[parts[1]]);
    if (left + right > MADE_LONGEST) continue;
    memcpy(m->bytes[count], m->bytes[parts[0]], left);
    memcpy(m->bytes[count] + left, m->bytes[parts[1]], right + 1);
    if (find_made(m, m->bytes[count], left + right, count) != UINT32_MAX) continue;
    strcpy(m->spelled[count], m->bytes[count]);
    count++;
  }
  for (uint32_t id = BYTE_TOKENS; id < count; id++) {
    size_t bytes = strlen(m->bytes[id]), ways = 0;
    for (size_t cut = 1; cut < bytes; cut++) {
      uint32_t left = find_made(m, m->bytes[id], cut, count);
      uint32_t right = find_made(m, m->bytes[id] + cut, bytes - cut, count);
      *random = golden_mix(*random, 4);
      if (left == UINT32_MAX || right == UINT32_MAX || (!all_ways && ways > 0 && *random % 2)) continue;
      m->ways[m->way_count++] = (merge_ids){left, right, id};
      ways++;
    }
  }
}

static void shuffle(any_model *m, uint64_t *random) {
  for (size_t i = m->way_count; i > 1; i--) {
    *random = golden_mix(*random, 5);
    merge_ids *other = &m->ways[*random % i], way = *other;
    *other = m->ways[i - 1];
    m->ways[i - 1] = way;
  }
}

static void check_any(runtime *rt, const bpe *b, uint64_t *random) {
  bpe_scratch scratch = {.mem = &rt->mem};
  for (int round = 0; round < 60; round++) {
    uint8_t text[ANY_TEXT];
    viva_token ids[ANY_TEXT], expected[ANY_TEXT];
    *random = golden_mix(*random, 6);
    size_t bytes = 1 + *random % (round % 10 ? 24 : ANY_TEXT);
    int done = 0;
    size_t period = round % 3 ? bytes : 1 + *random / ANY_TEXT % 5; /* runs of something, too */
    for (size_t i = 0; i < bytes; i++)
      text[i] = (uint8_t)(i < period ? 'a' + (*random = golden_mix(*random, 7)) / 64 % 3 : text[i - period]);
    id_sink sink = {ids, ANY_TEXT, 0, NULL}, slow_sink = {expected, ANY_TEXT, 0, NULL};
    assert_int_equal(bpe_forward(b, &scratch, text, bytes, &sink, &done, NULL), VIVA_OK);
    assert_int_equal(bpe_merge_stepwise(b, &scratch, text, bytes, &slow_sink, NULL), VIVA_OK);
    assert_true(done);
    assert_int_equal(sink.count, slow_sink.count);
    assert_memory_equal(ids, expected, sink.count * sizeof *ids);
  }
  bpe_scratch_free(&scratch);
}

/* Many short pieces side by side: each as alone. */
static void check_many(runtime *rt, const bpe *b, uint64_t *random) {
  enum { ITEMS = 80 };
  bpe_scratch scratch = {.mem = &rt->mem};
  uint8_t text[ITEMS * BPE_ITEM_BYTES];
  viva_token ids[ITEMS * BPE_ITEM_BYTES], expected[BPE_ITEM_BYTES];
  bpe_item items[ITEMS];
  for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)('a' + (*random = golden_mix(*random, 8)) / 64 % 3);
  for (size_t i = 0; i < ITEMS; i++)
    items[i] = (bpe_item){text + i * BPE_ITEM_BYTES, ids + i * BPE_ITEM_BYTES, (uint32_t)(1 + i % BPE_ITEM_BYTES), 0};
  bpe_merge_many(b, items, ITEMS);
  for (size_t i = 0; i < ITEMS; i++) {
    id_sink sink = {expected, BPE_ITEM_BYTES, 0, NULL};
    assert_int_equal(bpe_merge_stepwise(b, &scratch, items[i].piece, items[i].bytes, &sink, NULL), VIVA_OK);
    assert_int_equal(items[i].count, sink.count);
    assert_memory_equal(items[i].ids, expected, sink.count * sizeof *expected);
  }
  bpe_scratch_free(&scratch);
}

/* A piece of some windows, also where it repeats itself. *joined: they met. */
static void check_windows(runtime *rt, const bpe *b, uint64_t *random, size_t *joined) {
  enum { BYTES = 250, WINDOWS = 7 };
  bpe_scratch scratch = {.mem = &rt->mem};
  uint8_t text[BYTES];
  viva_token ids[BYTES], expected[BYTES], window_ids[WINDOWS * BPE_ITEM_BYTES];
  bpe_item items[WINDOWS];
  *random = golden_mix(*random, 11);
  size_t bytes = BPE_ITEM_BYTES + 1 + *random % (BYTES - BPE_ITEM_BYTES), period = 1 + *random / BYTES % (2 * BYTES);
  for (size_t i = 0; i < bytes; i++)
    text[i] = (uint8_t)(i >= period ? text[i - period] : 'a' + (*random = golden_mix(*random, 12)) / 64 % 3);
  size_t count = bpe_windows_cut(b, text, bytes, window_ids, items, WINDOWS);
  assert_in_range(count, 2, WINDOWS);
  assert_int_equal(bpe_windows_cut(b, text, bytes, window_ids, items, count - 1), count);
  assert_int_equal(bpe_windows_cut(b, text, bytes, window_ids, items, WINDOWS), count);
  bpe_merge_many(b, items, count);
  size_t found = bpe_windows_join(b, items, count, ids);
  id_sink sink = {expected, BYTES, 0, NULL};
  assert_int_equal(bpe_merge_stepwise(b, &scratch, text, bytes, &sink, NULL), VIVA_OK);
  if (found > 0) {
    assert_int_equal(found, sink.count);
    assert_memory_equal(ids, expected, sink.count * sizeof *ids);
  }
  *joined += found > 0;
  bpe_scratch_free(&scratch);
}

/* A long piece by windows, also where it repeats itself and has letters that no token joins. *streamed: it was done so. */
static void check_stream(runtime *rt, const bpe *b, uint64_t *random, size_t *streamed) {
  enum { BYTES = 5000 };
  bpe_scratch scratch = {.mem = &rt->mem};
  static uint8_t text[BYTES];
  static viva_token ids[BYTES], expected[BYTES];
  *random = golden_mix(*random, 9);
  size_t bytes = STREAM_WORTH + *random % (BYTES - STREAM_WORTH), period = 1 + *random / BYTES % BYTES;
  unsigned letters = 2 + (unsigned)(*random >> 40) % 3;
  for (size_t i = 0; i < bytes; i++)
    text[i] = (uint8_t)(i >= period ? text[i - period] : 'a' + (*random = golden_mix(*random, 10)) / 64 % letters);
  id_sink sink = {ids, BYTES, 0, NULL}, slow_sink = {expected, BYTES, 0, NULL};
  int done = 0;
  assert_int_equal(bpe_stream(b, &scratch, text, bytes, &sink, &done, NULL), VIVA_OK);
  assert_int_equal(bpe_merge_stepwise(b, &scratch, text, bytes, &slow_sink, NULL), VIVA_OK);
  if (done) {
    assert_int_equal(sink.count, slow_sink.count);
    assert_memory_equal(ids, expected, sink.count * sizeof *ids);
  }
  assert_true(done || sink.count == 0);
  *streamed += done != 0;
  bpe_scratch_free(&scratch);
}

/* In the order in which they were made, and in none. */
static void test_any_order(void **state) {
  (void)state;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  any_model *m = calloc(1, sizeof *m);
  uint64_t random = 11;
  size_t streamed = 0, joined = 0;
  for (int round = 0; round < 120; round++) {
    vocab_entry entries[BYTE_TOKENS + MADE];
    vocab v;
    bpe b;
    make_any(m, &random, round % 2);
    if (round % 3) shuffle(m, &random);
    for (uint32_t id = 0; id < BYTE_TOKENS + MADE; id++)
      entries[id] = (vocab_entry){{m->spelled[id], strlen(m->spelled[id])}, id, VOCAB_MODEL};
    assert_int_equal(vocab_create(&rt->mem, entries, BYTE_TOKENS + MADE, &v, NULL), VIVA_OK);
    assert_int_equal(vocab_index_bytes(&rt->mem, &v, NULL), VIVA_OK);
    assert_int_equal(bpe_create(&rt->mem, &v, &plain, m->ways, m->way_count, &b, NULL), VIVA_OK);
    assert_true(b.complete);
    check_any(rt, &b, &random);
    assert_true(b.lanes);
    check_many(rt, &b, &random);
    for (int i = 0; i < 4; i++) check_stream(rt, &b, &random, &streamed);
    for (int i = 0; i < 4; i++) check_windows(rt, &b, &random, &joined);
    bpe_destroy(&rt->mem, &b);
    vocab_destroy(&rt->mem, &v);
  }
  assert_true(streamed > 300); /* of 480: nearly all, else this tests nothing */
  assert_true(joined > 100);
  free(m);
  runtime_release(rt);
}

/* Bytes that the vocabulary lacks: left out, or each an unknown token, or a run of them one. */
static void test_unknown(void **state) {
  model *m = *state;
  viva_token left_out[2];
  assert_int_equal(slow(m, "bb", 2, left_out), 2); /* bb does not merge first here: the seed is fixed */
  check_unknown(m, "bxyb", left_out, 2);
  m->bpe.unknown = 0;
  check_unknown(m, "xx", (const viva_token[]){0, 0}, find(m, TOKENS, "aa") < 0 ? 2 : 1);
  m->bpe.rules.fuse_unknown = 1;
  check_unknown(m, "xyx", (const viva_token[]){0}, 1);
  m->bpe.rules.fuse_unknown = 0;
  m->bpe.unknown = BPE_NO_ID;
}

static void test_absent(void **state) {
  const model *m = *state;
  const struct {
    token_text merge[2];
    const char *message;
  } cases[] = {{{{"a", 1}, {"zz", 2}}, "merge 0 names the right part 'zz'"},
               {{{"\x01", 1}, {"a", 1}}, "merge 0 names the left part '\\x01'"},
               {{{"bb", 2}, {"abababababab", 12}}, "is not in the vocabulary"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    merge_list list = {.mem = &m->rt->mem, .vocab = &m->vocab};
    viva_error error;
    assert_int_equal(merges_add(&list, cases[i].merge[0], cases[i].merge[1], &error), VIVA_OK); /* looked up later */
    assert_int_equal(merges_end(&list, &error), VIVA_E_FORMAT);
    merges_free(&list);
    assert_non_null(strstr(error.message, cases[i].message));
  }
}

/* ---- hostile texts, on a thread with a stack of 256 KiB ---- */

typedef struct job {
  viva_tokenizer *t;
  const char *unit;
  size_t total;
  double seconds;
  viva_status status;
} job;

static void *encode_repeated(void *argument) {
  job *j = argument;
  size_t unit = strlen(j->unit), count, bytes = j->total / unit * unit;
  char *text = malloc(bytes);
  for (size_t i = 0; i < bytes; i += unit) memcpy(text + i, j->unit, unit);
  struct timespec a, b;
  size_t capacity = 2 * bytes + 2; /* add_prefix_space can give every character a space */
  viva_token *ids = malloc(capacity * sizeof *ids);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
  j->status = viva_tokenizer_encode(j->t, text, bytes, NULL, ids, capacity, &count, NULL);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
  j->seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
  free(ids);
  free(text);
  return NULL;
}

static double best_of(job *j, int rounds) {
  double best = 1e9;
  pthread_attr_t small_stack;
  pthread_attr_init(&small_stack);
  pthread_attr_setstacksize(&small_stack, 256 * 1024);
  for (int i = 0; i < rounds; i++) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, &small_stack, encode_repeated, j), 0);
    pthread_join(thread, NULL);
    assert_int_equal(j->status, VIVA_OK);
    if (j->seconds < best) best = j->seconds;
  }
  pthread_attr_destroy(&small_stack);
  return best;
}

/* Row B5: 1 MiB of one character: no deep stack, and time that grows as n log n. Twice the text takes 2.1 times the
 * work; 2.6 leaves room for caches. Short times are noise. */
static void test_long_pieces(void **state) {
  (void)state;
  static const char *const units[] = {"^",        "Z",         ".", " ", "\n", "\xe4\xbd\xa0",
                                      "\xcc\x81", "a\xcc\x81", "1", "'", "th", "\xf0\x9f\x98\x80"};
  viva_tokenizer *tokenizers[] = {golden_tokenizer("small.json"), golden_tokenizer("small_nfc.json")};
  for (size_t t = 0; t < 2; t++) {
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
      job j = {.t = tokenizers[t], .unit = units[u], .total = (size_t)1 << 19};
      double once = best_of(&j, 3);
      j.total *= 2;
      double twice = best_of(&j, 3);
      if (twice > 0.02 && twice > 2.6 * once) {
        once = best_of(&(job){.t = j.t, .unit = j.unit, .total = j.total / 2}, 9);
        twice = best_of(&j, 9);
        assert_true(twice <= 2.6 * once);
      }
    }
    viva_tokenizer_release(tokenizers[t]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_merging, start, stop),
      cmocka_unit_test_setup_teardown(test_secret_slots, start, stop),
      cmocka_unit_test_setup_teardown(test_long_merging, start, stop),
      cmocka_unit_test(test_any_order),
      cmocka_unit_test_setup_teardown(test_unknown, start, stop),
      cmocka_unit_test_setup_teardown(test_absent, start, stop),
      cmocka_unit_test(test_long_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
