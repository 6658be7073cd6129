/* From an expression's tree to its program. */
#include "text/regex_parse.h"

#define CODE_MAX 20000 /* instructions: repetitions of groups are written out */

typedef struct program {
  regex_code *code;
  uint32_t count;
} program;

/* The next instruction's place; beyond CODE_MAX only counts. */
static uint32_t put(program *p, regex_code code) {
  if (p->count < CODE_MAX) p->code[p->count] = code;
  return p->count < CODE_MAX ? p->count++ : CODE_MAX;
}

static void emit(program *p, const regex_node *n);

static void emit_children(program *p, const regex_node *n) {
  for (const regex_node *c = n->child; c; c = c->next) emit(p, c);
}

static void emit_alternatives(program *p, const regex_node *n) {
  /* The jumps to the end are chained through their targets until the end is known. */
  uint32_t last = UINT32_MAX;
  for (const regex_node *c = n->child; c; c = c->next) {
    if (!c->next) {
      emit(p, c);
      break;
    }
    uint32_t split = put(p, (regex_code){.op = REGEX_SPLIT});
    emit(p, c);
    last = put(p, (regex_code){.op = REGEX_JUMP, .a = last});
    if (split < CODE_MAX) p->code[split].a = split + 1, p->code[split].b = p->count;
  }
  while (last < CODE_MAX) {
    uint32_t before = p->code[last].a;
    p->code[last].a = p->count;
    last = before;
  }
}

/* A split in front of a repetition: greedy tries what follows it first. Its other way is filled in by land. */
static uint32_t branch(program *p, uint32_t how) {
  uint32_t at = put(p, (regex_code){.op = REGEX_SPLIT, .how = how});
  if (at < CODE_MAX) p->code[at].a = p->code[at].b = at + 1;
  return at;
}

static void land(program *p, uint32_t at) {
  if (at >= CODE_MAX) return;
  if (p->code[at].how == LOOP_LAZY)
    p->code[at].a = p->count;
  else
    p->code[at].b = p->count;
}

static void emit_group_repeat(program *p, const regex_node *n) {
  for (uint32_t i = 0; i < n->least && p->count < CODE_MAX; i++) emit(p, n->child);
  if (n->most == REGEX_ENDLESS) {
    uint32_t at = branch(p, n->how);
    emit(p, n->child);
    put(p, (regex_code){.op = REGEX_JUMP, .a = at});
    land(p, at);
    return;
  }
  uint32_t first = p->count;
  for (uint32_t i = n->least; i < n->most && p->count < CODE_MAX; i++) {
    branch(p, n->how);
    emit(p, n->child);
  }
  /* All the splits written here (not those of the child's own, whose ways are both set) lead to the end. */
  for (uint32_t at = first; at < p->count; at++)
    if (p->code[at].op == REGEX_SPLIT && p->code[at].a == at + 1 && p->code[at].b == at + 1) land(p, at);
}

static void emit_repeat(program *p, const regex_node *n) {
  const regex_node *child = n->child;
  while (child->kind == NODE_SEQUENCE && child->child && !child->child->next) child = child->child;
  if (child->kind == NODE_CLASS) {
    put(p, (regex_code){.op = REGEX_LOOP, .how = n->how, .a = n->least, .b = n->most, .set = child->set});
    return;
  }
  if (n->how == LOOP_POSSESSIVE) put(p, (regex_code){.op = REGEX_ATOMIC});
  emit_group_repeat(p, n);
  if (n->how == LOOP_POSSESSIVE) put(p, (regex_code){.op = REGEX_ATOMIC_END});
}

static void emit(program *p, const regex_node *n) {
  uint32_t at;
  switch (n->kind) {
  case NODE_CLASS: put(p, (regex_code){.op = REGEX_CLASS, .set = n->set}); break;
  case NODE_TEST: put(p, (regex_code){.op = n->op, .how = n->how, .set = n->set}); break;
  case NODE_SEQUENCE: emit_children(p, n); break;
  case NODE_ALTERNATIVES: emit_alternatives(p, n); break;
  case NODE_REPEAT: emit_repeat(p, n); break;
  case NODE_AHEAD:
    at = put(p, (regex_code){.op = REGEX_AHEAD, .how = n->how});
    emit(p, n->child);
    put(p, (regex_code){.op = REGEX_AHEAD_END, .how = n->how});
    if (at < CODE_MAX) p->code[at].a = p->count;
    break;
  case NODE_ATOMIC:
    put(p, (regex_code){.op = REGEX_ATOMIC});
    emit(p, n->child);
    put(p, (regex_code){.op = REGEX_ATOMIC_END});
    break;
  }
}

viva_status regex_compile(arena *a, const char *text, size_t bytes, const regex **out, viva_error *error) {
  regex_node *tree;
  TRY(regex_parse(a, text, bytes, &tree, error));
  program p = {arena_alloc(a, CODE_MAX * sizeof *p.code), 0};
  regex *r = arena_alloc(a, sizeof *r);
  if (!p.code || !r) return error_set(error, VIVA_E_MEMORY, "no memory to compile a pattern");
  emit(&p, tree);
  put(&p, (regex_code){.op = REGEX_MATCH});
  char quoted[160];
  if (p.count == CODE_MAX)
    return error_set(error, VIVA_E_UNSUPPORTED, "the pattern '%s' is too large",
                     error_quote(quoted, sizeof quoted, text, bytes));
  *r = (regex){p.code, p.count};
  *out = r;
  return VIVA_OK;
}
