#include "text/bpe_prefix.h"

#include <string.h>

#define FEWEST_BITS 8

static bpe_new_edge *free_edges(mem *m, uint32_t bits) {
  bpe_new_edge *edges = mem_alloc(m, sizeof *edges << bits);
  if (edges) memset(edges, 0xff, sizeof *edges << bits); /* from: BPE_NO_ID */
  return edges;
}

static viva_status no_memory(const bpe_prefixes *p, viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for what %zu tokens begin with", p->b->vocab->count);
}

viva_status bpe_prefixes_begin(mem *m, bpe *b, bpe_prefixes *out, viva_error *error) {
  bpe_tree *tree = &b->tree;
  size_t count = b->vocab->count;
  *out = (bpe_prefixes){.mem = m, .b = b, .places = (uint32_t)count, .edge_bits = FEWEST_BITS};
  while ((size_t)1 << out->edge_bits < count + count / 4) out->edge_bits++;
  out->edges = free_edges(m, out->edge_bits);
  tree->pairs = mem_alloc(m, sizeof *tree->pairs << 16);
  if (!out->edges || !tree->pairs) return no_memory(out, error);
  memset(tree->bytes, 0xff, sizeof tree->bytes); /* BPE_NO_ID */
  for (size_t i = 0; i < 1 << 16; i++) tree->pairs[i] = (bpe_place){.place = BPE_NO_ID};
  return VIVA_OK;
}

void bpe_prefixes_free(bpe_prefixes *p) {
  mem_free(p->mem, p->edges);
  p->edges = NULL;
}

/* The edge from a place by a byte, or the free one where it would be. */
static bpe_new_edge *edge_at(const bpe_prefixes *p, uint32_t from) {
  const uint32_t last = ((uint32_t)1 << p->edge_bits) - 1;
  uint32_t i = (uint32_t)(from * p->b->key[1] >> (64 - p->edge_bits));
  while (p->edges[i].from != from && p->edges[i].from != BPE_NO_ID) i = (i + 1) & last;
  return &p->edges[i];
}

/* Room for two edges more, with a quarter of all free. */
static viva_status make_room(bpe_prefixes *p, viva_error *error) {
  size_t size = (size_t)1 << p->edge_bits;
  if (p->edge_count + 2 <= size - size / 4) return VIVA_OK;
  bpe_new_edge *old = p->edges, *new = free_edges(p->mem, p->edge_bits + 1);
  if (!new) return no_memory(p, error);
  p->edges = new;
  p->edge_bits++;
  for (size_t i = 0; i < size; i++)
    if (old[i].from != BPE_NO_ID) *edge_at(p, old[i].from) = old[i];
  mem_free(p->mem, old);
  return VIVA_OK;
}

/* ---- labels ---- */

static size_t label_length(uint64_t label) { return (size_t)(label >> 56); }

static uint64_t label_of(const uint8_t *text, size_t bytes) {
  uint64_t label = (uint64_t)bytes << 56;
  for (size_t i = 0; i < bytes; i++) label |= (uint64_t)text[i] << 8 * i;
  return label;
}

static uint64_t label_part(uint64_t label, size_t from, size_t bytes) {
  uint8_t text[BPE_LABEL_MOST + 1];
  for (size_t i = 0; i < label_length(label); i++) text[i] = (uint8_t)(label >> 8 * i);
  return label_of(text + from, bytes);
}

static size_t label_common(uint64_t label, const uint8_t *text, size_t bytes) {
  size_t i = 0;
  while (i < bytes && i < label_length(label) && text[i] == (uint8_t)(label >> 8 * i)) i++;
  return i;
}

/* ---- ways ---- */

static void put_edge(bpe_prefixes *p, uint32_t place, uint32_t to, uint64_t label) {
  uint32_t from = place << 8 | (label & 0xff);
  *edge_at(p, from) = (bpe_new_edge){from, to, label};
  p->edge_count++;
}

/* Goes on from a place by text[0 .. bytes), of which the last ends at token id: by an edge that is there, as far as it goes the
 * same way, or by a new one. Returns how many bytes. */
