/* text/jinja_global.c: what a template may call: range, namespace, dict, raise_exception, strftime_now. */
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"

#define MAX_RANGE 100000 /* as Jinja's sandbox */

static jinja_value nothing(void) { return (jinja_value){.kind = J_UNDEFINED}; }

static jinja_value global_range(jinja *j, const jinja_arguments *a) {
  int64_t parts[3] = {0, 0, 1};
  jinja_list *list;
  if (a->count < 1 || a->count > 3) jinja_fail(j, VIVA_E_ARGUMENT, "range needs one to three integers");
  for (size_t i = 0; i < a->count && i < 3; i++) {
    if (a->items[i].kind != J_INT) jinja_fail(j, VIVA_E_ARGUMENT, "range needs integers");
    parts[i] = a->items[i].as.integer;
  }
  if (a->count == 1) parts[1] = parts[0], parts[0] = 0;
  if (parts[2] == 0) jinja_fail(j, VIVA_E_ARGUMENT, "range needs a step that is not 0");
  jinja_value result = jinja_list_new(j, &list);
  int64_t step = parts[2], at = parts[0];
  for (size_t n = 0; !j->status && (step > 0 ? at < parts[1] : at > parts[1]); n++) {
    if (n == MAX_RANGE) jinja_fail(j, VIVA_E_LIMIT, "a range of more than %d numbers", MAX_RANGE);
    jinja_list_add(j, list, jinja_int(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return result;
}

static void set_members(jinja *j, jinja_dict *dict, const jinja_dict *members) {
  for (size_t i = 0; i < members->count && !j->status; i++)
    jinja_dict_set(j, dict, members->members[i].key, members->members[i].value);
}

/* A mapping as argument, or named members, or both. */
static jinja_value make_dict(jinja *j, const jinja_arguments *a, jinja_kind kind) {
  jinja_dict *dict;
  jinja_value result = jinja_dict_new(j, &dict);
  result.kind = kind;
  if (a->count > 1 || (a->count == 1 && a->items[0].kind != J_DICT))
    jinja_fail(j, VIVA_E_ARGUMENT, "dict and namespace need a mapping, or name=value");
  if (a->count == 1 && !j->status) set_members(j, dict, a->items[0].as.dict);
  if (!j->status) set_members(j, dict, &a->named);
  return j->status ? nothing() : result;
}

static jinja_value global_namespace(jinja *j, const jinja_arguments *a) { return make_dict(j, a, J_NAMESPACE); }
static jinja_value global_dict(jinja *j, const jinja_arguments *a) { return make_dict(j, a, J_DICT); }

static jinja_value global_raise(jinja *j, const jinja_arguments *a) {
  char quoted[256];
  const jinja_value *v = jinja_argument(a, 0, "message");
  jinja_text t = v ? jinja_to_text(j, v) : jinja_literal("");
  jinja_fail(j, VIVA_E_ARGUMENT, "the template refuses these messages: %s",
             error_quote(quoted, sizeof quoted, t.text, t.bytes));
  return nothing();
}

/* ---- the date */

typedef struct date {
  int64_t year;
  int month, day, hour, minute, second, weekday, yearday; /* month and day from 1; weekday 0 is Sunday */
} date;

static int is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

static date date_of(int64_t seconds) {
  static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t days = seconds / 86400, rest = seconds % 86400;
  if (rest < 0) rest += 86400, days--;
  date d = {.year = 1970, .hour = (int)(rest / 3600), .minute = (int)(rest / 60 % 60), .second = (int)(rest % 60)};
  d.weekday = (int)(((days + 4) % 7 + 7) % 7); /* 1 January 1970 was a Thursday */
  d.year += days / 146097 * 400;               /* 400 years have that many days, wherever they begin */
  days %= 146097;
  if (days < 0) days += 146097, d.year -= 400;
  while (days >= 365 + is_leap(d.year)) days -= 365 + is_leap(d.year), d.year++;
  d.yearday = (int)days + 1;
  while (days >= lengths[d.month] + (d.month == 1 && is_leap(d.year)))
    days -= lengths[d.month] + (d.month == 1 && is_leap(d.year)), d.month++;
  d.month++;
  d.day = (int)days + 1;
  return d;
}

static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};
static const char *const weekdays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

typedef char date_text[64];

/* A number of at least `width` digits, filled with zeros; plain: as short as it is. */
static int put_number(date_text text, int64_t value, int width, int plain) {
  snprintf(text, sizeof(date_text), "%0*lld", plain ? 1 : width, (long long)value);
  return 1;
}

static int put_word(date_text text, const char *word, int bytes) {
  snprintf(text, sizeof(date_text), "%.*s", bytes, word);
  return 1;
}

/* One conversion of strftime in the C locale; 0: not known. */
static int put_date(date_text text, char kind, int plain, const date *d) {
  switch (kind) {
  case 'Y': return put_number(text, d->year, 1, 0);
  case 'y': return put_number(text, d->year % 100, 2, plain);
  case 'm': return put_number(text, d->month, 2, plain);
  case 'd': return put_number(text, d->day, 2, plain);
  case 'H': return put_number(text, d->hour, 2, plain);
  case 'I': return put_number(text, d->hour % 12 ? d->hour % 12 : 12, 2, plain);
  case 'M': return put_number(text, d->minute, 2, plain);
  case 'S': return put_number(text, d->second, 2, plain);
  case 'j': return put_number(text, d->yearday, 3, plain);
  case 'p': return put_word(text, d->hour < 12 ? "AM" : "PM", 2);
  case 'B': return put_word(text, months[d->month - 1], 16);
  case 'b': return put_word(text, months[d->month - 1], 3);
  case 'A': return put_word(text, weekdays[d->weekday], 16);
  case 'a': return put_word(text, weekdays[d->weekday], 3);
  case '%': return put_word(text, "%", 1);
  default: return 0;
  }
}

static jinja_value global_strftime(jinja *j, const jinja_arguments *a) {
  jinja_output out = {0};
  const jinja_value *format = jinja_argument(a, 0, "format");
  if (!format || format->kind != J_STRING) jinja_fail(j, VIVA_E_ARGUMENT, "strftime_now needs a format");
  if (j->now == 0) jinja_fail(j, VIVA_E_ARGUMENT, "the template asks for the date: set the option now");
  if (j->status) return nothing();
  date d = date_of(j->now);
  jinja_text t = *format->as.string;
  for (size_t at = 0; at < t.bytes && !j->status; at++) {
    date_text text;
    if (t.text[at] != '%') {
      jinja_output_add(j, &out, jinja_part(t, at, at + 1));
      continue;
    }
    int plain = at + 1 < t.bytes && t.text[at + 1] == '-';
    at += plain ? 2 : 1;
    if (at >= t.bytes || !put_date(text, t.text[at], plain, &d))
      jinja_fail(j, VIVA_E_UNSUPPORTED, "strftime_now has a conversion that is not supported");
    else
      jinja_output_add(j, &out, jinja_literal(text));
  }
  return jinja_string(j, jinja_output_text(&out));
}

static const struct {
  const char *name;
  jinja_value (*call)(jinja *j, const jinja_arguments *a);
} globals[] = {{"range", global_range},
               {"namespace", global_namespace},
               {"dict", global_dict},
               {"raise_exception", global_raise},
               {"strftime_now", global_strftime}};

jinja_value jinja_global_find(jinja *j, jinja_text name) {
  (void)j;
  for (unsigned i = 0; i < sizeof globals / sizeof *globals; i++)
    if (jinja_text_is(name, globals[i].name)) return (jinja_value){.kind = J_FUNCTION, .as.function = i};
  return nothing();
}

jinja_value jinja_global_call(jinja *j, unsigned function, const jinja_arguments *a) {
  return j->status ? nothing() : globals[function].call(j, a);
}
