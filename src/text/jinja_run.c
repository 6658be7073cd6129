/* text/jinja_run.c: statements, names and what is printed.
 *
 * A for loop, a macro, a block of with or generation has names of its own: what is set there is gone behind it, and
 * each turn of a loop begins anew. An if has none.
 */
#include <string.h>

#include "text/jinja.h"

void jinja_put(jinja *j, jinja_text text) { jinja_output_add(j, j->out, text); }

/* ---- names */

static void open_scope(jinja *j, jinja_scope *scope, jinja_scope *outer) {
  *scope = (jinja_scope){.outer = outer};
  j->scope = scope;
}

jinja_value jinja_look_up(jinja *j, jinja_text name) {
  for (jinja_scope *s = j->scope; s && jinja_step(j, 1); s = s->outer) {
    const jinja_value *found = jinja_dict_find(j, &s->names, name);
    if (found) return *found;
  }
  jinja_value global = jinja_global_find(j, name);
  return global.kind != J_UNDEFINED ? global : jinja_undefined(j, name);
}

void jinja_assign(jinja *j, jinja_text name, jinja_value value) {
  for (size_t i = 0; i < j->scope->names.count; i++) {
    jinja_member *m = &j->scope->names.members[i];
    if (!jinja_text_equal(*m->key.as.string, name)) continue;
    m->value = value;
    return;
  }
  jinja_dict_append(j, &j->scope->names, jinja_string(j, name), value);
}

static void assign_member(jinja *j, const jinja_node *target, jinja_value value) {
  jinja_value of = jinja_eval(j, target->a);
  if (of.kind == J_NAMESPACE)
    jinja_dict_set(j, of.as.dict, jinja_string(j, target->name), value);
  else
    jinja_fail(j, VIVA_E_ARGUMENT, "members can be set of a namespace only, not of %s", jinja_kind_name(&of));
}

void jinja_assign_to(jinja *j, const jinja_node *target, jinja_value value) {
  if (j->status) return;
  if (target->kind == N_NAME) {
    jinja_assign(j, target->name, value);
  } else if (target->kind == N_ATTRIBUTE) {
    assign_member(j, target, value);
  } else {
    jinja_list *items = jinja_iterate(j, &value);
    size_t i = 0;
    for (const jinja_node *part = target->a; part && items && jinja_enter(j); part = part->next, i++) {
      if (i < items->count) jinja_assign_to(j, part, items->items[i]);
      jinja_leave(j);
    }
    if (items && i != items->count) jinja_fail(j, VIVA_E_ARGUMENT, "%zu values for %zu names", items->count, i);
  }
}

/* ---- loops */

/* Items for which the loop's condition holds; each is tried under the loop's names. */
static jinja_list *choose(jinja *j, const jinja_node *node, jinja_list *items) {
  jinja_list *chosen;
  jinja_scope scope, *outer = j->scope;
  jinja_list_new(j, &chosen);
  for (size_t i = 0; i < items->count && !j->status; i++) {
    open_scope(j, &scope, outer);
    jinja_assign_to(j, node->a, items->items[i]);
    jinja_value keep = jinja_eval(j, node->e);
    if (!j->status && jinja_true(&keep)) jinja_list_add(j, chosen, items->items[i]);
  }
  j->scope = outer;
  return chosen;
}

static void run_turn(jinja *j, const jinja_node *node, jinja_loop *loop, jinja_scope *outer) {
  jinja_scope *scope = jinja_alloc(j, sizeof *scope); /* not on the stack: a macro defined here keeps it */
  if (!scope) return;
  open_scope(j, scope, outer);
  jinja_assign(j, jinja_literal("loop"), (jinja_value){.kind = J_LOOP, .as.loop = loop});
  jinja_assign_to(j, node->a, loop->items->items[loop->at]);
  jinja_run(j, node->c);
  j->scope = outer;
}

static void run_for(jinja *j, const jinja_node *node) {
  jinja_value over = jinja_eval(j, node->b);
  jinja_list *items = j->status ? NULL : jinja_iterate(j, &over);
  if (items && node->e) items = choose(j, node, items);
  if (!items || j->status) return;
  jinja_scope *outer = j->scope;
  jinja_loop *loop = jinja_alloc(j, sizeof *loop);
  if (!loop) return;
  loop->items = items;
  for (; loop->at < items->count && j->flow != FLOW_BREAK && jinja_step(j, 4); loop->at++) {
    j->flow = FLOW_ON;
    run_turn(j, node, loop, outer);
  }
  j->flow = FLOW_ON;
  j->scope = outer;
  if (items->count == 0) jinja_run(j, node->d);
}

