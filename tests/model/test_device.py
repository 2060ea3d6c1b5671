"""The device asked for or an error; precision auto means what the device computes in."""

import pytest
import torch

from helpers import refused
from model.device import select_device, settle_precision
from models import make_recipe


def test_the_device_asked_for_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert select_device("cpu").type == "cpu"
    assert select_device("auto").type == "cpu"
    assert refused(lambda: select_device("cuda")) == (
        "device is 'cuda', which is not available here; choose auto or cpu"
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert select_device("auto").type == "mps"
    assert "choose auto or mps, cpu" in refused(lambda: select_device("cuda"))


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True)])
def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(
    avx512: bool, amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    cpu = torch.device("cpu")
    settled = settle_precision(make_recipe(precision="auto"), cpu)
    assert settled.precision == ("bfloat16" if avx512 or amx else "float32")
    assert settled == make_recipe(precision=settled.precision)
    for chosen in ("float32", "bfloat16"):
        assert settle_precision(make_recipe(precision=chosen), cpu).precision == chosen
