/* text/jinja.h: a small interpreter of the Jinja that chat templates are written in. Private to jinja_*.c and
 * chat_template.c.
 *
 *   template ─ jinja_lex.c ─ tokens ─ jinja_parse.c, jinja_expression.c ─ nodes ─ jinja_run.c, jinja_eval.c ─ text
 *
 * What it gives is what Jinja2 gives in the environment of transformers' apply_chat_template: trim_blocks,
 * lstrip_blocks, loop controls, the sandbox's immutable values, its own tojson. Errors are sticky: the first one stays
 * in j->status, after which every function returns at once with what it has. A template is a stranger's program,
 * therefore:
 *
 *   - each step, and each byte that is copied, is counted against j->steps; each allocation against j->room;
 *   - depth (of expressions, blocks, calls) is bounded, since it is C's stack;
 *   - nothing can be reached but the values that are handed over, and nothing of them can be changed.
 *
 * Each byte of a string carries a mark: 1 when it comes from a message (or a tool, a document), 0 when the template
 * wrote it. Marks go along through every operation, so that special tokens in a user's text can be told from the
 * template's own.
 */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "base/json.h"
#include "base/num.h"
#include "base/runtime.h"

typedef enum jinja_kind {
  J_UNDEFINED,
  J_NONE,
  J_BOOL,
  J_INT,
  J_FLOAT,
  J_STRING,
  J_LIST, /* and tuples */
  J_DICT,
  J_NAMESPACE, /* a dict whose members can be set */
  J_LOOP,
  J_MACRO,
  J_FUNCTION, /* of the environment */
  J_METHOD    /* of a value */
} jinja_kind;

/* UTF-8. marks[bytes], or NULL: all 0. */
typedef struct jinja_text {
  const char *text;
  const uint8_t *marks;
  size_t bytes;
} jinja_text;

typedef struct jinja_value {
  jinja_kind kind;
  int tuple; /* of a list */
  union {
    int boolean;
    int64_t integer;
    double real;
    const jinja_text *string; /* of an undefined value: its name, or NULL */
    struct jinja_list *list;
    struct jinja_dict *dict;
    struct jinja_loop *loop;
    const struct jinja_macro *macro;
    unsigned function;
    const struct jinja_method *method;
  } as;
} jinja_value;

typedef struct jinja_list {
  jinja_value *items;
  size_t count, capacity;
} jinja_list;

typedef struct jinja_member {
  jinja_value key, value;
} jinja_member;

typedef struct jinja_dict {
  jinja_member *members; /* in the order of insertion */
  size_t count, capacity;
} jinja_dict;

typedef struct jinja_loop {
  jinja_list *items;
  size_t at;
} jinja_loop;

typedef struct jinja_method {
  jinja_value self;
  jinja_text name;
} jinja_method;

/* ---- nodes */

typedef enum node_kind {
  /* expressions */
  N_CONST,     /* value */
  N_NAME,      /* name */
  N_LIST,      /* a: items; flag: a tuple */
  N_DICT,      /* a: key, value, key, value ... */
  N_UNARY,     /* op, a */
  N_BINARY,    /* op, a, b */
  N_COMPARE,   /* a, b: N_OPERAND list (op, a) */
  N_OPERAND,   /* op, a */
  N_CONDITION, /* a if b else c (c may be NULL) */
  N_ATTRIBUTE, /* a.name */
  N_ITEM,      /* a[b] */
  N_SLICE,     /* a : b : c, each may be NULL; only as b of N_ITEM */
  N_CALL,      /* a(b) */
  N_ARGUMENT,  /* a; name: of a keyword argument */
  N_FILTER,    /* a | name(b); a NULL: what a block holds */
  N_TEST,      /* a is name(b); flag: is not */
  /* statements */
  N_TEXT,         /* value */
  N_OUTPUT,       /* a */
  N_IF,           /* a: condition, b: body, c: elif (an N_IF), or with flag else */
  N_FOR,          /* a: target, b: iterable, c: body, d: else, e: condition; flag: recursive */
  N_SET,          /* a: target (N_NAME, N_LIST, N_ATTRIBUTE), b: value */
  N_SET_BLOCK,    /* a: target, b: N_FILTER chain or NULL, c: body */
  N_MACRO,        /* name, a: N_ARGUMENT list (a: default or NULL), b: body */
  N_CALL_BLOCK,   /* a: N_CALL, b: N_ARGUMENT list, c: body */
  N_FILTER_BLOCK, /* b: N_FILTER chain, c: body */
  N_WITH,         /* a: N_SET list, b: body */
  N_SCOPE,        /* a: body ({% generation %}) */
  N_BREAK,
  N_CONTINUE
} node_kind;

