"""Coders and checkpoints of a stranger: what they claim to be takes no memory, and no other error comes out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import SparseCoder
from tests.fuzz.limits import little_memory
from tests.support.coders import make_coder
from tests.support.trainers import make_batches, make_trainer, train


def claimed(directory: Path, **fields: Any) -> None:
    path = directory / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


@pytest.mark.parametrize("variant", ["topk", "sst", "mp-big-decoder"])
@pytest.mark.parametrize(
    "claim",
    [{"num_latents": 10**15}, {"num_latents": 10**9}, {"d_in": 10**6}, {"d_in": 10**30}, {"num_latents": 2**63},
     {"num_latents": 10**9, "k": 10**9}, {"num_latents": 0, "expansion_factor": 10**12}],
    ids=str,
)  # fmt: skip
def test_a_size_that_is_not_the_files_takes_no_memory(claim: dict[str, int], variant: str, tmp_path: Path) -> None:
    make_coder(variant=variant).save_to_disk(tmp_path)
    claimed(tmp_path, **claim)
    with little_memory(), pytest.raises(ValueError, match=r"does not fit a coder|is larger than any file"):
        SparseCoder.load_from_disk(tmp_path)


def test_a_header_of_terabytes_takes_no_memory(tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    for length in (2**63, 10**12, 99_999_999):
        (tmp_path / "sae.safetensors").write_bytes(length.to_bytes(8, "little") + b'{"W_dec":{}}')
        with little_memory(), pytest.raises(ValueError, match=r"cut short or not a safetensors file \(.*\)$"):
            SparseCoder.load_from_disk(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"k":' * 100_000, '{"k": ' + "9" * 5000 + "}"], ids=["[[", "{{", "9"])
def test_json_that_overflows_a_parser_is_named(text: str, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    (tmp_path / "cfg.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"cfg\.json: cut short or not a JSON file \(.*\)$"):
        SparseCoder.load_from_disk(tmp_path)


def test_a_number_beyond_all_floats_is_no_threshold(tmp_path: Path) -> None:
    make_coder(variant="mp-tied").save_to_disk(tmp_path)
    claimed(tmp_path, residual_threshold=10**400)
    with pytest.raises(ValueError, match=r"residual_threshold 10+: must be 0 or a positive number$"):
        SparseCoder.load_from_disk(tmp_path)


def test_names_of_several_lines_stay_on_one(tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    weights = load_file(tmp_path / "sae.safetensors")
    save_file(weights | {"a\nb" * 99: torch.zeros(1)}, tmp_path / "sae.safetensors")
    with pytest.raises(ValueError) as raised:
        SparseCoder.load_from_disk(tmp_path)
    assert len(str(raised.value).splitlines()) == 1
    claimed(tmp_path, **{"a\nb" * 99: "c\n" * 5000})
    with pytest.raises(ValueError) as raised:
        SparseCoder.load_from_disk(tmp_path)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64], ids=str)
def test_weights_of_eight_bits_or_complex_ones_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    weights = load_file(tmp_path / "sae.safetensors")
    save_file(weights | {"W_dec": weights["W_dec"].to(dtype)}, tmp_path / "sae.safetensors")
    with pytest.raises(ValueError, match=rf"W_dec is {dtype}; expected floats$"):
        SparseCoder.load_from_disk(tmp_path)


STATES = {
    "step": (None, -1, 1.5, True, 10**400, "3"),
    "input_scale": (None, 0, -1.0, float("nan"), float("inf"), 10**400, "1", [1]),
    "target_scale": (None, {}),
    "cursor": (None, [], 3, "a"),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in STATES.items() for value in values])
def test_a_field_of_a_checkpoint_is_what_it_must_be(field: str, value: Any, tmp_path: Path) -> None:
    trainer = make_trainer()
    trainer.save(tmp_path, {})
    path = tmp_path / "training.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for changed in ({**content, field: value}, {name: kept for name, kept in content.items() if name != field}):
        path.write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(ValueError, match=rf"training\.json: {field} .*: must be "):
            make_trainer().restore(tmp_path)


@pytest.mark.parametrize("name", ["adam.exp_avg.W_dec", "adam.step.b_dec", "silent_tokens", "rng"])
def test_a_tensor_of_a_checkpoint_is_what_it_must_be(name: str, tmp_path: Path) -> None:
    trainer = make_trainer()
    train(trainer, make_batches(1))
    trainer.save(tmp_path, {})
    tensors = load_file(tmp_path / "training.safetensors")
    for wrong in (None, tensors[name].to(torch.int16), torch.zeros(3), torch.zeros(0)):
        changed = {key: value for key, value in (tensors | {name: wrong}).items() if value is not None}
        save_file(changed, tmp_path / "training.safetensors")
        with pytest.raises(ValueError, match=rf"training\.safetensors: {name} is .*; expected torch\."):
            make_trainer().restore(tmp_path)


def test_a_random_state_that_torch_refuses_is_named(tmp_path: Path) -> None:
    make_trainer().save(tmp_path, {})
    tensors = load_file(tmp_path / "training.safetensors")
    save_file(tensors | {"rng": torch.zeros_like(tensors["rng"])}, tmp_path / "training.safetensors")
    with pytest.raises(ValueError, match=r"training\.safetensors: rng is no state of torch's random numbers \(.*\)$"):
        make_trainer().restore(tmp_path)


def test_a_scale_that_is_a_long_whole_number_is_a_number(tmp_path: Path) -> None:
    make_trainer().save(tmp_path, {})
    path = tmp_path / "training.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"input_scale": 10**30}), encoding="utf-8")
    trainer = make_trainer()
    with torch.random.fork_rng():
        trainer.restore(tmp_path)
    assert isinstance(trainer.coder.input_scale, float)
    trainer.coder(make_batches(1)[0])
