/* tests/lib/schedule.c */
#include "lib/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct timeline {
  viva_session *session; /* NULL: none */
  viva_token tokens[SCHEDULE_CAPACITY];
  size_t count; /* what it must hold */
  uint64_t capacity;
  int logits; /* it must have some */
} timeline;

typedef struct schedule {
  viva_model *model;
  size_t vocab;
  const uint8_t *bytes;
  size_t left;
  timeline all[SCHEDULE_SESSIONS];
  viva_session *alone; /* reads a timeline's tokens at once; it reserves, so it never lacks a page */
  size_t refused;
  viva_token next;
} schedule;

static void check_line(int condition, const char *text, int line) {
  if (condition) return;
  fprintf(stderr, "schedule: line %d: %s\n", line, text);
  abort();
}
#define check(condition) check_line(condition, #condition, __LINE__)

static unsigned take(schedule *s) {
  if (s->left == 0) return 0;
  s->left--;
  return *s->bytes++;
}

static viva_token take_token(schedule *s) {
  s->next = (viva_token)(((size_t)s->next * 31 + take(s) + 7) % s->vocab);
  return s->next;
}

/* The session as it must be: its logits are those of a session of its own that read all tokens at once. */
static void verify(schedule *s, const timeline *t) {
  const float *found, *expected;
  viva_error error = {0};
  check(viva_session_position(t->session) == t->count);
  const viva_status status = viva_session_logits(t->session, &found, NULL, &error);
  check((status == VIVA_OK) == t->logits);
  if (!t->logits) return;
  check(viva_session_truncate(s->alone, 0, NULL) == VIVA_OK);
  check(viva_session_prefill(s->alone, t->tokens, t->count, NULL, &error) == VIVA_OK);
  check(viva_session_logits(s->alone, &expected, NULL, NULL) == VIVA_OK);
  check(memcmp(found, expected, s->vocab * sizeof *found) == 0);
}

static uint64_t pages_in_use(const schedule *s) {
  viva_cache_info info = {.size = sizeof info};
  check(viva_model_cache_info(s->model, &info, NULL) == VIVA_OK);
  return info.pages_in_use;
}

/* OK, or a refusal for want of pages, which has changed nothing: as many are in use as before. */
static int went_well(schedule *s, viva_status status, uint64_t before) {
  if (status == VIVA_OK) return 1;
  check(status == VIVA_E_LIMIT || status == VIVA_E_MEMORY);
  check(pages_in_use(s) == before);
  s->refused++;
  return 0;
}

static void begin_session(schedule *s, timeline *t) {
  viva_session_options o = viva_session_options_default();
  viva_error error = {0};
  const unsigned how = take(s);
  o.capacity = 40 + how % (SCHEDULE_CAPACITY - 40);
  o.reserve = (int32_t)(how & 1);
  o.prefill_chunk = how % 5 == 0 ? 7 : 0;
  *t = (timeline){.capacity = o.capacity};
  const uint64_t before = pages_in_use(s);
  if (!went_well(s, viva_session_create(s->model, &o, &t->session, &error), before)) check(!t->session);
}

