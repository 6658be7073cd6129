"""Files as strangers write them, key by key: each gives the model that it would give without its oddity, or is refused by
its true cause. docs/formats-read.md has the rules; test_files.py has the kinds."""

import json
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor

import gguf_folder
import pytest
from test_files import NUMBERS, TINY, mkgguf, read_gguf, viva

SAME = None  # the tokens of the plain model; otherwise a part of what is said when it is refused


class Files:
    """Cases by name: a function that makes the files in a folder and returns the path to give, what is expected, and a part
    of the warning that must be there."""

    def __init__(self):
        self.cases = {}

    def add(self, name, make, expected, told):
        assert name not in self.cases
        self.cases[name] = (make, expected, told)

    def folder(self, name, edit, expected=SAME, told=""):
        def make(base, here):
            shutil.copytree(base, here)
            edit(here)
            return here
        self.add(name, make, expected, told)

    def config(self, name, keys=(), expected=SAME, told="", drop=()):
        def edit(folder):
            path = folder / "config.json"
            kept = {k: v for k, v in json.loads(path.read_text()).items() if k not in drop}
            path.write_text(json.dumps({**kept, **dict(keys)}))
        self.folder(name, edit, expected, told)

    def text(self, name, file, change, expected=SAME, told=""):
        """change: the file's new text, or a function of its text."""
        def edit(folder):
            path = folder / file
            path.write_text(change(path.read_text()) if callable(change) else change)
        self.folder(name, edit, expected, told)

    def gguf(self, name, edit, expected=SAME, told=""):
        def make(_, here):
            here.mkdir()
            model = read_gguf(TINY)
            data = edit(model)
            (here / "model.gguf").write_bytes(data if isinstance(data, bytes) else model.pack())
            return here / "model.gguf"
        self.add(name, make, expected, told)

    def file(self, name, data, expected):
        def make(_, here):
            here.mkdir()
            (here / "model.bin").write_bytes(data)
            return here / "model.bin"
        self.add(name, make, expected, "")


F = Files()

# ---- config.json as families write it, the sizes apart

for name, keys in {
        "Llama 2": {"pretraining_tp": 2, "max_length": 4096, "pad_token_id": 0, "torch_dtype": "float16"},
        "Llama 3.2 by others": {"unsloth_fixed": True, "unsloth_version": "2025.1.5", "pad_token_id": 298},
        "SmolLM2": {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}},
        "Falcon3": {"activation": "swiglu", "attention_dropout": 0.0}, "Yi": {"_name_or_path": "x", "use_cache": False},
        "an older silu": {"hidden_act": "swish"}, "code of its own": {"auto_map": {"AutoConfig": "x.Y"}},
        "Mistral 0.1": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 4096},
        "Mistral Nemo": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None, "head_dim": 8},
        "transformers 5": {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "dtype": "bfloat16"}}.items():
    F.config(f"as {name}", keys)
for name, keys, cause in (
        ("Gemma 3", {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]}, "Gemma3ForCausalLM"),
        ("Phi-4-mini", {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.75}, "Phi3ForCausalLM"),
        ("Granite", {"model_type": "granite", "architectures": ["GraniteForCausalLM"]}, "GraniteForCausalLM"),
        ("Mistral Small 3.1", {"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"], "vision_config": {}}, "images"),
        ("an activation", {"hidden_act": "gelu"}, '"gelu"')):
    F.config(f"as {name}, refused", keys, cause)

# ---- config.json: missing, null, -1

for key in ("head_dim", "architectures", "model_type", "rope_scaling", "hidden_act", "attention_bias", "mlp_bias",
            "max_position_embeddings", "rope_theta", "tie_word_embeddings"):
    F.config(f"missing {key}", drop=[key])
    F.config(f"null {key}", {key: None}, told="tie_word" if key == "tie_word_embeddings" else "")
for key in ("partial_rotary_factor", "sliding_window", "use_sliding_window", "layer_types", "rope_parameters",
            "quantization_config", "compression_config", "pad_token_id", "text_config", "per_layer_config"):
    F.config(f"null {key}", {key: None})
