/* format/quant/quant_pattern.c: lists of module names, with the patterns that configurations use.
 *
 * A pattern becomes a small automaton (Thompson's construction) that is run over a name in one pass, all states at a
 * time, so that no pattern can make it slow; all together have an allowance. Understood of regular expressions:
 * characters, . [...] [^...] \d \w \s and escaped punctuation, ( ) (?: ) | * + ? and the lazy *? +? ??, ^ and $.
 * Anything else is refused.
 */
#include <string.h>

#include "format/quant/quant_inner.h"

enum {
  MAX_PATTERNS = 4096,     /* in one list; real ones have up to two for each layer */
  MAX_PATTERN_BYTES = 240, /* and up to 60 characters */
  MAX_NODES = 512,         /* some two for each character */
  MAX_DEPTH = 16,          /* of groups in groups */
  MAX_PARTS = 32           /* of a name that is looked for by its parts; real ones have up to nine */
};

typedef enum node_kind { NODE_CHARACTER, NODE_SPLIT, NODE_BEGIN, NODE_END, NODE_MATCH } node_kind;

/* Character: takes one of `set` and goes on to a. Split: to a and to b (which may be the same). */
typedef struct node {
  uint8_t kind;
  uint16_t a, b;
  uint8_t set[32];
} node;

typedef struct pattern {
  uint16_t start, count;
  node nodes[]; /* [count] */
} pattern;

/* A fragment of an automaton: entered at start; last is a split whose ways out are still to be set. */
typedef struct fragment {
  uint16_t start, last;
} fragment;

typedef struct compiler {
  const char *text;
  size_t bytes, at;
  const char *wrong; /* what is not understood; NULL: nothing */
  unsigned count, depth;
  node nodes[MAX_NODES];
} compiler;

static uint16_t add_node(compiler *c, node_kind kind) {
  if (c->count == MAX_NODES) {
    c->wrong = "it is too long";
    return 0;
  }
  c->nodes[c->count] = (node){.kind = (uint8_t)kind};
  return (uint16_t)c->count++;
}

static void set_add(uint8_t set[32], unsigned first, unsigned last) {
  for (unsigned i = first; i <= last; i++) set[i / 8] |= (uint8_t)(1u << (i % 8));
}

static void set_all_but_newline(uint8_t set[32]) {
  set_add(set, 0, '\n' - 1);
  set_add(set, '\n' + 1, 255);
}

static void set_invert(uint8_t set[32]) {
  for (int i = 0; i < 32; i++) set[i] = (uint8_t)~set[i];
}

static int is_punctuation(unsigned char c) {
  return c > ' ' && c < 127 && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z');
}

/* What follows a backslash, into set. */
static void take_escape(compiler *c, uint8_t set[32]) {
  unsigned char e = c->at < c->bytes ? (unsigned char)c->text[c->at++] : 0;
  switch (e) {
  case 'd': set_add(set, '0', '9'); return;
  case 'w':
    set_add(set, '0', '9');
    set_add(set, 'a', 'z');
    set_add(set, 'A', 'Z');
    set_add(set, '_', '_');
    return;
  case 's': set_add(set, ' ', ' '), set_add(set, '\t', '\r'); return;
  default: break;
  }
  if (is_punctuation(e))
    set_add(set, e, e);
  else
    c->wrong = "of the escapes, only \\d \\w \\s and punctuation are understood";
}

/* After "[". negate: the characters that mean "none of these". */
static void take_set(compiler *c, uint8_t set[32], const char *negate) {
  int inverted = c->at < c->bytes && strchr(negate, c->text[c->at]) && c->text[c->at] != 0;
  c->at += (size_t)inverted;
  for (size_t first = c->at; !c->wrong;) {
    if (c->at >= c->bytes) {
      c->wrong = "a [ has no ]";
      return;
    }
    unsigned char from = (unsigned char)c->text[c->at++];
    if (from == ']' && c->at - 1 > first) break;
    if (from == '\\') {
      take_escape(c, set);
      continue;
    }
    unsigned char to = from;
    if (c->at + 1 < c->bytes && c->text[c->at] == '-' && c->text[c->at + 1] != ']') {
      to = (unsigned char)c->text[c->at + 1];
      c->at += 2;
      if (to == '\\' || to < from) c->wrong = "a range in [ ] is not understood";
    }
    if (!c->wrong) set_add(set, from, to);
  }
  if (inverted) set_invert(set);
}

