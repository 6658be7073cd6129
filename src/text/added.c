/* Added tokens in a text. */
#include "text/added.h"

#include <string.h>

#include "text/unicode.h"

#define STRETCH ((size_t)64 << 10) /* bytes of text that are gone over at once, beside the longest token's */

void added_memory_free(added_memory *memory) {
  mem_free(memory->mem, memory->places);
  *memory = (added_memory){.mem = memory->mem};
}

/* Each step to a state nearer to the root was paid for by one away from it. */
static uint32_t step(added_scan *scan, uint32_t state, uint8_t byte) {
  const added_set *set = scan->set;
  for (; state; state = set->fail[state]) {
    uint32_t next = added_behind(set, state, byte);
    scan->steps++;
    if (next) return next;
  }
  return set->root[byte];
}

/* The end of the last token that could end in text[begin .. end), or begin. */
static size_t skip_back(const added_set *set, const uint8_t *text, size_t begin, size_t end) {
  if (set->only >= 0) {
    const uint8_t *found = memrchr(text + begin, set->only, end - begin);
    return found ? (size_t)(found - text) + 1 : begin;
  }
  while (end > begin && !set->root[text[end - 1]]) end--;
  return end;
}

static viva_status add_place(added_memory *memory, size_t at, uint32_t token, viva_error *error) {
  if (memory->count == memory->room) {
    size_t room = 2 * memory->room + 256;
    added_place *places = mem_resize(memory->mem, memory->places, room * sizeof *places);
    if (!places) return error_set(error, VIVA_E_MEMORY, "no memory for the added tokens of a text");
    memory->places = places;
    memory->room = room;
  }
  memory->places[memory->count++] = (added_place){(uint32_t)at, token};
  return VIVA_OK;
}

/* Finds the tokens that begin in the next stretch; they may end behind it. */
static viva_status find_places(added_scan *scan, viva_error *error) {
  const added_set *set = scan->set;
  size_t left = scan->bytes - scan->end, more = STRETCH + set->longest;
  scan->begin = scan->end;
  scan->end += left < more ? left : more;
  left = scan->bytes - scan->end;
  size_t at = scan->end + (left < set->longest ? left : set->longest);
  uint32_t state = 0;
  scan->memory->count = 0;
  while (at > scan->begin) {
    if (!state && (at = skip_back(set, scan->text, scan->begin, at)) == scan->begin) break;
    state = step(scan, state, scan->text[--at]);
    if (set->found[state] && at < scan->end)
      TRY(add_place(scan->memory, at - scan->begin, set->found[state] - 1, error));
  }
  return VIVA_OK;
}

/* The longest token at the next place where one begins, or NULL. */
static viva_status next_token(added_scan *scan, const added_token **token, viva_error *error) {
  added_memory *memory = scan->memory;
  *token = NULL;
  for (;;) {
    while (memory->count > 0) {
      added_place place = memory->places[--memory->count];
      if (scan->begin + place.at < scan->at) continue;
      scan->at = scan->begin + place.at;
      *token = &scan->set->tokens[place.token];
      return VIVA_OK;
    }
    if (scan->end == scan->bytes) return VIVA_OK;
    TRY(find_places(scan, error));
  }
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

void added_begin(added_scan *scan, const added_set *set, added_memory *memory, const uint8_t *text, size_t bytes,
                 int match_special) {
  /* space_begin > space_end: no run remembered */
  *scan = (added_scan){
      .set = set, .memory = memory, .text = text, .bytes = bytes, .match_special = match_special, .space_begin = 1};
  memory->count = 0;
  /* Where none could match, none is looked for. */
  if (set->count == 0 || (set->all_special && !match_special)) scan->end = bytes;
}

viva_status added_next(added_scan *scan, added_match *match, viva_error *error) {
  const uint8_t *text = scan->text;
  for (;;) {
    const added_token *token;
    TRY(next_token(scan, &token, error));
    if (!token) break;
    size_t from = scan->at, to = from + token->bytes;
    scan->at = to; /* also when a rule below drops the match, and before white space is taken along */
    if ((token->flags & ADDED_SPECIAL) && !scan->match_special) continue;
    if ((token->flags & ADDED_SPECIAL) && is_marked(scan, from, to)) continue;
    if ((token->flags & ADDED_SINGLE_WORD) && (is_word_before(text, from) || is_word_after(text, to, scan->bytes)))
      continue;
    if (token->flags & ADDED_LSTRIP) from = space_before(text, from, scan->taken);
    if (token->flags & ADDED_RSTRIP) to = space_after(scan, to);
    /* What lstrip gives back ends where the token before has taken white space; when that was all of this one, none is left. */
    if ((token->flags & ADDED_LSTRIP) && from < scan->taken) from = scan->taken;
    if (from >= to) continue;
    /* from lies before taken when rstrip reached over this token */
    *match = (added_match){scan->taken, from > scan->taken ? from : scan->taken, from, to, token->id};
    scan->taken = to;
    return VIVA_OK;
  }
  *match = (added_match){scan->taken, scan->bytes, scan->bytes, scan->bytes, -1};
  return VIVA_OK;
}
