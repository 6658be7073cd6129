#include "text/pretokenize.h"

#include <string.h>

#include "text/normalize.h"
#include "text/unicode.h"

void pre_memory_free(pre_memory *memory) {
  for (int i = 0; i < 2; i++) {
    mem *m = memory->texts[i].mem;
    mapped_free(&memory->texts[i]);
    mem_free(m, memory->pieces[i]);
    memory->pieces[i] = NULL;
    memory->room[i] = 0;
  }
}

/* The pieces that a stage makes. */
typedef struct piece_list {
  pre_memory *memory;
  int which;
  size_t count;
} piece_list;

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to cut a text into words");
}

static viva_status add_piece(piece_list *list, size_t begin, size_t end, viva_error *error) {
  pre_memory *memory = list->memory;
  if (end <= begin) return VIVA_OK;
  if (list->count == memory->room[list->which]) {
    size_t room = list->count * 2 + 256;
    text_piece *grown = room > SIZE_MAX / sizeof *grown
                            ? NULL
                            : mem_resize(memory->texts[0].mem, memory->pieces[list->which], room * sizeof *grown);
    if (!grown) return no_memory(error);
    memory->pieces[list->which] = grown;
    memory->room[list->which] = room;
  }
  memory->pieces[list->which][list->count++] = (text_piece){begin, end};
  return VIVA_OK;
}

/* Joins the stretches of one piece, matches and what lies between them, by a behavior. `held` is a piece that the next
 * stretch may still join. */
typedef struct joiner {
  piece_list *out;
  split_behavior behavior;
  text_piece held;
  int is_held, was_match;
} joiner;

static viva_status release(joiner *j, viva_error *error) {
  if (j->is_held) TRY(add_piece(j->out, j->held.begin, j->held.end, error));
  j->is_held = 0;
  return VIVA_OK;
}

static viva_status stretch(joiner *j, size_t begin, size_t end, int is_match, viva_error *error) {
  int joins = 0;
  switch (j->behavior) {
  case SPLIT_ISOLATED: return add_piece(j->out, begin, end, error);
  case SPLIT_REMOVED: return is_match ? VIVA_OK : add_piece(j->out, begin, end, error);
  case SPLIT_MERGED_WITH_PREVIOUS: joins = is_match && !j->was_match; break;
  case SPLIT_MERGED_WITH_NEXT: joins = !is_match && j->was_match; break;
  case SPLIT_CONTIGUOUS: joins = is_match == j->was_match; break;
  }
  j->was_match = is_match;
  if (joins && j->is_held) {
    j->held.end = end;
    return VIVA_OK;
  }
  TRY(release(j, error));
  j->held = (text_piece){begin, end};
  j->is_held = 1;
  return VIVA_OK;
}

static viva_status split_piece(const pre_stage *stage, regex_memory *regexes, const uint8_t *text, text_piece whole,
                               piece_list *out, viva_error *error) {
  /* The pattern sees the piece alone: its ends are the ends of the text. */
  const uint8_t *base = text + whole.begin;
  size_t size = whole.end - whole.begin, last = 0, begin = 0, end = 0;
  joiner j = {.out = out, .behavior = stage->behavior};
  pattern_place place = {0, 0};
  for (;;) {
    int found;
    TRY(pattern_next(&stage->pattern, regexes, base, size, &place, &found, &begin, &end, error));
    if (!found) break;
    if (begin > last) TRY(stretch(&j, whole.begin + last, whole.begin + begin, stage->invert, error));
    TRY(stretch(&j, whole.begin + begin, whole.begin + end, !stage->invert, error));
    last = end;
  }
  if (last < size) TRY(stretch(&j, whole.begin + last, whole.end, stage->invert, error));
  return release(&j, error);
}

static int begins_with(text_view text, size_t begin, size_t end, token_text what) {
  return what.bytes <= end - begin && memcmp(text.bytes + begin, what.text, what.bytes) == 0;
}

/* Writes one piece anew; the new one begins where out ended. */
static viva_status rewrite(const pre_stage *stage, regex_memory *regexes, text_view in, text_piece p, int begins,
                           mapped *out, viva_error *error) {
  static const token_text space = {" ", 1};
  text_view part = view_part(in, p.begin, p.end);
  if (stage->kind == STAGE_ALPHABET) return normalize_byte_level(part, out) ? no_memory(error) : VIVA_OK;
  if (stage->kind == STAGE_PREFIX_SPACE) {
    int failed = part.bytes[0] == ' ' ? mapped_copy(out, part, 0, part.count) : normalize_prepend(space, part, out);
    return failed ? no_memory(error) : VIVA_OK;
  }
  int first = in.origins ? part.origins[0].begin == 0 : begins && p.begin == 0;
  int has = part.bytes[0] == ' ' || begins_with(part, 0, part.count, stage->replacement);
  if (!has && (stage->scheme == PREPEND_ALWAYS || (stage->scheme == PREPEND_FIRST && first)))
    if (mapped_put(out, stage->replacement.text, stage->replacement.bytes, view_origin(part, 0)))
      return no_memory(error);
  const pattern blank = {.kind = PATTERN_LITERAL, .literal = space};
  return normalize_replace(&blank, stage->replacement, regexes, part, out, error);
}

static viva_status run_stage(const pre_stage *stage, regex_memory *regexes, text_view in, const text_piece *pieces,
                             size_t count, int begins, mapped *text, piece_list *out, viva_error *error) {
  const pre_stage at_mark = {.pattern = {.kind = PATTERN_LITERAL, .literal = stage->replacement},
                             .behavior = SPLIT_MERGED_WITH_NEXT};
  for (size_t i = 0; i < count; i++) {
    if (stage->kind == STAGE_SPLIT) {
      TRY(split_piece(stage, regexes, in.bytes, pieces[i], out, error));
      continue;
    }
    size_t begin = text->count;
    TRY(rewrite(stage, regexes, in, pieces[i], begins, text, error));
    if (stage->kind == STAGE_METASPACE && stage->cut)
      TRY(split_piece(&at_mark, regexes, text->bytes, (text_piece){begin, text->count}, out, error));
    else
      TRY(add_piece(out, begin, text->count, error));
  }
  return VIVA_OK;
}

viva_status pretokenize(const pretokenizer *pre, pre_memory *memory, regex_memory *regexes, text_view in, int begins,
                        text_view *text, const text_piece **pieces, size_t *count, viva_error *error) {
  piece_list list = {memory, 0, 0};
  int which = 0;
  TRY(add_piece(&list, 0, in.count, error));
  for (size_t s = 0; s < pre->count; s++) {
    piece_list next = {memory, !list.which, 0};
    mapped *to = &memory->texts[which];
    if (pre->stages[s].kind != STAGE_SPLIT) to->count = 0;
    TRY(run_stage(&pre->stages[s], regexes, in, memory->pieces[list.which], list.count, begins, to, &next, error));
    if (pre->stages[s].kind != STAGE_SPLIT) {
      in = mapped_view(to);
      which = !which;
    }
    list = next;
  }
  *text = in;
  *pieces = memory->pieces[list.which];
  *count = list.count;
  return VIVA_OK;
}
