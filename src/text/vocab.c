#include "text/vocab.h"

#include <string.h>

#include "base/num.h"
#include "base/secret.h"

#define QUOTE_SIZE 80 /* of a token in a message */

/* Orders entries by id, without recursion and in n log n whatever the order: a merge sort from runs of one upwards.
 * Files are almost always in order already, which is looked at first. */
static int sort_by_id(mem *m, vocab_entry *entries, size_t count) {
  int sorted = 1;
  for (size_t i = 1; i < count; i++) sorted &= entries[i - 1].id <= entries[i].id;
  if (sorted) return 0;
  vocab_entry *spare = mem_array(m, count, sizeof *spare), *from = entries, *to = spare;
  if (!spare) return 1;
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t begin = 0; begin < count; begin += 2 * width) {
      size_t a = begin, mid = count - begin < width ? count : begin + width;
      size_t b = mid, end = count - mid < width ? count : mid + width;
      for (size_t out = begin; out < end; out++)
        to[out] = b == end || (a < mid && from[a].id <= from[b].id) ? from[a++] : from[b++];
    }
    vocab_entry *swap = from;
    from = to, to = swap;
  }
  if (from != entries) memcpy(entries, from, count * sizeof *entries);
  mem_free(m, spare);
  return 0;
}

/* A table, the texts that it is over, and a text with its hash. Half of the hash says where, the other half stands in the
 * slot, so that the texts of other tokens are hardly ever looked at. */
typedef struct lookup {
  const uint64_t *table;
  size_t slots;
  const char *blob;
  const size_t *at;
} lookup;

static size_t table_home(size_t slots, uint64_t hash) { return (size_t)((hash >> 32) * slots >> 32); }

static int64_t table_find(lookup l, uint64_t hash, const void *text, size_t bytes, size_t *slot) {
  size_t i = table_home(l.slots, hash);
  for (;; i = i + 1 == l.slots ? 0 : i + 1) {
    uint64_t entry = l.table[i];
    if (entry == 0) break;
    if ((uint32_t)(entry >> 32) != (uint32_t)hash) continue;
    uint32_t id = (uint32_t)entry - 1;
    if (l.at[id + 1] - l.at[id] == bytes && bytes_same(l.blob + l.at[id], text, bytes)) return id;
  }
  if (slot) *slot = i;
  return -1;
}

static uint64_t table_entry(uint64_t hash, uint32_t id) { return hash << 32 | (id + 1); }

static lookup over_texts(const vocab *v) { return (lookup){v->by_text, v->slots, v->texts, v->text_at}; }
static lookup over_bytes(const vocab *v) {
  return (lookup){v->by_bytes, v->slots, (const char *)v->bytes, v->bytes_at};
}

int64_t vocab_find(const vocab *v, const char *text, size_t bytes) {
  return table_find(over_texts(v), hash_bytes(v->seed, text, bytes), text, bytes, NULL);
}

void vocab_find_many(const vocab *v, const token_text *texts, size_t count, int64_t *ids) {
  uint64_t hashes[VOCAB_AT_ONCE];
  for (size_t i = 0; i < count; i++) {
    hashes[i] = hash_bytes(v->seed, texts[i].text, texts[i].bytes);
    __builtin_prefetch(&v->by_text[table_home(v->slots, hashes[i])]);
  }
  for (size_t i = 0; i < count; i++) {
    uint64_t entry = v->by_text[table_home(v->slots, hashes[i])];
    if (entry) __builtin_prefetch(&v->text_at[(uint32_t)entry - 1]);
  }
  for (size_t i = 0; i < count; i++) {
    uint64_t entry = v->by_text[table_home(v->slots, hashes[i])];
    if (entry) __builtin_prefetch(v->texts + v->text_at[(uint32_t)entry - 1]);
  }
  for (size_t i = 0; i < count; i++) ids[i] = table_find(over_texts(v), hashes[i], texts[i].text, texts[i].bytes, NULL);
}

int64_t vocab_find_bytes(const vocab *v, const uint8_t *text, size_t bytes) {
  return table_find(over_bytes(v), hash_bytes(v->seed, text, bytes), text, bytes, NULL);
}

token_text vocab_text(const vocab *v, uint32_t id) {
  return (token_text){v->texts + v->text_at[id], v->text_at[id + 1] - v->text_at[id]};
}

void vocab_destroy(mem *m, vocab *v) {
  mem_free(m, v->flags);
  mem_free(m, v->text_at);
  mem_free(m, v->texts);
  mem_free(m, v->bytes_at);
  mem_free(m, v->bytes);
  mem_free(m, v->by_text);
  mem_free(m, v->by_bytes);
  memset(v, 0, sizeof *v);
}

