"""Files as people have them: each is read as its writer meant it, or refused by its true cause (docs/formats-read.md).

The cases of ../shared/cases/files run where that folder is; the kinds that they are examples of are made here from the
small models of the project.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import gguf_folder
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "tests/golden/tiny.gguf"
CASES = ROOT.parent / "shared/cases/files"
sys.path.insert(0, str(ROOT / "tests/mk"))
import mkgguf  # noqa: E402

NUMBERS = ["-n", "8", "--weights", "f32", "--kv", "f32", "--temp", "0", "--json"]


def viva(program, *arguments, **more):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, **more)


def generate(program, model, *arguments):
    """The tokens of the prompt, those that were generated, and stderr."""
    run = viva(program, "generate", "-m", model, "-p", "hello world", *NUMBERS, *arguments)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    return found["prompt_tokens"], found["tokens"], run.stderr


def refused(program, model, fragment):
    run = viva(program, "generate", "-m", model, "-p", "hello", "-n", "1")
    assert run.returncode == 2 and fragment in run.stderr, run.stderr


# ---- the cases: what is given, what is expected

DENSE = [4, 81, 180, 38, 44, 145, 225, 272]
CODES = [271, 252, 91, 57, 77, 271, 77, 271]
EXPECTED = [
    ("01-gguf-llama-bpe-bos/model.gguf", [0, 262, 267], None),
    ("01-gguf-llama-bpe-bos/hf", [0, 262, 267], None),
    ("05-explicit-head-dim/hf", None, [266, 147, 280, 165, 243, 71, 47, 69]),
    ("05-explicit-head-dim/model.gguf", None, [266, 147, 280, 165, 243, 71, 47, 69]),
    ("06-architecture-spelling/hf", None, DENSE),
    ("08-stale-index/single", None, DENSE),
    ("08-stale-index/tied", None, [267] * 8),
    ("09-special-token-outside/eos.gguf", None, DENSE),
    ("09-special-token-outside/unk.gguf", None, DENSE),
    ("11-fp8-per-tensor-names/inv", None, CODES),
    ("11-fp8-per-tensor-names/act", None, CODES),
    ("12-compressed-tensors-spelling/block", None, CODES),
    ("12-compressed-tensors-spelling/pattern", None, CODES),
]


def case(name):
    if not CASES.exists():
        pytest.skip(f"{CASES} is not there")
    return CASES / name


@pytest.mark.parametrize("name, prompt, tokens", EXPECTED, ids=[e[0] for e in EXPECTED])
def test_case(program, name, prompt, tokens):
    found_prompt, found, _ = generate(program, case(name))
    assert prompt is None or found_prompt == prompt
    assert tokens is None or found == tokens


@pytest.mark.parametrize("spelling", ["32 x 32", "32X32", " 32x32 "])
def test_case_block_structures(program, tmp_path, spelling):
    shutil.copytree(case("12-compressed-tensors-spelling/block"), tmp_path / "hf")
    config = tmp_path / "hf/config.json"
    text = config.read_text()
    assert '"32x32"' in text
    config.write_text(text.replace('"32x32"', json.dumps(spelling)))
    assert generate(program, tmp_path / "hf")[1] == CODES


def test_case_end_of_turn(program):
    """<|eot_id|> ends a turn although only <|end_of_text|> is named."""
    tokens = generate(program, case("02-gguf-end-of-turn-by-text/model.gguf"), "--no-bos")[1]
    assert tokens == [275, 107, 2]


def test_case_stop_string_is_a_special_token(program):
    """Also where the end tokens are ignored."""
    run = viva(program, "generate", "-m", case("17-stop-string-is-special-token/model.gguf"), "-p", "hello world", *NUMBERS,
               "--no-bos", "--ignore-eos", "--stop", "<|eot_id|>")
    found = json.loads(run.stdout)
    assert found["stop_reason"] == "stop" and found["tokens"][:2] == [275, 107] and len(found["tokens"]) <= 3


def test_case_outside_is_told(program):
    assert "is left out" in generate(program, case("09-special-token-outside/unk.gguf"))[2] \
        or "is left out" in viva(program, "tokenize", "-m", case("09-special-token-outside/unk.gguf"), "-p", "x").stderr


def test_case_without_merges(program):
    run = viva(program, "tokenize", "-m", case("03-gguf-bpe-without-merges/model.gguf"), "-p", "hello world", "--ids")
    assert run.returncode == 2 and "convert it again" in run.stderr


@pytest.mark.parametrize("name", ["hf", "model.gguf"])
def test_case_padded_ids(program, name):
    run = viva(program, "detokenize", "-m", case("14-padded-id-detokenize") / name, input="[262, 300]")
    assert run.returncode == 0 and run.stdout == "hello", run.stderr


@pytest.mark.parametrize("name", ["smaug", "falcon3"])
def test_case_pre_tokenizer_names(program, name):
    run = viva(program, "tokenize", "-m", case(f"16-pre-tokenizer-aliases/{name}.gguf"), "-p", "hello world", "--ids")
    assert run.stdout == "[262, 267]\n", run.stderr


# ---- GGUF

def read_gguf(path):
    """The file as mkgguf has it, to be changed and written again."""
    kinds = {v: k for k, v in mkgguf.VALUE_TYPES.items()}
    types = {t[0]: k for k, t in mkgguf.TENSOR_TYPES.items()}
    reader, out = gguf.GGUFReader(path), mkgguf.Gguf()
    for key, entry in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        kind = kinds[entry.types[0].value]
        more = {"element": kinds[entry.types[-1].value]} if kind == "array" else {}
        out.set(key, kind, entry.contents(), **more)
    for tensor in reader.tensors:
        out.tensors.append(mkgguf.Tensor(tensor.name, [int(n) for n in tensor.shape], types[tensor.tensor_type.value],
                                         tensor.data.tobytes()))
    return out


def write_parts(folder, count):
    """tiny.gguf as llama-gguf-split writes it: the keys in the first part, some tensors in each."""
    whole = read_gguf(TINY)
    for i in range(count):
        part = mkgguf.Gguf(values=list(whole.values) if i == 0 else [], tensors=whole.tensors[i::count])
        part.set("split.no", "u16", i).set("split.count", "u16", count)
        part.set("split.tensors.count", "i32", len(whole.tensors))
        (folder / f"tiny-{i + 1:05}-of-{count:05}.gguf").write_bytes(part.pack())
    return folder / f"tiny-00001-of-{count:05}.gguf"


@pytest.mark.parametrize("load", ["read", "mmap"])
def test_parts_are_one_model(program, tmp_path, load):
    first = write_parts(tmp_path, 3)
    expected = generate(program, TINY)[:2]
    assert generate(program, first, "--load", load)[:2] == expected
    assert generate(program, tmp_path)[:2] == expected  # the folder holds one model


def test_parts_refused(program, tmp_path):
    first = write_parts(tmp_path, 3)
    second = tmp_path / "tiny-00002-of-00003.gguf"
    refused(program, second, "this is part 2 of a model in 3 files; give the first")
    shutil.copy(first, tmp_path / "renamed.gguf")
    refused(program, tmp_path / "renamed.gguf", "should end with -00001-of-00003.gguf")
    shutil.copy(second, tmp_path / "tiny-00003-of-00003.gguf")
    refused(program, first, "its keys do not say that it is part 3 of 3")
    second.unlink()
    refused(program, first, "part 2 of 3 is missing")


def test_gguf_frame_defaults(program, tmp_path):
    """Without add_bos_token the pre-tokenizer's name decides, as in llama.cpp."""
    for pre, adds in (("llama-bpe", True), ("smollm", False), ("qwen2", False)):
        model = tmp_path / f"{pre}.gguf"
        silent = read_gguf(TINY).drop("tokenizer.ggml.add_bos_token")
        model.write_bytes(silent.set("tokenizer.ggml.pre", "string", pre).pack())
        assert (generate(program, model)[0][0] == 1) == adds
    nameless = tmp_path / "nameless.gguf"
    nameless.write_bytes(read_gguf(TINY).drop("tokenizer.ggml.bos_token_id")
                         .set("tokenizer.ggml.add_bos_token", "bool", True).pack())
    assert "no such token is named" in generate(program, nameless)[2]


