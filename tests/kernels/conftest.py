"""Ways of running pursuits that refit."""

import pytest
import torch

from kernels.cpu import native
from kernels.scores import Chooser
from tests.support.refits import WAYS


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.dtype, float]:
    dtype, may_compile, tolerance = WAYS[request.param]
    if not may_compile:
        monkeypatch.setattr(native, "library", lambda: None)
    return dtype, tolerance


@pytest.fixture(params=["gram", "product"])
def scores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How scores are obtained, whatever costs less for the shapes at hand."""
    monkeypatch.setattr(Chooser, "_rows_are_cheaper", lambda *_: request.param == "gram")
    return request.param
