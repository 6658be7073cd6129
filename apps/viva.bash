# bash completion for viva. tests/cli compares its options with what each command's --help prints.

_viva_options() {
  local hold="--weights --act --kv --load --num-layers"
  local device="--device --devices --kernels --decode"
  local talk="-q --quiet -v --verbose"
  case $1 in
    generate)
      echo "-m --model -p --prompt -f --file --keep-newline -n --n-predict -c --ctx-size -t --threads --stop --stop-token --ignore-eos --chat" \
        "--no-special --bos --no-bos --temp --top-k --top-p --min-p --repeat-penalty --seed --json --logprobs" \
        "--tokenizer $hold $device $talk" ;;
    chat)
      echo "-m --model -p --prompt --system -n --n-predict -c --ctx-size -t --threads --stop-token --temp --top-k" \
        "--top-p --min-p --repeat-penalty --seed --tokenizer $hold $device $talk" ;;
    tokenize) echo "-m --model -p --prompt -f --file --keep-newline --ids --count --offsets --special --bos --like-generate" ;;
    detokenize) echo "-m --model -f --file --special" ;;
    inspect) echo "-m --model --layers --tensors --metadata --json -c --ctx-size --device --devices $hold" ;;
    perplexity)
      echo "-m --model -p --prompt -f --file -c --ctx-size --stride --chunks --bos --no-bos -t --threads --json" \
        "--tokenizer $hold $device $talk" ;;
    bench)
      echo "-m --model --shape -p --n-prompt -n --n-gen -d --n-depth --sequences -r --repetitions -t --threads --no-warmup --gaussian -o --output" \
        "$hold $device $talk" ;;
    quantize) echo "--format --to --shard-size --overwrite --force -t --threads --layers --json $talk" ;;
    compare)
      echo "-p --prompt -f --file -c --ctx-size --chunks -t --threads --ref-weights --beside --html --layers --json" \
        "--tokenizer $hold $device $talk" ;;
    compress)
      echo "-o --output --tensor -t --threads --workers --json -q --quiet --codec --bits --block --symmetric --max-error" \
        "--measure --bound --search --segment --row-blocks --keep-nonfinite" ;;
    decompress) echo "-o --output --tensor --recover --mmap -t --threads -q --quiet" ;;
    analyze) echo "--tensor --max-error --measure --html --json -t --threads" ;;
    memory) echo "--size -f --file --no-measure --json" ;;
    devices) echo "--json" ;;
    debug-decode)
      echo "-m --model -p --prompt -f --file -n --n-predict --token --position --compare --dump -t --threads" \
        "--tokenizer $hold $device $talk" ;;
  esac
  echo "-h --help"
}

# The words that can follow an option; "path" for a file name, "any" for what nobody can guess.
_viva_values() {
  local packed="fp8 fp8-b16 fp8-b32 fp8-b64 fp8-b128 nvfp4 int8-24 int4-24 int4-24-g64 int4-24-g32 int4-24-channel"
  case $2 in
    -m | --model | --tokenizer | --html) echo path ;;
    -f | --file) echo path ;;
    --format | --to) echo "$packed bf16 f16 f32 dense" ;;
    --weights | --ref-weights | --beside) echo "f32 bf16 f16 $packed stored" ;;
    --act) echo "auto 16 fp8 int8" ;;
    --kv) echo "f16 f32 fp8" ;;
    --load) echo "read mmap" ;;
    --device) echo "auto cpu cuda" ;;
    --shape) echo "none tinyllama llama3.2-1b llama3-8b llama3-70b llama3-70b-layer" ;;
    --kernels) echo "auto reference avx2 avx512 avx512-bf16" ;;
    -o | --output) [[ $1 == bench ]] && echo "md csv json jsonl" || echo path ;;
    --decode) echo "auto plain graph persistent" ;;
    --compare) echo "none cpu reference" ;;
    --codec) echo "affine nvfp4 adaptive" ;;
    --measure) echo "mean largest rms" ;;
    --bound) echo "report fit fit-blocks raw" ;;
    --search) echo "mse absmax four-over-six" ;;
    -p | --prompt | --n-prompt | -n | --n-predict | --n-gen | -d | --n-depth | --sequences | -c | --ctx-size | -t | --threads | --devices | -r | --repetitions | \
      --stop | --stop-token | --system | --temp | --top-k | --top-p | --min-p | --repeat-penalty | --seed | --logprobs | --num-layers | \
      --stride | --chunks | --shard-size | --tensor | --workers | --bits | --block | --max-error | --segment | --size | --gaussian | --token | --position | --dump) echo any ;;
  esac
}

_viva() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
  local commands="generate chat tokenize detokenize inspect perplexity bench quantize compare compress decompress analyze memory devices debug-decode help"
  local values
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$word")
    return
  fi
  if [[ $command == help ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
    return
  fi
  [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
  [[ $word == = ]] && previous=${COMP_WORDS[COMP_CWORD - 1]} word=
  values=$(_viva_values "$command" "$previous")
  if [[ $values == path || (-z $values && $command == @(inspect|quantize|compare|compress|decompress|analyze) && $word != -*) ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  elif [[ -n $values && $values != any ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
  elif [[ -z $values ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_viva_options "$command")" -- "$word")
  fi
}

complete -F _viva viva
