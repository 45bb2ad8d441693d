"""Coders on disk: `cfg.json` and `sae.safetensors`, with sparsify's field names and ours beside them."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checks import usable_device
from models.coder import Coder
from models.config import SparseCoderConfig
from models.files import brief, read_object, read_tensors

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"

FIELDS = {
    "activation", "normalize_decoder", "multi_topk", "skip_connection", "transcode", "signed", "d_in",
    "trained_input_scale", *(field.name for field in fields(SparseCoderConfig)),
}  # fmt: skip
"""What `cfg.json` may say: sparsify's fields of all versions, and ours."""
WITHOUT_EFFECT = {"mp_encoder", "mp_untie", "mp_detach", "mp_aux", "per_step_loss", "normalize_encoder"}
"""Fields of sparsify's branch mp-sae that are for training or for transcoders alone, on by default or not."""
PURSUIT = {"matching_pursuit", "ito", "slice_decoder"}
"""Fields of that branch that say which of the study's pursuits an autoencoder is; `slice_decoder` alone says nothing of
one: it makes a transcoder's decoder longer, and an autoencoder's is a copy of the encoder."""
BRANCH = {*PURSUIT, "slice_encoder"}
OF_BRANCH = "of sparsify's branch mp-sae, of which only pursuits without slices of the encoder can be loaded; it "
SAELENS_FILE = "sae_weights.safetensors"
STORED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights may be stored as; in 8 bits they would mean nothing without scales."""
NAMED_WEIGHTS = 8
"""Tensors that do not fit of which a message tells."""

C = TypeVar("C", bound=Coder)


@torch.no_grad()
def folded_weights(coder: Coder) -> dict[str, Tensor]:
    """Weights of the same function with both scales 1; activations come out in the units of the input."""
    weights = {name: value.detach().contiguous() for name, value in coder.named_parameters()}
    for name in {"encoder.bias", "b_in"} & weights.keys():
        weights[name] = weights[name] / coder.input_scale
    if "b_dec" in weights:
        weights["b_dec"] = weights["b_dec"] / coder.output_scale
    if (ratio := coder.input_scale / coder.output_scale) != 1:
        for name in {"W_dec", "W_skip"} & weights.keys():
            weights[name] = weights[name] * ratio
    return weights


def save(coder: Coder, directory: Path, *, overwrite: bool = False) -> None:
    """Write a coder. `activation` is the variant wherever sparsify would compute something else, so that it refuses.

    Raises ValueError for a coder on the meta device, which has no values, FileExistsError rather than overwrite.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not overwrite and (directory / name).exists():
            raise FileExistsError(f"{directory}: holds a {name} already; overwrite=True replaces it")
    if coder.W_dec.is_meta:
        raise ValueError("the coder is on meta, where it has no values to save")
    recipe = coder.cfg.recipe
    content = {
        "activation": "topk" if recipe.choice == "topk" else coder.cfg.variant,
        "normalize_decoder": not recipe.free_decoder,
        "multi_topk": False,
        "skip_connection": recipe.skip,
        "transcode": recipe.transcode,
        **asdict(coder.cfg),
        "num_latents": coder.num_latents,
        "d_in": coder.d_in,
        "trained_input_scale": float(coder.input_scale),
    }
    directory.mkdir(parents=True, exist_ok=True)
    save_file(folded_weights(coder), directory / WEIGHTS_FILE)
    (directory / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load(directory: Path, device: str | torch.device, kind: type[C]) -> C:
    """Read a coder, ours or sparsify's, as a `kind`; in float64 where its weights are, in float32 otherwise.

    Raises ValueError for a coder that is none of ours or not whole, FileNotFoundError where there is no coder.
    """
    if (device := usable_device(device)).type == "meta":
        raise ValueError("device 'meta': holds no values; expected one that does")
    _check_files(directory)
    content = _read_config(directory / CONFIG_FILE)
    if theirs := "variant" not in content:
        content["variant"] = _sparsify_variant(directory / CONFIG_FILE, content)
    weights = read_tensors(directory / WEIGHTS_FILE)
    coder = _without_values(directory / CONFIG_FILE, content, kind)
    cfg = coder.cfg
    _check_weights(directory / WEIGHTS_FILE, coder, weights)
    coder.to_empty(device=device)  # as large as the file, whatever cfg.json says
    if any(value.dtype == torch.float64 for value in weights.values()):
        coder.to(torch.float64)
    if theirs and cfg.recipe.skip and not content.get("transcode", False):
        # sparsify centres the input of such a coder by b_dec; an sst has its centre in the encoder's bias.
        names = ("encoder.weight", "encoder.bias", "b_dec")
        weight, bias, centre = (weights[name].to(coder.W_dec.dtype) for name in names)
        weights["encoder.bias"] = bias - weight @ centre
    if broken := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise ValueError(f"{directory / WEIGHTS_FILE}: {broken[0]} has values that are NaN or infinite")
    coder.load_state_dict(weights)
    return coder


def _without_values(path: Path, content: dict[str, Any], kind: type[C]) -> C:
    """The coder of a `cfg.json`, on the meta device: what it claims to be may be larger than any memory."""
    known = {field.name for field in fields(SparseCoderConfig)}
    try:
        cfg = SparseCoderConfig(**{name: content[name] for name in known & content.keys()} | {"k": content.get("k")})
        return kind(content.get("d_in"), cfg, device="meta")  # type: ignore[arg-type] # the class says what it must be
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (RuntimeError, TypeError) as error:  # torch counts up to 2**63
        raise ValueError(f"{path}: d_in, num_latents or k is larger than any file ({brief(error)})") from error


def _check_files(directory: Path) -> None:
    if directory.is_file():
        raise NotADirectoryError(f"{directory}: a file; expected the directory of {CONFIG_FILE} and {WEIGHTS_FILE}")
    if (directory / SAELENS_FILE).is_file() and not (directory / WEIGHTS_FILE).is_file():
        raise ValueError(
            f"{directory}: holds SAELens' {SAELENS_FILE}, which sae_lens.SAE.load_from_disk reads; expected "
            f"sparsify's {WEIGHTS_FILE}"
        )
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            below = sorted(str(path.parent.relative_to(directory)) for path in directory.glob(f"*/{CONFIG_FILE}"))
            hint = f"; there are coders below it: {', '.join(below)}" if below else ""
            raise FileNotFoundError(f"{directory}: no {name} there, which a sparse coder consists of{hint}")


def _read_config(path: Path) -> dict[str, Any]:
    """`cfg.json`. Raises ValueError for what is no such file, and for fields that may mean something else."""
    content = read_object(path)
    allowed = FIELDS | WITHOUT_EFFECT
    if "variant" not in content and content.get("matching_pursuit") is True:
        allowed |= PURSUIT
    if strange := [name for name, value in content.items() if name not in allowed and value]:
        raise ValueError(
            f"{brief(strange[0])} {brief(content[strange[0]])} in {path}: "
            + (OF_BRANCH if strange[0] in BRANCH else "no field of ours or of sparsify's, and ")
            + "may change what the coder computes"
        )
    return content


def _sparsify_variant(path: Path, content: dict[str, Any]) -> str:
    """The variant that computes what a coder of sparsify does. Raises ValueError where there is none."""
    for field, only in (("activation", "topk"), ("signed", False)):
        if content.get(field, only) != only:
            raise ValueError(f"{field} {content[field]!r} in {path}: only {only!r} can be loaded")
    for field in ("skip_connection", "transcode", "normalize_decoder", "ito"):
        if not isinstance(value := content.get(field, False), bool):
            raise ValueError(f"{field} {value!r} in {path}: must be true or false")
    if content.get("matching_pursuit", False):
        return _study_variant(path, content)
    if content.get("skip_connection", False):
        return "sst"
    return "transcoder" if content.get("transcode", False) else "topk"


def _study_variant(path: Path, content: dict[str, Any]) -> str:
    """The variant of a pursuit of the branch mp-sae.

    Raises ValueError for its transcoders and for those of its first commits, which are none of ours.
    """
    for field in ("transcode", "skip_connection"):
        if content.get(field, False):
            raise ValueError(
                f"{field} True in {path}: with matching_pursuit only autoencoders can be loaded; transcoders of the "
                "branch mp-sae compute what no variant does"
            )
    if "ito" not in content:
        raise ValueError(
            f"matching_pursuit True in {path}: without a field ito it is of one of the first four commits of the "
            "branch mp-sae, which subtract b_dec otherwise; expected one of 780ee83 or later"
        )
    name = "ito-study" if content.get("ito", False) else "mp-study"
    return name if content.get("normalize_decoder", False) else f"{name}-free-decoder"


def _check_weights(path: Path, coder: Coder, weights: dict[str, Tensor]) -> None:
    expected = {name: list(value.shape) for name, value in coder.named_parameters()}
    found = {name: list(value.shape) for name, value in weights.items()}
    wrong = [
        f"{brief(name)} {found.get(name, 'missing')} (expected {expected.get(name, 'none')})"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        more = f" and {len(wrong) - NAMED_WEIGHTS} more" if len(wrong) > NAMED_WEIGHTS else ""
        told = ", ".join(wrong[:NAMED_WEIGHTS]) + more
        raise ValueError(f"{path}: does not fit a coder of variant {coder.cfg.variant}: {told}")
    for name, value in weights.items():
        if value.dtype not in STORED:
            raise ValueError(f"{path}: {name} is {value.dtype}; expected floats")
