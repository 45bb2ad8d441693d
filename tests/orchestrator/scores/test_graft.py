"""Coders in the place of what they reconstruct: exact at both ends, and SAELens' own figures in between."""

import importlib
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaModel

from models import SparseCoder
from orchestrator.errors import UserError
from orchestrator.language_models.hookpoints import replaced
from orchestrator.language_models.loading import LanguageModel
from orchestrator.scores.graft import Place, always, faithfulness, losses, scores
from tests.support.coders import make_coder

LAYERS = {"tied": "layers.1", "tuples": "h.1"}
LENGTH = 16


@pytest.fixture(params=LAYERS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    found: LanguageModel = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def hookpoint(model: LanguageModel) -> str:
    return LAYERS["tuples"] if "bloom" in type(model.model).__name__.lower() else LAYERS["tied"]


def tokens(sequences: int = 6) -> Tensor:
    return torch.randint(0, 100, (sequences, LENGTH), generator=torch.Generator().manual_seed(3))


def everywhere(tokens_NL: Tensor) -> Tensor:
    return torch.ones_like(tokens_NL, dtype=torch.bool)


def mean_of(model: LanguageModel, hookpoint: str, tokens_NL: Tensor) -> Tensor:
    return model.capture(tokens_NL, [hookpoint])[hookpoint].flatten(0, 1).mean(dim=0)


@pytest.mark.parametrize("part", ["", ":in"])
def test_an_identity_recovers_all_and_a_mean_nothing(model: LanguageModel, hookpoint: str, part: str) -> None:
    place, tokens_NL = Place(hookpoint + part, hookpoint + part), tokens()
    mean_D = mean_of(model, hookpoint + part, tokens_NL)
    floors = {"ablation": always(torch.zeros(32)), "mean_ablation": always(mean_D)}
    identity = {"sae": lambda x, y: x, **floors}
    found = scores(losses(model, place, identity, tokens_NL, everywhere(tokens_NL)))
    for name in ("model_performance_preservation/ce_loss_score", "model_behavior_preservation/kl_div_score"):
        assert (found[name], found[f"{name}_mean"]) == (1.0, 1.0)
    mean = {"sae": always(mean_D), **floors}
    found = scores(losses(model, place, mean, tokens_NL, everywhere(tokens_NL)))
    assert found["model_performance_preservation/ce_loss_score_mean"] == 0.0
    assert found["model_behavior_preservation/kl_div_score_mean"] == 0.0


def test_a_graft_changes_what_it_should_and_leaves_nothing_behind(model: LanguageModel, hookpoint: str) -> None:
    tokens_NL, layer = tokens(), hookpoint.rpartition(".")[0]
    before = [f"{layer}.0", hookpoint, f"{layer}.2"]
    original = model.capture(tokens_NL, before)
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}
    with replaced(model.base, hookpoint, hookpoint, lambda x, y: torch.zeros_like(y)):
        changed = model.capture(tokens_NL, [f"{layer}.0", f"{layer}.2:in"])
    assert torch.equal(changed[f"{layer}.0"], original[f"{layer}.0"])
    assert not changed[f"{layer}.2:in"].any()
    again = model.capture(tokens_NL, before)
    assert all(torch.equal(again[name], original[name]) for name in before)
    assert all(torch.equal(weights[name], value) for name, value in model.model.state_dict().items())


