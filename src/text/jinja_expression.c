/* text/jinja_expression.c: expressions, by recursive descent; levels and their order are those of Jinja's parser. */
#include <string.h>

#include "text/jinja.h"

jinja_node *jinja_node_new(jinja_parser *p, node_kind kind) {
  jinja_node *node = jinja_alloc(p->j, sizeof *node);
  if (!node) return NULL;
  node->kind = kind;
  node->line = p->now.line;
  return node;
}

int jinja_take_operator(jinja_parser *p, unsigned code) {
  if (!jinja_is_operator(&p->now, code)) return 0;
  jinja_next(p);
  return 1;
}

void jinja_need_operator(jinja_parser *p, unsigned code) {
  if (jinja_take_operator(p, code)) return;
  p->j->line = p->now.line;
  jinja_fail(p->j, VIVA_E_FORMAT, "expected '%c%c'", (int)(code & 0xff), code >> 8 ? (int)(code >> 8) : ' ');
}

static jinja_node *unary(jinja_parser *p, int with_filters);

static jinja_node *binary(jinja_parser *p, node_kind kind, jinja_op op, jinja_node *a, jinja_node *b) {
  jinja_node *node = jinja_node_new(p, kind);
  if (!node) return NULL;
  node->op = op;
  node->a = a;
  node->b = b;
  return node;
}

/* ---- lists of things */

static jinja_node **append(jinja_node **end, jinja_node *node) {
  if (!node) return end;
  *end = node;
  return &node->next;
}

/* Items up to the closing bracket, which is taken. */
static jinja_node *items_until(jinja_parser *p, unsigned close) {
  jinja_node *first = NULL, **end = &first;
  while (!p->j->status && !jinja_take_operator(p, close)) {
    if (first) {
      jinja_need_operator(p, ',');
      if (jinja_take_operator(p, close)) break;
    }
    end = append(end, jinja_parse_expression(p, 1));
  }
  return first;
}

static jinja_node *dict_members(jinja_parser *p) {
  jinja_node *first = NULL, **end = &first;
  while (!p->j->status && !jinja_take_operator(p, '}')) {
    if (first) {
      jinja_need_operator(p, ',');
      if (jinja_take_operator(p, '}')) break;
    }
    end = append(end, jinja_parse_expression(p, 1));
    jinja_need_operator(p, ':');
    end = append(end, jinja_parse_expression(p, 1));
  }
  return first;
}

jinja_node *jinja_parse_arguments(jinja_parser *p) {
  jinja_node *first = NULL, **end = &first;
  while (!p->j->status && !jinja_take_operator(p, ')')) {
    if (first) {
      jinja_need_operator(p, ',');
      if (jinja_take_operator(p, ')')) break;
    }
    jinja_node *argument = jinja_node_new(p, N_ARGUMENT);
    if (!argument) break;
    if (jinja_is_operator(&p->now, '*') || jinja_is_operator(&p->now, OPERATOR2('*', '*')))
      jinja_fail(p->j, VIVA_E_UNSUPPORTED, "arguments with * and ** are not supported");
    if (p->now.type == TOKEN_NAME && jinja_is_operator(&p->ahead, '=')) {
      argument->name = p->now.text;
      jinja_next(p);
      jinja_next(p);
    }
    argument->a = jinja_parse_expression(p, 1);
    end = append(end, argument);
  }
  return first;
}

/* Is the token one behind which no further item of a tuple follows? */
static int ends_tuple(const jinja_parser *p) {
  return p->now.type == TOKEN_BLOCK_END || p->now.type == TOKEN_OUTPUT_END || p->now.type == TOKEN_END ||
         jinja_is_operator(&p->now, ')') || jinja_is_name(&p->now, "in") || jinja_is_name(&p->now, "recursive");
}

jinja_node *jinja_parse_tuple(jinja_parser *p, int with_condition) {
  jinja_node *first = jinja_parse_expression(p, with_condition);
  if (!jinja_is_operator(&p->now, ',')) return first;
  jinja_node *tuple = jinja_node_new(p, N_LIST), **end;
  if (!tuple || !first) return NULL;
  tuple->flag = 1;
  tuple->a = first;
  end = &first->next;
  while (!p->j->status && jinja_take_operator(p, ',') && !ends_tuple(p))
    end = append(end, jinja_parse_expression(p, with_condition));
  return tuple;
}

/* ---- what an expression begins with */

static jinja_node *constant(jinja_parser *p, jinja_value value) {
  jinja_node *node = jinja_node_new(p, N_CONST);
  if (node) node->value = value;
  return node;
}

