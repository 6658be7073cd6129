/* compress/team.c: segments that several threads share.
 *
 * One thread that looks through a segment of 4 MiB for its scale and then encodes it finds little of it in its caches. So a team
 * of threads cuts a segment into pieces so small that three of them stay in a thread's half of a second cache of 2 MiB, and goes
 * through its segments one after another:
 *
 *   thread 0   look 0a   look 1a   encode 0a   look 2a   encode 1a   look 3a   …
 *   thread 1   look 0b   look 1b   encode 0b   look 2b   encode 1b   look 3b   …
 *
 * Segment k is encoded when the whole team has looked at it, which the others did while this thread was busy with k − 1.
 */
#include "compress/team.h"

#include <sched.h>
#include <stdatomic.h>

#include "number/number.h"

#define BEFORE    2                 /* segments that are looked at before one is encoded */
#define PIECE     ((size_t)1 << 16) /* values at most: 256 KiB */
#define PAGE      4096              /* the least that the system gives */
#define HUGE_PAGE ((size_t)2 << 20)
#define INFINITE  0x7f800000u /* bits of FP32 */

/* What a team has found of a segment. */
typedef struct looked {
  _Atomic uint32_t magnitude; /* bits of the largest; INFINITE: a value is not finite */
  _Atomic uint32_t missing;   /* pieces that nobody has looked at */
} looked;

typedef struct teams {
  const team_job *job;
  looked *looked;       /* [segments] */
  size_t members, each; /* segments to a team */
} teams;

size_t team_members(const coder *c, size_t each) {
  const size_t threads = (size_t)pool_threads(c->pool);
  if (c->config.global_scale > 0 || c->config.max_error_pct > 0) return 0;
  for (size_t members = 1; members <= threads; members++)
    if (threads % members == 0 && each / members <= PIECE) return members;
  return 0;
}

static segment segment_of(const team_job *job, size_t i) {
  const size_t left = job->count - i * job->each;
  segment s;
  segment_begin(job->c, left < job->each ? left : job->each, job->room + i * job->room_each, &s);
  s.data = s.room;
  s.bytes = coder_bytes(job->c, s.grid.values);
  return s;
}

/* Where a member's piece of a segment begins: at a whole grain. */
static size_t piece_at(const segment *s, size_t member, size_t members) {
  const size_t grain = GRAIN_VALUES / s->grid.block, grains = (s->blocks + grain - 1) / grain;
  const size_t at = grains * member / members * grain;
  return at < s->blocks ? at : s->blocks;
}

static uint32_t magnitude_of(const float *values, size_t count) {
  int nonfinite = 0;
  const float most = f32_absmax_n(values, count, &nonfinite);
  uint32_t bits;
  memcpy(&bits, &most, sizeof bits);
  return nonfinite ? INFINITE : bits;
}

static void look(const teams *all, size_t i, size_t member) {
  const segment s = segment_of(all->job, i);
  looked *l = &all->looked[i];
  const size_t from = segment_value_at(&s, piece_at(&s, member, all->members));
  const size_t to = segment_value_at(&s, piece_at(&s, member + 1, all->members));
  const uint32_t found = magnitude_of(all->job->values + i * all->job->each + from, to - from);
  uint32_t most = atomic_load(&l->magnitude);
  while (found > most && !atomic_compare_exchange_weak(&l->magnitude, &most, found)) {
  }
  atomic_fetch_sub(&l->missing, 1);
}

static float global_of(uint32_t magnitude) {
  float global = 1;
  if (magnitude > 0) memcpy(&global, &magnitude, sizeof global);
  return global;
}

static void encode(const teams *all, size_t i, size_t member) {
  const looked *l = &all->looked[i];
  while (atomic_load(&l->missing) > 0) sched_yield();
  const uint32_t magnitude = atomic_load(&l->magnitude);
  if (magnitude == INFINITE) return; /* team_encode refuses it */
  segment s = segment_of(all->job, i);
  s.global = global_of(magnitude);
  const size_t from = piece_at(&s, member, all->members), to = piece_at(&s, member + 1, all->members);
  segment_fill_blocks(all->job->c, &s, all->job->values + i * all->job->each, from, to);
  if (member == 0) all->job->segments[i] = s;
}

/* Threads that share a segment would wait for each other where memory is new, as the system clears a page of 2 MiB at once. */
static void touch_body(void *arg, size_t begin, size_t end, size_t t) {
  char *room = arg;
  (void)t;
  for (size_t at = begin; at < end; at += PAGE) room[at] = 0;
}

/* The threads of a team run beside each other, as there are no more of all teams than the pool has. */
static void member_body(void *arg, size_t begin, size_t end, size_t t) {
  const teams *all = arg;
  (void)t;
  for (size_t thread = begin; thread < end; thread++) {
    const size_t first = thread / all->members * all->each, member = thread % all->members;
    for (size_t i = 0; i < BEFORE && i < all->each; i++) look(all, first + i, member);
    for (size_t i = 0; i < all->each; i++) {
      encode(all, first + i, member);
      if (all->each - i > BEFORE) look(all, first + i + BEFORE, member);
    }
  }
}

static viva_status refuse(const team_job *job, size_t i, viva_error *error) {
  segment s = segment_of(job, i);
  return segment_encode(job->c, job->values + i * job->each, s.grid.values, i * job->each, s.room, &s, error);
}

viva_status team_encode(const team_job *job, size_t members, size_t segments, viva_error *error) {
  mem *m = &job->c->rt->mem;
  const size_t threads = (size_t)pool_threads(job->c->pool);
  teams all = {job, mem_array(m, segments, sizeof *all.looked), members, segments / (threads / members)};
  if (!all.looked) return error_set(error, VIVA_E_MEMORY, "no memory for %zu segments", segments);
  for (size_t i = 0; i < segments; i++) atomic_init(&all.looked[i].missing, (uint32_t)members);
  if (members > 1) pool_for(job->c->pool, segments * job->room_each, HUGE_PAGE, touch_body, job->room);
  if (segments > 0) pool_for(job->c->pool, threads, 1, member_body, &all);
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < segments && status == VIVA_OK; i++)
    if (atomic_load(&all.looked[i].magnitude) == INFINITE) status = refuse(job, i, error);
  mem_free(m, all.looked);
  return status;
}
