/* text/cuts.h: where a text may be cut so that its parts, encoded one after the other, give the ids of the whole.
 *
 * A cut is safe when nothing that looks at the text looks across it: no added token, no normal form, no piece. Which of three
 * kinds of places are is found out once for each tokenizer, from its rules; where none is, a text is kept whole.
 */
#ifndef TEXT_CUTS_H
#define TEXT_CUTS_H

#include <stddef.h>
#include <stdint.h>

struct viva_tokenizer;

typedef struct cuts {
  int before_space;   /* between a character that is no white space, and a space */
  int before_newline; /* between a letter and a line feed */
  int after_newline;  /* between a line feed and a letter */
  int only_ascii;     /* of the characters at a cut */
  int at_joints;      /* only where no token lies across (joints.h); before a space, written as `mark` */
  uint32_t mark;
} cuts;

/* Of a tokenizer whose other parts are there. */
void cuts_find(const struct viva_tokenizer *t, cuts *out);

/* The last place of (from, bytes) where text[0 .. bytes) may be cut; 0: there is none. Any bytes are allowed. */
size_t cuts_last(const struct viva_tokenizer *t, const char *text, size_t from, size_t bytes);

#endif