static jinja_node *number(jinja_parser *p) {
  char digits[64];
  size_t count = 0;
  int64_t integer = 0;
  double real = 0;
  jinja_text t = p->now.text;
  for (size_t i = 0; i < t.bytes && count < sizeof digits; i++)
    if (t.text[i] != '_') digits[count++] = t.text[i];
  int bad = p->now.type == TOKEN_INTEGER ? num_i64(digits, count, &integer) : num_double(digits, count, &real);
  if (bad || count == sizeof digits) jinja_fail(p->j, VIVA_E_UNSUPPORTED, "a number that does not fit");
  jinja_node *node = constant(p, p->now.type == TOKEN_INTEGER ? jinja_int(integer) : jinja_real(real));
  jinja_next(p);
  return node;
}

static jinja_node *string(jinja_parser *p) {
  jinja_text text = p->now.text;
  jinja_node *node = jinja_node_new(p, N_CONST);
  jinja_next(p);
  for (; p->now.type == TOKEN_STRING && !p->j->status; jinja_next(p)) text = jinja_concat(p->j, text, p->now.text);
  text.marks = NULL;
  if (node) node->value = jinja_string(p->j, text);
  return node;
}

static jinja_node *name(jinja_parser *p) {
  static const struct {
    const char *name;
    int value; /* 2: none */
  } words[] = {{"true", 1}, {"True", 1}, {"false", 0}, {"False", 0}, {"none", 2}, {"None", 2}};
  jinja_node *node = NULL;
  for (size_t i = 0; i < sizeof words / sizeof *words && !node; i++)
    if (jinja_is_name(&p->now, words[i].name))
      node = constant(p, words[i].value == 2 ? jinja_none() : jinja_bool(words[i].value));
  if (jinja_is_name(&p->now, "varargs")) p->rest |= REST_LIST;
  if (jinja_is_name(&p->now, "kwargs")) p->rest |= REST_NAMED;
  if (!node && (node = jinja_node_new(p, N_NAME)) != NULL) node->name = p->now.text;
  jinja_next(p);
  return node;
}

static jinja_node *bracketed(jinja_parser *p) {
  jinja_node *node;
  if (jinja_take_operator(p, '(')) {
    if (jinja_take_operator(p, ')')) {
      node = jinja_node_new(p, N_LIST);
      if (node) node->flag = 1;
      return node;
    }
    node = jinja_parse_tuple(p, 1);
    jinja_need_operator(p, ')');
    return node;
  }
  int list = jinja_is_operator(&p->now, '[');
  node = jinja_node_new(p, list ? N_LIST : N_DICT);
  jinja_next(p);
  jinja_node *inside = list ? items_until(p, ']') : dict_members(p);
  if (node) node->a = inside;
  return node;
}

static jinja_node *primary(jinja_parser *p) {
  switch (p->now.type) {
  case TOKEN_NAME: return name(p);
  case TOKEN_STRING: return string(p);
  case TOKEN_INTEGER:
  case TOKEN_REAL: return number(p);
  default: break;
  }
  if (jinja_is_operator(&p->now, '(') || jinja_is_operator(&p->now, '[') || jinja_is_operator(&p->now, '{'))
    return bracketed(p);
  char quoted[64];
  p->j->line = p->now.line;
  jinja_fail(p->j, VIVA_E_FORMAT, "expected an expression, found '%s'",
             error_quote(quoted, sizeof quoted, p->now.text.text, p->now.text.bytes));
  return NULL;
}

/* ---- what follows it: .name [item] (arguments) | filter is test */

static jinja_node *slice_or_item(jinja_parser *p) {
  jinja_node *parts[3] = {NULL, NULL, NULL};
  int slice = 0;
  for (int i = 0; i < 3 && !p->j->status; i++) {
    if (!jinja_is_operator(&p->now, ':') && !jinja_is_operator(&p->now, ']')) parts[i] = jinja_parse_expression(p, 1);
    if (!jinja_take_operator(p, ':')) break;
    slice = 1;
  }
  if (!slice) return parts[0];
  jinja_node *node = jinja_node_new(p, N_SLICE);
  if (!node) return NULL;
  node->a = parts[0];
  node->b = parts[1];
  node->c = parts[2];
  return node;
}

static jinja_node *member(jinja_parser *p, jinja_node *of) {
  jinja_node *node;
  if (p->now.type == TOKEN_INTEGER) return binary(p, N_ITEM, OP_NONE, of, number(p));
  if (p->now.type != TOKEN_NAME) jinja_fail(p->j, VIVA_E_FORMAT, "expected a name behind '.'");
  node = binary(p, N_ATTRIBUTE, OP_NONE, of, NULL);
  if (node) node->name = p->now.text;
  jinja_next(p);
  return node;
}

