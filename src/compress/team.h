/* compress/team.h: all segments of a tensor by the threads of a pool, several to a segment where that is quicker. */
#ifndef COMPRESS_TEAM_H
#define COMPRESS_TEAM_H

#include "compress/segment.h"

/* Segments whose bytes are known. */
typedef struct team_job {
  const coder *c;
  const float *values;
  size_t count, each; /* values; of a segment, the last one may be shorter */
  uint8_t *room;      /* [room_each] for each segment */
  size_t room_each;
  segment *segments;
} team_job;

/* Threads that share a segment of so many values; 0: each segment is better left to one thread or all. */
size_t team_members(const coder *c, size_t each);

/* The first `segments`, a multiple of the number of teams (the pool's threads / members). Errors: as segment_encode, of the
 * first segment that has one. */
viva_status team_encode(const team_job *job, size_t members, size_t segments, viva_error *error);

#endif
