"""What the figures of a sweep show, before anything draws it."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TypeVar

import numpy as np

from models.variants import VARIANTS
from orchestrator.comparison.points import BASELINES, FVU, Point, base_of, point_of
from orchestrator.figures.colours import Look, looks_of
from orchestrator.figures.shapes import Bar, Figure, Line, Panel
from orchestrator.names import shortened
from orchestrator.scores.inference import OWN, values_at_k
from orchestrator.tracking.records import TrialRecord

FVU_LABEL = "held-out FVU (fraction)"
TRAINING_FVU_LABEL = "training FVU (fraction)"
TIME_LABEL = "training time (s)"
K_LABEL = "k (active latents per token)"
MEAN_SHARE = "val/mean_share"
MEAN_LABEL = "squared norm of the mean / variance"
RELATIVE_LABEL = "held-out FVU / topk's"

OTHER_K_LABEL = "k at inference"
EACH_K = "trained at each k"
FEWEST_PLACES = 3
"""Hookpoints that make a line."""
FEW_BARS = 2
"""Nothing is compared with less; a curve that shows the same two leaves no room for them."""
MAX_ROWS = 6
MAX_COLUMNS = 3
TITLE_LETTERS = 36
"""What fits above a panel beside two others."""

Key = TypeVar("Key", bound=Hashable)


def figures_of(records: Sequence[TrialRecord]) -> list[Figure]:
    """Every figure that the finished trials have values for. Trials without held-out FVU are left out."""
    finished = [record for record in records if FVU in record.metrics]
    if not finished:
        return []
    looks = looks_of(record.variant for record in finished)
    unfinished = len(records) - len(finished)
    note = f"without {unfinished} of {len(records)} trials, unfinished" if unfinished else ""
    drawn = [draw(finished, looks, note) for draw in FIGURES]
    return [figure for figure in drawn if figure is not None]


def fvu_against_k(records: Sequence[TrialRecord], looks: Mapping[str, Look], note: str = "") -> Figure | None:
    """A panel for each model, hookpoint and expansion factor where some variant has several k."""
    panels = []
    for group in _groups(records, _place_of).values():
        if not _has_curve(group):
            continue
        lines = []
        for variant, trials in _by_variant(group, looks):
            by_k = _groups(trials, lambda r: r.k)
            fvus: dict[float, list[float]] = {k: [r.metrics[FVU] for r in seeds] for k, seeds in by_k.items()}
            lines.append(_line(variant, looks[variant], fvus))
        ks = tuple(sorted({record.k for record in group}))
        title = _title(group[0], records)
        panels.append(Panel(title=title, xlabel=K_LABEL, ylabel=FVU_LABEL, lines=tuple(lines), log2_ticks=ks))
    about = _about(records, "band: lowest to highest", note)
    return _figure("fvu_against_k", "Held-out FVU against k", about, panels, looks)


def fvu_by_variant(records: Sequence[TrialRecord], looks: Mapping[str, Look], note: str = "") -> Figure | None:
    """A panel for each model, hookpoint, expansion factor and k with several variants, unless a curve shows the two."""
    curved = {place for place, group in _groups(records, _place_of).items() if _has_curve(group)}
    panels = []
    for group in _groups(records, point_of).values():
        values = {name: [r.metrics[FVU] for r in trials] for name, trials in _by_variant(group, looks)}
        bars = tuple(
            Bar(name=name, look=looks[name], value=fmean(fvus), spread=_spread(fvus)) for name, fvus in values.items()
        )
        if len(bars) > FEW_BARS or (len(bars) == FEW_BARS and _place_of(group[0]) not in curved):
            title = _title(group[0], records, with_k=True)
            panels.append(Panel(title=title, xlabel=FVU_LABEL, ylabel="variant", bars=bars))
    about = _about(records, "error bars: lowest to highest", note)
    return _figure("fvu_by_variant", "Held-out FVU by variant", about, panels, looks)


def dead_and_fvu(records: Sequence[TrialRecord], looks: Mapping[str, Look], note: str = "") -> Figure | None:
    """Dead latents beside training FVU, a row for each model, hookpoint, expansion factor and k."""
    rows = []
    for group in _groups(records, point_of).values():
        title = _title(group[0], records, with_k=True)
        row = [
            Panel(title=title, xlabel="training step", ylabel=label, lines=lines, markers=False, **scale)
            for metric, label, scale in (
                ("dead_pct", "dead latents (%)", {"y_at_least": 1.0}),
                ("train/fvu", TRAINING_FVU_LABEL, {"y_log": True}),
            )
            if (lines := _training_lines(group, looks, metric))
        ]
        rows += [row] if len(row) == 2 else []
    shown = "" if len(rows) <= MAX_ROWS else f", the first {MAX_ROWS} of {len(rows)} rows"
    about = _about(records, "band: lowest to highest; interpolated between reports", note)
    panels = [panel for row in rows[:MAX_ROWS] for panel in row]
    return _figure("dead_and_fvu", f"Dead latents and training FVU{shown}", about, panels, looks, columns=2)


def fvu_against_time(records: Sequence[TrialRecord], looks: Mapping[str, Look], note: str = "") -> Figure | None:
    """A panel for each model, hookpoint and expansion factor, a point for each k."""
    timed = [record for record in records if "train_seconds" in record.metrics]
    panels = []
    for group in _groups(timed, _place_of).values():
        lines = []
        for variant, trials in _by_variant(group, looks):
            by_k = _groups(trials, lambda r: r.k)
            line = _line(variant, looks[variant], {k: [r.metrics[FVU] for r in seeds] for k, seeds in by_k.items()})
            seconds = {k: fmean(r.metrics["train_seconds"] for r in seeds) for k, seeds in by_k.items()}
            lines.append(replace(line, x=tuple(seconds[int(k)] for k in line.x), labels=tuple(map(str, line.x))))
        title = _title(group[0], records)
        panels.append(Panel(title=title, xlabel=TIME_LABEL, ylabel=FVU_LABEL, lines=tuple(lines), x_from_zero=True))
    about = _about(timed, "error bars: lowest to highest", "; ".join(part for part in ("numbers: k", note) if part))
    return _figure("fvu_against_time", "Held-out FVU against training time", about, panels, looks)


def fvu_against_mean(records: Sequence[TrialRecord], looks: Mapping[str, Look], note: str = "") -> Figure | None:
    """A panel for each model, expansion factor and k, a point for each hookpoint, where an output has no bias.

    Such an output has to be put together from latents, its mean too; what that costs is seen beside TopK's FVU.
    """
    known = [record for record in records if MEAN_SHARE in record.metrics and not point_of(record).transcode]
    panels = []
    for group in _groups(known, lambda r: point_of(r)._replace(hookpoint="")).values():
        by_place = _groups(group, lambda r: r.hookpoint)
        topk = {(r.hookpoint, r.seed, _suffix(r)): r.metrics[FVU] for r in group if base_of(r.variant) == BASELINES[0]}
        if len(by_place) < FEWEST_PLACES or not topk or not any(_without_bias(r.variant) for r in group):
            continue
        shares = {place: fmean(r.metrics[MEAN_SHARE] for r in found) for place, found in by_place.items()}
        lines = []
        for variant, trials in _by_variant(group, looks):
            values: dict[float, list[float]] = {}
            for each in trials:
                if (each.hookpoint, each.seed, _suffix(each)) in topk:
                    relative = each.metrics[FVU] / topk[each.hookpoint, each.seed, _suffix(each)]
                    values.setdefault(shares[each.hookpoint], []).append(relative)
            if values:
                lines.append(_line(variant, looks[variant], values))
        of_model = f"{_shortened(group[0].model)}\n" if len({record.model for record in known}) > 1 else ""
        title = f"{of_model}expansion {group[0].expansion_factor}, k {group[0].k}"
        panels.append(Panel(title=title, xlabel=MEAN_LABEL, ylabel=RELATIVE_LABEL, lines=tuple(lines)))
    about = _about(known, "band: lowest to highest", note)
    return _figure("fvu_against_mean", "What a missing bias costs", about, panels, looks)


def fvu_at_other_k(records: Sequence[TrialRecord], looks: Mapping[str, Look], note: str = "") -> Figure | None:
    """A panel for each place and variant: what training at one k costs at another, and coders trained at each."""
    tried = [record for record in records if len(values_at_k(record.metrics)) > 1]
    of_k = {record.k: f"trained at k {record.k}" for record in sorted(tried, key=lambda r: r.k)}
    own = looks_of((EACH_K, *of_k.values()))
    panels = []
    for group in _groups(tried, lambda r: (_place_of(r), looks[r.variant], r.variant)).values():
        values: dict[str, dict[float, list[float]]] = {EACH_K: {}}
        for record in group:
            values[EACH_K].setdefault(record.k, []).append(record.metrics.get(OWN, record.metrics[FVU]))
            for k, fvu in values_at_k(record.metrics).items():
                values.setdefault(of_k[record.k], {}).setdefault(k, []).append(fvu)
        if len(values[EACH_K]) > 1:
            lines = tuple(_line(name, own[name], values[name]) for name in own if name in values)
            ks = tuple(sorted({int(k) for line in lines for k in line.x}))
            title = f"{group[0].variant}\n{_title(group[0], records)}"
            panels.append(Panel(title=title, xlabel=OTHER_K_LABEL, ylabel=FVU_LABEL, lines=lines, log2_ticks=ks))
    about = _about(tried, "band: lowest to highest", note)
    return _figure("fvu_at_other_k", "What training at one k costs at another", about, panels, own)


FIGURES = (fvu_against_k, fvu_by_variant, fvu_against_mean, fvu_at_other_k, dead_and_fvu, fvu_against_time)


def _suffix(record: TrialRecord) -> str:
    """The rate or the sweep that a variant is told apart by, with whose TopK it is compared."""
    return record.variant.removeprefix(base_of(record.variant))


def _without_bias(variant: str) -> bool:
    recipe = VARIANTS.get(base_of(variant))
    return recipe is not None and (recipe.study or not recipe.centred)


def joined(curves: Sequence[Sequence[tuple[int, float]]]) -> dict[float, list[float]]:
    """One value of every curve at each step that some curve has and all of them span.

    Trials report now and then, by the clock; between its own reports a curve is taken to be straight.
    """
    first, last = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    steps = sorted({step for curve in curves for step, _ in curve if first <= step <= last})
    columns = [np.interp(steps, [s for s, _ in curve], [value for _, value in curve]).tolist() for curve in curves]
    return dict(zip(map(float, steps), map(list, zip(*columns, strict=True)), strict=True))


def _training_lines(group: Sequence[TrialRecord], looks: Mapping[str, Look], metric: str) -> tuple[Line, ...]:
    curves = {
        variant: [record.history[metric] for record in trials if metric in record.history]
        for variant, trials in _by_variant(group, looks)
    }
    return tuple(_line(variant, looks[variant], joined(found)) for variant, found in curves.items() if found)


def _line(name: str, look: Look, values: Mapping[float, Sequence[float]]) -> Line:
    xs = tuple(sorted(values))
    band = None
    if any(len(values[x]) > 1 for x in xs):
        band = tuple(min(values[x]) for x in xs), tuple(max(values[x]) for x in xs)
    return Line(name=name, look=look, x=xs, y=tuple(fmean(values[x]) for x in xs), band=band)


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if len(values) > 1 else None


def _place_of(record: TrialRecord) -> Point:
    """Where trials can be compared that may differ in k."""
    return point_of(record)._replace(k=0)


def _has_curve(group: Sequence[TrialRecord]) -> bool:
    """Whether some variant of a place has several k."""
    return len({(record.variant, record.k) for record in group}) > len({record.variant for record in group})


def _groups(records: Iterable[TrialRecord], key: Callable[[TrialRecord], Key]) -> dict[Key, list[TrialRecord]]:
    """Records by key, in the order in which the keys first occur."""
    groups: dict[Key, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _by_variant(records: Iterable[TrialRecord], looks: Mapping[str, Look]) -> list[tuple[str, list[TrialRecord]]]:
    """The trials of each variant, in the order of `looks`."""
    groups = _groups(records, lambda record: record.variant)
    return [(variant, groups[variant]) for variant in looks if variant in groups]


def _figure(
    name: str, title: str, about: str, panels: Sequence[Panel], looks: Mapping[str, Look], columns: int = 0
) -> Figure | None:
    """None without panels. Rows are as even as they can be, unless `columns` says how long."""
    if not panels:
        return None
    columns = columns or math.ceil(len(panels) / math.ceil(len(panels) / MAX_COLUMNS))
    drawn = {line.name for panel in panels for line in panel.lines} | {bar.name for p in panels for bar in p.bars}
    variants = tuple(variant for variant in looks if variant in drawn)
    return Figure(name=name, title=title, about=about, variants=variants, panels=tuple(panels), columns=columns)


def _title(record: TrialRecord, records: Sequence[TrialRecord], *, with_k: bool = False) -> str:
    """Where a panel's trials were; the model, or that they are transcoders, only where not all are the same in it."""
    mixed = len({point_of(r).transcode for r in records}) > 1
    hookpoint = _shortened(record.hookpoint) + (", transcoded" if mixed and point_of(record).transcode else "")
    sizes = f"expansion {record.expansion_factor}" + (f", k {record.k}" if with_k else "")
    one_line = len(hookpoint) + len(sizes) < TITLE_LETTERS
    others = {r.model for r in records} - {record.model}
    twins = {_shortened(model) for model in others} >= {_shortened(record.model)}
    model = [_shortened(record.model, parts=2 if twins else 1)] if others else []
    return "\n".join([*model, f"{hookpoint}, {sizes}"] if one_line else [*model, hookpoint, sizes])


def _about(records: Sequence[TrialRecord], spread: str, note: str) -> str:
    """Model, number of seeds and what is missing."""
    models = {record.model for record in records}
    cells = _groups(records, lambda r: (r.model, r.hookpoint, r.expansion_factor, r.k, r.variant))
    counts = [len(seeds) for seeds in cells.values()]
    fewest, most = min(counts, default=1), max(counts, default=1)
    seeds = "one seed" if most == 1 else f"mean of {most if fewest == most else f'{fewest} to {most}'} seeds"
    parts = [*(_shortened(model) for model in models if len(models) == 1), seeds, spread if most > 1 else "", note]
    return "; ".join(part for part in parts if part)


def _shortened(name: str, limit: int = 30, parts: int = 1) -> str:
    """The last parts of a model's id or path, their middle cut out where a panel is too narrow for them."""
    name = "/".join(name.rstrip("/").split("/")[-parts:])
    return shortened(name, limit)
