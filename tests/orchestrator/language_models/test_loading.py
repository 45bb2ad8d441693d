"""Models, their identity, and what is read out of them. Shape suffixes: N sequences, L positions."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orchestrator.errors import UserError
from orchestrator.language_models.loading import (
    LanguageModel,
    check_model,
    fingerprint,
    load_tokenizer,
    resolve_hookpoints,
)
from tests.support.language_models import L


def test_capture_equals_hidden_states(tiny: LanguageModel, tokens_NL: Tensor) -> None:
    with torch.no_grad():
        states = tiny.model(tokens_NL, output_hidden_states=True).hidden_states
    got = tiny.capture(tokens_NL, ["layers.2", "layers.0", "embed_tokens", "layers.1:in"], batch_tokens=3 * L)
    assert list(got) == ["layers.2", "layers.0", "embed_tokens", "layers.1:in"]
    for name, state in [("embed_tokens", 0), ("layers.0", 1), ("layers.1:in", 1), ("layers.2", 3)]:
        assert got[name].dtype == torch.float32 and got[name].shape == (7, L, 32)
        torch.testing.assert_close(got[name], states[state])


def test_input_is_what_the_module_saw(tiny: LanguageModel, tokens_NL: Tensor) -> None:
    got = tiny.capture(tokens_NL, ["layers.1.mlp:in", "layers.1.mlp", "layers.1.self_attn:in", "layers.1:in"])
    layer = tiny.model.base_model.layers[1]
    torch.testing.assert_close(layer.mlp(got["layers.1.mlp:in"]), got["layers.1.mlp"])
    torch.testing.assert_close(layer.input_layernorm(got["layers.1:in"]), got["layers.1.self_attn:in"])


@pytest.mark.parametrize(
    ("hookpoint", "layers_finished"),
    [("layers.1", 2), ("layers.1.mlp", 1), ("layers.1:in", 1), ("layers.3", 4)],
)
def test_forward_stops_after_the_last_hookpoint(
    tiny: LanguageModel, tokens_NL: Tensor, hookpoint: str, layers_finished: int
) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in tiny.model.modules())

    finished: list[int] = []
    before = hooks()
    handles = [
        layer.register_forward_hook(lambda *_, i=i: finished.append(i))
        for i, layer in enumerate(tiny.model.base_model.layers)
    ]
    tiny.capture(tokens_NL, ["layers.0:in", hookpoint])
    for handle in handles:
        handle.remove()
    assert finished == list(range(layers_finished))
    assert hooks() == before


def test_capture_does_not_depend_on_history(tiny: LanguageModel, tokens_NL: Tensor) -> None:
    first = tiny.capture(tokens_NL, ["layers.2"], batch_tokens=2 * L)["layers.2"]
    tiny.capture(tokens_NL.flip(0), ["layers.3", "layers.0.mlp"])
    again = tiny.capture(tokens_NL.to(torch.int32), ["layers.0", "layers.2"], batch_tokens=2 * L)["layers.2"]
    assert torch.equal(first, again)


def test_hookpoint_that_never_runs(tiny: LanguageModel, tokens_NL: Tensor) -> None:
    tiny.model.base_model.add_module("idle", torch.nn.Identity())
    with pytest.raises(RuntimeError, match="without computing idle"):
        tiny.capture(tokens_NL, ["layers.0", "idle"])
    del tiny.model.base_model.idle
    with pytest.raises(UserError, match=r"hookpoint 'layers\.9'"):
        tiny.capture(tokens_NL, ["layers.9"])


@pytest.mark.parametrize("use", [load_tokenizer, fingerprint, LanguageModel.load, lambda m: resolve_hookpoints(m, "x")])
@pytest.mark.parametrize("kind", ["nobody/no-such-model-here", "./no/such/path", "empty"])
def test_unknown_models(tmp_path: Path, use: Callable[[str], object], kind: str) -> None:
    model = str(tmp_path) if kind == "empty" else kind
    with pytest.raises(UserError, match=r"^model '") as caught:
        use(model)
    assert "\n" not in str(caught.value) and model in str(caught.value)


def test_fingerprint_follows_content(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    assert fingerprint(str(copy)) == fingerprint(str(tiny_model))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert fingerprint(str(copy)) != fingerprint(str(tiny_model))


def test_fingerprint_sees_the_edit_of_one_number_in_a_large_file(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "large")
    large = tmp_path / "large" / "model.safetensors"
    with large.open("r+b") as file:
        file.truncate(100 << 20)
    before = fingerprint(str(tmp_path / "large"))
    with large.open("r+b") as file:
        file.seek((50 << 20) + 12345)
        file.write(b"\1")
    assert fingerprint(str(tmp_path / "large")) != before


def test_hub_id_out_of_the_local_cache(tiny_model: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(tiny_model, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit, encoding="utf-8")
    script = (
        "import orchestrator.language_models.loading as m; name = 'someone/tiny';"
        "assert m.fingerprint(name) == '" + commit + "'; m.load_tokenizer(name);"
        "assert m.resolve_hookpoints(name, ['layers.1'])[0].width == 32; m.LanguageModel.load(name)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=Path(__file__).parents[3])


def test_a_class_that_changes_a_tokenizer_is_told(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_model(str(tiny_model), 32)
    assert "splits text otherwise" not in caplog.text
    copy = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    config = json.loads((copy / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = "Qwen2TokenizerFast"
    (copy / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    check_model(str(copy), 32)
    assert "splits text otherwise than its tokenizer.json says: it is loaded as a Qwen2Tokenizer" in caplog.text
