/* format/foreign_file.c: files that people give instead of a checkpoint. */
#include <string.h>

#include "format/checkpoint_build.h"

typedef struct stranger {
  const char *begin;
  size_t bytes;
  const char *hint;
} stranger;

#define STRANGER(text, hint)                                                                                           \
  { text, sizeof(text) - 1, hint }

static const stranger strangers[] = {
    STRANGER("version https://git-lfs", "this is a Git LFS pointer, not the file it stands for: run `git lfs pull`"),
    STRANGER("<!DOCTYPE", "this is a web page: the download went to a page instead of the file"),
    STRANGER("<!doctype", "this is a web page: the download went to a page instead of the file"),
    STRANGER("<html", "this is a web page: the download went to a page instead of the file"),
    STRANGER("<HTML", "this is a web page: the download went to a page instead of the file"),
    STRANGER("<?xml", "this is an XML document, perhaps a server's error message: download the file again"),
    STRANGER("PK\003\004", "this is a zip archive, as PyTorch writes: convert it to safetensors first"),
    STRANGER("\x80\x02", "this is a Python pickle, as PyTorch writes: convert it to safetensors first"),
    STRANGER("\x89HDF", "this is an HDF5 file, as Keras writes: convert it to safetensors first"),
    STRANGER("\x1f\x8b", "this is compressed with gzip: unpack it first"),
    STRANGER("tjgg", "this is a GGML file, older than GGUF: convert it to GGUF first"),
    STRANGER("fmgg", "this is a GGML file, older than GGUF: convert it to GGUF first"),
    STRANGER("lmgg", "this is a GGML file, older than GGUF: convert it to GGUF first"),
    STRANGER("FUGG", "this is a big-endian GGUF file, which viva does not read"),
    STRANGER("VIVACMP\n", "this is a container of compressed tensors already: read it with `viva decompress`"),
    STRANGER("{", "this looks like JSON: give the folder, the index or the weights' file instead"),
};

const char *stranger_hint(const void *first, size_t bytes) {
  for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
    if (bytes >= strangers[i].bytes && memcmp(first, strangers[i].begin, strangers[i].bytes) == 0)
      return strangers[i].hint;
  return "";
}
