#include "protect.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "messages.h"
#include "units.h"

enum { PATH_BYTES = 4096 }; /* a longer one cannot be opened */

static int same(const struct stat *a, const struct stat *b) { return a->st_dev == b->st_dev && a->st_ino == b->st_ino; }

static int is_at(const struct stat *file, const char *folder, const char *name) {
  char path[PATH_BYTES];
  struct stat found;
  text_format(path, sizeof path, "%s%s", folder, name);
  return stat(path, &found) == 0 && same(file, &found);
}

static int ends_with(const char *text, const char *end) {
  size_t bytes = strlen(text), wanted = strlen(end);
  return bytes >= wanted && strcmp(text + bytes - wanted, end) == 0;
}

/* One of the files of weights, which an index names. folder: "" or with a slash at its end */
static int is_shard(const struct stat *file, const char *folder) {
  const struct dirent *entry;
  int found = 0;
  DIR *all = opendir(*folder ? folder : ".");
  if (all == NULL) return 0;
  while (!found && (entry = readdir(all)) != NULL)
    found = ends_with(entry->d_name, ".safetensors") && is_at(file, folder, entry->d_name);
  closedir(all);
  return found;
}

/* What may be read beside an input that is a file: a model's configuration, its tokenizer, the shards of an index. */
static int is_beside(const struct stat *file, const char *input) {
  static const char *const names[] = {"config.json",
                                      "generation_config.json",
                                      "hf_quant_config.json",
                                      "tokenizer.json",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "vocab.json",
                                      "merges.txt",
                                      "tokenizer.model",
                                      "tekken.json",
                                      "chat_template.jinja",
                                      "chat_template.json"};
  char folder[PATH_BYTES];
  const char *slash = strrchr(input, '/');
  size_t bytes = slash ? (size_t)(slash - input) + 1 : 0;
  if (bytes >= sizeof folder) return 0;
  text_format(folder, sizeof folder, "%.*s", (int)bytes, input);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (is_at(file, folder, names[i])) return 1;
  return ends_with(input, ".index.json") && is_shard(file, folder);
}

int protect_inputs(const char *path, const char *const *inputs, size_t count) {
  struct stat file, read;
  if (stat(path, &file) != 0) return 0; /* a new name */
  if (fstat(STDIN_FILENO, &read) == 0 && S_ISREG(read.st_mode) && same(&file, &read))
    return message_fail(CODE_USAGE, "%s: standard input reads this file: choose another name for the output", path);
  for (size_t i = 0; i < count; i++)
    if (is_beside(&file, inputs[i]))
      return message_fail(CODE_USAGE, "%s: it is read with %s: choose another name for the output", path, inputs[i]);
  return 0;
}

int protect_stream(const char *path) {
  struct stat from, to;
  int standard = path == NULL || strcmp(path, "-") == 0;
  if (fstat(STDOUT_FILENO, &to) != 0 || !S_ISREG(to.st_mode)) return 0;
  if ((standard ? fstat(STDIN_FILENO, &from) : stat(path, &from)) != 0 || !same(&from, &to)) return 0;
  return message_fail(CODE_USAGE, "%s: input and output are the same file: write into another one",
                      standard ? "standard input" : path);
}