static jinja_node *postfix(jinja_parser *p, jinja_node *node) {
  while (node && !p->j->status) {
    if (jinja_take_operator(p, '.')) {
      node = member(p, node);
    } else if (jinja_take_operator(p, '[')) {
      jinja_node *index = slice_or_item(p);
      if (!index) jinja_fail(p->j, VIVA_E_FORMAT, "expected an index");
      node = binary(p, N_ITEM, OP_NONE, node, index);
      jinja_need_operator(p, ']');
    } else if (jinja_take_operator(p, '(')) {
      node = binary(p, N_CALL, OP_NONE, node, NULL);
      jinja_node *arguments = jinja_parse_arguments(p);
      if (node) node->b = arguments;
    } else {
      break;
    }
  }
  return node;
}

static jinja_node *filter(jinja_parser *p, jinja_node *of) {
  char quoted[64];
  jinja_node *node = binary(p, N_FILTER, OP_NONE, of, NULL);
  if (!node) return NULL;
  if (p->now.type != TOKEN_NAME) jinja_fail(p->j, VIVA_E_FORMAT, "expected a filter's name behind '|'");
  p->j->line = p->now.line;
  node->name = p->now.text;
  if (!jinja_filter_find(node->name, &node->which))
    jinja_fail(p->j, VIVA_E_UNSUPPORTED, "the filter '%s' is not supported",
               error_quote(quoted, sizeof quoted, node->name.text, node->name.bytes));
  jinja_next(p);
  if (jinja_take_operator(p, '(')) node->b = jinja_parse_arguments(p);
  return node;
}

jinja_node *jinja_parse_filters(jinja_parser *p, jinja_node *of) {
  while (!p->j->status && jinja_take_operator(p, '|')) of = filter(p, of);
  return of;
}

/* Does an argument without parentheses follow a test's name ("is divisibleby 3")? */
static int has_bare_argument(const jinja_parser *p) {
  static const char *const words[] = {"else", "or", "and", "is", "if", "not", "in"};
  if (p->now.type == TOKEN_NAME)
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
      if (jinja_is_name(&p->now, words[i])) return 0;
  return p->now.type == TOKEN_NAME || p->now.type == TOKEN_STRING || p->now.type == TOKEN_INTEGER ||
         p->now.type == TOKEN_REAL || jinja_is_operator(&p->now, '[') || jinja_is_operator(&p->now, '{');
}

static jinja_node *test(jinja_parser *p, jinja_node *of) {
  char quoted[64];
  jinja_node *node = binary(p, N_TEST, OP_NONE, of, NULL);
  if (!node) return NULL;
  if (jinja_is_name(&p->now, "not")) {
    node->flag = 1;
    jinja_next(p);
  }
  p->j->line = p->now.line;
  node->name = p->now.text;
  if (p->now.type != TOKEN_NAME || !jinja_test_find(node->name, &node->which))
    jinja_fail(p->j, VIVA_E_UNSUPPORTED, "the test '%s' is not supported",
               error_quote(quoted, sizeof quoted, node->name.text, node->name.bytes));
  jinja_next(p);
  if (jinja_take_operator(p, '(')) {
    node->b = jinja_parse_arguments(p);
  } else if (has_bare_argument(p)) {
    node->b = jinja_node_new(p, N_ARGUMENT);
    jinja_node *argument = postfix(p, primary(p));
    if (node->b) node->b->a = argument;
  }
  return node;
}

static jinja_node *filters_and_tests(jinja_parser *p, jinja_node *node) {
  while (node && !p->j->status) {
    if (jinja_take_operator(p, '|')) {
      node = filter(p, node);
    } else if (jinja_is_name(&p->now, "is")) {
      jinja_next(p);
      node = test(p, node);
    } else if (jinja_is_operator(&p->now, '(')) { /* a call of what a filter gave */
      node = postfix(p, node);
    } else {
      break;
    }
  }
  return node;
}

/* ---- operators, the strongest first */

static jinja_node *unary(jinja_parser *p, int with_filters) {
  jinja_node *node;
  if (!jinja_enter(p->j)) return NULL;
  if (jinja_take_operator(p, '-'))
    node = binary(p, N_UNARY, OP_SUB, unary(p, 0), NULL);
  else if (jinja_take_operator(p, '+'))
    node = binary(p, N_UNARY, OP_ADD, unary(p, 0), NULL);
  else
    node = primary(p);
  node = postfix(p, node);
  if (with_filters) node = filters_and_tests(p, node);
  jinja_leave(p->j);
  return node;
}

