"""Pursuits on the decoder of a trained autoencoder, in place of its encoder."""

import pytest
import torch

from kernels import reference
from models import VARIANTS, SparseCoder, reencode
from tests.support.coders import AUTOENCODERS, TRANSCODERS, make_coder, make_tokens

PURSUITS = ["ito", "mp", "mp-tied", "omp"]
FROZEN = [name for name in AUTOENCODERS if not VARIANTS[name].step_decoders]


def plain_pursuit(variant: str, r0: torch.Tensor, D: torch.Tensor, k: int) -> tuple[torch.Tensor, ...]:
    if variant == "ito":
        return reference.gradient_pursuit(r0, D, None, D, k)
    if variant == "omp":
        return reference.orthogonal_pursuit(r0, D, k)
    return reference.matching_pursuit(r0, D, None, D, k, repeats=variant == "mp-tied")


@pytest.mark.parametrize("k", [None, 5])
@pytest.mark.parametrize("variant", PURSUITS)
@pytest.mark.parametrize("frozen", ["topk", "mp", "mp-tied"])
def test_a_pursuit_on_a_frozen_decoder_equals_its_definition(frozen, variant, k):
    coder, x = make_coder(variant=frozen, scale=0.4, dtype=torch.float64), make_tokens(20, dtype=torch.float64)
    before = {name: value.clone() for name, value in coder.state_dict().items()}
    again = reencode(coder, variant, k)
    assert (again.cfg.variant, again.cfg.k, again.input_scale) == (variant, k or 3, 0.4)
    assert torch.equal(again.W_dec, coder.W_dec) and torch.equal(again.b_dec, coder.b_dec)
    assert torch.equal(again.W_enc, coder.W_dec)
    assert again.b_enc is None or not again.b_enc.any()
    D = coder.W_dec.detach()
    acts, indices, residual = plain_pursuit(variant, 0.4 * x - coder.b_dec.detach(), D, k or 3)
    out = again(x)
    torch.testing.assert_close(out.latent_acts.detach(), acts, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(out.sae_out.detach(), x - residual / 0.4, rtol=1e-7, atol=1e-7)
    assert torch.equal(out.latent_indices[acts != 0], indices[acts != 0])
    for parameter in again.parameters():
        parameter.data += 1
    assert coder.cfg.variant == frozen
    assert all(torch.equal(value, before[name]) for name, value in coder.state_dict().items())


@pytest.mark.parametrize("frozen", FROZEN)
def test_every_autoencoder_with_one_decoder_can_be_encoded_anew(frozen, tmp_path):
    options = {"residual_threshold": 1.0} if frozen == "mp-tied" else {}
    coder, x = make_coder(variant=frozen, **options), make_tokens(20)
    if VARIANTS[frozen].free_decoder:  # longer rows would be refused by matching pursuit
        coder.W_dec.data /= 1.05 * coder.W_dec.data.norm(dim=1, keepdim=True)
    errors = {name: float(reencode(coder, name)(x).fvu.detach()) for name in PURSUITS}
    assert errors["omp"] < errors["mp"] * 1.02 and errors["ito"] < errors["mp"] * 1.1
    saved = reencode(coder, "omp", 4)
    saved.save_to_disk(tmp_path)
    assert torch.equal(SparseCoder.load_from_disk(tmp_path)(x).sae_out, saved(x).sae_out)


@pytest.mark.parametrize("variant", [*TRANSCODERS, "mp-big-decoder"])
def test_coders_without_one_decoder_of_their_input_are_refused(variant):
    with pytest.raises(ValueError, match=rf"^variant '{variant}': only an autoencoder with one decoder can be .*$"):
        reencode(make_coder(variant=variant))


@pytest.mark.parametrize("variant", ["topk", "mp-sliced", "sst", "nothing"])
def test_other_encoders_are_refused(variant):
    with pytest.raises(ValueError, match=rf"^variant '{variant}': allowed are ito, mp, mp-tied, omp$"):
        reencode(make_coder(), variant)


@pytest.mark.parametrize(
    ("k", "message"), [(0, "k 0: must be 1 or more"), (-2, "k -2: .*"), (41, "k 41: must be at .*")]
)
def test_another_number_of_latents_that_cannot_be_is_refused(k, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        reencode(make_coder(), "ito", k)


def test_matching_pursuit_on_rows_longer_than_one_is_refused():
    coder, x = make_coder(), make_tokens(20)
    coder.W_dec.data *= 1.8
    for variant in ("mp", "mp-tied"):
        with pytest.raises(ValueError, match=rf"^variant '{variant}': needs decoder rows of length 1, these .* 1\.8$"):
            reencode(coder, variant)
    assert reencode(coder, "omp")(x).fvu < reencode(coder, "ito")(x).fvu < 0.5