def test_losses_are_those_of_the_plain_definition(model: LanguageModel, hookpoint: str) -> None:
    tokens_NL = tokens()
    keep_NL = everywhere(tokens_NL)
    keep_NL[:, 0] = False

    def halve(_: Tensor, y_NLD: Tensor) -> Tensor:
        return y_NLD / 2

    found = losses(model, Place(hookpoint, hookpoint), {"half": halve}, tokens_NL, keep_NL)
    module = model.base.get_submodule(hookpoint)

    def hook(_: Any, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        value = torch.where(keep_NL[..., None], value / 2, value)
        return (value, *output[1:]) if isinstance(output, tuple) else value

    with torch.no_grad():
        original = model.model(tokens_NL).logits.double()
        handle = module.register_forward_hook(hook)
        changed = model.model(tokens_NL).logits.double()
        handle.remove()
    for name, logits in (("original", original), ("half", changed)):
        expected = cross_entropy(logits[:, :-1].flatten(0, 1), tokens_NL[:, 1:].flatten())
        assert found[name].cross_entropy == pytest.approx(float(expected), rel=1e-6)
    p, q = original.log_softmax(dim=-1), changed.log_softmax(dim=-1)
    assert found["half"].kl == pytest.approx(float((p.exp() * (p - q)).sum(dim=-1).mean()), rel=1e-4)


def test_a_transcoder_replaces_its_module(model: LanguageModel, hookpoint: str) -> None:
    """A module that is computed again from its own input changes nothing."""
    name = f"{hookpoint}.mlp"
    module, tokens_NL = model.base.get_submodule(name), tokens()
    captured = model.capture(tokens_NL, [f"{name}:in", name])
    x_BD, y_BD = (captured[key].flatten(0, 1) for key in (f"{name}:in", name))

    def look_up(x_NLD: Tensor, _: Tensor) -> Tensor:
        rows = torch.cdist(x_NLD.flatten(0, 1), x_BD, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
        return y_BD[rows].view(x_NLD.shape)

    zeros = always(torch.zeros(32))
    found = losses(model, Place(name, f"{name}:in"), {"same": look_up, "zero": zeros}, tokens_NL, everywhere(tokens_NL))
    # Bloom's MLP adds the residual stream itself, which is no part of its input.
    same = found["same"].cross_entropy
    assert same == pytest.approx(found["original"].cross_entropy, rel=1e-6)
    assert abs(found["zero"].cross_entropy - same) > 1e-3
    assert module is model.base.get_submodule(name)


def test_figures_are_those_of_saelens(opinionated: Path, tied: LanguageModel, tmp_path: Path) -> None:
    evals = importlib.import_module("sae_lens.evals")
    load_model = importlib.import_module("sae_lens.load_model").load_model
    store = importlib.import_module("sae_lens.training.activations_store").ActivationsStore
    scaler = importlib.import_module("sae_lens.training.activation_scaler").ActivationScaler
    sae_lens = importlib.import_module("sae_lens")

    coder = make_coder(32, variant="topk", num_latents=64, k=4)
    tokens_NL = torch.randint(0, 5000, (32, LENGTH), generator=torch.Generator().manual_seed(5))
    coder.b_dec.data.copy_(mean_of(tied, "layers.2", tokens_NL))
    hook = "model.layers.2"
    coder.save_to_saelens(tmp_path / "sae", {"hook_name": hook, "model_name": str(opinionated)})
    sae = sae_lens.SAE.load_from_disk(tmp_path / "sae", device="cpu")
    sae.cfg.metadata.hook_name = hook
    theirs = load_model("AutoModelForCausalLM", str(opinionated), "cpu", {"dtype": torch.float32}, [hook])
    batches = store(
        model=theirs, dataset=datasets.Dataset.from_dict({"tokens": tokens_NL.tolist()}), streaming=False,
        hook_name=hook, hook_head_index=None, context_size=LENGTH, d_in=32, n_batches_in_buffer=2,
        total_training_tokens=tokens_NL.numel(), store_batch_size_prompts=8, train_batch_size_tokens=LENGTH,
        prepend_bos=False, normalize_activations="none", device=torch.device("cpu"), dtype="float32",
        disable_concat_sequences=True,
    )  # fmt: skip
    expected = evals.get_downstream_reconstruction_metrics(
        sae, theirs, batches, scaler(), compute_kl=True, compute_ce_loss=True, n_batches=4, eval_batch_size_prompts=8
    )
    zero = torch.zeros(32)
    found = faithfulness(tied, coder, Place("layers.2", "layers.2"), zero, tokens_NL, everywhere(tokens_NL))
    by_name = {name.rpartition("/")[2]: value for name, value in found.items()}
    assert set(expected) <= set(by_name)
    for name, value in expected.items():
        assert by_name[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
    assert abs(expected["ce_loss_with_sae"] - expected["ce_loss_without_sae"]) > 1e-2, "the graft did nothing"


def test_what_is_left_out_stays_as_it_was(tied: LanguageModel) -> None:
    tokens_NL = tokens()
    nothing = torch.zeros_like(tokens_NL, dtype=torch.bool)
    found = losses(tied, Place("layers.1", "layers.1"), {"zero": always(torch.zeros(32))}, tokens_NL, nothing)
    assert found["zero"].cross_entropy == found["original"].cross_entropy
    assert found["zero"].kl == 0.0


def test_a_checkpoint_without_a_head_predicts_nothing(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        tie_word_embeddings=False,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(tmp_path)
    model = LanguageModel.load(str(tmp_path), "cpu", torch.float32)
    with pytest.raises(UserError, match="has no head"):
        model.log_probabilities(tokens())


def test_a_coder_that_was_loaded_reads_and_writes_the_units_of_the_model(tied: LanguageModel, tmp_path: Path) -> None:
    coder = make_coder(32, variant="mp", num_latents=64, k=4, scale=0.2)
    coder.save_to_disk(tmp_path)
    loaded = SparseCoder.load_from_disk(tmp_path)
    tokens_NL = tokens()
    a, b = (
        faithfulness(tied, each, Place("layers.1", "layers.1"), torch.zeros(32), tokens_NL, everywhere(tokens_NL))
        for each in (coder, loaded)
    )
    assert a == pytest.approx(b, rel=1e-4)
