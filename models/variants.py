"""The registry of variants: how each chooses its latents, what it subtracts while choosing, and how it decodes.

A new variant that combines what is there is a line in `VARIANTS`; its name then works everywhere, and the tests that
run over the registry compare it with the definition in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

Choice = Literal["topk", "pursuit"]
Subtraction = Literal["decoder", "encoder", "separate"]
Refit = Literal["none", "gradient", "least-squares"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One variant. Raises ValueError in one line for a combination that cannot be."""

    choice: Choice = "topk"
    """The k best latents at once, or one after another on what those before left over."""
    subtraction: Subtraction = "decoder"
    """`pursuit`: the rows that are subtracted from the residual, times the activations."""
    refit: Refit = "none"
    """`pursuit`: what happens to the coefficients after each choice: nothing, a step of gradient pursuit on the
    encoder's rows, or least squares on the decoder's."""
    tied: bool = False
    """One matrix is encoder and decoder; no encoder bias."""
    repeats: bool = False
    """`pursuit`: a latent may be chosen more than once."""
    centred: bool = True
    """`b_dec` is taken from the input and added to the output. A `pursuit` without it spends latents on the mean."""
    study: bool = False
    """`pursuit`: as the study's code has it. `b_dec` is taken from the first step's input twice and not added to the
    output, and refits move on an error that does not know of the new coefficient (`kernels.study`)."""
    sliced: bool = False
    """`pursuit`: latents are cut into k slices and step i chooses in slice i."""
    step_decoders: bool = False
    """`pursuit`: step i writes with a decoder of its own, `W_dec` is [k, M, D]."""
    free_decoder: bool = False
    """Rows of an autoencoder's decoder have any length."""
    unit_encoder: bool = False
    """Encoder rows are held at length 1."""
    transcode: bool = False
    """Predicts a module's output from its input: `W_dec` starts at 0 and its rows have any length."""
    skip: bool = False
    """Adds a linear map of the input to the output."""

    def __post_init__(self) -> None:
        for field, allowed in (("choice", Choice), ("subtraction", Subtraction), ("refit", Refit)):
            if getattr(self, field) not in get_args(allowed):
                raise ValueError(f"{field} {getattr(self, field)!r}: allowed are {', '.join(get_args(allowed))}")
        needs_pursuit = {
            "subtraction": self.subtraction != "decoder", "refit": self.refit != "none", "repeats": self.repeats,
            "sliced": self.sliced, "step_decoders": self.step_decoders, "study": self.study,
        }  # fmt: skip
        for field, given in needs_pursuit.items():
            if given and self.choice != "pursuit":
                raise ValueError(f"{field} {getattr(self, field)!r}: needs choice 'pursuit', not {self.choice!r}")
        if self.refit != "none" and (self.repeats or self.step_decoders):
            raise ValueError(f"refit {self.refit!r}: needs one decoder and no repeats")
        if self.refit == "least-squares" and not (self.tied and not self.sliced):
            raise ValueError("refit 'least-squares': needs tied weights and no slices")
        if self.tied and (self.step_decoders or self.transcode or self.subtraction != "decoder" or self.unit_encoder):
            raise ValueError("tied True: needs an autoencoder with one decoder, which it subtracts")
        if self.subtraction != "decoder" and not self.transcode:
            raise ValueError(f"subtraction {self.subtraction!r}: an autoencoder must subtract its decoder")
        if self.step_decoders and (self.sliced or self.transcode):
            raise ValueError("step_decoders True: needs an autoencoder without slices")
        if not self.centred and (self.choice != "pursuit" or self.transcode):
            raise ValueError("centred False: needs an autoencoder with choice 'pursuit'")
        if self.study and not (self._is_plain_pursuit and self.centred):
            raise ValueError("study True: needs an untied autoencoder with b_dec, no slices, repeats or step decoders")
        if self.free_decoder and (self.tied or self.transcode):
            raise ValueError("free_decoder True: needs an autoencoder that is not tied; a transcoder's is free already")
        if self.skip and not self.transcode:
            raise ValueError("skip True: needs a transcoder, or the input would be copied to the output")

    @property
    def _is_plain_pursuit(self) -> bool:
        return not (self.tied or self.transcode or self.sliced or self.repeats or self.step_decoders)

    @property
    def residual_is_error(self) -> bool:
        """Whether what the pursuit leaves over is the reconstruction's error."""
        return self.choice == "pursuit" and not self.transcode

    @property
    def one_scale(self) -> bool:
        """Whether input and target must share a scale, one matrix being subtracted here and added there."""
        return self.transcode and self.choice == "pursuit" and self.subtraction == "decoder"

    @property
    def any_k(self) -> bool:
        """Whether k may differ at inference from what was trained."""
        return not (self.sliced or self.step_decoders)


_MP = Recipe(choice="pursuit")
_STUDY = replace(_MP, study=True)
_MP_TRANSCODER = Recipe(
    choice="pursuit", subtraction="encoder", sliced=True, unit_encoder=True, transcode=True, skip=True
)

VARIANTS: Mapping[str, Recipe] = MappingProxyType(
    {
        "topk": Recipe(),
        "mp": _MP,
        "mp-tied": replace(_MP, tied=True, repeats=True),
        "mp-sliced": replace(_MP, sliced=True),
        "mp-big-decoder": replace(_MP, step_decoders=True),
        "ito": replace(_MP, refit="gradient"),
        "omp": replace(_MP, tied=True, refit="least-squares"),
        "mp-uncentred": replace(_MP, centred=False),
        "mp-study": _STUDY,
        "mp-study-free-decoder": replace(_STUDY, free_decoder=True),
        "ito-study": replace(_STUDY, refit="gradient"),
        "ito-study-free-decoder": replace(_STUDY, refit="gradient", free_decoder=True),
        "transcoder": Recipe(transcode=True),
        "sst": Recipe(transcode=True, skip=True),
        "mp-transcoder": _MP_TRANSCODER,
        "mp-transcoder-free-encoder": replace(_MP_TRANSCODER, unit_encoder=False),
        "mp-transcoder-separate-subtraction": replace(_MP_TRANSCODER, subtraction="separate"),
        "mp-transcoder-decoder-subtraction": replace(_MP_TRANSCODER, subtraction="decoder"),
        "mp-transcoder-ito": replace(_MP_TRANSCODER, refit="gradient"),
    }
)
"""Sources: topk Gao et al. 2024 (arXiv 2406.04093); mp, its slices, big decoder and transcoder Shabalin & Paulo 2025
(*Matching pursuit SAEs are less interpretable than regular SAEs*); the study variants the code that it links to;
mp-tied Costa et al. 2025 (arXiv 2506.03093); ito Smith 2024 and Blumensath & Davies 2008; omp Pati et al. 1993;
transcoder and sst Paulo et al. 2025 (arXiv 2501.18823).
"""


def recipe_of(variant: str) -> Recipe:
    """The recipe of a name. Raises ValueError for a name that is none."""
    if not isinstance(variant, str) or variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: allowed are {', '.join(VARIANTS)}")
    return VARIANTS[variant]
