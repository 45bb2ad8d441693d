"""Measure training steps: ours against other libraries.

    python -m benchmarks.run                        # the comparison, about 20 minutes on two cores
    python -m benchmarks.run --preset growth        # ours alone, against B, k and M
    python -m benchmarks.run --preset h100 --device cuda --activations FILE.safetensors

Peers that are not installed are listed as such; benchmarks/requirements.lock says how to install them.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from benchmarks.activations import HOOKPOINT, cached_activations, load_activations
from benchmarks.machine import describe_machine
from benchmarks.plot import draw
from benchmarks.presets import PRESETS, Preset
from benchmarks.problem import Case
from benchmarks.report import render
from benchmarks.schedule import Settings, run_preset
from benchmarks.worker import CONTESTANTS
from orchestrator.command_line.read import read
from orchestrator.errors import UserError, did_you_mean, shown

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, and how."""

    preset: Annotated[str, tyro.conf.arg(help=f"One of: {', '.join(PRESETS)}.")] = "default"
    device: Literal["cpu", "cuda"] = "cpu"
    """Where."""
    threads: int = os.cpu_count() or 1
    """Of each process; all cores unless given."""
    activations: Path | None = None
    """Safetensors file with `activations` [N, d]; SmolLM2's unless given."""
    only: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Contestants of the preset to keep, of: {'; '.join(CONTESTANTS)}.")
    ] = ()
    tokens: int | None = None
    """B of every case, in place of the preset's."""
    latents: int | None = None
    """M of every case, in place of the preset's."""
    k: int | None = None
    """k of every case, in place of the preset's."""
    results: Path = RESULTS
    """Directory for the files."""
    name: str | None = None
    """Of the files written; the preset's unless given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a preset and write `RESULTS/NAME.md`, `.json` and, where there is a line to draw, `.png`."""
    try:
        options = read(
            Options, sys.argv[1:] if arguments is None else arguments, str(__doc__), prog="python -m benchmarks.run"
        )
        preset = _preset(options)
        if options.device == "cuda" and not torch.cuda.is_available():
            raise UserError("device 'cuda': torch finds no GPU here")
        if options.name is not None and (not options.name.strip(". ") or "/" in options.name):
            raise UserError(f"name {shown(options.name)}: must be the plain name of a file; --results is its directory")
        activations = options.activations or cached_activations(_tokens(preset))
        rows, width = load_activations(activations).shape
        source = str(activations) if options.activations else f"SmolLM2-135M-Instruct, {HOOKPOINT}"
        print(f"activations: {activations}", file=sys.stderr)
        about = describe_machine(options.device, options.threads)
        measured = run_preset(preset, Settings(activations.resolve(), options.device, options.threads))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    name = options.name or options.preset
    results = {"name": name, "about": about, "data": {"source": source, "rows": rows, "width": width}, **measured}
    _write(results, preset, options.results / name)
    return int(any(row["status"] == "failed its check" for row in measured["rows"]))


def _preset(options: Options) -> Preset:
    if options.preset not in PRESETS:
        closest = did_you_mean(options.preset, PRESETS)
        raise UserError(f"preset {options.preset!r}: {closest}allowed are {', '.join(PRESETS)}")
    for field in ("threads", "tokens", "latents", "k"):
        if (value := getattr(options, field)) is not None and value < 1:
            raise UserError(f"{field} {value}: must be 1 or more")
    preset = PRESETS[options.preset]
    shape = {name: getattr(options, name) for name in ("tokens", "latents", "k") if getattr(options, name)}
    if shape and preset.axes:
        raise UserError(f"{next(iter(shape))}: the preset {options.preset} varies the shape itself")
    cases: dict[Case, None] = dict.fromkeys(replace(case, **shape) for case in preset.cases)
    for case in cases:
        if case.k > case.latents:
            raise UserError(f"k {case.k}: is more than the {case.latents} latents")
    if not options.only:
        return replace(preset, cases=tuple(cases))
    known = list(preset.work())
    for name in options.only:
        if name not in known:
            raise UserError(
                f"only {name!r}: {did_you_mean(name, known)}the preset {options.preset} has {'; '.join(known)}"
            )
    axes = tuple(axis for axis in preset.axes if axis.contestant in options.only)
    contestants = tuple(name for name in preset.contestants if name in options.only)
    return replace(preset, cases=tuple(cases), contestants=contestants, axes=axes)


def _tokens(preset: Preset) -> int:
    return max(case.tokens for cases in preset.work().values() for case in cases)


def _write(results: dict[str, object], preset: Preset, stem: Path) -> None:
    """All files of a complete run; each takes its place at once."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    text, suffixes = render(results, preset), [".json", ".md"]
    unfinished = {suffix: stem.with_name(f".{stem.name}.{os.getpid()}{suffix}") for suffix in (*suffixes, ".png")}
    if draw(results, preset, unfinished[".png"]):
        suffixes.insert(0, ".png")
        text += f"\n![Seconds per training step]({stem.name}.png)\n"
    unfinished[".json"].write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    unfinished[".md"].write_text(text, encoding="utf-8")
    for suffix in suffixes:
        unfinished[suffix].replace(stem.with_name(stem.name + suffix))
    print(stem.with_name(f"{stem.name}.md"))


if __name__ == "__main__":
    sys.exit(main())