F.config("-1 head_dim", {"head_dim": -1})
F.config("-1 pad_token_id", {"pad_token_id": -1})
F.config("empty architectures", {"architectures": []})
F.config("empty model_type", {"model_type": ""})
F.config("a string as architectures", {"architectures": "LlamaForCausalLM"})
F.config("another architecture", {"architectures": ["LlamaModel"]}, told="architectures")
F.config("old spelling alone", {"architectures": ["LLaMAForCausalLM"]}, drop=["model_type"])
F.config("no name at all", expected="architecture is", drop=["model_type", "architectures"])
F.config("empty rope_scaling", {"rope_scaling": {}})
F.config("default rope", {"rope_scaling": {"type": "default"}})
F.config("null rope", {"rope_scaling": {"type": None, "factor": None}})
F.config("linear rope of 1", {"rope_scaling": {"type": "linear", "factor": 1.0}})
F.config("linear rope without factor", {"rope_scaling": {"type": "linear"}}, '"factor"')
F.config("parameters without theta", {"rope_parameters": {"rope_type": "default"}})
F.config("longrope", {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, '"longrope"')
F.config("ends with ids outside", {"eos_token_id": [2, 999999, -1, 2]}, told="999999")
F.config("ends with null", {"eos_token_id": [2, None, 999]}, told="999")
F.config("no window as 0", {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 0}, told="sliding_window is 0")
F.config("no window as 0 in a Qwen", {"sliding_window": 0, "use_sliding_window": True})
F.config("many ends", {"eos_token_id": [2, *range(280, 299)]}, told="more than 16")
F.config("a window in a Llama", {"sliding_window": 4})
F.config("full layers", {"layer_types": ["full_attention"] * 2})
F.config("no vocab_size", expected="vocab_size", drop=["vocab_size"])
F.config("null hidden_size", {"hidden_size": None}, "hidden_size")
F.config("a large number", {"model_max_length": 1000000000000000019884624838656})
F.text("Python's numbers", "config.json", lambda t: t.rstrip()[:-1] + ', "a": [Infinity, -Infinity], "b": NaN}')
F.text("a key twice", "config.json", lambda t: t.rstrip()[:-1] + ', "use_cache": 1, "use_cache": 2, "model_type": "llama"}')
F.text("line ends", "config.json", lambda t: t.replace("\n", "\r\n"))
F.text("a byte order mark", "config.json", lambda t: "\ufeff" + t, "byte order mark")

# ---- sections about quantisation that the tensors know nothing of

for name, section in {"empty": {}, "null method": {"quant_method": None}, "no method": {"load_in_8bit": True}, "text": "none",
                      "awq": {"quant_method": "awq", "bits": 4}, "gptq without method": {"bits": 4, "group_size": 128}}.items():
    F.config(f"stale section, {name}", {"quantization_config": section}, told="no tensor is quantised")
F.config("stale section, fp8", {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
         told="no tensor is quantised; the section about it (fp8 tensor)")
F.config("stale section, modelopt", {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}},
         told="no tensor is quantised")
F.text("hf_quant_config, FP8", "hf_quant_config.json", '{"quantization": {"quant_algo": "FP8"}}', told="no tensor is quantised")
for name, text in {"null": '{"quantization": {"quant_algo": null, "kv_cache_quant_algo": "FP8"}}', "empty": "{}",
                   "null section": '{"quantization": null}', "no algo": '{"quantization": {"kv_cache_quant_algo": "FP8"}}',
                   "awq": '{"quantization": {"quant_algo": "INT4_AWQ", "group_size": 128}}', "cut": "{"}.items():
    F.text(f"hf_quant_config, {name}", "hf_quant_config.json", text, told="" if name == "null" else "no tensor is quantised")

# ---- files beside the weights

for name, text in {"empty": "", "cut": "{", "a list": "[]", "a text": '{"eos_token_id": "2"}'}.items():
    F.text(f"generation_config, {name}", "generation_config.json", text, told="generation_config.json")
for name, text in {"no keys": "{}", "null": '{"eos_token_id": null}', "outside": '{"eos_token_id": [2, 99999]}',
                   "NaN": '{"temperature": NaN, "eos_token_id": 2}', "twice": '{"eos_token_id": 2, "eos_token_id": 2}'}.items():
    F.text(f"generation_config, {name}", "generation_config.json", text)
F.folder("no generation_config", lambda d: (d / "generation_config.json").unlink())
NULLS = ("bos_token", "eos_token", "unk_token", "chat_template", "add_bos_token", "added_tokens_decoder", "tokenizer_class",
         "additional_special_tokens", "extra_special_tokens")
for name, text, told in (("nulls", json.dumps(dict.fromkeys(NULLS)), ""), ("cut", "{", "tokenizer_config.json"), ("nothing", "", "left out"),
                         ("numbers", '{"model_max_length": Infinity, "x": 1000000000000000019884624838656}', ""),
                         ("a key twice", '{"legacy": true, "legacy": false}', ""),
                         ("no id", '{"added_tokens_decoder": {"x": {"content": "<z>"}}}', "tokenizer_config.json"),
                         ("ids outside", '{"added_tokens_decoder": {"99999": {"content": "<z>", "special": true}}}', "")):
    F.text(f"tokenizer_config, {name}", "tokenizer_config.json", text, told=told)
F.text("special_tokens_map, nothing", "special_tokens_map.json", "", told="special_tokens_map.json")
F.text("added_tokens, nothing", "added_tokens.json", "", told="added_tokens.json")


# ---- tokenizer.json

def tokenizer(name, edit):
    def change(text):
        data = json.loads(text)
        edit(data)
        return json.dumps(data)
    F.text(f"tokenizer.json, {name}", "tokenizer.json", change)


for key in ("version", "truncation", "padding", "normalizer", "post_processor"):
    tokenizer(f"no {key}", lambda t, k=key: t.pop(k, None))
for key in ("type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"):
    tokenizer(f"no model.{key}", lambda t, k=key: t["model"].pop(k, None))
    if key != "type":
        tokenizer(f"null model.{key}", lambda t, k=key: t["model"].update({k: None}))
tokenizer("merges as pairs", lambda t: t["model"].update(merges=[m.split() if isinstance(m, str) else m for m in t["model"]["merges"]]))
tokenizer("an added token twice", lambda t: t["added_tokens"].append(dict(t["added_tokens"][0])))
tokenizer("an added token outside", lambda t: t["added_tokens"].append({**t["added_tokens"][0], "id": 99999, "content": "<more>"}))


# ---- safetensors and their index

def tensors(name, *more, expected=SAME, told="", section=None):
    """With further tensors of zeros: (name, shape, type, bytes), and a section about quantisation."""
    def edit(folder):
        if section is not None:
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**config, "quantization_config": section}))
        path = folder / "model.safetensors"
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8:8 + size]), data[8 + size:]
        for tensor, shape, dtype, count in more:
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + count]}
            body += bytes(count)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    F.folder(name, edit, expected, told)


