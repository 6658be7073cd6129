#!/usr/bin/env python3
"""Makes tests/golden/reference/smollm2_*: what Hugging Face transformers writes with SmolLM2-135M-Instruct in FP32.

Needs tools/requirements-reference.txt. The model is the GGUF file that tools/fetch_models gets, dequantised by
transformers. Run one part, or all of them:

  tools/make_reference.py [--models FOLDER] [--threads N] check greedy logits
  tools/make_reference.py [--models FOLDER] [--threads N] --text FILE perplexity

check       prints a continuation: wrong q/k permutation or wrong ids show at once
greedy      smollm2_greedy.json: 16 prompts as ids, 512 greedy tokens each, and every step whose two best logits lie closer
            than 1e-3 (there the reference itself is undecided between summation orders)
logits      smollm2_logits.npz: for each position of 12 prompts the 8 largest logits, 32 logits at fixed ids, and
            log(sum(exp(logits)))
perplexity  smollm2_perplexity.json: the sum of -log p over each window's second half; resumes where it was stopped
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "reference"
sys.path.insert(0, str(ROOT / "tests" / "python"))
import gguf_tokenizer  # noqa: E402

MODEL = "SmolLM2-135M-Instruct-Q4_1.gguf"
NEW_TOKENS = 512
CLOSE = 1e-3       # a smaller top-2 margin may fall either way
WINDOW = 512
SAMPLED = 32

PROMPTS = [
    "Once upon a time, in a village at the foot of the mountains,",
    "The capital of France is",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "<|im_start|>user\nExplain why the sky is blue in three sentences.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a short poem about the sea.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou answer in one word.<|im_end|>\n<|im_start|>user\nWhat is 12 + 30?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "In 1969, 1984 and 2024, the following things happened:\n1.",
    "Der schnelle braune Fuchs springt über den faulen Hund. Das heißt auf Englisch:",
    "Ingredients:\n- 200 g flour\n- 3 eggs\n- 500 ml milk\n\nMethod:\n",
    "Water boils at 100 degrees Celsius at sea level. At higher altitude the boiling point",
    "#include <stdio.h>\n\nint main(void) {\n  for (int i = 0; i < 10; i++)",
    "Q: What is the difference between a virus and a bacterium?\nA:",
    "東京は日本の首都です。人口は",
    "The three laws of motion were formulated by Isaac Newton. The first law says that",
    "<|im_start|>user\nList five animals that live in the desert and say what they eat.<|im_end|>\n"
    "<|im_start|>assistant\n",
    "It was the best of times, it was the worst of times; 🙂 she said, \"we'll see\", and closed the door.\n\n",
]


def load(models):
    path = models / MODEL
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(models), gguf_file=MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    return model, gguf_tokenizer.build(str(path))


def write_json(name, value):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    target = GOLDEN / name
    temporary = target.with_suffix(".tmp")
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(part)}" for key, part in value.items())
    temporary.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    temporary.replace(target)


def versions():
    return {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0], "model": MODEL}


def greedy_tokens(model, ids, count):
    """The continuation, and for each step the difference of the two largest logits."""
    cache, tokens, margins = transformers.DynamicCache(), [], []
    step = torch.tensor([ids])
    for _ in range(count):
        logits = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        best = torch.topk(logits, 2)
        # torch does not promise which of two equal logits comes first; ours is the lower id.
        token = int((logits == best.values[0]).nonzero()[0, 0])
        margins.append(float(best.values[0] - best.values[1]))
        tokens.append(token)
        step = torch.tensor([[token]])
    return tokens, margins


def make_check(model, tokenizer, _arguments):
    ids = tokenizer.encode(PROMPTS[3]).ids
    tokens, margins = greedy_tokens(model, ids, 60)
    print(tokenizer.decode(tokens, skip_special_tokens=False))
    print("smallest margin", min(margins))


def make_greedy(model, tokenizer, _arguments):
    rows = []
    for number, text in enumerate(PROMPTS):
        start = time.time()
        ids = tokenizer.encode(text).ids
        tokens, margins = greedy_tokens(model, ids, NEW_TOKENS)
        close = [[i, margin] for i, margin in enumerate(margins) if margin < CLOSE]
        rows.append({"text": text, "ids": ids, "tokens": tokens, "close": close})
        print(f"greedy {number}: {len(ids)} + {len(tokens)} tokens, {len(close)} close, {time.time() - start:.0f} s",
              flush=True)
        write_json("smollm2_greedy.json", {"made_with": versions(), "close_below": CLOSE,
                                           **{f"prompt{i}": row for i, row in enumerate(rows)}})


def make_logits(model, tokenizer, _arguments):
    everything = tokenizer.encode("\n\n".join(PROMPTS + [p.replace("the", "a") for p in PROMPTS])).ids
    prompts = [everything] + [tokenizer.encode(text).ids for text in PROMPTS[:11]]
    sampled = np.linspace(0, model.config.vocab_size - 1, SAMPLED).astype(np.int32)
    arrays = {"sampled_ids": sampled}
    for number, ids in enumerate(prompts):
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        top = torch.topk(logits, 8, dim=-1)
        arrays[f"ids{number}"] = np.array(ids, np.uint16)
        arrays[f"top_ids{number}"] = top.indices.numpy().astype(np.uint16)
        arrays[f"top{number}"] = top.values.numpy()
        arrays[f"sampled{number}"] = logits[:, torch.from_numpy(sampled).long()].numpy()
        arrays[f"logsumexp{number}"] = torch.logsumexp(logits.double(), -1).numpy()
        print(f"logits {number}: {len(ids)} positions", flush=True)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDEN / "smollm2_logits.npz", **arrays)


def make_perplexity(model, tokenizer, arguments):
    """Windows of 512 ids one after the other, no BOS; scored are the tokens at positions 257 ... 511 of each."""
    ids = tokenizer.encode(Path(arguments.text).read_text(encoding="utf-8")).ids
    windows = len(ids) // WINDOW
    saved = GOLDEN / "smollm2_perplexity.json"
    sums = json.loads(saved.read_text())["window_nll"] if saved.exists() else []
    first = WINDOW // 2 + 1
    start = time.time()
    for number in range(len(sums), windows):
        window = torch.tensor([ids[number * WINDOW:(number + 1) * WINDOW]])
        logits = model(input_ids=window, use_cache=False, logits_to_keep=WINDOW - first + 1).logits[0, :-1].double()
        targets = window[0, first:]
        nll = torch.logsumexp(logits, -1) - logits[torch.arange(len(targets)), targets]
        sums.append(float(nll.sum()))
        if number % 5 == 4 or number == windows - 1:
            scored = len(sums) * (WINDOW - first)
            write_json("smollm2_perplexity.json", {
                "made_with": versions(), "ids": len(ids), "windows": windows, "window": WINDOW, "first_scored": first,
                "scored_windows": len(sums), "perplexity": float(np.exp(sum(sums) / scored)), "window_nll": sums})
            print(f"perplexity: {len(sums)} of {windows} windows, {time.time() - start:.0f} s", flush=True)
    np.savez_compressed(GOLDEN / "wikitext2_ids.npz", ids=np.array(ids[:41 * WINDOW], np.uint16))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(os.environ.get("VIVA_MODELS", Path.home() / ".cache" / "viva" / "models"))
    parser.add_argument("--models", type=Path, default=cache)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--text", help="the text for perplexity")
    parser.add_argument("parts", nargs="+", choices=["check", "greedy", "logits", "perplexity"])
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model, tokenizer = load(arguments.models)
    parts = {"check": make_check, "greedy": make_greedy, "logits": make_logits, "perplexity": make_perplexity}
    with torch.inference_mode():
        for part in arguments.parts:
            parts[part](model, tokenizer, arguments)


if __name__ == "__main__":
    main()