static fragment single(compiler *c, uint16_t first) {
  uint16_t last = add_node(c, NODE_SPLIT);
  c->nodes[first].a = last;
  return (fragment){first, last};
}

static void join(compiler *c, uint16_t last, uint16_t next) { c->nodes[last].a = c->nodes[last].b = next; }

static fragment take_choice(compiler *c);

/* One character, set or group. */
static fragment take_atom(compiler *c) {
  unsigned char e = (unsigned char)c->text[c->at++];
  if (e == '(') {
    if (c->bytes - c->at >= 2 && memcmp(c->text + c->at, "?:", 2) == 0) c->at += 2;
    if (c->at < c->bytes && c->text[c->at] == '?') c->wrong = "of the groups with (?, only (?: is understood";
    if (++c->depth > MAX_DEPTH) c->wrong = "its groups lie too deep in each other";
    fragment inner = c->wrong ? (fragment){0, 0} : take_choice(c);
    c->depth--;
    if (!c->wrong && (c->at >= c->bytes || c->text[c->at++] != ')')) c->wrong = "a ( has no )";
    return inner;
  }
  if (e == '^' || e == '$') return single(c, add_node(c, e == '^' ? NODE_BEGIN : NODE_END));
  uint16_t at = add_node(c, NODE_CHARACTER);
  uint8_t *set = c->nodes[at].set;
  if (e == '.')
    set_all_but_newline(set);
  else if (e == '\\')
    take_escape(c, set);
  else if (e == '[')
    take_set(c, set, "^");
  else if (strchr("*+?{}", e))
    c->wrong = "of the repetitions, only * + and ? behind something are understood";
  else
    set_add(set, e, e);
  return single(c, at);
}

/* An atom with what repeats it. */
static fragment take_repeated(compiler *c) {
  fragment p = take_atom(c);
  if (c->wrong || c->at >= c->bytes || !strchr("*+?", c->text[c->at])) return p;
  char how = c->text[c->at++];
  if (c->at < c->bytes && c->text[c->at] == '?') c->at++; /* lazy: which is found first makes no difference here */
  uint16_t before = add_node(c, NODE_SPLIT), after = add_node(c, NODE_SPLIT);
  c->nodes[before].a = p.start;
  c->nodes[before].b = how == '+' ? p.start : after;
  c->nodes[p.last].a = how == '?' ? after : p.start;
  c->nodes[p.last].b = after;
  return (fragment){before, after};
}

static fragment take_sequence(compiler *c) {
  uint16_t empty = add_node(c, NODE_SPLIT);
  fragment all = {empty, empty};
  while (!c->wrong && c->at < c->bytes && c->text[c->at] != '|' && c->text[c->at] != ')') {
    fragment next = take_repeated(c);
    join(c, all.last, next.start);
    all.last = next.last;
  }
  return all;
}

static fragment take_choice(compiler *c) {
  fragment all = take_sequence(c);
  while (!c->wrong && c->at < c->bytes && c->text[c->at] == '|') {
    c->at++;
    fragment other = take_sequence(c);
    uint16_t before = add_node(c, NODE_SPLIT), after = add_node(c, NODE_SPLIT);
    c->nodes[before].a = all.start;
    c->nodes[before].b = other.start;
    join(c, all.last, after);
    join(c, other.last, after);
    all = (fragment){before, after};
  }
  return all;
}

static fragment take_wildcards(compiler *c) {
  uint16_t empty = add_node(c, NODE_SPLIT);
  fragment all = {empty, empty};
  while (!c->wrong && c->at < c->bytes) {
    unsigned char e = (unsigned char)c->text[c->at++];
    uint16_t at = add_node(c, NODE_CHARACTER);
    uint8_t *set = c->nodes[at].set;
    if (e == '*' || e == '?')
      set_add(set, 0, 255);
    else if (e == '[')
      take_set(c, set, "!");
    else
      set_add(set, e, e);
    fragment next = single(c, at);
    if (e == '*') { /* enter at the end of the loop, which goes round or on */
      uint16_t after = add_node(c, NODE_SPLIT);
      c->nodes[next.last] = (node){.kind = NODE_SPLIT, .a = at, .b = after};
      next = (fragment){next.last, after};
    }
    join(c, all.last, next.start);
    all.last = next.last;
  }
  uint16_t end = add_node(c, NODE_END), last = add_node(c, NODE_SPLIT); /* a wildcard means the whole name */
  join(c, all.last, end);
  c->nodes[end].a = last;
  all.last = last;
  return all;
}

