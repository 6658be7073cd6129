/* format/foreign_file.c: files that people give instead of a checkpoint. */
#include <string.h>

#include "format/checkpoint_build.h"

typedef struct foreign_file {
  const char *begin;
  size_t bytes;
  const char *hint;
} foreign_file;

#define FOREIGN(text, hint)                                                                                            \
  { text, sizeof(text) - 1, hint }

static const foreign_file foreign_files[] = {
    FOREIGN("version https://git-lfs", "this is a Git LFS pointer, not the file it stands for: run `git lfs pull`"),
    FOREIGN("<!DOCTYPE", "this is a web page: the download went to a page instead of the file"),
    FOREIGN("<!doctype", "this is a web page: the download went to a page instead of the file"),
    FOREIGN("<html", "this is a web page: the download went to a page instead of the file"),
    FOREIGN("<HTML", "this is a web page: the download went to a page instead of the file"),
    FOREIGN("<?xml", "this is an XML document, perhaps a server's error message: download the file again"),
    FOREIGN("PK\003\004", "this is a zip archive, as PyTorch writes: convert it to safetensors first"),
    FOREIGN("\x80\x02", "this is a Python pickle, as PyTorch writes: convert it to safetensors first"),
    FOREIGN("\x89HDF", "this is an HDF5 file, as Keras writes: convert it to safetensors first"),
    FOREIGN("\x1f\x8b", "this is compressed with gzip: unpack it first"),
    FOREIGN("tjgg", "this is a GGML file, older than GGUF: convert it to GGUF first"),
    FOREIGN("fmgg", "this is a GGML file, older than GGUF: convert it to GGUF first"),
    FOREIGN("lmgg", "this is a GGML file, older than GGUF: convert it to GGUF first"),
    FOREIGN("FUGG", "this is a big-endian GGUF file, which viva does not read"),
    FOREIGN("VIVACMP\n", "this is a container of compressed tensors already: read it with `viva decompress`"),
    FOREIGN("{", "this looks like JSON: give the folder, the index or the weights' file instead"),
};

const char *foreign_file_hint(const void *first, size_t bytes) {
  for (size_t i = 0; i < sizeof foreign_files / sizeof *foreign_files; i++)
    if (bytes >= foreign_files[i].bytes && memcmp(first, foreign_files[i].begin, foreign_files[i].bytes) == 0)
      return foreign_files[i].hint;
  return "";
}