for module, scales in {"self_attn": ("k_scale", "v_scale", "q_scale", "kv_scale", "p_scale", "prob_output_scale", "k_cache.scale",
                                     "attn.k_scale", "k_proj.output_scale", "k_zero_point", "k_bmm_quantizer._amax"),
                       "mlp.down_proj": ("input_scale", "act_scale", "activation_scale", "input_global_scale", "input_zero_point",
                                         "input_quantizer._amax")}.items():
    for scale in scales:
        tensors(f"unneeded {scale}", (f"model.layers.0.{module}.{scale}", [1], "F32", 4))
tensors("a scale of a weight", ("model.layers.0.mlp.down_proj.smooth_scale", [1], "F32", 4), expected="scales in tensors")
tensors("frequencies", ("model.layers.0.self_attn.rotary_emb.inv_freq", [4], "F32", 16))
tensors("a value head", ("v_head.summary.weight", [1, 8], "F32", 32), told="v_head.summary.weight")
tensors("a bias that nobody asks for", ("model.layers.0.self_attn.q_proj.bias", [32], "F32", 128), told="q_proj.bias")
F.text("an index beside one file", "model.safetensors.index.json", "")
SHARD = "model-00001-of-00001.safetensors"


def indexed(name, more, told=""):
    def edit(folder):
        data = (folder / "model.safetensors").read_bytes()
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        names = {k: SHARD for k in header if k != "__metadata__"}
        (folder / "model.safetensors").rename(folder / SHARD)
        (folder / "model.safetensors.index.json").write_text(json.dumps(more(names)))
    F.folder(f"index, {name}", edit, SAME, told)