/* ---- running */

typedef struct states {
  uint16_t list[MAX_NODES];
  unsigned count;
  uint8_t seen[MAX_NODES];
} states;

/* Adds a node and what is reached from it without a character; returns 1 when that is the match. */
static int reach(const pattern *p, states *s, uint16_t from, int at_begin, int at_end) {
  uint16_t stack[MAX_NODES + 1];
  unsigned depth = 0;
  int matched = 0;
  stack[depth++] = from;
  while (depth > 0) {
    uint16_t i = stack[--depth];
    if (s->seen[i]) continue;
    s->seen[i] = 1;
    const node *n = &p->nodes[i];
    if (n->kind == NODE_MATCH) matched = 1;
    if (n->kind == NODE_CHARACTER) s->list[s->count++] = i;
    int goes_on = n->kind == NODE_SPLIT || (n->kind == NODE_BEGIN && at_begin) || (n->kind == NODE_END && at_end);
    if (!goes_on) continue;
    stack[depth++] = n->a; /* each node comes here once: one off, at most two on, so that the stack has room */
    if (n->kind == NODE_SPLIT && n->b != n->a) stack[depth++] = n->b;
  }
  return matched;
}

/* As Python's re.match: from the beginning, and as far as the pattern goes. *steps grows by the nodes looked at. */
static int pattern_matches(const pattern *p, const char *name, uint64_t *steps) {
  states both[2];
  size_t bytes = strlen(name);
  states *now = &both[0], *next = &both[1];
  now->count = 0;
  memset(now->seen, 0, p->count);
  *steps += p->count;
  if (reach(p, now, p->start, 1, bytes == 0)) return 1;
  for (size_t i = 0; i < bytes && now->count > 0; i++) {
    unsigned char c = (unsigned char)name[i];
    next->count = 0;
    memset(next->seen, 0, p->count);
    *steps += p->count / 16 + 8 * now->count; /* each may reach splits behind it */
    for (unsigned s = 0; s < now->count; s++) {
      const node *n = &p->nodes[now->list[s]];
      if ((n->set[c / 8] >> (c % 8) & 1) && reach(p, next, n->a, 0, i + 1 == bytes)) return 1;
    }
    states *done = now;
    now = next;
    next = done;
  }
  return 0;
}

/* ---- lists */

static pattern *compile(arena *a, name_syntax syntax, json_string text, const char **wrong) {
  compiler c = {.text = text.text, .bytes = text.bytes};
  *wrong = text.bytes > MAX_PATTERN_BYTES ? "it is too long" : NULL;
  if (*wrong) return NULL;
  fragment all = syntax == NAMES_WILDCARDS ? take_wildcards(&c) : take_choice(&c);
  uint16_t end = add_node(&c, NODE_MATCH);
  if (!c.wrong && c.at < c.bytes) c.wrong = "a ) has no (";
  *wrong = c.wrong;
  if (c.wrong) return NULL;
  join(&c, all.last, end);
  pattern *p = arena_alloc(a, sizeof *p + c.count * sizeof c.nodes[0]);
  if (!p) return NULL;
  *p = (pattern){.start = all.start, .count = (uint16_t)c.count};
  memcpy(p->nodes, c.nodes, c.count * sizeof c.nodes[0]);
  return p;
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for the names of the quantised modules");
}

/* Of an item of a list beside what it points to: the list while it grows. */
#define ITEM_COST (3 * sizeof(void *) + 16)

static viva_status charge(quant *q, size_t bytes, viva_error *error) {
  return allowance_memory(&q->allowance, ITEM_COST + bytes, "the names of quantised modules", q->config_path, error);
}

static viva_status add_pattern(quant *q, name_list *list, name_syntax syntax, json_string text, viva_error *error) {
  const char *wrong = NULL;
  char quoted[160];
  if (list->patterns.count == MAX_PATTERNS)
    return error_set(error, VIVA_E_LIMIT, "there are more than %d patterns of names in one list", MAX_PATTERNS);
  pattern *p = compile(q->arena, syntax, text, &wrong);
  if (wrong)
    return error_set(error, VIVA_E_UNSUPPORTED, "the pattern \"%s\" is not understood: %s; write the names out",
                     error_quote(quoted, sizeof quoted, text.text, text.bytes), wrong);
  if (p) TRY(charge(q, sizeof *p + p->count * sizeof p->nodes[0], error));
  pattern **item = p ? grow_add(&q->ck->rt->mem, &list->patterns) : NULL;
  if (!item) return no_memory(error);
  *item = p;
  return VIVA_OK;
}

