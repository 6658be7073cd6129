/* Matching: alternatives in order, on a stack in memory. */
#include "text/regex_inner.h"
#include "text/unicode.h"

typedef enum point_kind {
  POINT_ALTERNATIVE,
  POINT_LOOP,
  POINT_LAZY,
  POINT_AHEAD,
  POINT_NOT_AHEAD,
  POINT_ATOMIC
} point_kind;

/* A place to go back to when what follows does not match. */
typedef struct regex_point {
  point_kind kind;
  uint32_t pc;    /* where to go on */
  uint32_t left;  /* of a lazy loop: how many more characters it may take */
  size_t at;      /* and in the text */
  size_t least;   /* of a greedy loop: it gives back characters down to here */
  size_t barrier; /* of lookahead and atomic groups: the one outside it */
} regex_point;

typedef struct matcher {
  const regex *r;
  regex_memory *memory;
  const uint8_t *text;
  size_t end;
  size_t count;   /* points */
  size_t barrier; /* one more than the index of the innermost lookahead or atomic group; 0: none */
  viva_error *error;
} matcher;

#define STEPS_PER_BYTE 200
#define STEPS_AT_LEAST 1000000

void regex_allow(regex_memory *memory, size_t bytes) {
  memory->spent += memory->given - memory->steps;
  memory->steps = STEPS_AT_LEAST;
  memory->steps += bytes < UINT64_MAX / (2 * STEPS_PER_BYTE) ? (uint64_t)bytes * STEPS_PER_BYTE : UINT64_MAX / 4;
  memory->given = memory->steps;
}

void regex_memory_free(regex_memory *memory) {
  mem_free(memory->mem, memory->points);
  memory->points = NULL;
  memory->room = 0;
}

static viva_status push(matcher *m, regex_point point) {
  regex_memory *memory = m->memory;
  if (m->count == memory->room) {
    size_t room = memory->room ? 2 * memory->room : 64;
    regex_point *points =
        room > SIZE_MAX / sizeof *points ? NULL : mem_resize(memory->mem, memory->points, room * sizeof *points);
    if (!points) return error_set(m->error, VIVA_E_MEMORY, "no memory to match a pattern");
    memory->points = points;
    memory->room = room;
  }
  memory->points[m->count++] = point;
  return VIVA_OK;
}

/* The character at `at`, 0 bytes at the end. */
static size_t read_at(const matcher *m, size_t at, uint32_t *code) {
  if (at >= m->end) return 0;
  return unicode_read(m->text + at, code);
}

static size_t before(const matcher *m, size_t at) {
  do at--;
  while (at > 0 && (m->text[at] & 0xc0) == 0x80);
  return at;
}

static int is_word_at(const matcher *m, size_t at) {
  uint32_t code;
  return read_at(m, at, &code) && regex_is_word(code);
}

static int holds(const matcher *m, const regex_code *code, size_t at) {
  uint32_t character;
  switch (code->op) {
  case REGEX_LINE_BEGIN: return at == 0 || m->text[at - 1] == '\n';
  case REGEX_LINE_END: return at == m->end || m->text[at] == '\n';
  case REGEX_TEXT_BEGIN: return at == 0;
  case REGEX_TEXT_END: return at == m->end;
  case REGEX_TEXT_LAST: return at == m->end || (at + 1 == m->end && m->text[at] == '\n');
  case REGEX_WORD_EDGE: return ((at > 0 && is_word_at(m, before(m, at))) != is_word_at(m, at)) != (int)code->how;
  default: /* REGEX_BEHIND */
    if (at == 0) return (int)code->how;
    unicode_read(m->text + before(m, at), &character);
    return regex_class_test(code->set, character) != (int)code->how;
  }
}

/* A loop over one class: takes as many characters as it may (or as it must), and leaves a point for the others.
 * *at SIZE_MAX: too few. */
static viva_status loop(matcher *m, uint32_t pc, size_t *at) {
  const regex_code *code = &m->r->code[pc];
  uint32_t taken = 0, most = code->how == LOOP_LAZY ? code->a : code->b, character;
  size_t least = *at, here = *at, n;
  while (taken < most && (n = read_at(m, here, &character)) > 0 && regex_class_test(code->set, character)) {
    here += n;
    if (++taken == code->a) least = here;
  }
  m->memory->steps -= taken < m->memory->steps ? taken : m->memory->steps;
  if (taken < code->a) {
    *at = SIZE_MAX;
    return VIVA_OK;
  }
  *at = here;
  if (code->how == LOOP_LAZY && code->b > taken)
    return push(m,
                (regex_point){POINT_LAZY, pc, code->b == REGEX_ENDLESS ? REGEX_ENDLESS : code->b - taken, here, 0, 0});
  if (code->how == LOOP_GREEDY && here > least) return push(m, (regex_point){POINT_LOOP, pc + 1, 0, here, least, 0});
  return VIVA_OK;
}

