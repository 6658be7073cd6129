/* text/jinja_parse.c: statements. */
#include <string.h>

#include "text/jinja.h"

static jinja_node *body(jinja_parser *p, const char *const *ends);

static int at_one_of(const jinja_parser *p, const char *const *names) {
  for (; *names; names++)
    if (jinja_is_name(&p->now, *names)) return 1;
  return 0;
}

static void need_block_end(jinja_parser *p) {
  char quoted[64];
  p->j->line = p->now.line;
  if (p->now.type != TOKEN_BLOCK_END)
    jinja_fail(p->j, VIVA_E_FORMAT, "expected %%}, found '%s'",
               error_quote(quoted, sizeof quoted, p->now.text.text, p->now.text.bytes));
  jinja_next(p);
}

/* The statements up to one of the tags that end them; past the tag's name and, unless it goes on, its end. */
static jinja_node *block(jinja_parser *p, const char *const *ends) {
  need_block_end(p);
  return body(p, ends);
}

static jinja_node *block_and_end(jinja_parser *p, const char *end) {
  const char *const ends[] = {end, NULL};
  jinja_node *inside = block(p, ends);
  jinja_next(p);
  need_block_end(p);
  return inside;
}

/* ---- if, for */

static jinja_node *parse_if(jinja_parser *p) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  static const char *const last[] = {"endif", NULL};
  jinja_node *first = NULL, **place = &first, *node;
  do {
    if ((node = jinja_node_new(p, N_IF)) == NULL) return NULL;
    *place = node;
    place = &node->c;
    node->a = jinja_parse_tuple(p, 0);
    if (jinja_is_name(&p->now, "if")) jinja_fail(p->j, VIVA_E_FORMAT, "expected %%} behind the condition");
    node->b = block(p, ends);
    int more = jinja_is_name(&p->now, "elif");
    if (more) jinja_next(p);
    if (!more) break;
  } while (!p->j->status);
  if (jinja_is_name(&p->now, "else")) {
    jinja_next(p);
    node->flag = 1; /* c is the else, not a further condition */
    *place = block(p, last);
  }
  jinja_next(p);
  need_block_end(p);
  return first;
}

/* A name, or several with commas, in parentheses or not. */
static jinja_node *parse_target(jinja_parser *p) {
  jinja_node *first = NULL, **end = &first;
  int several = 0;
  do {
    jinja_node *node = NULL;
    if (jinja_is_operator(&p->now, '(') && jinja_enter(p->j)) {
      jinja_next(p);
      node = parse_target(p);
      jinja_need_operator(p, ')');
      jinja_leave(p->j);
    } else if (p->now.type == TOKEN_NAME && (node = jinja_node_new(p, N_NAME)) != NULL) {
      node->name = p->now.text;
      jinja_next(p);
    }
    if (!node) break;
    *end = node;
    end = &node->next;
    if (!jinja_take_operator(p, ',')) break;
    several = 1;
  } while (!p->j->status);
  if (!first) jinja_fail(p->j, VIVA_E_FORMAT, "expected a name");
  if (!several) return first;
  jinja_node *tuple = jinja_node_new(p, N_LIST);
  if (tuple) tuple->a = first;
  return tuple;
}

static jinja_node *parse_for(jinja_parser *p) {
  static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
  jinja_node *node = jinja_node_new(p, N_FOR);
  if (!node) return NULL;
  node->a = parse_target(p);
  if (!jinja_is_name(&p->now, "in")) jinja_fail(p->j, VIVA_E_FORMAT, "expected \"in\" behind the names of a for");
  jinja_next(p);
  node->b = jinja_parse_tuple(p, 0);
  if (jinja_is_name(&p->now, "if")) {
    jinja_next(p);
    node->e = jinja_parse_expression(p, 1);
  }
  if (jinja_is_name(&p->now, "recursive"))
    jinja_fail(p->j, VIVA_E_UNSUPPORTED, "recursive for loops are not supported");
  p->open_loops++;
  node->c = block(p, ends);
  p->open_loops--;
  if (jinja_is_name(&p->now, "else")) {
    jinja_next(p);
    node->d = block(p, last);
  }
  jinja_next(p);
  need_block_end(p);
  return node;
}

/* ---- set, with */

