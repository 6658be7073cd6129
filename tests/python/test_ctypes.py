"""The binding that the other tests use agrees with the library."""

import ctypes

import pytest
import viva_ctypes as viva


@pytest.mark.parametrize("name", viva.DEFAULTS)
def test_size_of_options(name):
    assert getattr(viva.lib, name)().size == ctypes.sizeof(viva.DEFAULTS[name])


def test_error_carries_code_and_message(engine):
    with pytest.raises(viva.VivaError) as raised:
        viva.Model(engine, "/no/such/model.gguf")
    assert raised.value.code in ("VIVA_E_IO", "VIVA_E_NOT_FOUND")
    assert "/no/such/model.gguf" in str(raised.value)