/* Back to the last alternative. *pc UINT32_MAX: there is none, no match. */
static viva_status go_back(matcher *m, uint32_t *pc, size_t *at) {
  while (m->count > 0) {
    regex_point *p = &m->memory->points[--m->count];
    uint32_t code;
    size_t n;
    *pc = p->pc;
    *at = p->at;
    switch (p->kind) {
    case POINT_ALTERNATIVE: return VIVA_OK;
    case POINT_LOOP:
      *at = p->at = before(m, p->at);
      if (p->at > p->least) m->count++;
      return VIVA_OK;
    case POINT_LAZY:
      n = read_at(m, p->at, &code);
      if (n == 0 || !regex_class_test(m->r->code[p->pc].set, code)) break;
      *at = p->at += n;
      *pc = p->pc + 1;
      if (p->left != REGEX_ENDLESS) p->left--;
      if (p->left > 0) m->count++;
      return VIVA_OK;
    case POINT_NOT_AHEAD: m->barrier = p->barrier; return VIVA_OK;
    default: m->barrier = p->barrier; break;
    }
  }
  *pc = UINT32_MAX;
  return VIVA_OK;
}

/* Forgets what was pushed since the innermost lookahead or atomic group began, and the group itself. */
static regex_point leave(matcher *m) {
  m->count = m->barrier - 1;
  regex_point p = m->memory->points[m->count];
  m->barrier = p.barrier;
  return p;
}

static viva_status enter(matcher *m, point_kind kind, uint32_t pc, size_t at) {
  TRY(push(m, (regex_point){kind, pc, 0, at, 0, m->barrier}));
  m->barrier = m->count;
  return VIVA_OK;
}

static viva_status run(matcher *m, size_t at, int *found, size_t *match_end) {
  uint32_t pc = 0, character;
  for (;;) {
    if (m->memory->steps == 0)
      return error_set(m->error, VIVA_E_LIMIT,
                       "the tokenizer's pattern takes too much work on this text; the pattern is faulty or hostile");
    m->memory->steps--;
    const regex_code *code = &m->r->code[pc];
    int failed = 0;
    size_t n;
    switch (code->op) {
    case REGEX_CLASS:
      n = read_at(m, at, &character);
      if (n == 0 || !regex_class_test(code->set, character)) {
        failed = 1;
        break;
      }
      at += n;
      pc++;
      break;
    case REGEX_SPLIT:
      TRY(push(m, (regex_point){POINT_ALTERNATIVE, code->b, 0, at, 0, 0}));
      pc = code->a;
      break;
    case REGEX_JUMP: pc = code->a; break;
    case REGEX_LOOP:
      TRY(loop(m, pc, &at));
      failed = at == SIZE_MAX;
      pc++;
      break;
    case REGEX_AHEAD:
      TRY(enter(m, code->how ? POINT_NOT_AHEAD : POINT_AHEAD, code->a, at));
      pc++;
      break;
    case REGEX_AHEAD_END:
      at = leave(m).at;
      failed = (int)code->how;
      pc++;
      break;
    case REGEX_ATOMIC:
      TRY(enter(m, POINT_ATOMIC, 0, at));
      pc++;
      break;
    case REGEX_ATOMIC_END:
      (void)leave(m);
      pc++;
      break;
    case REGEX_MATCH:
      *found = 1;
      *match_end = at;
      return VIVA_OK;
    default:
      failed = !holds(m, code, at);
      pc++;
      break;
    }
    if (failed) {
      TRY(go_back(m, &pc, &at));
      if (pc == UINT32_MAX) return VIVA_OK;
    }
  }
}

viva_status regex_match_at(const regex *r, regex_memory *memory, const uint8_t *text, size_t at, size_t end, int *found,
                           size_t *match_end, viva_error *error) {
  matcher m = {.r = r, .memory = memory, .text = text, .end = end, .error = error};
  *found = 0;
  return run(&m, at, found, match_end);
}
