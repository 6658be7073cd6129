#include "foreign.h"

#include <stddef.h>
#include <string.h>

/* Words, separated by spaces, that have one answer; "--spec-*": all that begin so. docs/llama-cpp.md has the same words for
 * people to read. */
typedef struct foreign {
  const char *words, *hint;
} foreign;

static const foreign options[] = {
    {"-ngl --gpu-layers --n-gpu-layers -mg --main-gpu -sm --split-mode -ts --tensor-split -ot --override-tensor --numa "
     "--rpc -kvo --kv-offload -nkvo --no-kv-offload --op-offload --no-op-offload --no-host -fit --fit -fitt -fitc "
     "--fit-*",
     "a model is held whole on one device; see --device"},
    {"-dev --list-devices", "devices are listed by 'viva devices' and chosen by --device"},
    {"-cmoe --cpu-moe -ncmoe --n-cpu-moe", "mixtures of experts are not run"},
    {"-cnv --conversation -i --interactive --interactive-first -mli --multiline-input",
     "a conversation is 'viva chat -m MODEL'"},
    {"-no-cnv --no-conversation", "plain continuation is 'viva generate'"},
    {"-st --single-turn", "one question and its answer is 'viva chat -m MODEL -p TEXT'"},
    {"-sys --system-prompt", "the system message is --system of 'viva chat'"},
    {"-sysf --system-prompt-file", "the system message is --system of 'viva chat', which takes a text: $(cat FILE)"},
    {"--jinja --no-jinja --chat-template --chat-template-file --in-prefix --in-prefix-bos --in-suffix",
     "the model's own template is applied by 'viva chat' and by 'viva generate --chat', and nothing has to be switched "
     "on"},
    {"-rea --reasoning --reasoning-* --chat-template-kwargs",
     "what a model thinks is part of its answer; a template's variables are set from C (variables_json in "
     "viva/chat.h)"},
    {"-fa --flash-attn", "attention is always computed in blocks, and nothing has to be switched on"},
    {"-ctk --cache-type-k -ctv --cache-type-v", "the type of the KV cache is --kv"},
    {"-b --batch-size -ub --ubatch-size", "how much of a prompt is computed at once is chosen, and changes no result"},
    {"-np --parallel -cb --cont-batching", "one text is made at a time; programs make several (viva_generators_step)"},
    {"--keep --context-shift --no-context-shift --swa-full",
     "a context that is full ends a text; 'viva chat' asks what it may forget"},
    {"-tb --threads-batch", "there is one number of threads, -t"},
    {"-C -Cr -Cb -Crb --cpu-mask --cpu-range --cpu-strict --prio --poll",
     "the system places threads: taskset chooses processors, nice the priority"},
    {"-mmp --mmap --no-mmap --mlock -lm --load-mode -dio --direct-io -ndio --no-direct-io",
     "files are read into memory or mapped by --load read|mmap"},
    {"-hf -hfr --hf-repo -hff --hf-file -hft --hf-token -mu --model-url -dr --docker-repo -cl --cache-list --offline",
     "viva opens files and fetches none: 'hf download REPO --local-dir FOLDER', then -m FOLDER"},
    {"--lora --lora-scaled --control-vector --control-vector-*",
     "adapters are not read: merge them into the model first (peft: merge_and_unload)"},
    {"-md --model-draft --draft --draft-* --spec-* -td -tbd -devd -ngld -ctkd -ctvd -hfd", "a draft model is not used"},
    {"--grammar --grammar-file -j --json-schema -jf --json-schema-file", "text is not constrained by a grammar"},
    {"--mirostat --mirostat-lr --mirostat-ent --typical --typical-p --xtc-probability --xtc-threshold --dynatemp-range "
     "--dynatemp-exp --samplers --sampling-seq --sampler-seq --presence-penalty --frequency-penalty --repeat-last-n "
     "--dry-* --top-nsigma --top-n-sigma --adaptive-* -l --logit-bias",
     "the samplers are --temp --top-k --top-p --min-p --repeat-penalty (docs/sampling.md)"},
    {"-s", "the seed is --seed"},
    {"-r --reverse-prompt", "text is ended before a string by --stop, at a token by --stop-token"},
    {"-e --escape --no-escape", "texts are taken as they are; the shell writes a line end as $'one\\ntwo'"},
    {"-bf --binary-file", "a prompt's file is -f, which is taken byte for byte"},
    {"-sp", "special tokens are not printed; their ids are in what --json prints"},
    {"-o --output --output-file", "the text goes to standard output: > FILE"},
    {"--no-display-prompt --display-prompt", "the prompt is never repeated"},
    {"--verbose-prompt", "the prompt's tokens are shown by 'viva tokenize --like-generate'"},
    {"-lv --verbosity --log-*", "less is told with -q, more with -v; a log is what standard error gets: 2>FILE"},
    {"--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-*",
     "positions are scaled as the model's own files say"},
    {"--override-kv --check-tensors", "a file's keys are taken as they are, and what is damaged is refused"},
    {"--prompt-cache --prompt-cache-all", "a conversation is kept by /save and /load of 'viva chat'"},
    {"--color -co --simple-io --no-warmup --warmup --perf --no-perf --show-timings --no-show-timings --repack -nr "
     "--no-repack -dt --defrag-thold -cram --cache-ram -ctxcp --ctx-checkpoints -bs --backend-sampling",
     "there is nothing to switch"},
    {"--predict --max-tokens --max-new-tokens", "the most new tokens are -n (--n-predict)"},
    {"--ctx --context --num-ctx", "the context is -c (--ctx-size)"},
    {"-mm --mmproj -mmu --mmproj-* --no-mmproj --image --image-* --audio --video", "images and sound are not read"},
    {"--host --port --api-key --server-base", "there is no server yet; 'viva generate --json' answers one request"},
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

static int fits(const char *known, size_t length, const char *word, size_t bytes) {
  if (known[length - 1] == '*') return bytes >= length - 1 && memcmp(known, word, length - 1) == 0;
  return length == bytes && memcmp(known, word, bytes) == 0;
}

static const char *find(const foreign *list, size_t count, const char *word, size_t length) {
  for (size_t i = 0; i < count; i++)
    for (const char *at = list[i].words; *at != 0;) {
      size_t n = strcspn(at, " ");
      if (fits(at, n, word, length)) return list[i].hint;
      at += n + strspn(at + n, " ");
    }
  return NULL;
}

/* "--temp=1", "-ngl99", and "--ngl" for "-ngl" are known too. */
const char *foreign_option(const char *word) {
  const size_t count = sizeof options / sizeof *options, length = strcspn(word, "=");
  size_t letters = length;
  const char *hint = find(options, count, word, length);
  while (letters > 2 && word[letters - 1] >= '0' && word[letters - 1] <= '9') letters--;
  if (hint == NULL && word[1] != '-') hint = find(options, count, word, letters);
  if (hint == NULL && word[0] == '-' && word[1] == '-') hint = find(options, count, word + 1, length - 1);
  return hint;
}

const char *foreign_command(const char *word) {
  return find(commands, sizeof commands / sizeof *commands, word, strlen(word));
}
