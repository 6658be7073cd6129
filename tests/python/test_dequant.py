"""Every tensor of both real GGUF files as FP32: bit for bit what the gguf package makes of it."""

import numpy as np
import pytest
import viva_ctypes as viva
from conftest import model_path

gguf = pytest.importorskip("gguf", reason="the gguf package is the reference")
gguf_tokenizer = pytest.importorskip("gguf_tokenizer")

MODELS = ["SmolLM2-135M-Instruct-Q4_1.gguf", "gemma-3-270m-Q4_K_M.gguf"]
PART_ROWS = 16384  # of a large tensor: the reference needs several times the memory of its result


def same_bits(ours, reference):
    """NaN equals NaN: which one comes out is the processor's choice."""
    different = ours.view(np.uint32) != reference.view(np.uint32)
    return not np.any(different & ~(np.isnan(ours) & np.isnan(reference)))


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_equals_the_gguf_package(name):
    path = model_path(name)
    tensors = gguf_tokenizer.reader(path).tensors
    with viva.Checkpoint(path) as checkpoint:
        assert len(checkpoint.tensors()) == len(tensors)
        for tensor in tensors:
            cols = int(tensor.shape[0])  # the file's order: innermost first
            ours = checkpoint.read_f32(tensor.name, (int(tensor.n_elements) // cols, cols))
            rows = tensor.data.reshape(ours.shape[0], -1)
            for first in range(0, ours.shape[0], PART_ROWS):
                reference = gguf.quants.dequantize(rows[first:first + PART_ROWS], tensor.tensor_type)
                assert same_bits(ours[first:first + PART_ROWS], reference), tensor.name
