"""Every variant of the registry against its definition in float64: outputs, gradients, AuxK, rows of fixed length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import VARIANTS, SparseCoder, SparseCoderConfig, variants
from models.variants import Recipe
from tests.support.coders import AUTOENCODERS, TRANSCODERS, make_coder, make_tokens
from tests.support.variants import SETTINGS, assert_equals_the_definition, unit_parameters

# --- what the names mean ---


PARAMETERS = {
    "topk": "encoder.weight encoder.bias W_dec* b_dec",
    "mp": "encoder.weight encoder.bias W_dec* b_dec",
    "mp-tied": "W_dec* b_dec",
    "mp-sliced": "encoder.weight encoder.bias W_dec* b_dec",
    "mp-big-decoder": "encoder.weight encoder.bias W_dec* b_dec",
    "ito": "encoder.weight encoder.bias W_dec* b_dec",
    "omp": "W_dec* b_dec",
    "mp-uncentred": "encoder.weight encoder.bias W_dec*",
    "mp-study": "encoder.weight encoder.bias W_dec* b_dec",
    "mp-study-free-decoder": "encoder.weight encoder.bias W_dec b_dec",
    "ito-study": "encoder.weight encoder.bias W_dec* b_dec",
    "ito-study-free-decoder": "encoder.weight encoder.bias W_dec b_dec",
    "transcoder": "encoder.weight encoder.bias W_dec b_dec",
    "sst": "encoder.weight encoder.bias W_dec W_skip b_dec",
    "mp-transcoder": "encoder.weight* encoder.bias W_dec W_skip b_dec b_in",
    "mp-transcoder-free-encoder": "encoder.weight encoder.bias W_dec W_skip b_dec b_in",
    "mp-transcoder-separate-subtraction": "encoder.weight* encoder.bias W_sub* W_dec W_skip b_dec b_in",
    "mp-transcoder-decoder-subtraction": "encoder.weight* encoder.bias W_dec W_skip b_dec b_in",
    "mp-transcoder-ito": "encoder.weight* encoder.bias W_dec W_skip b_dec b_in",
}
"""Parameters of each variant; a star marks rows of length 1."""


@pytest.mark.parametrize("variant", PARAMETERS)
def test_a_variant_has_the_parameters_of_its_definition(variant):
    coder = SparseCoder(12, SparseCoderConfig(variant=variant, k=2, expansion_factor=3))
    found = {name + "*" * (name in unit_parameters(coder)) for name, _ in coder.named_parameters()}
    assert found == set(PARAMETERS[variant].split())
    shapes = {"encoder.bias": [36], "b_dec": [12], "b_in": [12], "W_skip": [12, 12]}
    shapes |= {"W_dec": [2, 36, 12]} if variant == "mp-big-decoder" else {}
    assert all(list(value.shape) == shapes.get(name, [36, 12]) for name, value in coder.named_parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_how_a_new_coder_starts(variant):
    coder = SparseCoder(12, SparseCoderConfig(variant=variant, k=2, expansion_factor=3))
    for name in {"encoder.bias", "b_dec", "b_in", "W_skip"} & dict(coder.named_parameters()).keys():
        assert not coder.get_parameter(name).any(), name
    for name in unit_parameters(coder):
        norms = coder.get_parameter(name).norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
    if variant in TRANSCODERS:
        assert not coder.W_dec.any()
    else:
        cosine = torch.nn.functional.cosine_similarity(coder.W_dec, coder.W_enc, dim=-1)
        torch.testing.assert_close(cosine, torch.ones_like(cosine))


# --- recipes ---


@st.composite
def recipe_flags(draw: st.DrawFn) -> dict[str, object]:
    flags = {name: draw(st.booleans(), label=name) for name in ("tied", "repeats", "sliced", "step_decoders", "study")}
    flags |= {name: draw(st.booleans(), label=name) for name in ("unit_encoder", "transcode", "skip", "free_decoder")}
    flags["choice"] = draw(st.sampled_from(["topk", "pursuit", "pursuit", "lasso"]), label="choice")
    flags["subtraction"] = draw(st.sampled_from(["decoder", "encoder", "separate"]), label="subtraction")
    flags["refit"] = draw(st.sampled_from(["none", "gradient", "least-squares"]), label="refit")
    kept = draw(st.sets(st.sampled_from(sorted(flags))), label="kept")  # combinations of few flags fit more often
    return {name: flags[name] for name in sorted(kept)}


@settings(SETTINGS, max_examples=200)
@given(flags=recipe_flags())
def test_a_recipe_is_refused_in_one_line_or_computes_what_it_says(flags):
    try:
        recipe = Recipe(**flags)
    except ValueError as refusal:
        assert "\n" not in str(refusal)
        assert any(str(refusal).startswith(name) for name in flags)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "VARIANTS", {"new": recipe})
        coder = make_coder(variant="new", num_latents=15, scale=0.5, target_scale=2.0, dtype=torch.float64)
        x = make_tokens(4, dtype=torch.float64)
        y = 0.3 * make_tokens(4, dtype=torch.float64, seed=7) if recipe.transcode else None
        assert_equals_the_definition(coder, x, y, tolerance=1e-7)
        assert coder(x, y, dead_mask=torch.arange(15) < 4).auxk_loss.isfinite()


REFUSED = {
    "topk with slices": {"sliced": True},
    "topk with a refit": {"refit": "gradient"},
    "topk that subtracts": {"subtraction": "encoder", "transcode": True},
    "autoencoder with a skip": {"skip": True},
    "untied least squares": {"choice": "pursuit", "refit": "least-squares"},
    "tied transcoder": {"tied": True, "transcode": True},
    "autoencoder that subtracts its encoder": {"choice": "pursuit", "subtraction": "encoder"},
    "refit with repeats": {"choice": "pursuit", "refit": "gradient", "repeats": True},
    "refit with a decoder per step": {"choice": "pursuit", "refit": "gradient", "step_decoders": True},
    "unknown choice": {"choice": "relu"},
    "the study's pursuit without a bias": {"choice": "pursuit", "study": True, "centred": False},
    "the study's pursuit in slices": {"choice": "pursuit", "study": True, "sliced": True},
    "topk as the study's pursuit": {"study": True},
    "tied rows of any length": {"choice": "pursuit", "tied": True, "free_decoder": True},
    "a transcoder with rows of any length": {"transcode": True, "free_decoder": True},
}


@pytest.mark.parametrize("case", REFUSED)
def test_recipes_that_cannot_be_are_refused(case):
    with pytest.raises(ValueError, match=r"^(\w+) [^\n]+$"):
        Recipe(**REFUSED[case])


def test_the_registry_cannot_be_written_to():
    with pytest.raises(TypeError):
        VARIANTS["new"] = Recipe()
    assert set(AUTOENCODERS) | set(TRANSCODERS) == set(VARIANTS)