/* A step of up to all sessions, with up to 90 tokens each: some read prompts, some decode. */
static void step(schedule *s) {
  viva_step_part parts[SCHEDULE_SESSIONS];
  static float all[SCHEDULE_CAPACITY * 512];
  viva_top top[SCHEDULE_SESSIONS][3];
  viva_token tokens[SCHEDULE_SESSIONS][SCHEDULE_CAPACITY];
  timeline *of[SCHEDULE_SESSIONS];
  size_t count = 0;
  int wants_all = 0;
  viva_error error = {0};
  const unsigned which = take(s) | take(s) << 8;
  for (size_t i = 0; i < SCHEDULE_SESSIONS; i++) {
    timeline *t = &s->all[i];
    if (!t->session || !(which >> i & 1)) continue;
    const unsigned how = take(s);
    size_t n = how % 4 == 3 ? 1 + how % 90 : 1;
    if (n > t->capacity - t->count) n = (size_t)(t->capacity - t->count);
    if (n == 0) continue;
    for (size_t k = 0; k < n; k++) tokens[count][k] = take_token(s);
    of[count] = t;
    parts[count] = viva_step_part_default();
    parts[count].session = t->session;
    parts[count].tokens = tokens[count];
    parts[count].count = n;
    parts[count].logits = how % 7 == 0 ? VIVA_STEP_NONE : VIVA_STEP_LAST;
    if (how % 11 == 1 && !wants_all && n * s->vocab <= sizeof all / sizeof *all) {
      parts[count].logits = VIVA_STEP_ALL;
      parts[count].all_logits = all;
      wants_all = 1;
    } else if (how % 5 == 2 && parts[count].logits == VIVA_STEP_LAST) {
      parts[count].top_k = 3;
      parts[count].top = top[count];
    }
    count++;
  }
  const uint64_t before = pages_in_use(s);
  if (!went_well(s, viva_step(parts, count, NULL, &error), before)) return;
  for (size_t i = 0; i < count; i++) {
    const float *logits;
    viva_token best;
    memcpy(of[i]->tokens + of[i]->count, tokens[i], parts[i].count * sizeof(viva_token));
    of[i]->count += parts[i].count;
    of[i]->logits = parts[i].logits != VIVA_STEP_NONE;
    if (!of[i]->logits || viva_session_logits(of[i]->session, &logits, NULL, NULL)) continue;
    if (parts[i].all_logits)
      check(memcmp(all + (parts[i].count - 1) * s->vocab, logits, s->vocab * sizeof *logits) == 0);
    if (!parts[i].top_k) continue;
    check(viva_argmax(logits, s->vocab, &best, NULL, NULL) == VIVA_OK);
    check(top[i][0].id == best && top[i][0].logit == logits[best] && top[i][1].logit <= top[i][0].logit);
  }
}

static void copy(schedule *s, timeline *to, const timeline *from) {
  viva_error error = {0};
  if (!to->session || !from->session || to == from || from->count > to->capacity) return;
  const uint64_t before = pages_in_use(s);
  if (!went_well(s, viva_session_copy(to->session, from->session, &error), before)) return;
  memcpy(to->tokens, from->tokens, sizeof to->tokens);
  to->count = from->count;
  to->logits = from->logits;
}

static void one_operation(schedule *s) {
  timeline *t = &s->all[take(s) % SCHEDULE_SESSIONS];
  switch (take(s) % 8) {
  case 0:
    if (!t->session) begin_session(s, t);
    break;
  case 1:
    viva_session_free(t->session);
    *t = (timeline){.session = NULL};
    break;
  case 2: copy(s, t, &s->all[take(s) % SCHEDULE_SESSIONS]); break;
  case 3:
    if (t->session) {
      const size_t to = t->count ? take(s) % (t->count + 1) : 0;
      check(viva_session_truncate(t->session, to, NULL) == VIVA_OK);
      if (to != t->count) t->logits = 0;
      t->count = to;
    }
    break;
  case 4: viva_model_trim(s->model); break;
  default:
    if (!t->session) begin_session(s, t);
    step(s);
    break;
  }
}

size_t schedule_run(viva_model *model, size_t vocab, const uint8_t *bytes, size_t count, size_t *refused) {
  schedule s = {.model = model, .vocab = vocab, .bytes = bytes, .left = count};
  viva_session_options o = viva_session_options_default();
  size_t done = 0;
  o.capacity = SCHEDULE_CAPACITY;
  check(viva_session_create(model, &o, &s.alone, NULL) == VIVA_OK);
  for (; s.left; done++) {
    one_operation(&s);
    const timeline *t = &s.all[done % SCHEDULE_SESSIONS]; /* one each time, all at the end */
    if (t->session) verify(&s, t);
  }
  for (size_t i = 0; i < SCHEDULE_SESSIONS; i++) {
    if (s.all[i].session) verify(&s, &s.all[i]);
    viva_session_free(s.all[i].session);
  }
  viva_session_free(s.alone);
  if (refused) *refused = s.refused;
  return done;
}