static jinja_node *parse_set_target(jinja_parser *p) {
  if (p->now.type != TOKEN_NAME || !jinja_is_operator(&p->ahead, '.')) return parse_target(p);
  jinja_node *of = jinja_node_new(p, N_NAME), *node = jinja_node_new(p, N_ATTRIBUTE);
  if (!of || !node) return NULL;
  of->name = p->now.text;
  jinja_next(p);
  jinja_next(p);
  node->a = of;
  node->name = p->now.text;
  if (p->now.type != TOKEN_NAME) jinja_fail(p->j, VIVA_E_FORMAT, "expected a name behind '.'");
  jinja_next(p);
  return node;
}

static jinja_node *parse_set(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_SET);
  if (!node) return NULL;
  node->a = parse_set_target(p);
  if (jinja_take_operator(p, '=')) {
    node->b = jinja_parse_tuple(p, 1);
    need_block_end(p);
    return node;
  }
  node->kind = N_SET_BLOCK;
  node->b = jinja_parse_filters(p, NULL);
  node->c = block_and_end(p, "endset");
  return node;
}

static jinja_node *parse_with(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_WITH), **end = node ? &node->a : NULL;
  while (node && !p->j->status && p->now.type == TOKEN_NAME) {
    jinja_node *set = jinja_node_new(p, N_SET);
    if (!set) return NULL;
    set->a = parse_target(p);
    jinja_need_operator(p, '=');
    set->b = jinja_parse_expression(p, 1);
    *end = set;
    end = &set->next;
    if (!jinja_take_operator(p, ',')) break;
  }
  jinja_node *inside = block_and_end(p, "endwith");
  if (node) node->b = inside;
  return node;
}

/* ---- macro, call, filter */

/* Parameters behind "(": names, some with a default. */
static jinja_node *parse_parameters(jinja_parser *p) {
  jinja_node *first = NULL, **end = &first;
  while (!p->j->status && !jinja_take_operator(p, ')')) {
    if (first) jinja_need_operator(p, ',');
    jinja_node *parameter = jinja_node_new(p, N_ARGUMENT);
    if (!parameter) break;
    if (p->now.type != TOKEN_NAME) jinja_fail(p->j, VIVA_E_FORMAT, "expected a parameter's name");
    parameter->name = p->now.text;
    jinja_next(p);
    if (jinja_take_operator(p, '=')) parameter->a = jinja_parse_expression(p, 1);
    *end = parameter;
    end = &parameter->next;
  }
  return first;
}

/* A macro's own text. What it asks for, a macro around it asks for too, as in Jinja. */
static jinja_node *macro_body(jinja_parser *p, const char *end, jinja_node *node, const jinja_node *parameters) {
  unsigned loops = p->open_loops;
  int outer = p->rest;
  p->open_loops = 0;
  p->rest = 0;
  jinja_node *body = block_and_end(p, end);
  node->flag = p->rest;
  for (const jinja_node *n = parameters; n; n = n->next) { /* a parameter of that name is one like others */
    if (jinja_text_is(n->name, "varargs")) node->flag &= ~REST_LIST;
    if (jinja_text_is(n->name, "kwargs")) node->flag &= ~REST_NAMED;
  }
  p->open_loops = loops;
  p->rest |= outer;
  return body;
}

static jinja_node *parse_macro(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_MACRO);
  if (!node) return NULL;
  if (p->now.type != TOKEN_NAME) jinja_fail(p->j, VIVA_E_FORMAT, "expected a macro's name");
  node->name = p->now.text;
  jinja_next(p);
  jinja_need_operator(p, '(');
  node->a = parse_parameters(p);
  node->b = macro_body(p, "endmacro", node, node->a);
  return node;
}

static jinja_node *parse_call(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_CALL_BLOCK);
  if (!node) return NULL;
  if (jinja_take_operator(p, '(')) node->b = parse_parameters(p);
  node->a = jinja_parse_expression(p, 1);
  if (node->a && node->a->kind != N_CALL) jinja_fail(p->j, VIVA_E_FORMAT, "expected a call");
  node->c = macro_body(p, "endcall", node, node->b);
  return node;
}

static jinja_node *parse_filter_block(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_FILTER_BLOCK);
  if (!node) return NULL;
  jinja_node *first = jinja_node_new(p, N_FILTER);
  if (!first) return NULL;
  first->name = p->now.text;
  if (p->now.type != TOKEN_NAME || !jinja_filter_find(first->name, &first->which))
    jinja_fail(p->j, VIVA_E_UNSUPPORTED, "the filter of this block is not supported");
  jinja_next(p);
  if (jinja_take_operator(p, '(')) first->b = jinja_parse_arguments(p);
  node->b = jinja_parse_filters(p, first);
  node->c = block_and_end(p, "endfilter");
  return node;
}

