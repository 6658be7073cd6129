#include "foreign.h"

#include <stddef.h>
#include <string.h>

/* Words, separated by spaces, that have one answer. docs/llama-cpp.md has the same words for people to read. */
typedef struct foreign {
  const char *words, *hint;
} foreign;

static const foreign options[] = {
    {"-ngl --gpu-layers --n-gpu-layers", "a model is held whole on one device; see --device"},
    {"-cnv --conversation -i --interactive --interactive-first -mli", "a conversation is 'viva chat -m MODEL'"},
    {"-no-cnv --no-conversation", "plain continuation is 'viva generate'"},
    {"-st --single-turn", "one question and its answer is 'viva chat -m MODEL -p TEXT'"},
    {"-sys --system-prompt", "the system message is --system of 'viva chat'"},
    {"--jinja --chat-template --chat-template-file", "the model's own template is applied by 'viva chat' and by 'viva "
                                                     "generate --chat', and nothing has to be switched on"},
    {"-fa --flash-attn", "attention is always computed in blocks, and nothing has to be switched on"},
    {"-ctk --cache-type-k -ctv --cache-type-v", "the type of the KV cache is --kv"},
    {"-b --batch-size -ub --ubatch-size", "how much of a prompt is computed at once is chosen, and changes no result"},
    {"-tb --threads-batch", "there is one number of threads, -t"},
    {"--mmap --no-mmap --mlock --no-direct-io", "files are read into memory or mapped by --load read|mmap"},
    {"-hf --hf-repo -hff --hf-file -hft --hf-token -mu --model-url",
     "viva opens files and fetches none: 'hf download REPO --local-dir FOLDER', then -m FOLDER"},
    {"--lora --lora-scaled --control-vector",
     "adapters are not read: merge them into the model first (peft: merge_and_unload)"},
    {"-md --model-draft --draft-max --draft-min", "a draft model is not used"},
    {"--grammar --grammar-file -j --json-schema", "text is not constrained by a grammar"},
    {"--mirostat --mirostat-lr --mirostat-ent --typical --typical-p --xtc-probability --dynatemp-range --samplers "
     "--sampling-seq --presence-penalty --frequency-penalty --repeat-last-n --dry-multiplier",
     "the samplers are --temp --top-k --top-p --min-p --repeat-penalty (docs/sampling.md)"},
    {"-s", "the seed is --seed"},
    {"-r --reverse-prompt", "text is ended before a string by --stop, at a token by --stop-token"},
    {"-e --escape --no-escape", "texts are taken as they are; the shell writes a line end as $'one\\ntwo'"},
    {"--no-display-prompt --display-prompt", "the prompt is never repeated"},
    {"--verbose-prompt", "the prompt's tokens are shown by 'viva tokenize --like-generate'"},
    {"--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-ext-factor --yarn-orig-ctx",
     "positions are scaled as the model's own files say"},
    {"--prompt-cache --prompt-cache-all", "a conversation is kept by /save and /load of 'viva chat'"},
    {"-mg --main-gpu -sm --split-mode -ts --tensor-split --override-tensor -ot --numa",
     "a model is held whole on one device"},
    {"--color -co --simple-io --no-warmup --warmup --perf --no-perf", "there is nothing to switch"},
    {"--predict --max-tokens --max-new-tokens", "the most new tokens are -n (--n-predict)"},
    {"--ctx --context --num-ctx", "the context is -c (--ctx-size)"},
    {"--mmproj --image", "images are not read"},
};

static const foreign commands[] = {
    {"serve server", "there is no server yet; 'viva generate --json' answers one request"},
    {"pull fetch",
     "viva opens files and fetches none: 'hf download REPO --local-dir FOLDER', then 'viva chat -m FOLDER'"},
    {"list ls ps", "models are files wherever they lie; 'viva inspect -m MODEL' describes one"},
    {"show info", "a model is described by 'viva inspect -m MODEL'"},
    {"cli llama-cli complete", "text is continued by 'viva generate', a conversation is 'viva chat'"},
    {"convert", "a model is written in another format by 'viva quantize IN OUT --format FORMAT'"},
};

static const char *find(const foreign *list, size_t count, const char *word, size_t length) {
  for (size_t i = 0; i < count; i++)
    for (const char *at = list[i].words; *at != 0;) {
      size_t n = strcspn(at, " ");
      if (n == length && memcmp(at, word, n) == 0) return list[i].hint;
      at += n + strspn(at + n, " ");
    }
  return NULL;
}

const char *foreign_option(const char *word) {
  return find(options, sizeof options / sizeof *options, word, strcspn(word, "="));
}

const char *foreign_command(const char *word) {
  return find(commands, sizeof commands / sizeof *commands, word, strlen(word));
}