static int has_wildcard(json_string text) {
  for (size_t i = 0; i < text.bytes; i++)
    if (memchr("*?[", text.text[i], 3)) return 1;
  return 0;
}

viva_status names_add(quant *q, name_list *list, name_syntax syntax, json_string text, viva_error *error) {
  if (list->exact.item_bytes == 0) list->exact.item_bytes = sizeof(const char *);
  if (list->patterns.item_bytes == 0) list->patterns.item_bytes = sizeof(pattern *);
  if (text.bytes == 0) return VIVA_OK; /* names nothing */
  if (syntax == NAMES_COMPRESSED_TENSORS && json_string_is(text, "Linear")) return list->linear = 1, VIVA_OK;
  if (syntax == NAMES_COMPRESSED_TENSORS && json_string_is(text, "Embedding")) return list->embedding = 1, VIVA_OK;
  if (syntax == NAMES_COMPRESSED_TENSORS && text.bytes > 3 && memcmp(text.text, "re:", 3) == 0)
    return add_pattern(q, list, syntax, (json_string){text.text + 3, text.bytes - 3}, error);
  if (syntax == NAMES_WILDCARDS && has_wildcard(text)) return add_pattern(q, list, syntax, text, error);
  list->parts |= syntax == NAMES_PARTS;
  TRY(charge(q, text.bytes, error));
  const char *copy = arena_text(q->arena, text.text, text.bytes);
  const char **item = copy ? grow_add(&q->ck->rt->mem, &list->exact) : NULL;
  if (!item) return no_memory(error);
  *item = copy;
  return VIVA_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

void names_seal(name_list *list) {
  if (list->exact.count > 1) sort_pointers((const void **)(void *)list->exact.items, list->exact.count, by_text);
}

static int has_exact(const name_list *list, const char *text, size_t bytes) {
  const char *const *names = (const char *const *)(const void *)list->exact.items;
  size_t low = 0, high = list->exact.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int compared = strncmp(names[middle], text, bytes);
    if (compared == 0) compared = names[middle][bytes] != 0;
    if (compared == 0) return 1;
    if (compared < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

/* 1 when a run of whole parts of module is in the list. */
static int has_part(const name_list *list, const char *module) {
  size_t starts[MAX_PARTS + 1] = {0}, count = 1;
  for (const char *dot = module; (dot = strchr(dot, '.')) && count < MAX_PARTS; dot++)
    starts[count++] = (size_t)(dot - module) + 1;
  starts[count] = strlen(module) + 1;
  for (size_t first = 0; first < count; first++)
    for (size_t next = first + 1; next <= count; next++)
      if (has_exact(list, module + starts[first], starts[next] - starts[first] - 1)) return 1;
  return 0;
}

/* Class names say less than a file does: everything with a matrix is a Linear, but for the table of embeddings. */
static int is_embedding(const char *module) {
  static const char end[] = "embed_tokens";
  size_t bytes = strlen(module);
  return bytes >= sizeof end - 1 && strcmp(module + bytes - (sizeof end - 1), end) == 0;
}

static viva_status charge_work(quant *q, uint64_t steps, viva_error *error) {
  return allowance_work(&q->allowance, steps, "matching tensors with the patterns of quantised modules", q->config_path,
                        error);
}

viva_status names_match(quant *q, const name_list *list, const char *module, name_match *found, viva_error *error) {
  const size_t bytes = strlen(module);
  *found = MATCH_EXACT;
  TRY(charge_work(q, 64 + bytes + (list->parts ? (uint64_t)MAX_PARTS * MAX_PARTS * 32 : 0), error));
  if (has_exact(list, module, bytes)) return VIVA_OK;
  if (list->parts && has_part(list, module)) return VIVA_OK;
  const pattern *const *patterns = (const pattern *const *)(const void *)list->patterns.items;
  *found = MATCH_PATTERN;
  for (size_t i = 0; i < list->patterns.count; i++) {
    uint64_t steps = 0;
    if (pattern_matches(patterns[i], module, &steps)) return VIVA_OK;
    TRY(charge_work(q, steps, error));
  }
  *found = (is_embedding(module) ? list->embedding : list->linear) ? MATCH_CLASS : MATCH_NONE;
  return VIVA_OK;
}

void names_free(mem *m, name_list *list) {
  grow_free(m, &list->exact);
  grow_free(m, &list->patterns);
}
