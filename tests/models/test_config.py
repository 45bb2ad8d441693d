"""What a coder's config refuses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import VARIANTS, SparseCoder, SparseCoderConfig
from tests.support.coders import make_coder

BAD_CONFIGS = {
    "variant": ({"variant": "relu"}, f"variant 'relu': allowed are {', '.join(VARIANTS)}"),
    "k": ({"k": 0}, "k 0: must be 1 or more"),
    "expansion_factor": ({"expansion_factor": -2}, "expansion_factor -2: must be 1 or more"),
    "num_latents": ({"num_latents": -1}, "num_latents -1: must be 1 or more, or 0 to use expansion_factor"),
    "detach_residual": (
        {"detach_residual": True},
        "detach_residual True: only pursuits without a refit detach, not variant topk",
    ),
    "detach_residual of a refit": (
        {"detach_residual": True, "variant": "ito"},
        "detach_residual True: only pursuits without a refit detach, not variant ito",
    ),
    "residual_threshold": (
        {"residual_threshold": 0.5, "variant": "mp"},
        r"residual_threshold 0\.5: only variant mp-tied has one, not mp",
    ),
    "residual_threshold below 0": (
        {"residual_threshold": -1.0, "variant": "mp-tied"},
        r"residual_threshold -1\.0: must be 0 or a positive number",
    ),
    "residual_threshold nan": (
        {"residual_threshold": float("nan"), "variant": "mp-tied"},
        "residual_threshold nan: must be 0 or a positive number",
    ),
}


@pytest.mark.parametrize("field", BAD_CONFIGS)
def test_bad_config_values_are_named_with_what_is_allowed(field):
    config, message = BAD_CONFIGS[field]
    with pytest.raises(ValueError, match=f"^{message}$"):
        SparseCoderConfig(**config)


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_active_latents_than_there_are_is_an_error(variant):
    cfg = SparseCoderConfig(variant=variant, expansion_factor=2, k=9)
    with pytest.raises(ValueError, match=r"^k 9: must be at most the number of latents, 8$"):
        SparseCoder(4, cfg)
    assert SparseCoder(5, cfg).num_latents == 10


def test_num_latents_goes_before_expansion_factor():
    assert SparseCoderConfig(num_latents=40, expansion_factor=2).latents(8) == 40
    assert SparseCoderConfig(expansion_factor=5).latents(8) == 40


@pytest.mark.parametrize("shape", [(3, 11), (3, 1), (3, 1, 10), (10,)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_and_targets_of_another_shape_are_refused(variant, shape):
    coder, fitting = make_coder(variant=variant), torch.zeros(3, 10)
    for call in (coder, coder.encode):
        with pytest.raises(ValueError, match=rf"^x has shape {re.escape(str(list(shape)))}; expected \[rows, 10\]$"):
            call(torch.zeros(shape))
    with pytest.raises(ValueError, match=rf"^y has shape {re.escape(str(list(shape)))}; expected \[3, 10\]$"):
        coder(fitting, torch.zeros(shape))


def test_a_foreign_kernels_package_is_named(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    (tmp_path / "models").symlink_to(Path(__file__).parents[2] / "models")
    failed = subprocess.run(
        [sys.executable, "-c", "import models"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    last_line = failed.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: another package named `kernels` hides this project's")
    assert str(tmp_path / "kernels") in last_line