/* ---- what a block prints, as a value */

static jinja_text capture(jinja *j, const jinja_node *body) {
  jinja_output out = {0}, *outer = j->out;
  j->out = &out;
  jinja_run(j, body);
  j->out = outer;
  return jinja_output_text(&out);
}

static jinja_value filter_chain(jinja *j, const jinja_node *chain, jinja_value value) {
  if (!chain) return value;
  value = filter_chain(j, chain->a, value);
  jinja_arguments a = jinja_eval_arguments(j, chain->b);
  return j->status ? value : jinja_filter(j, chain->which, value, &a);
}

static void run_set_block(jinja *j, const jinja_node *node) {
  jinja_scope *scope = jinja_alloc(j, sizeof *scope), *outer = j->scope;
  if (!scope) return;
  open_scope(j, scope, outer);
  jinja_value value = jinja_string(j, capture(j, node->c));
  j->scope = outer;
  jinja_assign_to(j, node->a, filter_chain(j, node->b, value));
}

static void run_filter_block(jinja *j, const jinja_node *node) {
  jinja_scope *scope = jinja_alloc(j, sizeof *scope), *outer = j->scope;
  if (!scope) return;
  open_scope(j, scope, outer);
  jinja_value value = filter_chain(j, node->b, jinja_string(j, capture(j, node->c)));
  j->scope = outer;
  if (!j->status) jinja_put(j, jinja_to_text(j, &value));
}

static void run_in_scope(jinja *j, const jinja_node *sets, const jinja_node *body) {
  jinja_scope *scope = jinja_alloc(j, sizeof *scope), *outer = j->scope;
  if (!scope) return;
  *scope = (jinja_scope){.outer = outer};
  for (const jinja_node *set = sets; set && !j->status; set = set->next) {
    jinja_value value = jinja_eval(j, set->b); /* in the scope outside: the new names are not there yet */
    j->scope = scope;
    jinja_assign_to(j, set->a, value);
    j->scope = outer;
  }
  j->scope = scope;
  jinja_run(j, body);
  j->scope = outer;
}

/* ---- macros */

static jinja_value macro_value(jinja *j, const jinja_node *node) {
  jinja_macro *macro = jinja_alloc(j, sizeof *macro);
  if (!macro) return (jinja_value){.kind = J_UNDEFINED};
  *macro = (jinja_macro){node, j->scope};
  return (jinja_value){.kind = J_MACRO, .as.macro = macro};
}

/* varargs and kwargs: the arguments that no parameter takes. */
static void bind_rest(jinja *j, const jinja_node *parameters, size_t count, int rest, const jinja_arguments *a) {
  char quoted[64];
  jinja_list *list;
  jinja_dict *dict;
  jinja_value more = jinja_list_new(j, &list), named = jinja_dict_new(j, &dict);
  more.tuple = 1;
  for (size_t i = count; i < a->count && !j->status; i++) jinja_list_add(j, list, a->items[i]);
  for (size_t i = 0; i < a->named.count && !j->status; i++) {
    const jinja_member *m = &a->named.members[i];
    const jinja_node *p = parameters;
    size_t at = 0;
    for (; p && !jinja_text_equal(p->name, *m->key.as.string) && jinja_step(j, 1); p = p->next) at++;
    if (p && at >= a->count) continue;
    jinja_dict_append(j, dict, m->key, m->value);
  }
  if (j->status) return;
  if (!(rest & REST_LIST) && list->count > 0)
    jinja_fail(j, VIVA_E_ARGUMENT, "a macro of %zu parameters is called with %zu", count, a->count);
  if (!(rest & REST_NAMED) && dict->count > 0) {
    const jinja_text *first = dict->members[0].key.as.string;
    jinja_fail(j, VIVA_E_ARGUMENT, "a macro is called with an argument that it does not have (the first is '%s')",
               error_quote(quoted, sizeof quoted, first->text, first->bytes));
  }
  if (rest & REST_LIST) jinja_assign(j, jinja_literal("varargs"), more);
  if (rest & REST_NAMED) jinja_assign(j, jinja_literal("kwargs"), named);
}

