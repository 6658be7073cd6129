"""One quantised model in the spellings of its writers: each has the tokens of the first, or is refused by its cause."""

import json
import shutil
import struct

import pytest
from test_files import CASES, NUMBERS, TINY, viva


def read_header(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + size]), bytearray(data[8 + size:])


def write_header(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(body))


def run(program, folder):
    done = viva(program, "generate", "-m", folder, "-p", "hello world", *NUMBERS)
    return json.loads(done.stdout)["tokens"] if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module")
def folders(program, tmp_path_factory):
    """FP8 by channel and NVFP4 as compressed-tensors, written by viva; FP8 by tensor as transformers writes it."""
    work = tmp_path_factory.mktemp("quant")
    for name in ("fp8", "nvfp4"):
        assert viva(program, "quantize", TINY, work / name, "--format", name, "-q").returncode == 0
    plain = CASES / "11-fp8-per-tensor-names/act"
    if plain.exists():
        shutil.copytree(plain, work / "tensor")
    return work


@pytest.fixture(scope="module")
def plain(program, folders):
    """The tokens of each as it was written."""
    return {folder.name: run(program, folder) for folder in folders.iterdir()}


def check(program, folders, plain, tmp_path, base, edit, cause=None):
    if base not in plain:
        pytest.skip(f"{CASES} is not there")
    shutil.copytree(folders / base, tmp_path / "model")
    config = tmp_path / "model/config.json"
    keys = json.loads(config.read_text())
    edit(keys, tmp_path / "model/model.safetensors")
    config.write_text(json.dumps(keys))
    found = run(program, tmp_path / "model")
    if cause is None:
        assert found == plain[base], found
    else:
        assert isinstance(found, str) and cause in found, found


def top(**more):
    """Keys of quantization_config; ... takes one away."""
    def edit(keys, _):
        section = {**keys["quantization_config"], **more}
        keys["quantization_config"] = {k: v for k, v in section.items() if v is not ...}
    return edit


def group(where="", **more):
    def edit(keys, _):
        one = keys["quantization_config"]["config_groups"]["group_0"]
        one = one[where] if where else one
        one.update(more)
        for key in [k for k, v in one.items() if v is ...]:
            del one[key]
    return edit


def renamed(old, new):
    def edit(_, path):
        header, body = read_header(path)
        write_header(path, {k.replace(old, new): v for k, v in header.items()}, body)
    return edit


INT4 = {"targets": ["re:.*vision.*"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}}


def another_group(targets):
    def edit(keys, _):
        keys["quantization_config"]["config_groups"]["group_1"] = {**INT4, "targets": targets}
        keys["quantization_config"]["config_groups"]["group_0"]["targets"] = ["Linear"]
    return edit