/* ---- the rest */

/* transformers' mark around what an assistant says; it prints as what it holds. */
static jinja_node *parse_generation(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_SCOPE);
  jinja_node *inside = block_and_end(p, "endgeneration");
  if (node) node->a = inside;
  return node;
}

static jinja_node *parse_break(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_BREAK);
  if (p->open_loops == 0) jinja_fail(p->j, VIVA_E_FORMAT, "break outside a loop");
  need_block_end(p);
  return node;
}

static jinja_node *parse_continue(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_CONTINUE);
  if (p->open_loops == 0) jinja_fail(p->j, VIVA_E_FORMAT, "continue outside a loop");
  need_block_end(p);
  return node;
}

static jinja_node *parse_statement(jinja_parser *p) {
  static const struct {
    const char *name;
    jinja_node *(*parse)(jinja_parser *p);
  } tags[] = {{"if", parse_if},       {"for", parse_for},
              {"set", parse_set},     {"macro", parse_macro},
              {"call", parse_call},   {"filter", parse_filter_block},
              {"with", parse_with},   {"generation", parse_generation},
              {"break", parse_break}, {"continue", parse_continue}};
  char quoted[64];
  p->j->line = p->now.line;
  for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
    if (!jinja_is_name(&p->now, tags[i].name)) continue;
    jinja_next(p);
    return tags[i].parse(p);
  }
  jinja_fail(p->j, VIVA_E_UNSUPPORTED, "the tag '%s' is not known here",
             error_quote(quoted, sizeof quoted, p->now.text.text, p->now.text.bytes));
  return NULL;
}

static jinja_node *parse_output(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_OUTPUT);
  jinja_next(p);
  jinja_node *what = jinja_parse_tuple(p, 1);
  if (node) node->a = what;
  p->j->line = p->now.line;
  if (p->now.type != TOKEN_OUTPUT_END) jinja_fail(p->j, VIVA_E_FORMAT, "expected }}");
  jinja_next(p);
  return node;
}

static jinja_node *parse_data(jinja_parser *p) {
  jinja_node *node = jinja_node_new(p, N_TEXT);
  if (node) node->value = jinja_string(p->j, p->now.text);
  jinja_next(p);
  return node;
}

/* Statements until a tag that begins with one of ends (its name is then at hand), or the template's end (ends NULL). */
static jinja_node *body(jinja_parser *p, const char *const *ends) {
  jinja_node *first = NULL, **end = &first;
  if (!jinja_enter(p->j)) return NULL;
  while (!p->j->status && p->now.type != TOKEN_END) {
    jinja_node *node = NULL;
    if (p->now.type == TOKEN_BLOCK_BEGIN) {
      jinja_next(p);
      if (ends && at_one_of(p, ends)) break;
      node = parse_statement(p);
    } else {
      node = p->now.type == TOKEN_DATA ? parse_data(p) : parse_output(p);
    }
    if (!node) break;
    *end = node;
    end = &node->next;
  }
  if (ends && p->now.type == TOKEN_END) jinja_fail(p->j, VIVA_E_FORMAT, "expected {%% %s %%}", ends[0]);
  jinja_leave(p->j);
  return first;
}

/* A copy with \n line ends and without the last of them. */
static char *plain_lines(jinja *j, const char *text, size_t *bytes) {
  char *copy = jinja_alloc(j, *bytes + 1);
  size_t length = 0;
  if (!copy) return NULL;
  for (size_t i = 0; i < *bytes; i++) {
    if (text[i] == '\r' && i + 1 < *bytes && text[i + 1] == '\n') continue;
    copy[length++] = text[i] == '\r' ? '\n' : text[i];
  }
  if (length > 0 && copy[length - 1] == '\n') length--;
  *bytes = length;
  return copy;
}

jinja_node *jinja_parse(jinja *j, const char *text, size_t bytes) {
  jinja_parser p = {.j = j, .line = 1, .line_start = 1};
  p.text = plain_lines(j, text, &bytes);
  p.bytes = bytes;
  if (!p.text) return NULL;
  jinja_next(&p);
  jinja_next(&p);
  jinja_node *all = body(&p, NULL);
  j->line = 0;
  return all;
}