static void bind_parameters(jinja *j, const jinja_node *parameters, int rest, const jinja_arguments *a) {
  size_t at = 0;
  for (const jinja_node *p = parameters; p && !j->status; p = p->next, at++) {
    const jinja_value *given = at < a->count ? &a->items[at] : jinja_dict_find(j, &a->named, p->name);
    jinja_assign(j, p->name, given ? *given : p->a ? jinja_eval(j, p->a) : jinja_undefined(j, p->name));
  }
  if (!j->status && (rest || at < a->count || a->named.count > 0)) bind_rest(j, parameters, at, rest, a);
}

jinja_value jinja_call_macro(jinja *j, const jinja_macro *macro, const jinja_arguments *a, const jinja_value *caller) {
  const jinja_node *node = macro->node;
  int block = node->kind == N_CALL_BLOCK;
  jinja_scope *scope = jinja_alloc(j, sizeof *scope), *outer = j->scope;
  jinja_value result = {.kind = J_UNDEFINED};
  if (!scope || !jinja_enter(j)) return result;
  open_scope(j, scope, macro->scope);
  bind_parameters(j, block ? node->b : node->a, node->flag, a);
  if (caller) jinja_assign(j, jinja_literal("caller"), *caller);
  if (!j->status) result = jinja_string(j, capture(j, block ? node->c : node->b));
  j->scope = outer;
  jinja_leave(j);
  return result;
}

/* {% call(x) f(...) %}: the macro f with the block as its caller(). */
static void run_call_block(jinja *j, const jinja_node *node) {
  jinja_value f = jinja_eval(j, node->a->a), caller = macro_value(j, node);
  jinja_arguments a = jinja_eval_arguments(j, node->a->b);
  if (j->status) return;
  if (f.kind != J_MACRO) {
    jinja_fail(j, VIVA_E_ARGUMENT, "call needs a macro");
    return;
  }
  jinja_value result = jinja_call_macro(j, f.as.macro, &a, &caller);
  if (!j->status) jinja_put(j, *result.as.string);
}

/* ---- all of them */

static void run_if(jinja *j, const jinja_node *node) {
  /* elif is an N_IF in c; else is another statement. Both run as what they are. */
  while (node && node->kind == N_IF && !j->status) {
    jinja_value condition = jinja_eval(j, node->a);
    if (j->status) return;
    if (jinja_true(&condition)) {
      jinja_run(j, node->b);
      return;
    }
    if (node->flag) {
      jinja_run(j, node->c);
      return;
    }
    node = node->c;
  }
}

static void run_one(jinja *j, const jinja_node *node) {
  jinja_value value;
  j->line = node->line;
  switch (node->kind) {
  case N_TEXT: jinja_put(j, *node->value.as.string); break;
  case N_OUTPUT:
    value = jinja_eval(j, node->a);
    if (!j->status) jinja_put(j, jinja_to_text(j, &value));
    break;
  case N_IF: run_if(j, node); break;
  case N_FOR: run_for(j, node); break;
  case N_SET: jinja_assign_to(j, node->a, jinja_eval(j, node->b)); break;
  case N_SET_BLOCK: run_set_block(j, node); break;
  case N_MACRO: jinja_assign(j, node->name, macro_value(j, node)); break;
  case N_CALL_BLOCK: run_call_block(j, node); break;
  case N_FILTER_BLOCK: run_filter_block(j, node); break;
  case N_WITH: run_in_scope(j, node->a, node->b); break;
  case N_SCOPE: run_in_scope(j, NULL, node->a); break;
  case N_BREAK: j->flow = FLOW_BREAK; break;
  case N_CONTINUE: j->flow = FLOW_CONTINUE; break;
  default: jinja_fail(j, VIVA_E_INTERNAL, "an expression as a statement"); break;
  }
}

void jinja_run(jinja *j, const jinja_node *statements) {
  if (!statements || !jinja_enter(j)) return;
  for (const jinja_node *node = statements; node && !j->status && j->flow == FLOW_ON && jinja_step(j, 1);
       node = node->next)
    run_one(j, node);
  jinja_leave(j);
}
