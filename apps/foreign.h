/* foreign.h: words of other programs' command lines (llama.cpp, Ollama), and what viva has in their place. */
#ifndef APPS_FOREIGN_H
#define APPS_FOREIGN_H

/* word: as it was typed, with its dashes, perhaps "--name=value". Returns what to write here, or NULL: not known. */
const char *foreign_option(const char *word);
const char *foreign_command(const char *word);

#endif
