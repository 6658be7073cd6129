/* text/normal_form.h: NFC, NFD, NFKC and NFKD, as the reference has them (Unicode 9.0). */
#ifndef TEXT_NORMAL_FORM_H
#define TEXT_NORMAL_FORM_H

#include "text/mapped.h"

typedef enum normal_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD } normal_form;

/* Marks, one bit for each code point, of the characters that a form changes, reorders or joins with the one before. Text
 * without a marked character is in that form. */
#define NORMAL_FORM_WORDS (0x110000 / 64)
void normal_form_mark(normal_form form, uint64_t marks[NORMAL_FORM_WORDS]);

/* The first marked character of text[at .. end), or end. */
size_t normal_form_skip(const uint64_t *marks, const uint8_t *text, size_t at, size_t end);

/* Appends `in` (valid UTF-8) in that form. 1: no memory. */
int normal_form_write(mem *m, normal_form form, const uint64_t *marks, text_view in, mapped *out);

#endif