def entry(model, key):
    return next(value.value for value in model.values if value.key == key)


def with_tokens(model, first, texts, kind=1):
    """Tokens from number `first` on have these texts, and this type; merges that make others are left out."""
    tokens, kinds = (list(entry(model, f"tokenizer.ggml.{key}")) for key in ("tokens", "token_type"))
    for at, text in enumerate(texts, first):
        tokens[at], kinds[at] = text, kind
    merges = [m for m in entry(model, "tokenizer.ggml.merges") if {*m.split(" "), m.replace(" ", "")} <= set(tokens)]
    model.set("tokenizer.ggml.merges", "array", merges, element="string")
    return model.set("tokenizer.ggml.tokens", "array", tokens, element="string").set(
        "tokenizer.ggml.token_type", "array", kinds, element="i32")


def test_gguf_default_pre_tokenizer(program, tmp_path):
    """Where a file names none, or `default`: llama.cpp's own stages (llama-vocab.cpp), made here by the tokenizers package."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    stages = [r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)", r"\p{N}+", "[0-9][0-9][0-9]"]
    texts = [".,", "$$", "``", "12", "123", "1234", "Ġ1", "'s", "a.", "ĠĠ", "Ġ.", "34"]
    merges = [". ,", "$ $", "` `", "1 2", "12 3", "3 4", "123 4", "Ġ 1", "' s", "a .", "Ġ Ġ", "Ġ ."]
    model = with_tokens(read_gguf(TINY), 280, [t for t in texts if len(t) > 1])
    tokens = entry(model, "tokenizer.ggml.tokens")
    kept = entry(model, "tokenizer.ggml.merges") + merges
    model.set("tokenizer.ggml.merges", "array", kept, element="string")
    oracle = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in kept]))
    oracle.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(s), "isolated") for s in stages] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    text = "a., b.'s it's $$ ``x`` 1234567 123 12 a 1234 . 1,234.56  the  \n\n x²½12345 a.b<=>$$1"
    for name, change in (("default", lambda m: m.set("tokenizer.ggml.pre", "string", "default")),
                         ("missing", lambda m: m.drop("tokenizer.ggml.pre")), ("gpt2", lambda m: m.set("tokenizer.ggml.pre", "string", "gpt2"))):
        (tmp_path / f"{name}.gguf").write_bytes(change(model).pack())
        run = viva(program, "tokenize", "-m", tmp_path / f"{name}.gguf", "-p", text, "--ids")
        assert (json.loads(run.stdout) == oracle.encode(text).ids) == (name != "gpt2"), run.stdout
        assert ("tokenizer.ggml.pre is missing" in run.stderr) == (name == "missing")


@pytest.mark.parametrize("texts, ends", [
    (["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|fim_prefix|>"], [0, 1, 2]),
    (["<｜end▁of▁sentence｜>", "<turn|>", "<|tool_response>", "</s>"], [0, 1, 2]),
    (["<|end|>", "<|return|>", "<|call|>"], [1, 2]), (["<|end|>", "<|flush|>", "<|calls|>"], [1, 2]),
    (["<|end|>", "<|return|>"], [0, 1]), (["[e~[", "[EOS]", "[PAD]", "<EOT>"], [0, 1, 2, 3])])
def test_gguf_ends_by_text(program, tmp_path, texts, ends):
    """As llama.cpp has it, and special whatever their type: `</s>` and `<|end|>` only in the right company."""
    path = tmp_path / "model.gguf"
    path.write_bytes(with_tokens(read_gguf(TINY), 280, texts, kind=3 if "</s>" in texts else 1).pack())
    run = viva(program, "inspect", "--json", path)
    assert json.loads(run.stdout)["config"]["eos_tokens"] == [2, 0, *(280 + i for i in ends)], run.stdout
    ids = viva(program, "tokenize", "-m", path, "-p", texts[1], "--ids", "--special").stdout
    assert json.loads(ids)[-1] == 281


def test_gguf_ends_by_key(program, tmp_path):
    path = tmp_path / "model.gguf"
    model = read_gguf(TINY)
    for at, key in enumerate(("eot", "eom", "fim_pad", "fim_rep", "fim_sep")):
        model.set(f"tokenizer.ggml.{key}_token_id", "u32", 281 + at)
    path.write_bytes(model.pack())
    assert json.loads(viva(program, "inspect", "--json", path).stdout)["config"]["eos_tokens"] == [2, *range(281, 286), 0]


def test_tokenize_like_generate(program, tmp_path):
    """BOS and special tokens as generate takes them."""
    model = tmp_path / "llama.gguf"
    model.write_bytes(read_gguf(TINY).drop("tokenizer.ggml.add_bos_token").set("tokenizer.ggml.pre", "string", "llama-bpe").pack())
    for prompt in ("hello world", "<|im_start|>user"):
        run = viva(program, "generate", "-m", model, "-p", prompt, *NUMBERS)
        ids = viva(program, "tokenize", "-m", model, "-p", prompt, "--ids", "--like-generate").stdout
        assert json.loads(ids) == json.loads(run.stdout)["prompt_tokens"]


def test_gguf_missing_vocabulary_keys(program, tmp_path):
    """The key that is missing is the one that is named."""
    for key in ("model", "tokens"):
        path = tmp_path / f"{key}.gguf"
        path.write_bytes(read_gguf(TINY).drop(f"tokenizer.ggml.{key}").pack())
        refused(program, path, f"no key tokenizer.ggml.{key}")
        for command in ("tokenize", "chat"):
            run = viva(program, command, "-m", path, "-p", "x")
            assert run.returncode == 2 and f"no key tokenizer.ggml.{key}" in run.stderr, run.stderr


def test_gguf_image_encoder(program, tmp_path):
    model = tmp_path / "mmproj.gguf"
    model.write_bytes(mkgguf.tiny_llama().set("general.architecture", "string", "clip").pack())
    refused(program, model, "an image encoder")


# ---- folders

@pytest.fixture
def folder(tmp_path):
    gguf_folder.write(TINY, tmp_path / "hf", "F32")
    return tmp_path / "hf"


def rename(folder, new_name):
    """The same tensors under other names."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = {new_name(k) if k != "__metadata__" else k: v for k, v in json.loads(data[8:8 + size]).items()}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])