typedef enum jinja_op {
  OP_NONE,
  OP_ADD,
  OP_SUB,
  OP_MUL,
  OP_DIV,
  OP_FLOOR,
  OP_MOD,
  OP_POW,
  OP_CONCAT,
  OP_AND,
  OP_OR,
  OP_NOT,
  OP_EQ,
  OP_NE,
  OP_LT,
  OP_LE,
  OP_GT,
  OP_GE,
  OP_IN,
  OP_NOT_IN
} jinja_op;

typedef struct jinja_node {
  node_kind kind;
  jinja_op op;
  int flag;
  unsigned line;
  unsigned which; /* of a filter or a test: its place in the table */
  jinja_text name;
  jinja_value value;
  struct jinja_node *a, *b, *c, *d, *e;
  struct jinja_node *next; /* in a list */
} jinja_node;

/* ---- running */

typedef struct jinja_scope {
  struct jinja_scope *outer;
  jinja_dict names;
} jinja_scope;

/* flag of N_MACRO and N_CALL_BLOCK: its text speaks of varargs, kwargs, and so takes arguments that it has no parameter for. */
enum { REST_LIST = 1, REST_NAMED = 2 };

typedef struct jinja_macro {
  const jinja_node *node; /* N_MACRO or N_CALL_BLOCK */
  jinja_scope *scope;     /* where it was defined */
} jinja_macro;

/* Text that grows. */
typedef struct jinja_output {
  char *text;
  uint8_t *marks;
  size_t bytes, capacity;
} jinja_output;

enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

typedef struct jinja {
  runtime *rt;
  arena *arena;
  size_t room;    /* bytes that may still be allocated */
  uint64_t steps; /* that may still be taken */
  unsigned depth;
  unsigned line; /* at hand, for messages */
  viva_status status;
  viva_error *error;
  int64_t now; /* seconds since 1970, UTC; for strftime_now */
  jinja_scope *scope;
  jinja_output *out;
  int flow;
} jinja;

#define JINJA_DEPTH 150 /* levels of about 500 bytes of stack */