indexed("no metadata", lambda names: {"weight_map": names})
indexed("null metadata", lambda names: {"metadata": None, "weight_map": names})
indexed("odd sizes", lambda names: {"metadata": {"total_size": "x", "more": 1.5}, "weight_map": names})
indexed("too much", lambda names: {"weight_map": {**names, "model.layers.9.x": SHARD}}, "model.layers.9.x")
indexed("too little", lambda names: {"weight_map": dict(list(names.items())[:3])}, "not in the index")
F.folder("shards without an index", lambda d: (d / "model.safetensors").rename(d / SHARD))


def broken_index(name, text, file=SHARD, expected=SAME, told="read without it"):
    def edit(folder):
        (folder / "model.safetensors").rename(folder / file)
        (folder / "model.safetensors.index.json").write_text(text)
    F.folder(f"index, {name}", edit, expected, told)


broken_index("nothing", "")
broken_index("no tensors", '{"metadata": {}, "weight_map": {}}')
broken_index("no map", '{"metadata": {}}')
broken_index("cut", '{"metadata": {}, "weight_map": {"lm_')
broken_index("nothing, and no shards", "", file="pytorch_model.bin", expected="index.json")


def consolidated(folder):
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    (folder / "model.safetensors").rename(folder / SHARD)


F.folder("a second form beside shards", consolidated)


