#include "text/added.h"

#include <string.h>

#include "text/unicode.h"

static int compare(const added_token *a, const added_token *b) {
  size_t common = a->bytes < b->bytes ? a->bytes : b->bytes;
  int order = memcmp(a->text, b->text, common);
  return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Heap sort: in place, without recursion, n·log n for every order. */
static void sift_down(added_token *tokens, size_t at, size_t count) {
  for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && compare(&tokens[child], &tokens[child + 1]) < 0) child++;
    if (compare(&tokens[at], &tokens[child]) >= 0) return;
    added_token swap = tokens[at];
    tokens[at] = tokens[child];
    tokens[child] = swap;
    at = child;
  }
}

void added_create(added_set *set, added_token *tokens, size_t count) {
  for (size_t i = count / 2; i-- > 0;) sift_down(tokens, i, count);
  for (size_t end = count; end > 1; end--) {
    added_token swap = tokens[0];
    tokens[0] = tokens[end - 1];
    tokens[end - 1] = swap;
    sift_down(tokens, 0, end - 1);
  }
  set->tokens = tokens;
  set->count = count;
  size_t at = 0;
  for (size_t byte = 0; byte < 256; byte++) {
    set->first[byte] = at;
    while (at < count && tokens[at].text[0] == byte) at++;
  }
  set->first[256] = count;
  set->only = count ? tokens[0].text[0] : -1;
  for (size_t byte = 0; byte < 256; byte++) {
    set->begins[byte] = set->first[byte] < set->first[byte + 1];
    if (set->begins[byte] && set->only != (int)byte) set->only = -1;
  }
}

void added_destroy(mem *m, added_set *set) {
  mem_free(m, set->tokens);
  memset(set, 0, sizeof *set);
}

/* The byte of token i at depth, or -1 when it ends there. */
static int byte_at(const added_set *set, size_t i, size_t depth) {
  return depth < set->tokens[i].bytes ? set->tokens[i].text[depth] : -1;
}

/* The first of tokens[low .. high), which agree up to depth, whose byte at depth is not below wanted. */
static size_t lower_bound(const added_set *set, size_t low, size_t high, size_t depth, int wanted) {
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    if (byte_at(set, mid, depth) < wanted)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

/* The longest token that begins at text, or NULL: the range of tokens that agree with the text narrows byte by byte. */
static const added_token *longest_at(const added_set *set, const uint8_t *text, size_t bytes) {
  size_t low = set->first[text[0]], high = set->first[text[0] + 1];
  const added_token *longest = NULL;
  for (size_t depth = 1; low < high; depth++) {
    /* A token that ends here sorts before those that go on. */
    if (set->tokens[low].bytes == depth) longest = &set->tokens[low++];
    if (depth == bytes || low == high) break;
    int next = text[depth];
    low = lower_bound(set, low, high, depth, next);
    high = lower_bound(set, low, high, depth, next + 1);
  }
  return longest;
}

static int is_word_before(const uint8_t *text, size_t at) {
  size_t bytes;
  return at > 0 && (unicode_read_class_before(text + at, &bytes) & UNICODE_WORD);
}

static int is_word_after(const uint8_t *text, size_t at, size_t end) {
  size_t bytes;
  return at < end && (unicode_read_class(text + at, &bytes) & UNICODE_WORD);
}

static size_t space_before(const uint8_t *text, size_t at, size_t begin) {
  size_t bytes;
  while (at > begin && (unicode_read_class_before(text + at, &bytes) & UNICODE_SPACE)) at -= bytes;
  return at;
}

/* The end of the white space at `at`. Remembers the last run, so that tokens inside it do not walk over it again. */
static size_t space_after(added_scan *scan, size_t at) {
  if (at >= scan->space_begin && at <= scan->space_end) return scan->space_end;
  size_t bytes, end = at;
  while (end < scan->bytes && (unicode_read_class(scan->text + end, &bytes) & UNICODE_SPACE)) end += bytes;
  scan->space_begin = at;
  scan->space_end = end;
  return end;
}

static int is_marked(const added_scan *scan, size_t from, size_t to) {
  return scan->marks && memchr(scan->marks + from, 1, to - from) != NULL;
}

void added_begin(added_scan *scan, const added_set *set, const uint8_t *text, size_t bytes, int match_special) {
  /* space_begin > space_end: no run remembered */
  *scan = (added_scan){set, text, bytes, match_special, 0, 0, 1, 0, NULL};
}

/* The next place where a token could begin. */
static size_t skip(const added_set *set, const uint8_t *text, size_t at, size_t end) {
  if (set->only >= 0) {
    const uint8_t *found = memchr(text + at, set->only, end - at);
    return found ? (size_t)(found - text) : end;
  }
  while (at < end && !set->begins[text[at]]) at++;
  return at;
}

void added_next(added_scan *scan, added_match *match) {
  const uint8_t *text = scan->text;
  if (scan->set->count == 0) scan->at = scan->bytes;
  while (scan->at < scan->bytes && (scan->at = skip(scan->set, text, scan->at, scan->bytes)) < scan->bytes) {
    const added_token *token = longest_at(scan->set, text + scan->at, scan->bytes - scan->at);
    if (!token) {
      scan->at++;
      continue;
    }
    size_t from = scan->at, to = from + token->bytes;
    scan->at = to; /* also when a rule below drops the match, and before white space is taken along */
    if ((token->flags & ADDED_SPECIAL) && !scan->match_special) continue;
    if ((token->flags & ADDED_SPECIAL) && is_marked(scan, from, to)) continue;
    if ((token->flags & ADDED_SINGLE_WORD) && (is_word_before(text, from) || is_word_after(text, to, scan->bytes)))
      continue;
    if (token->flags & ADDED_LSTRIP) from = space_before(text, from, scan->taken);
    if (token->flags & ADDED_RSTRIP) to = space_after(scan, to);
    /* from lies before taken when rstrip reached over this token */
    *match = (added_match){scan->taken, from > scan->taken ? from : scan->taken, from, to, token->id};
    scan->taken = to;
    return;
  }
  *match = (added_match){scan->taken, scan->bytes, scan->bytes, scan->bytes, -1};
}