/* Sets the first error: "line N: ...". Returns 0, so that `return jinja_fail(...)` reads well in tests. */
int jinja_fail(jinja *j, viva_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Takes n steps; 0 when there are none left (an error is then set), or when there was an error before. */
int jinja_step(jinja *j, uint64_t n);

/* One level down; 0 and an error when that is too deep. Each success needs jinja_leave. */
int jinja_enter(jinja *j);
void jinja_leave(jinja *j);

/* Zeroed memory, or NULL with an error. */
void *jinja_alloc(jinja *j, size_t bytes);

/* -- jinja_parse.c, jinja_expression.c, jinja_lex.c */

typedef enum token_type {
  TOKEN_DATA,
  TOKEN_BLOCK_BEGIN,
  TOKEN_BLOCK_END,
  TOKEN_OUTPUT_BEGIN,
  TOKEN_OUTPUT_END,
  TOKEN_NAME,
  TOKEN_INTEGER,
  TOKEN_REAL,
  TOKEN_STRING,
  TOKEN_OPERATOR, /* code: its characters, the first in the low byte */
  TOKEN_END
} token_type;

typedef struct jinja_token {
  token_type type;
  unsigned line;
  unsigned code;
  jinja_text text; /* strings: decoded */
} jinja_token;

typedef struct jinja_parser {
  jinja *j;
  const char *text; /* the template, with \n line ends */
  size_t bytes, at;
  unsigned line;
  enum { IN_DATA, IN_BLOCK, IN_OUTPUT } mode;
  unsigned brackets;      /* open ones within a tag */
  int line_start;         /* the last tag ended with a line end */
  jinja_token now, ahead; /* the token at hand and the next */
  unsigned open_loops;    /* around the statement at hand: break and continue need one */
  int rest;               /* REST_* that the macro at hand has asked for by their names */
} jinja_parser;

/* Reads the next token into p->ahead, and the old ahead into p->now. */
void jinja_next(jinja_parser *p);

#define OPERATOR1(a)    ((unsigned)(unsigned char)(a))
#define OPERATOR2(a, b) (OPERATOR1(a) | OPERATOR1(b) << 8)

int jinja_is_operator(const jinja_token *t, unsigned code);
int jinja_is_name(const jinja_token *t, const char *name);
int jinja_take_operator(jinja_parser *p, unsigned code);  /* 1 and past it, when it is at hand */
void jinja_need_operator(jinja_parser *p, unsigned code); /* an error otherwise */
jinja_node *jinja_node_new(jinja_parser *p, node_kind kind);

/* Expressions. */
jinja_node *jinja_parse_expression(jinja_parser *p, int with_condition);
jinja_node *jinja_parse_tuple(jinja_parser *p, int with_condition); /* one expression, or several with commas */
jinja_node *jinja_parse_arguments(jinja_parser *p);                 /* behind "(" */
jinja_node *jinja_parse_filters(jinja_parser *p, jinja_node *of);   /* | name | name(...) */

/* The whole template: a list of statements. */
jinja_node *jinja_parse(jinja *j, const char *text, size_t bytes);

/* -- jinja_run.c, jinja_eval.c */

void jinja_run(jinja *j, const jinja_node *statements);
jinja_value jinja_eval(jinja *j, const jinja_node *node);
jinja_value jinja_look_up(jinja *j, jinja_text name);
void jinja_assign(jinja *j, jinja_text name, jinja_value value);
void jinja_assign_to(jinja *j, const jinja_node *target, jinja_value value);
void jinja_put(jinja *j, jinja_text text); /* at the end of j->out */
jinja_text jinja_output_text(const jinja_output *out);

typedef struct jinja_arguments {
  jinja_value *items;
  size_t count;
  jinja_dict named;
} jinja_arguments;

jinja_arguments jinja_eval_arguments(jinja *j, const jinja_node *list);
jinja_value jinja_call_macro(jinja *j, const jinja_macro *macro, const jinja_arguments *a, const jinja_value *caller);

/* The argument at a place, or of that name; NULL: not given. */
const jinja_value *jinja_argument(const jinja_arguments *a, size_t at, const char *name);

/* -- jinja_value.c */

jinja_value jinja_none(void);
jinja_value jinja_bool(int value);
jinja_value jinja_int(int64_t value);
jinja_value jinja_real(double value);
jinja_value jinja_undefined(jinja *j, jinja_text name);
jinja_value jinja_string(jinja *j, jinja_text text);
jinja_value jinja_list_new(jinja *j, jinja_list **list);
jinja_value jinja_dict_new(jinja *j, jinja_dict **dict);
void jinja_list_add(jinja *j, jinja_list *list, jinja_value value);
void jinja_dict_set(jinja *j, jinja_dict *dict, jinja_value key, jinja_value value);
void jinja_dict_append(jinja *j, jinja_dict *dict, jinja_value key, jinja_value value); /* the key is new */
const jinja_value *jinja_dict_find(jinja *j, const jinja_dict *dict, jinja_text key);
const jinja_value *jinja_dict_get(jinja *j, const jinja_dict *dict, const jinja_value *key);

int jinja_true(const jinja_value *v);
int jinja_equal(jinja *j, const jinja_value *a, const jinja_value *b);
int jinja_compare(jinja *j, const jinja_value *a, const jinja_value *b); /* below, at, above 0; an error: no order */
int jinja_contains(jinja *j, const jinja_value *in, const jinja_value *what);
const char *jinja_kind_name(const jinja_value *v);         /* Python's */
jinja_list *jinja_iterate(jinja *j, const jinja_value *v); /* what a for loop goes over; NULL with an error */
size_t jinja_length(jinja *j, const jinja_value *v);

/* -- jinja_text.c: strings */

jinja_text jinja_literal(const char *text);
int jinja_text_is(jinja_text t, const char *text);
int jinja_text_equal(jinja_text a, jinja_text b);
jinja_text jinja_part(jinja_text t, size_t begin, size_t end); /* bytes */
jinja_text jinja_concat(jinja *j, jinja_text a, jinja_text b);
jinja_text jinja_copy(jinja *j, const jinja_output *out);
size_t jinja_find(jinja *j, jinja_text in, jinja_text what, size_t from); /* SIZE_MAX: not there */
size_t jinja_characters(jinja_text t);
size_t jinja_character_at(jinja_text t, size_t index); /* the byte where that character begins */
int jinja_is_space(uint32_t code);
jinja_text jinja_strip(jinja_text t, const jinja_text *characters, int left, int right); /* NULL: white space */
jinja_text jinja_replace(jinja *j, jinja_text t, jinja_text from, jinja_text to, int64_t most);
typedef enum jinja_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_WORDS, CASE_CAPITAL } jinja_case;
/* TITLE: str.title, a capital behind each character without case; WORDS: the filter's, behind white space and - ( { [
 * <. */
