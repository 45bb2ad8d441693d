"""Which shapes and contestants a run measures."""

from dataclasses import dataclass

from benchmarks.problem import Case

MP = ("ours", "ours, tied", "ours, sliced", "sae-lens", "overcomplete", "autograd with gather", "the study's method")
TOPK = ("ours, TopK", "eai-sparsify", "dictionary_learning")
FORMS = ("ours, update form", "ours, update form, H given", "ours, recompute form")


@dataclass(frozen=True)
class Axis:
    """A line of cases along one letter, for ours alone."""

    letter: str
    contestant: str
    cases: tuple[Case, ...]

    def size(self, case: Case) -> int:
        """What the letter stands for at a case."""
        return {"B": case.tokens, "M": case.latents, "k": case.k}[self.letter]


@dataclass(frozen=True)
class Preset:
    """One kind of run."""

    cases: tuple[Case, ...]
    contestants: tuple[str, ...]
    rounds: int
    seconds: float
    """Timed steps of one contestant at one case in one round last about this long."""
    axes: tuple[Axis, ...] = ()

    def work(self) -> dict[str, list[Case]]:
        """The cases of each contestant, those of the axes included, smallest first."""
        wanted = {name: set(self.cases) for name in self.contestants}
        for axis in self.axes:
            wanted.setdefault(axis.contestant, set()).update(axis.cases)
        return {name: sorted(cases, key=case_size) for name, cases in wanted.items()}


def case_size(case: Case) -> tuple[int, int, int, int]:
    """Sorts cases by work, then by shape."""
    return case.tokens * case.latents * case.k, case.latents, case.k, case.tokens


def _grown(**values: tuple[int, ...]) -> tuple[Case, ...]:
    ((letter, sizes),) = values.items()
    base = {"tokens": 2048, "latents": 4608, "k": 32}
    return tuple(Case(**(base | {letter: size})) for size in sizes)


PRESETS = {
    "quick": Preset((Case(2048, 4608, 32),), (*MP, *TOPK), rounds=1, seconds=1.0),
    "default": Preset(
        (
            Case(2048, 4608, 16), Case(2048, 4608, 32), Case(2048, 4608, 64),
            Case(2048, 9216, 32), Case(2048, 18432, 32), Case(2048, 18432, 64),
        ),
        (*MP, *TOPK), rounds=2, seconds=2.0,
    ),
    "growth": Preset(
        (), (), rounds=3, seconds=3.0,
        axes=(
            Axis("B", "ours", _grown(tokens=(512, 1024, 2048, 4096, 8192))),
            Axis("k", "ours", _grown(k=(4, 8, 16, 32, 64, 128))),
            Axis("M", "ours, update form, H given", _grown(latents=(2304, 4608, 9216, 13824, 18432))),
        ),
    ),
    "h100": Preset(
        (Case(65536, 36864, 64),),
        ("ours", "ours, tied", *FORMS, "ours, sliced", *MP[3:], "sae-lens' method", *TOPK), rounds=3, seconds=3.0,
    ),
}  # fmt: skip
