#include "text/vocab.h"

#include <string.h>

#include "base/num.h"

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
    if (l.at[id + 1] - l.at[id] == bytes && (bytes == 0 || memcmp(l.blob + l.at[id], text, bytes) == 0)) return id;
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

static viva_status index_texts(vocab *v, viva_error *error) {
  uint64_t zero[2] = {0, 0};
  v->seed[0] = hash_bytes(zero, v->texts, v->text_at[v->count]);
  v->seed[1] = hash_bytes(v->seed, v->text_at, (v->count + 1) * sizeof *v->text_at);
  for (uint32_t id = 0; id < v->count; id++) {
    if (!(v->flags[id] & VOCAB_EXISTS)) continue;
    token_text t = vocab_text(v, id);
    size_t slot;
    uint64_t hash = hash_bytes(v->seed, t.text, t.bytes);
    int64_t other = table_find(over_texts(v), hash, t.text, t.bytes, &slot);
    if (other >= 0) {
      char quoted[QUOTE_SIZE];
      return error_set(error, VIVA_E_FORMAT, "two tokens have the text '%s': ids %u and %u",
                       error_quote(quoted, sizeof quoted, t.text, t.bytes), (uint32_t)other, id);
    }
    v->by_text[slot] = table_entry(hash, id);
  }
  return VIVA_OK;
}

/* A token as bytes, when every character is in the byte alphabet. Writes at most text.bytes bytes; returns how many. */
static size_t alphabet_bytes(token_text text, uint8_t *out) {
  size_t count = 0;
  for (size_t at = 0; at < text.bytes;) {
    uint32_t code;
    size_t invalid, n = utf8_decode(text.text + at, text.bytes - at, &code, &invalid);
    int byte = n ? byte_alphabet_byte(code) : -1;
    if (byte < 0) return 0;
    out[count++] = (uint8_t)byte;
    at += n;
  }
  return count;
}

/* The byte alphabet is one to one, so distinct texts have distinct bytes. */
viva_status vocab_index_bytes(mem *m, vocab *v, viva_error *error) {
  v->by_bytes = mem_array(m, v->slots, sizeof *v->by_bytes);
  v->bytes_at = mem_array(m, v->count + 1, sizeof *v->bytes_at);
  v->bytes = mem_alloc(m, v->text_at[v->count]);
  if (!v->by_bytes || !v->bytes_at || !v->bytes)
    return error_set(error, VIVA_E_MEMORY, "no memory for an index of %zu tokens", v->count);
  size_t at = 0;
  for (uint32_t id = 0; id < v->count; id++) {
    v->bytes_at[id] = at;
    size_t bytes = v->flags[id] & VOCAB_MODEL ? alphabet_bytes(vocab_text(v, id), v->bytes + at) : 0, slot = 0;
    v->bytes_at[id + 1] = at + bytes;
    if (bytes == 0) continue;
    uint64_t hash = hash_bytes(v->seed, v->bytes + at, bytes);
    table_find(over_bytes(v), hash, v->bytes + at, bytes, &slot);
    v->by_bytes[slot] = table_entry(hash, id);
    at += bytes;
  }
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
  viva_status status = index_texts(&v, error);
  if (status != VIVA_OK) {
    vocab_destroy(m, &v);
    return status;
  }
  *out = v;
  return VIVA_OK;
}