/* Ids in order, each once, none far beyond the number of tokens. entries are sorted. */
static viva_status check_ids(const vocab_entry *entries, size_t count, viva_error *error) {
  char quoted[QUOTE_SIZE], other[QUOTE_SIZE];
  for (size_t i = 1; i < count; i++) {
    if (entries[i].id != entries[i - 1].id) continue;
    token_text a = entries[i - 1].text, b = entries[i].text;
    return error_set(error, VIVA_E_FORMAT, "two tokens have id %u: '%s' and '%s'", entries[i].id,
                     error_quote(quoted, sizeof quoted, a.text, a.bytes),
                     error_quote(other, sizeof other, b.text, b.bytes));
  }
  uint32_t largest = count ? entries[count - 1].id : 0;
  if (largest > INT32_MAX - 1 || (count && largest - (count - 1) > VOCAB_MOST_HOLES + count)) {
    token_text a = entries[count - 1].text;
    return error_set(error, VIVA_E_FORMAT, "token '%s' has id %u, but there are only %zu tokens",
                     error_quote(quoted, sizeof quoted, a.text, a.bytes), largest, count);
  }
  return VIVA_OK;
}

static int allocate(mem *m, const vocab_entry *entries, size_t count, vocab *v) {
  size_t total = 0;
  for (size_t i = 0; i < count; i++)
    total += entries[i].text.bytes; /* distinct texts in memory or one file: no overflow */
  v->count = count ? (size_t)entries[count - 1].id + 1 : 0;
  v->tokens = count;
  v->slots = 2 * count + 16; /* at most half full */
  v->flags = mem_array(m, v->count, sizeof *v->flags);
  v->text_at = mem_array(m, v->count + 1, sizeof *v->text_at);
  v->texts = mem_alloc(m, total);
  v->by_text = mem_array(m, v->slots, sizeof *v->by_text);
  return !v->flags || !v->text_at || !v->texts || !v->by_text;
}

/* Copies the texts; ids without an entry become holes of no length. */
static void fill(const vocab_entry *entries, size_t count, vocab *v) {
  size_t text_at = 0, entry = 0;
  for (size_t id = 0; id < v->count; id++) {
    v->text_at[id] = text_at;
    if (entry == count || entries[entry].id != id) continue;
    const vocab_entry *e = &entries[entry++];
    if (e->text.bytes) memcpy(v->texts + text_at, e->text.text, e->text.bytes);
    v->flags[id] = e->flags | VOCAB_EXISTS;
    text_at += e->text.bytes;
    if (e->text.bytes > v->longest) v->longest = e->text.bytes;
  }
  v->text_at[v->count] = text_at;
}

static viva_status put_text(vocab *v, uint64_t hash, uint32_t id, viva_error *error) {
  token_text t = vocab_text(v, id);
  size_t slot;
  int64_t other = table_find(over_texts(v), hash, t.text, t.bytes, &slot);
  if (other >= 0) {
    char quoted[QUOTE_SIZE];
    return error_set(error, VIVA_E_FORMAT, "two tokens have the text '%s': ids %u and %u",
                     error_quote(quoted, sizeof quoted, t.text, t.bytes), (uint32_t)other, id);
  }
  v->by_text[slot] = table_entry(hash, id);
  return VIVA_OK;
}

/* Some at once, so that the table's lines come together. */
static viva_status index_texts(vocab *v, viva_error *error) {
  uint64_t hashes[VOCAB_AT_ONCE];
  for (size_t begin = 0; begin < v->count; begin += VOCAB_AT_ONCE) {
    size_t count = v->count - begin < VOCAB_AT_ONCE ? v->count - begin : VOCAB_AT_ONCE;
    for (size_t i = 0; i < count; i++) {
      token_text t = vocab_text(v, (uint32_t)(begin + i));
      hashes[i] = hash_bytes(v->seed, t.text, t.bytes);
      __builtin_prefetch(&v->by_text[table_home(v->slots, hashes[i])]);
    }
    for (size_t i = 0; i < count; i++)
      if (v->flags[begin + i] & VOCAB_EXISTS) TRY(put_text(v, hashes[i], (uint32_t)(begin + i), error));
  }
  return VIVA_OK;
}

/* What the alphabet's characters stand for, by their two bytes: the first one's low bits and the second one's. */
typedef struct alphabet {
  int16_t ascii[128], two[4][64]; /* of 0xc2 and 0xc3 (U+0080 to U+00FF), 0xc4 and 0xc5 (to U+017F); -1: not in it */
} alphabet;

static void list_alphabet(alphabet *a) {
  for (uint32_t code = 0; code < 128; code++) a->ascii[code] = (int16_t)byte_alphabet_byte(code);
  for (uint32_t code = 0x80; code < 0x180; code++)
    a->two[(code >> 6) - 2][code & 63] = (int16_t)byte_alphabet_byte(code);
}

/* A token as bytes, when every character is in the byte alphabet. Writes at most text.bytes bytes; returns how many. */
static size_t alphabet_bytes(const alphabet *a, token_text text, uint8_t *out) {
  size_t count = 0;
  for (size_t at = 0; at < text.bytes;) {
    uint8_t first = (uint8_t)text.text[at];
    int is_two = first >= 0xc2 && first <= 0xc5;
    if (first >= 0x80 && !is_two) return 0;
    int byte = is_two ? a->two[first - 0xc2][text.text[at + 1] & 63] : a->ascii[first];
    if (byte < 0) return 0;
    out[count++] = (uint8_t)byte;
    at += is_two ? 2 : 1;
  }
  return count;
}