def change_config(folder, **keys):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize("prefix", ["", "_orig_mod.model.", "language_model.model.", "module.model."])
def test_prefixes(program, folder, prefix):
    expected = generate(program, folder)[:2]
    rename(folder, lambda name: name.replace("model.", prefix, 1) if name.startswith("model.") else name)
    assert generate(program, folder)[:2] == expected


@pytest.mark.parametrize("body, head", [("model.language_model.", ""), ("model.text_model.", ""), ("model.language_model.", "model."),
                                        ("_orig_mod.", "_orig_mod."), ("", "")])
def test_head_beside_any_prefix(program, folder, body, head):
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = np.roll(tensors["model.embed_tokens.weight"], 1, axis=0)
    change_config(folder, tie_word_embeddings=False)
    save_file(tensors, folder / "model.safetensors")
    expected = generate(program, folder)[:2]
    rename(folder, lambda name: name.replace("model.", body, 1) if name.startswith("model.") else head + name)
    assert generate(program, folder)[:2] == expected


def test_stale_quantisation_section(program, folder):
    expected = generate(program, folder)[:2]
    for section in ({"quant_method": "bitsandbytes", "load_in_4bit": True}, {"quant_method": "gptq", "bits": 4}):
        change_config(folder, quantization_config=section)
        prompt, tokens, told = generate(program, folder)
        assert (prompt, tokens) == expected and section["quant_method"] in told


