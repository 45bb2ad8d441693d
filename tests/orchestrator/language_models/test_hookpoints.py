"""Names and wildcards of hookpoints."""

import shutil
from pathlib import Path

import pytest
from torch import Tensor

from orchestrator.errors import UserError
from orchestrator.language_models.loading import LanguageModel, resolve_hookpoints
from tests.support.language_models import L


def names(model: Path, *patterns: str) -> list[str]:
    return [point.name for point in resolve_hookpoints(str(model), patterns)]


def test_resolve(tiny_model: Path) -> None:
    found = resolve_hookpoints(str(tiny_model), ["layers.3.mlp", "layers.1", "layers.3.mlp.gate_proj:in", "layers.?"])
    assert [(point.name, point.width) for point in found] == [
        ("layers.3.mlp", 32),
        ("layers.1", 32),
        ("layers.3.mlp.gate_proj:in", 32),
        ("layers.0", 32),
        ("layers.2", 32),
        ("layers.3", 32),
    ]
    assert names(tiny_model, "layers.[13]") == ["layers.1", "layers.3"]
    crossing = names(tiny_model, "layers.1*")
    assert crossing[0] == "layers.1.input_layernorm" and crossing[-2:] == ["layers.1.mlp", "layers.1"]
    assert resolve_hookpoints(str(tiny_model), ["layers.1.mlp.up_proj"])[0].width == 64
    assert "rotary_emb" not in names(tiny_model, "*")


def test_weights_are_not_read(tiny_model: Path, tmp_path: Path) -> None:
    """However large they are: the configuration alone is enough."""
    shutil.copy(tiny_model / "config.json", tmp_path)
    assert resolve_hookpoints(str(tmp_path), ["*"]) == resolve_hookpoints(str(tiny_model), ["*"])


def test_resolved_names_can_be_captured(tiny_model: Path, tiny: LanguageModel, tokens_NL: Tensor) -> None:
    points = resolve_hookpoints(str(tiny_model), ["*", "*:in"])
    got = tiny.capture(tokens_NL[:2], [point.name for point in points])
    assert {name: value.shape for name, value in got.items()} == {p.name: (2, L, p.width) for p in points}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("layers.7", r"hookpoint 'layers\.7': matches no module .* closest are layers\.3,"),
        ("layers.7.mlp:in", r"closest are layers\.3\.mlp,"),
        ("layer.1.mlp", r"did you mean layers\.1\.mlp\?"),
        ("rotary_emb", r"not a \[batch, sequence, width\] tensor"),
        ("layers", r"not a \[batch, sequence, width\] tensor"),
        ("layrs.1.mlp", r"closest are layers\.1\.mlp"),
        ("layers.1:out", r"only suffix is ':in'"),
    ],
)
def test_unknown_hookpoints(tiny_model: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_hookpoints(str(tiny_model), ["layers.0", pattern])
    assert "\n" not in str(caught.value)