/* Writes what each token stands for. */
static void fill_bytes(vocab *v) {
  alphabet a;
  size_t at = 0;
  list_alphabet(&a);
  for (uint32_t id = 0; id < v->count; id++) {
    v->bytes_at[id] = at;
    if (v->flags[id] & VOCAB_MODEL) at += alphabet_bytes(&a, vocab_text(v, id), v->bytes + at);
  }
  v->bytes_at[v->count] = at;
}

/* The byte alphabet is one to one, so distinct texts have distinct bytes. */
static void index_bytes(vocab *v) {
  uint64_t hashes[VOCAB_AT_ONCE];
  for (size_t begin = 0; begin < v->count; begin += VOCAB_AT_ONCE) {
    size_t count = v->count - begin < VOCAB_AT_ONCE ? v->count - begin : VOCAB_AT_ONCE;
    const size_t *at = v->bytes_at + begin;
    for (size_t i = 0; i < count; i++) {
      hashes[i] = hash_bytes(v->seed, v->bytes + at[i], at[i + 1] - at[i]);
      __builtin_prefetch(&v->by_bytes[table_home(v->slots, hashes[i])]);
    }
    for (size_t i = 0; i < count; i++) {
      size_t slot;
      if (at[i + 1] == at[i]) continue;
      table_find(over_bytes(v), hashes[i], v->bytes + at[i], at[i + 1] - at[i], &slot);
      v->by_bytes[slot] = table_entry(hashes[i], (uint32_t)(begin + i));
    }
  }
}

viva_status vocab_index_bytes(mem *m, vocab *v, viva_error *error) {
  v->by_bytes = mem_array(m, v->slots, sizeof *v->by_bytes);
  v->bytes_at = mem_alloc(m, (v->count + 1) * sizeof *v->bytes_at); /* as many as text_at */
  v->bytes = mem_alloc(m, v->text_at[v->count]);
  if (!v->by_bytes || !v->bytes_at || !v->bytes)
    return error_set(error, VIVA_E_MEMORY, "no memory for an index of %zu tokens", v->count);
  fill_bytes(v);
  index_bytes(v);
  return VIVA_OK;
}

viva_status vocab_create(mem *m, vocab_entry *entries, size_t count, vocab *out, viva_error *error) {
  memset(out, 0, sizeof *out);
  if (count > INT32_MAX) return error_set(error, VIVA_E_FORMAT, "%zu tokens: ids would not fit 31 bits", count);
  if (sort_by_id(m, entries, count)) return error_set(error, VIVA_E_MEMORY, "no memory to order %zu tokens", count);
  TRY(check_ids(entries, count, error));
  vocab v = {0};
  if (allocate(m, entries, count, &v)) {
    vocab_destroy(m, &v);
    return error_set(error, VIVA_E_MEMORY, "no memory for a vocabulary of %zu tokens", count);
  }
  fill(entries, count, &v);
  secret_key(v.seed);
  viva_status status = index_texts(&v, error);
  if (status != VIVA_OK) {
    vocab_destroy(m, &v);
    return status;
  }
  *out = v;
  return VIVA_OK;
}

/* A larger table of the same texts. */
static viva_status grow_table(mem *m, vocab *v, size_t slots, viva_error *error) {
  uint64_t *table = mem_array(m, slots, sizeof *table);
  if (!table) return error_set(error, VIVA_E_MEMORY, "no memory for an index of %zu slots", slots);
  mem_free(m, v->by_text);
  v->by_text = table;
  v->slots = slots;
  return index_texts(v, error);
}

viva_status vocab_reserve(mem *m, vocab *v, size_t more, size_t bytes, viva_error *error) {
  size_t count = v->count + more; /* both are numbers of things in memory: no overflow */
  uint8_t *flags = mem_resize(m, v->flags, count);
  if (flags) v->flags = flags;
  size_t *text_at = mem_resize(m, v->text_at, (count + 1) * sizeof *text_at);
  if (text_at) v->text_at = text_at;
  char *texts = mem_resize(m, v->texts, v->text_at[v->count] + bytes);
  if (texts) v->texts = texts;
  if (!flags || !text_at || !texts)
    return error_set(error, VIVA_E_MEMORY, "no memory for a vocabulary of %zu tokens", count);
  if (v->tokens + more <= v->slots / 16 * 9) return VIVA_OK; /* a little more than half full */
  return grow_table(m, v, 2 * (v->tokens + more) + 16, error);
}

void vocab_append(vocab *v, token_text text) {
  size_t at = v->text_at[v->count], slot;
  uint64_t hash = hash_bytes(v->seed, text.text, text.bytes);
  if (table_find(over_texts(v), hash, text.text, text.bytes, &slot) >= 0) return;
  if (text.bytes) memcpy(v->texts + at, text.text, text.bytes);
  v->text_at[v->count + 1] = at + text.bytes;
  v->flags[v->count] = VOCAB_EXISTS;
  if (text.bytes > v->longest) v->longest = text.bytes;
  v->by_text[slot] = table_entry(hash, (uint32_t)v->count);
  v->count++;
  v->tokens++;
}
