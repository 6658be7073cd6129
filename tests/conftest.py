"""What the Python tests share. They use what was built: $VIVA_LIBRARY (libviva.so) and $VIVA_PROGRAM (viva)."""

import os
from pathlib import Path

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; runs when VIVA_SLOW is set")


def pytest_collection_modifyitems(items):
    if not os.environ.get("VIVA_SLOW"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: set VIVA_SLOW=1"))


def model_path(name):
    folder = Path(os.environ.get("VIVA_MODELS") or Path.home() / ".cache" / "viva" / "models")
    if not (folder / name).exists():
        pytest.skip(f"{name} is not in {folder}: run tools/fetch_models")
    return folder / name


@pytest.fixture(scope="session")
def program():
    return os.environ["VIVA_PROGRAM"]


@pytest.fixture(scope="session")
def smollm2_path():
    return model_path("SmolLM2-135M-Instruct-Q4_1.gguf")


@pytest.fixture(scope="session")
def engine():
    import viva_ctypes
    with viva_ctypes.Engine() as opened:
        yield opened


@pytest.fixture(scope="session")
def smollm2(engine, smollm2_path):
    """SmolLM2 as the reference ran it: dequantised to FP32, and an FP32 cache."""
    import viva_ctypes
    with viva_ctypes.Model(engine, smollm2_path, weights=b"f32", kv=viva_ctypes.F32, context=2048) as model:
        yield model