static size_t go(bpe_prefixes *p, uint32_t *place, const uint8_t *text, size_t bytes, uint32_t id) {
  bpe_new_edge *edge = edge_at(p, *place << 8 | text[0]), whole = *edge;
  if (whole.from == BPE_NO_ID) {
    size_t length = bytes < BPE_LABEL_MOST ? bytes : BPE_LABEL_MOST;
    uint32_t to = length == bytes ? id : p->places++;
    put_edge(p, *place, to, label_of(text, length));
    *place = to;
    return length;
  }
  size_t length = label_length(whole.label), common = label_common(whole.label, text, bytes);
  *place = whole.to;
  if (common < length) { /* a place where the two ways part */
    edge->to = *place = p->places++;
    edge->label = label_part(whole.label, 0, common);
    put_edge(p, *place, whole.to, label_part(whole.label, common, length - common));
  }
  return common;
}

/* The same for the first two bytes, which have tables. */
static size_t go_first(bpe_prefixes *p, uint32_t *place, const uint8_t *text, size_t at, size_t bytes, uint32_t id) {
  bpe_tree *tree = &p->b->tree;
  uint32_t *there = at == 0 ? &tree->bytes[text[0]] : &tree->pairs[(size_t)text[0] << 8 | text[1]].place;
  if (*there == BPE_NO_ID) *there = at + 1 == bytes ? id : p->places++;
  *place = *there;
  return 1;
}

viva_status bpe_prefixes_put(bpe_prefixes *p, uint32_t id, const uint8_t *text, viva_error *error) {
  bpe_token *tokens = p->b->tree.tokens, *token = &tokens[id];
  uint32_t place = token->left;
  token->prefix = place;
  for (size_t at = place == BPE_NO_ID ? 0 : tokens[place].bytes; at < token->bytes;) {
    TRY(make_room(p, error));
    if (p->places >= BPE_PLACES_MOST)
      return error_set(error, VIVA_E_LIMIT, "more than %u texts that tokens begin with", BPE_PLACES_MOST);
    size_t more = token->bytes - at;
    at += at < 2 ? go_first(p, &place, text, at, token->bytes, id) : go(p, &place, text + at, more, id);
    if (place < p->b->vocab->count && place != id) token->prefix = place;
  }
  return VIVA_OK;
}

/* ---- the tree as it is read ---- */

/* Where each place's edges begin, and the bits of their bytes. counts: of each place's edges. */
static void count_edges(const bpe_prefixes *p, bpe_place *places, uint32_t *counts) {
  for (size_t i = 0; i < (size_t)1 << p->edge_bits; i++) {
    if (p->edges[i].from == BPE_NO_ID) continue;
    places[p->edges[i].from >> 8].bytes |= (uint64_t)1 << (p->edges[i].from & 63);
    counts[p->edges[i].from >> 8]++;
  }
  for (uint32_t i = 0, first = 0; i < p->places; i++) {
    places[i].place = i;
    places[i].first = first;
    first += counts[i];
    counts[i] = 0;
  }
}

/* In order, by insertion: a place has as many edges as there are bytes, at most. */
static void place_edge(bpe_edge *edges, uint32_t count, bpe_edge edge) {
  uint32_t i = count;
  for (; i > 0 && (edge.label & 63) < (edges[i - 1].label & 63); i--) edges[i] = edges[i - 1];
  edges[i] = edge;
  if (i > 0 && (edges[i - 1].label & 63) == (edge.label & 63)) edges[i - 1].label |= BPE_SHARES;
}

static viva_status write_edges(const bpe_prefixes *p, bpe_place *places, uint32_t *counts, viva_error *error) {
  bpe_tree *tree = &p->b->tree;
  if (places && counts) tree->edges = mem_alloc(p->mem, (p->edge_count + 1) * sizeof *tree->edges);
  if (!tree->edges) return no_memory(p, error);
  count_edges(p, places, counts);
  for (size_t i = 0; i < (size_t)1 << p->edge_bits; i++) {
    const bpe_new_edge *edge = &p->edges[i];
    if (edge->from == BPE_NO_ID) continue;
    uint32_t from = edge->from >> 8;
    place_edge(tree->edges + places[from].first, counts[from]++, (bpe_edge){edge->label, places[edge->to]});
  }
  for (size_t i = 0; i < 1 << 16; i++)
    if (tree->pairs[i].place != BPE_NO_ID) tree->pairs[i] = places[tree->pairs[i].place];
  return VIVA_OK;
}

viva_status bpe_prefixes_end(bpe_prefixes *p, viva_error *error) {
  bpe_place *places = mem_array(p->mem, p->places, sizeof *places);
  uint32_t *counts = mem_array(p->mem, p->places, sizeof *counts);
  viva_status status = write_edges(p, places, counts, error);
  mem_free(p->mem, places);
  mem_free(p->mem, counts);
  return status;
}
