#include "line_edit.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef VIVA_LIBEDIT
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <wchar.h>

#include "paste.h"
#endif

#include "signals.h"
#include "terminal.h"

#define COLOR  "\033[1;36m"
#define PLAIN  "\033[0m"
#define UNSEEN "\001" /* around what takes no columns of a prompt */

struct line_edit {
  int terminal;
  char *line; /* read without libedit: grows */
  size_t room;
#ifdef VIVA_LIBEDIT
  EditLine *el; /* NULL: standard input is no terminal */
  History *history;
  char prompt[128];
  mbstate_t partial; /* bytes of a character so far */
  paste pasted;
  int colors; /* the terminal knows sequences, and nobody said no */
  locale_t characters, before;
#endif
};

/* ---- with libedit */

#ifdef VIVA_LIBEDIT

enum { HISTORY_LINES = 1000, CTRL_D = 4, PASTE_KEY = 30 /* Ctrl-^, which nobody has a use for: a paste is there */ };

static line_edit *edit_of(EditLine *el) {
  void *edit = NULL;
  el_get(el, EL_CLIENTDATA, &edit);
  return edit;
}

static char *show_prompt(EditLine *el) {
  static char none[] = "";
  line_edit *edit = edit_of(el);
  return edit ? edit->prompt : none;
}

/* What was pasted enters the line as it is, line ends too: it is no command, and its first line no message. */
static unsigned char take_paste(EditLine *el, int key) {
  line_edit *edit = edit_of(el);
  (void)key;
  return edit && edit->pasted.bytes > 0 && el_insertstr(el, edit->pasted.text) == 0 ? CC_REFRESH : CC_ERROR;
}

/* 1: there is input, or its end. 0: a signal asks to stop. Signals are let in by ppoll alone, so that none comes between
 * the look at the flag and the wait. */
static int wait_for_input(void) {
  sigset_t stops, before;
  struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
  sigemptyset(&stops);
  sigaddset(&stops, SIGINT), sigaddset(&stops, SIGTERM), sigaddset(&stops, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &stops, &before);
  while (!signals_stopped())
    if (ppoll(&in, 1, NULL, &before) >= 0 || errno != EINTR) break;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return !signals_stopped();
}

/* libedit's source of characters. Bytes that are no UTF-8 are passed over. A Ctrl-D that was typed while the terminal was not
 * editing (within an answer) comes as NUL, which libedit would take for "the next character as it is". */
static int next_character(EditLine *el, wchar_t *character) {
  line_edit *edit = edit_of(el);
  for (;;) {
    char byte;
    int pasted, got = paste_read(&edit->pasted, wait_for_input, &byte, &pasted);
    if (got <= 0) return got;
    if (pasted) return *character = PASTE_KEY, 1;
    size_t taken = mbrtowc(character, &byte, 1, &edit->partial);
    if (taken == (size_t)-1) edit->partial = (mbstate_t){0};
    if (taken == 0) *character = CTRL_D;
    if (taken == 0 || taken == 1) return 1;
  }
}

/* Models read UTF-8, whatever the environment says. Of this thread and of characters alone: numbers keep their point. */
static void use_utf8(line_edit *edit) {
  edit->characters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  if (edit->characters) edit->before = uselocale(edit->characters);
}

static void leave_utf8(line_edit *edit) {
  if (!edit->characters) return;
  uselocale(edit->before);
  freelocale(edit->characters);
}

static void open_editor(line_edit *edit) {
  HistEvent event;
  use_utf8(edit);
  edit->el = el_init("viva", stdin, stderr, stderr); /* the answer alone goes to standard output */
  edit->history = history_init();
  if (!edit->el) return;
  el_set(edit->el, EL_CLIENTDATA, edit);
  el_set(edit->el, EL_PROMPT_ESC, show_prompt, UNSEEN[0]);
  el_set(edit->el, EL_GETCFN, next_character);
  el_set(edit->el, EL_EDITOR, "emacs");
  el_set(edit->el, EL_SIGNAL, 0); /* the program's own handlers stay */
  el_set(edit->el, EL_ADDFN, "viva-paste", "take what was pasted", take_paste);
  el_set(edit->el, EL_BIND, "^^", "viva-paste", NULL);
  edit->colors = terminal_colors(STDERR_FILENO);
  if (edit->history) {
    history(edit->history, &event, H_SETSIZE, HISTORY_LINES);
    el_set(edit->el, EL_HIST, history, edit->history);
  }
}