def metadata(value):
    def edit(folder):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        text = json.dumps({"__metadata__": value, **json.loads(data[8:8 + size])}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
    return edit


F.folder("null metadata", metadata(None))
F.folder("empty metadata", metadata({}))


# ---- quantised in ways that are not read, whatever the configuration says

for writer, more in {"MLX": [("scales", [32, 1], "F16", 64), ("biases", [32, 1], "F16", 64)],
                     "GPTQ or AWQ": [("qweight", [4, 32], "I32", 512), ("scales", [1, 32], "F16", 64)],
                     "bitsandbytes": [("weight.absmax", [16], "U8", 16), ("weight.quant_map", [16], "F32", 64)],
                     "HQQ": [("W_q", [16, 32], "U8", 512), ("scale", [32, 1], "F16", 64)]}.items():
    rows = [(f"model.layers.0.mlp.up_proj.{part}", shape, kind, size) for part, shape, kind, size in more]
    tensors(f"quantised by {writer}", *rows, expected=f"quantised by {writer}")
tensors("quantised by MLX, and a section", ("model.layers.0.mlp.up_proj.scales", [32, 1], "F16", 64),
        ("model.layers.0.mlp.up_proj.biases", [32, 1], "F16", 64), expected="quantised by MLX", section={"group_size": 32, "bits": 4})


# ---- tensors that are missing

def renamed(name, part, other, expected, file="model.safetensors"):
    """With names of tensors changed in the header, in a file of another name."""
    def edit(folder):
        data = (folder / "model.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        text = json.dumps({k.replace(part, other): v for k, v in json.loads(data[8:8 + size]).items()}).encode()
        (folder / "model.safetensors").unlink()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
    F.folder(name, edit, expected)


renamed("an adapter that is not merged", "q_proj.weight", "q_proj.base_layer.weight", "merge_and_unload")
renamed("q, k and v in one", "q_proj.weight", "qkv_proj.weight", "as one matrix")
renamed("no second layer", "layers.1", "strangers.1", "incomplete")
renamed("one part of three", "layers.1", "strangers.1", "of its 3 parts 1 is here", "model-00001-of-00003.safetensors")


# ---- what is no model

def instead(name, expected, data=b"x"):
    def edit(folder):
        (folder / "model.safetensors").unlink()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    F.folder(f"only {name}", edit, expected)


instead("pytorch_model.bin", "PyTorch")
instead("consolidated.00.pth", "PyTorch")
instead("tf_model.h5", "TensorFlow")
instead("flax_model.msgpack", "Flax")
instead("adapter_model.safetensors", "LoRA adapter")
def bare_adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


F.folder("an adapter under a model's name", bare_adapter, "LoRA adapter")
instead("consolidated.safetensors", "their maker's own form")
instead("mmproj-model-f16.gguf", "image encoder")
instead("openvino_model.bin", "OpenVINO")
instead("onnx/model.onnx", "ONNX")
instead("model.ckpt", "PyTorch")
instead("rust_model.ot", "Rust")
instead("rank0.engine", "TensorRT")
instead("model.safetensors.incomplete", "not finished")
for name, data, cause in (("LFS", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"), ("a page", b"<!DOCTYPE html>" + bytes(40), "web page"),
                          ("GGJT", b"tjgg" + bytes(60), "older than GGUF"), ("a zip", b"PK\x03\x04" + bytes(60), "PyTorch"),
                          ("a pickle", b"\x80\x02" + bytes(60), "PyTorch"), ("nothing", b"", "0 bytes"),
                          ("GGUF 1", b"GGUF\x01\0\0\0" + bytes(60), "version 1"), ("big-endian", b"GGUF\0\0\0\x03" + bytes(60), "big-endian"),
                          ("JSON", b'{"error": "Repository not found"}', "JSON"), ("gzip", b"\x1f\x8b\x08" + bytes(60), "gzip")):
    F.file(f"a file of {name}", data, cause)

# ---- GGUF

for key in ("general.name", "general.file_type", "general.alignment", "llama.attention.key_length", "llama.attention.value_length",
            "llama.rope.dimension_count", "llama.rope.freq_base", "llama.vocab_size", "tokenizer.ggml.scores"):
    F.gguf(f"GGUF, missing {key}", lambda g, k=key: g.drop(k))
for key in ("general.architecture", "llama.context_length", "llama.attention.layer_norm_rms_epsilon"):
    F.gguf(f"GGUF, missing {key}", lambda g, k=key: g.drop(k), expected=key)
for key, kind, value in (("rope.scaling.factor", "f32", 1.0), ("rope.scaling.factor", "f32", 0.0), ("rope.scaling.type", "string", ""),
                         ("rope.scaling.type", "string", "none"), ("rope.scale_linear", "f32", 1.0), ("rope.scaling.finetuned", "bool", 0),
                         ("rope.scaling.attn_factor", "f32", 1.0), ("expert_count", "u32", 0), ("attention.sliding_window", "u32", 0),
                         ("attn_logit_softcapping", "f32", 0.0), ("logit_scale", "f32", 1.0), ("attention.scale", "f32", 8 ** -0.5),
                         ("attention.causal", "bool", 1), ("attention.head_count_kv", "u64", 2), ("rope.freq_base", "f64", 10000.0)):
    F.gguf(f"GGUF, {key} {value!r}", lambda g, k=key, t=kind, v=value: g.set("llama." + k, t, v))
F.gguf("GGUF, heads by layer", lambda g: g.set("llama.attention.head_count_kv", "array", [2, 2], element="i32"))
for key, kind, value, cause in (("rope.scaling.type", "string", "longrope", '"longrope"'), ("expert_count", "u32", 8, "mixture of experts"),
                                ("logit_scale", "f32", 0.5, "scaled logits"), ("attention.scale", "f32", 0.5, "attention scale"),
                                ("attention.causal", "bool", 0, "an encoder")):
    F.gguf(f"GGUF, {key} {value!r} refused", lambda g, k=key, t=kind, v=value: g.set("llama." + k, t, v), expected=cause)
for key in ("padding", "seperator", "mask", "fim_pre", "eot"):
    F.gguf(f"GGUF, {key} outside", lambda g, k=key: g.set(f"tokenizer.ggml.{k}_token_id", "u32", 4294967295))
for kind in ("u8", "u32", "i32"):
    F.gguf(f"GGUF, add_bos_token as {kind}", lambda g, k=kind: g.set("tokenizer.ggml.add_bos_token", k, 0))
F.gguf("GGUF, scores that nobody needs", lambda g: g.set("tokenizer.ggml.scores", "array", [0.0] * 5, element="f32"))
F.gguf("GGUF, an empty template", lambda g: g.set("tokenizer.chat_template", "string", ""))
F.gguf("GGUF, lists in general", lambda g: g.set("general.tags", "array", ["a"], element="string").set("general.languages", "array", [], element="string"))
for kind, cause in (("adapter", "LoRA adapter"), ("imatrix", "importance matrix"), ("mmproj", "image encoder"), ("vocab", "a vocabulary")):
    F.gguf(f"GGUF, type {kind}", lambda g, k=kind: g.set("general.type", "string", k), expected=cause)
F.gguf("GGUF, type model", lambda g: g.set("general.type", "string", "model"))
F.gguf("GGUF, one part of one", lambda g: g.set("split.no", "u16", 0).set("split.count", "u16", 1))
F.gguf("GGUF, no parts", lambda g: g.set("split.no", "u16", 0).set("split.count", "u16", 0))
F.gguf("GGUF, bytes behind it", lambda g: g.pack() + bytes(100))
F.gguf("GGUF, more tensors", lambda g: g.tensors.append(mkgguf.Tensor("nextn.weight", [256], "iq1_s")), told="nextn.weight")
for kind, cause in ((4, "Q4_2"), (31, "fetch the Q4_0 file"), (36, "fetch the IQ4_NL file"), (99, "unknown")):
    F.gguf(f"GGUF, type {kind} of tensors", lambda g, k=kind: setattr(g.tensors[0], "kind", k), expected=cause)
F.gguf("GGUF, frequencies of 1", lambda g: g.tensors.append(mkgguf.Tensor("rope_freqs.weight", [4], "f32", struct.pack("<4f", 1, 1, 1, 1))))
F.gguf("GGUF, an empty pre", lambda g: g.set("tokenizer.ggml.pre", "string", "").set("general.name", "string", ""), told="tokenizer.ggml.pre")


def with_projector(folder):
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    shutil.copy(TINY, folder / "model-Q8_0.gguf")
    (folder / "mmproj-model.gguf").write_bytes(read_gguf(TINY).set("general.architecture", "string", "clip").pack())


F.folder("a GGUF with its projector", with_projector)


# ---- all of them

def run(program, path):
    done = viva(program, "generate", "-m", path, "-p", "hello world", *NUMBERS)
    found = json.loads(done.stdout) if done.returncode == 0 else {}
    return done.returncode, found.get("tokens"), done.stderr


@pytest.fixture(scope="module")
def results(program, tmp_path_factory):
    """Each case once, on all processors."""
    work = tmp_path_factory.mktemp("files")
    base = gguf_folder.write(TINY, work / "base", "F32")

    def one(numbered):
        i, (make, _, _) = numbered
        return run(program, make(base, work / str(i)))
    with ThreadPoolExecutor() as pool:
        return {"": run(program, base), **dict(zip(F.cases, pool.map(one, enumerate(F.cases.values()))))}


@pytest.mark.parametrize("name", F.cases)
def test_file(results, name):
    _, expected, told = F.cases[name]
    code, tokens, said = results[name]
    if expected is SAME:
        assert code == 0, said
        assert tokens == results[""][1] or name.endswith("an empty pre")
        assert told in said, said
    else:
        assert code == 2 and expected in said, said