@pytest.mark.parametrize("keys, fragment", [
    ({"architectures": ["LlamaForSequenceClassification"]}, "a classifier"),
    ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, "an image model"),
    ({"architectures": ["BertModel"], "model_type": "bert"}, "an encoder"),
    ({"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl"}, "images"),
    ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "an encoder with a decoder")])
def test_other_models_are_named(program, folder, keys, fragment):
    change_config(folder, **keys)
    refused(program, folder, fragment)


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json", "tekken.json"])
def test_other_tokenizers_are_named(program, folder, name):
    (folder / "tokenizer.json").unlink()
    (folder / name).write_text("{}")
    refused(program, folder, name)


@pytest.mark.parametrize("name, text", [
    ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"),
    ("tokenizer.model", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"),
    ("tokenizer.json", "<!DOCTYPE html><title>Not found</title>")])
def test_what_lies_in_a_tokenizers_place(program, folder, name, text):
    (folder / "tokenizer.json").unlink()
    (folder / name).write_text(text)
    refused(program, folder, f"{name}: at byte 0: this is a " + ("Git LFS pointer" if text[0] == "v" else "web page"))


def test_folder_of_one_gguf(program, folder, tmp_path):
    """As `hf download REPOSITORY FILE.gguf --local-dir FOLDER` leaves it; whatever lies beside it, the file's tokenizer counts."""
    lone = tmp_path / "lone"
    lone.mkdir()
    shutil.copy(TINY, lone / "tiny-Q4_K_M.gguf")
    expected = generate(program, TINY)[:2]
    assert generate(program, lone)[:2] == expected
    (lone / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace('"merges"', '"none"'))
    assert generate(program, lone)[:2] == expected
    run = viva(program, "tokenize", "-m", lone, "-p", "hello world", "--ids")
    assert json.loads(run.stdout) == expected[0], run.stderr


def test_folder_that_may_not_be_listed(program, folder):
    """Its files are known by their names. (root may list everything: the same without the obstacle.)"""
    expected = generate(program, folder)[:2]
    folder.chmod(0o311)
    try:
        assert generate(program, folder)[:2] == expected
    finally:
        folder.chmod(0o755)


def test_cache_root_names_its_snapshot(program, folder, tmp_path):
    """Each folder above a snapshot, given to whatever command; the one that refs/main means, where it says so."""
    hub = tmp_path / "hub"
    snapshot = hub / "models--a--b/snapshots/0123abcd"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (snapshot.parent / "ffff").mkdir()
    (hub / "models--a--b/refs").mkdir()
    (hub / "models--a--b/refs/main").write_text("0123abcd")
    for given in (hub / "models--a--b", hub, tmp_path):
        refused(program, given, f"give the snapshot in it: {snapshot}")
        run = viva(program, "tokenize", "-m", given, "-p", "x")
        assert run.returncode == 2 and f"give the snapshot in it: {snapshot}" in run.stderr
    (snapshot.parent / "ffff").rmdir()
    for given in (snapshot.parent, f"{snapshot.parent}/"):
        refused(program, given, "0123abcd")
        assert "0123abcd" in viva(program, "tokenize", "-m", given, "-p", "x").stderr
    generate(program, snapshot)


def test_one_shard_brings_the_others(program, folder):
    """Given one of several shards, those beside it belong to the model; where some are missing, that is said."""
    expected = generate(program, folder)[:2]
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for i in range(3):
        part = {k: v for n, (k, v) in enumerate(sorted(tensors.items())) if n % 3 == i}
        save_file(part, folder / f"model-0000{i + 1}-of-00003.safetensors")
    for i in (1, 3):
        assert generate(program, folder / f"model-0000{i}-of-00003.safetensors")[:2] == expected
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(program, folder / "model-00001-of-00003.safetensors", "of its 3 parts 2 are here")


def test_rope_scaling_without_type_is_told(program, folder):
    change_config(folder, rope_scaling={"factor": 2.0})
    assert "no rope_type" in generate(program, folder)[2]