/* Ends with a blank, which stays plain: libedit leaves out a sequence that nothing follows. */
static void set_prompt(line_edit *edit, const char *prompt) {
  size_t bytes = strlen(prompt);
  if (edit->colors && bytes > 0)
    snprintf(edit->prompt, sizeof edit->prompt, UNSEEN COLOR UNSEEN "%.*s" UNSEEN PLAIN UNSEEN "%s", (int)bytes - 1,
             prompt, prompt + bytes - 1);
  else
    snprintf(edit->prompt, sizeof edit->prompt, "%s", prompt);
}

static line_status edit_line(line_edit *edit, const char *prompt, const char **line) {
  int count = 0;
  HistEvent event;
  set_prompt(edit, prompt);
  errno = 0;
  el_resize(edit->el); /* the window may have changed since the last line */
  if (edit->colors) fputs(PASTE_ON, stderr);
  const char *got = el_gets(edit->el, &count);
  if (edit->colors) fputs(PASTE_OFF, stderr);
  if (signals_stopped()) {
    el_reset(edit->el);
    fputs("\n", stderr);
    return LINE_INTERRUPTED;
  }
  if (!got || count <= 0) {
    fputs("\n", stderr);
    return LINE_END;
  }
  if (edit->history && count > 1) history(edit->history, &event, H_ENTER, got);
  size_t bytes = (size_t)count - (got[count - 1] == '\n');
  if (bytes + 1 > edit->room) {
    char *grown = realloc(edit->line, bytes + 1);
    if (!grown) return LINE_FAILED;
    edit->line = grown;
    edit->room = bytes + 1;
  }
  memcpy(edit->line, got, bytes);
  edit->line[bytes] = 0;
  *line = edit->line;
  return LINE_READ;
}

#endif

/* ---- without */

static line_status plain_line(line_edit *edit, const char *prompt, const char **line) {
  size_t used = 0;
  if (edit->terminal) fprintf(stderr, terminal_colors(STDERR_FILENO) ? COLOR "%s" PLAIN : "%s", prompt);
  for (;;) {
    char c;
    if (used + 1 >= edit->room) {
      char *grown = realloc(edit->line, 2 * edit->room + 256);
      if (!grown) return LINE_FAILED;
      edit->line = grown;
      edit->room = 2 * edit->room + 256;
    }
    ssize_t got = read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR && !signals_stopped()) continue;
    if (got < 0) return errno == EINTR ? LINE_INTERRUPTED : LINE_FAILED;
    if (got == 0 && used == 0) return LINE_END;
    if (got == 0 || c == '\n') break;
    edit->line[used++] = c;
  }
  edit->line[used] = 0;
  *line = edit->line;
  return LINE_READ;
}

line_edit *line_edit_open(void) {
  line_edit *edit = calloc(1, sizeof *edit);
  if (!edit) return NULL;
  edit->terminal = isatty(STDIN_FILENO) == 1;
#ifdef VIVA_LIBEDIT
  if (edit->terminal) open_editor(edit);
#endif
  return edit;
}

void line_edit_close(line_edit *edit) {
  if (!edit) return;
#ifdef VIVA_LIBEDIT
  if (edit->history) history_end(edit->history);
  if (edit->el) el_end(edit->el);
  paste_free(&edit->pasted);
  leave_utf8(edit);
#endif
  free(edit->line);
  free(edit);
}

int line_edit_terminal(const line_edit *edit) { return edit->terminal; }

line_status line_edit_read(line_edit *edit, const char *prompt, const char **line) {
  *line = "";
#ifdef VIVA_LIBEDIT
  if (edit->el) return edit_line(edit, prompt, line);
#endif
  return plain_line(edit, prompt, line);
}