jinja_text jinja_change_case(jinja *j, jinja_text t, jinja_case how);
jinja_value jinja_split_lines(jinja *j, jinja_text t, int keep_ends);

/* -- jinja_print.c: values as text */

jinja_text jinja_to_text(jinja *j, const jinja_value *v);                 /* Python's str() */
void jinja_print_repr(jinja *j, jinja_output *out, const jinja_value *v); /* and repr() */
/* json.dumps's arguments. */
typedef struct jinja_json {
  const jinja_value *indent; /* NULL: none */
  jinja_text between_items, behind_key;
  int ascii; /* ensure_ascii */
} jinja_json;
void jinja_print_json(jinja *j, jinja_output *out, const jinja_value *v, const jinja_json *form, unsigned level);
void jinja_output_add(jinja *j, jinja_output *out, jinja_text text);

/* -- jinja_filter.c, jinja_sequence.c, jinja_test.c, jinja_method.c, jinja_global.c */

int jinja_filter_find(jinja_text name, unsigned *which);
jinja_value jinja_filter(jinja *j, unsigned which, jinja_value of, const jinja_arguments *a);
int jinja_test_find(jinja_text name, unsigned *which);
int jinja_test(jinja *j, unsigned which, const jinja_value *of, const jinja_arguments *a);
jinja_value jinja_method_find(jinja *j, const jinja_value *self, jinja_text name); /* undefined: there is none */
jinja_value jinja_method_call(jinja *j, const jinja_method *method, const jinja_arguments *a);
jinja_value jinja_global_find(jinja *j, jinja_text name); /* undefined: there is none */
jinja_value jinja_global_call(jinja *j, unsigned function, const jinja_arguments *a);
jinja_value jinja_attribute(jinja *j, const jinja_value *of, jinja_text name);
jinja_value jinja_item(jinja *j, const jinja_value *of, const jinja_value *index);

/* Filters over sequences (jinja_sequence.c). */
jinja_value jinja_fold(jinja *j, jinja_value v); /* what strings are compared as where case does not count */
jinja_value jinja_select(jinja *j, const jinja_value *of, const jinja_arguments *a, int by_attribute, int keep);
jinja_value jinja_map(jinja *j, const jinja_value *of, const jinja_arguments *a);
jinja_value jinja_sort(jinja *j, const jinja_value *of, const jinja_arguments *a);
jinja_value jinja_dictsort(jinja *j, const jinja_value *of, const jinja_arguments *a);
jinja_value jinja_unique(jinja *j, const jinja_value *of, const jinja_arguments *a);
jinja_value jinja_groupby(jinja *j, const jinja_value *of, const jinja_arguments *a);
jinja_value jinja_batch(jinja *j, const jinja_value *of, const jinja_arguments *a);

#endif
