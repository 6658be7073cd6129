/* text/regex_inner.h: what a compiled expression is, between regex_parse.c, regex_class.c and regex_match.c. */
#ifndef TEXT_REGEX_INNER_H
#define TEXT_REGEX_INNER_H

#include "text/regex.h"

typedef struct regex_range {
  struct regex_range *next;
  uint32_t first, last;
} regex_range;

/* A set of characters: the union of its parts, turned round when negated, and then cut with `also`. */
typedef struct regex_class {
  uint32_t ascii[4];   /* the answer for codes below 128, made by regex_class_end */
  uint32_t categories; /* one bit for each general category of unicode.h */
  uint8_t flags;       /* CLASS_* */
  uint8_t negated;
  regex_range *ranges;
  const struct regex_class *also; /* && */
} regex_class;

enum { CLASS_SPACE = 1, CLASS_NOT_SPACE = 2, CLASS_WORD = 4, CLASS_NOT_WORD = 8, CLASS_BRACKETS = 16 /* around \w */ };

typedef enum regex_op {
  REGEX_CLASS,      /* one character of the class */
  REGEX_SPLIT,      /* goes on at `a`; when that fails at `b` */
  REGEX_JUMP,       /* goes on at `a` */
  REGEX_LOOP,       /* min to max characters of the class; how says which number is tried first */
  REGEX_LINE_BEGIN, /* ^ */
  REGEX_LINE_END,   /* $ */
  REGEX_TEXT_BEGIN, /* \A */
  REGEX_TEXT_END,   /* \z */
  REGEX_TEXT_LAST,  /* \Z: the end, or a newline before it */
  REGEX_WORD_EDGE,  /* \b; how 1: \B */
  REGEX_BEHIND,     /* (?<=x) of one character; how 1: (?<!x) */
  REGEX_AHEAD,      /* (?=...) up to its REGEX_AHEAD_END; how 1: (?!...), which goes on at `a` when ... fails */
  REGEX_AHEAD_END,  /* how as in its REGEX_AHEAD */
  REGEX_ATOMIC,     /* (?>...) and possessive repetition, up to REGEX_ATOMIC_END */
  REGEX_ATOMIC_END,
  REGEX_MATCH
} regex_op;

enum { LOOP_GREEDY, LOOP_LAZY, LOOP_POSSESSIVE };
#define REGEX_ENDLESS UINT32_MAX

typedef struct regex_code {
  regex_op op;
  uint32_t how;
  uint32_t a, b; /* places in the program, or min and max of a loop */
  const regex_class *set;
} regex_code;

struct regex {
  regex_code *code;
  uint32_t count;
};

int regex_class_has(const regex_class *set, uint32_t code);
int regex_is_word(uint32_t code); /* \w */
static inline int regex_class_test(const regex_class *set, uint32_t code) {
  return code < 128 ? (int)(set->ascii[code / 32] >> code % 32 & 1) : regex_class_has(set, code);
}

/* Fills the answers for ASCII: the last step of making a class. */
void regex_class_end(regex_class *set);
/* Adds a range, and under fold the other case of what is in it. 1: no memory. -1: the case of a character in it is not
 * known here. */
int regex_class_add(arena *a, regex_class *set, uint32_t first, uint32_t last, int fold);
/* Adds what \p{name} stands for; 1: the name is not known, -1: no memory. */
int regex_class_property(arena *a, regex_class *set, const char *name, size_t bytes, int negated);

#endif
