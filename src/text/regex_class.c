/* Classes of characters in expressions. */
#include <string.h>

#include "text/regex_inner.h"
#include "text/unicode.h"

/* Unicode's, which counts within brackets. It has no join controls, which the flag (the regex crate's \w) has. */
static int is_listed_word(uint32_t code) {
  return (unicode_class(code) & UNICODE_WORD) && code != 0x200c && code != 0x200d;
}

int regex_is_word(uint32_t code) {
  /* Oniguruma's own table below U+0100 has the superscript digits and the fractions. */
  if (code == 0xb2 || code == 0xb3 || code == 0xb9 || (code >= 0xbc && code <= 0xbe)) return 1;
  return is_listed_word(code);
}

static int part_has(const regex_class *set, uint32_t code) {
  uint8_t class = unicode_class(code);
  if (set->categories >> (class & UNICODE_CATEGORY) & 1) return 1;
  if (set->flags) {
    int space = (class & UNICODE_SPACE) != 0;
    int word = set->flags & CLASS_BRACKETS ? is_listed_word(code) : regex_is_word(code);
    if ((set->flags & CLASS_SPACE && space) || (set->flags & CLASS_NOT_SPACE && !space)) return 1;
    if ((set->flags & CLASS_WORD && word) || (set->flags & CLASS_NOT_WORD && !word)) return 1;
  }
  for (const regex_range *r = set->ranges; r; r = r->next)
    if (code >= r->first && code <= r->last) return 1;
  return 0;
}

int regex_class_has(const regex_class *set, uint32_t code) {
  for (; set; set = set->also)
    if (part_has(set, code) == set->negated) return 0;
  return 1;
}

void regex_class_end(regex_class *set) {
  memset(set->ascii, 0, sizeof set->ascii);
  for (uint32_t code = 0; code < 128; code++)
    if (regex_class_has(set, code)) set->ascii[code / 32] |= 1u << code % 32;
}

static int add_range(arena *a, regex_class *set, uint32_t first, uint32_t last) {
  regex_range *r = arena_alloc(a, sizeof *r);
  if (!r) return 1;
  *r = (regex_range){set->ranges, first, last};
  set->ranges = r;
  return 0;
}

#define LONG_S 0x17f  /* folds to s */
#define KELVIN 0x212a /* folds to k */

static int add_other_case(arena *a, regex_class *set, uint32_t code) {
  if (code < 'A' || (code > 'Z' && code < 'a') || code > 'z') return 0;
  uint32_t lower = code | 0x20;
  if (add_range(a, set, lower, lower) || add_range(a, set, lower - 0x20, lower - 0x20)) return 1;
  if (lower == 's') return add_range(a, set, LONG_S, LONG_S);
  return lower == 'k' ? add_range(a, set, KELVIN, KELVIN) : 0;
}

int regex_class_add(arena *a, regex_class *set, uint32_t first, uint32_t last, int fold) {
  if (add_range(a, set, first, last)) return 1;
  if (!fold) return 0;
  for (uint32_t code = first; code <= last && code < 128; code++)
    if (add_other_case(a, set, code)) return 1;
  if (last < 128) return 0;
  /* Above ASCII only characters without case are known here: those that are not letters or marks with one. */
  for (uint32_t code = first < 128 ? 128 : first; code <= last; code++)
    if ((unicode_class(code) & UNICODE_CATEGORY) <= UNICODE_LT) return -1;
  return 0;
}

#define BIT(category) (1u << (category))
#define ALL           (BIT(30) - 1)

/* The scripts that tokenizer files name, with their ranges (Scripts.txt, Unicode 16). */
static const uint32_t han[][2] = {{0x2e80, 0x2e99},   {0x2e9b, 0x2ef3},   {0x2f00, 0x2fd5},   {0x3005, 0x3005},
                                  {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303b},   {0x3400, 0x4dbf},
                                  {0x4e00, 0x9fff},   {0xf900, 0xfa6d},   {0xfa70, 0xfad9},   {0x16fe2, 0x16fe3},
                                  {0x16ff0, 0x16ff1}, {0x20000, 0x2a6df}, {0x2a700, 0x2b739}, {0x2b740, 0x2b81d},
                                  {0x2b820, 0x2cea1}, {0x2ceb0, 0x2ebe0}, {0x2ebf0, 0x2ee5d}, {0x2f800, 0x2fa1d},
                                  {0x30000, 0x3134a}, {0x31350, 0x323af}};

/* Categories in the order of unicode.h and of tools/make_unicode_tables. */
static const char categories[30][3] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                       "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                       "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};

static uint32_t category_mask(const char *name, size_t bytes) {
  static const struct {
    const char *name;
    const char *code;
  } words[] = {
      {"Letter", "L"},           {"Mark", "M"},  {"Number", "N"}, {"Punctuation", "P"}, {"Punct", "P"}, {"Symbol", "S"},
      {"Separator", "Z"},        {"Other", "C"}, {"Digit", "Nd"}, {"Alpha", ""},        {"Upper", ""},  {"Lower", ""},
      {"Uppercase_Letter", "Lu"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strlen(words[i].name) == bytes && memcmp(words[i].name, name, bytes) == 0) {
      name = words[i].code;
      bytes = strlen(name);
      break;
    }
  uint32_t mask = 0;
  for (uint32_t i = 0; i < 30; i++)
    if ((bytes == 1 || bytes == 2) && memcmp(categories[i], name, bytes) == 0) mask |= BIT(i);
  return mask;
}

int regex_class_property(arena *a, regex_class *set, const char *name, size_t bytes, int negated) {
  uint32_t mask = category_mask(name, bytes);
  if (mask) {
    set->categories |= negated ? ALL & ~mask : mask;
    return 0;
  }
  if (bytes != 3 || memcmp(name, "Han", 3) != 0) return 1;
  uint32_t next = 0;
  for (size_t i = 0; i < sizeof han / sizeof *han; i++) {
    if (negated ? han[i][0] > next && add_range(a, set, next, han[i][0] - 1) : add_range(a, set, han[i][0], han[i][1]))
      return -1;
    next = han[i][1] + 1;
  }
  return negated && add_range(a, set, next, 0x10ffff) ? -1 : 0;
}