typedef struct operator_word {
  unsigned code;
  jinja_op op;
} operator_word;

static jinja_op take_one_of(jinja_parser *p, const operator_word *words, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (jinja_take_operator(p, words[i].code)) return words[i].op;
  return OP_NONE;
}

static jinja_node *power(jinja_parser *p) {
  jinja_node *node = unary(p, 1);
  while (!p->j->status && jinja_take_operator(p, OPERATOR2('*', '*')))
    node = binary(p, N_BINARY, OP_POW, node, unary(p, 1));
  return node;
}

static jinja_node *product(jinja_parser *p) {
  static const operator_word words[] = {{'*', OP_MUL}, {'/', OP_DIV}, {OPERATOR2('/', '/'), OP_FLOOR}, {'%', OP_MOD}};
  jinja_node *node = power(p);
  jinja_op op;
  while (!p->j->status && (op = take_one_of(p, words, 4)) != OP_NONE) node = binary(p, N_BINARY, op, node, power(p));
  return node;
}

static jinja_node *concatenation(jinja_parser *p) {
  jinja_node *node = product(p);
  while (!p->j->status && jinja_take_operator(p, '~')) node = binary(p, N_BINARY, OP_CONCAT, node, product(p));
  return node;
}

static jinja_node *sum(jinja_parser *p) {
  static const operator_word words[] = {{'+', OP_ADD}, {'-', OP_SUB}};
  jinja_node *node = concatenation(p);
  jinja_op op;
  while (!p->j->status && (op = take_one_of(p, words, 2)) != OP_NONE)
    node = binary(p, N_BINARY, op, node, concatenation(p));
  return node;
}

static jinja_op take_comparison(jinja_parser *p) {
  static const operator_word words[] = {{OPERATOR2('=', '='), OP_EQ},
                                        {OPERATOR2('!', '='), OP_NE},
                                        {OPERATOR2('<', '='), OP_LE},
                                        {OPERATOR2('>', '='), OP_GE},
                                        {'<', OP_LT},
                                        {'>', OP_GT}};
  if (jinja_is_name(&p->now, "in")) return jinja_next(p), OP_IN;
  if (jinja_is_name(&p->now, "not") && jinja_is_name(&p->ahead, "in")) return jinja_next(p), jinja_next(p), OP_NOT_IN;
  return take_one_of(p, words, sizeof words / sizeof *words);
}

/* a < b <= c means a < b and b <= c. */
static jinja_node *comparison(jinja_parser *p) {
  jinja_node *first = sum(p), *node = NULL, **end = NULL;
  jinja_op op;
  while (!p->j->status && (op = take_comparison(p)) != OP_NONE) {
    if (!node && (node = binary(p, N_COMPARE, OP_NONE, first, NULL)) != NULL) end = &node->b;
    jinja_node *operand = binary(p, N_OPERAND, op, sum(p), NULL);
    if (node && operand) end = append(end, operand);
  }
  return node ? node : first;
}

static jinja_node *negation(jinja_parser *p) {
  if (!jinja_is_name(&p->now, "not")) return comparison(p);
  if (!jinja_enter(p->j)) return NULL;
  jinja_next(p);
  jinja_node *node = binary(p, N_UNARY, OP_NOT, negation(p), NULL);
  jinja_leave(p->j);
  return node;
}

static jinja_node *conjunction(jinja_parser *p) {
  jinja_node *node = negation(p);
  while (!p->j->status && jinja_is_name(&p->now, "and")) {
    jinja_next(p);
    node = binary(p, N_BINARY, OP_AND, node, negation(p));
  }
  return node;
}

static jinja_node *disjunction(jinja_parser *p) {
  jinja_node *node = conjunction(p);
  while (!p->j->status && jinja_is_name(&p->now, "or")) {
    jinja_next(p);
    node = binary(p, N_BINARY, OP_OR, node, conjunction(p));
  }
  return node;
}

jinja_node *jinja_parse_expression(jinja_parser *p, int with_condition) {
  if (!jinja_enter(p->j)) return NULL;
  jinja_node *node = disjunction(p);
  while (with_condition && !p->j->status && jinja_is_name(&p->now, "if")) {
    jinja_next(p);
    node = binary(p, N_CONDITION, OP_NONE, node, disjunction(p));
    if (!jinja_is_name(&p->now, "else")) continue;
    jinja_next(p);
    jinja_node *other = jinja_parse_expression(p, 1);
    if (node) node->c = other;
  }
  jinja_leave(p->j);
  return node;
}