WRITERS = [
    ("tensor", top(activation_scheme=...)), ("tensor", top(activation_scheme=None, weight_block_size=None)),
    ("tensor", top(modules_to_not_convert=None)), ("tensor", top(modules_to_not_convert=["lm_head", "visual", "mlp.gate"])),
    ("tensor", top(fmt=None)), ("tensor", top(fmt="e4m3fn")), ("tensor", top(fmt="float8_e4m3", scale_fmt="ue8m0")),
    ("tensor", top(quant_method="FP8")), ("tensor", top(quant_method=...)),
    *[("tensor", renamed(".weight_scale", "." + n)) for n in ("weight_scale_inv", "scale", "scale_weight", "qscale_weight",
                                                             "weights_scaling_factor", "weight_scaling_factor")],
    *[("tensor", renamed(".act_scale", "." + n)) for n in ("input_scale", "input_activation_scale", "activation_scale", "scale_input",
                                                          "in_scale", "input_scale_inv", "qscale_act", "activation_scaling_factor")],
    ("fp8", top(quant_method=...)), ("fp8", top(quant_method="compressed_tensors")), ("fp8", top(format=None)), ("fp8", group(format=...)),
    ("fp8", top(quantization_status=None)), ("fp8", top(ignore=None)), ("fp8", top(ignore=...)), ("fp8", top(ignore=["re:^(?!.*mlp).*"])),
    ("fp8", top(sparsity_config={}, transform_config={}, version="0.9", global_compression_ratio=None)), ("fp8", top(sparsity_config=None)),
    ("fp8", top(kv_cache_scheme={"num_bits": 8, "type": "float", "strategy": "tensor"})),
    ("fp8", group("weights", symmetric=..., dynamic=...)), ("fp8", group("weights", symmetric=None, dynamic=None)),
    ("fp8", group("weights", group_size=-1, strategy=...)), ("fp8", group("weights", group_size=...)),
    ("fp8", group("weights", actorder=None, block_structure=None, observer="minmax", observer_kwargs={}, scale_dtype=None)),
    ("fp8", group(input_activations=..., output_activations=...)), ("fp8", group(targets=["Linear"])), ("fp8", group(targets=["re:.*"])),
    ("fp8", group(input_activations={"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True})),
    ("fp8", another_group(["re:.*vision.*"])),
    ("nvfp4", top(format=None)), ("nvfp4", group("weights", group_size=...)), ("nvfp4", group("weights", strategy="group")),
    ("nvfp4", group("weights", strategy=...)), ("nvfp4", group("weights", strategy=..., group_size=16)),
    ("nvfp4", group(input_activations={"num_bits": 4, "type": "float", "strategy": "tensor_group", "dynamic": "local"})),
]


@pytest.mark.parametrize("base, edit", WRITERS, ids=range(len(WRITERS)))
def test_spelling(program, folders, plain, tmp_path, base, edit):
    check(program, folders, plain, tmp_path, base, edit)


def test_a_group_that_is_not_read_refuses_its_own_modules(program, folders, plain, tmp_path):
    check(program, folders, plain, tmp_path, "fp8", another_group(["re:.*down_proj"]), 'weights of type "int" in 4 bits are not read')


def as_modelopt(config=None, beside=None):
    """NVFP4 as ModelOpt keeps it; what it says in config.json, and in hf_quant_config.json."""
    def edit(keys, path):
        del keys["quantization_config"]
        if config is not None:
            keys["quantization_config"] = config
        if beside is not None:
            (path.parent / "hf_quant_config.json").write_text(json.dumps(beside))
        header, body = read_header(path)
        for name, entry in header.items():
            if name.endswith("weight_global_scale"):
                at = entry["data_offsets"][0]
                struct.pack_into("<f", body, at, 1 / struct.unpack_from("<f", body, at)[0])
        write_header(path, {k.replace("weight_packed", "weight").replace("weight_global_scale", "weight_scale_2"): v
                            for k, v in header.items()}, body)
    return edit


ALGO, LAYERS = {"quant_algo": "NVFP4"}, {"model.layers.*": {"quant_algo": "NVFP4", "group_size": 16}, "lm_head": {"quant_algo": "NVFP4"}}
MODELOPT = [as_modelopt(beside={"quantization": ALGO}),
            as_modelopt(beside={"producer": None, "quantization": {**ALGO, "group_size": None, "exclude_modules": None}}),
            as_modelopt(beside={"quantization": {**ALGO, "kv_cache_quant_algo": "FP8", "exclude_modules": ["visual*"]}}),
            as_modelopt(beside={"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": LAYERS}}),
            as_modelopt({"quant_method": "modelopt", **ALGO}), as_modelopt({"quant_method": "modelopt", **ALGO, "ignore": None}),
            as_modelopt({"quant_method": "modelopt_fp4", **ALGO}), as_modelopt({"quant_method": "NVFP4", **ALGO}), as_modelopt(ALGO),
            as_modelopt({"quant_method": "modelopt", "quantization": ALGO}),
            as_modelopt({"quant_method": "modelopt", **ALGO}, {"quantization": {**ALGO, "exclude_modules": []}})]


@pytest.mark.parametrize("edit", MODELOPT, ids=range(len(MODELOPT)))
def test_modelopt(program, folders, plain, tmp_path, edit):
    check(program, folders, plain, tmp_path, "nvfp4", edit)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "hqq"])
def test_others_are_named(program, folders, plain, tmp_path, method):
    check(program, folders, plain, tmp_path, "fp8", lambda keys, _: keys.update(quantization_config={"quant_method": method}), f'"{method}"')
