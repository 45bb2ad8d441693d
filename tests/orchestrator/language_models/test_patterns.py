"""What a plan says of the wildcards in hookpoints."""

from fnmatch import fnmatchcase

import pytest

from orchestrator.language_models.hookpoints import Hookpoint, what_patterns_meant
from orchestrator.language_models.patterns import without_crossing

INSIDE = ["", ".mlp", ".mlp.up_proj", ".self_attn", ".self_attn.o_proj"]
NAMES = ["embed_tokens", *(f"layers.{i}{tail}" for i in range(12) for tail in INSIDE), "norm"]


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("layers.*", "60 modules, since * crosses dots; 12 of them at its own depth: "
                     "--hookpoint 'layers.?' 'layers.??'"),
        ("layers.1*", "15 modules, since * crosses dots; 3 of them at its own depth: --hookpoint layers.1 'layers.1?'"),
        ("layers.[0-1]*", "20 modules, since * crosses dots; 4 of them at its own depth: "
                          "--hookpoint 'layers.[0-1]' 'layers.[0-1]?'"),
        ("layers.*.mlp", "12 modules"),
        ("layers.1[01]", "2 modules"),
        ("layers.1?", "2 modules"),
        ("*mlp", "12 modules"),
        ("norm*", "1 module"),
        ("*", "62 modules, since * crosses dots; 2 of them at its own depth: --hookpoint embed_tokens norm"),
        ("*.*", "60 modules, since * crosses dots; 12 of them at its own depth: --hookpoint '??????.?' '??????.??'"),
    ],
)  # fmt: skip
def test_a_pattern_is_counted_and_the_narrower_one_named(pattern: str, line: str) -> None:
    points = [Hookpoint(name, 8) for name in NAMES if fnmatchcase(name, pattern)]
    others = [Hookpoint("norm:in", 8)]
    assert what_patterns_meant([pattern, "layers.3"], points + others) == [f"hookpoint {pattern!r}: {line}"]


def test_a_pattern_of_inputs_is_counted_among_inputs() -> None:
    points = [Hookpoint(name + side, 8) for name in ("layers.1", "layers.1.mlp") for side in ("", ":in")]
    (line,) = what_patterns_meant(["layers.*:in"], points)
    assert line.startswith("hookpoint 'layers.*:in': 2 modules, ")
    assert line.endswith("--hookpoint layers.1:in")


@pytest.mark.parametrize("pattern", ["layers.*", "layers.*[01]", "l*.1*", "*.?", "layers.[!0]*", "*.*.mlp", "*s.*.*"])
def test_the_narrower_patterns_mean_what_has_no_more_dots(pattern: str) -> None:
    level = {n for n in NAMES if fnmatchcase(n, pattern) and n.count(".") == pattern.count(".")}
    narrower = without_crossing(pattern, NAMES)
    assert not narrower or {n for n in NAMES if any(fnmatchcase(n, each) for each in narrower)} == level
