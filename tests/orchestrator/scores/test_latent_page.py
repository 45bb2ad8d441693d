"""Pages of latents: what is in them, that no text of theirs is markup, their size, and that they ask for nothing."""

import dataclasses
import random
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

import orchestrator.scores
from orchestrator.scores.histograms import BINS, spread_of
from orchestrator.scores.latent_page import SCRIPTS, comparison_page, latents_page
from orchestrator.scores.latents import CoderPage, Context, LatentSummary
from orchestrator.scores.page_data import rounded
from tests.support.latent_pages import Reader, as_shown, read_back

FILES = Path(orchestrator.scores.__file__).parent / "page"
MARKUP = "</script><img src=x onerror=alert(1)><script>alert(2)</script><!-- &lt;b> ]]> \u2028\u2029\0"
LONE = "\ud83d and \udc00"
NAN, INF = float("nan"), float("inf")

PAGE = CoderPage(
    title="layers.10 mp k=32",
    facts={"variant": "mp", "k": "32", "FVU": "0.21"},
    chance={"fuzz": 0.5, "intruder": 0.2},
    latents=(
        LatentSummary(
            latent=12,
            firing_rate=0.00123456,
            max_activation=12.34567,
            explanation="the word “the”",
            scores={"fuzz": 0.81239, "intruder": None},
            contexts=(
                Context((" the", "\n", "", " café"), (12.34567, 0.0, -0.000123456, 1.0), 0),
                Context((" the", " the"), (0.0, 3.14159), 4),
            ),
            neighbours=((7, 0.91239), (4000, -0.5)),
            promoted=((" the", 1.23456), ("<b>", 1e-7)),
            suppressed=((" a", -123456.0),),
            mostly_at_step=3.14159,
        ),
        LatentSummary(latent=7, firing_rate=0.5, max_activation=1.0, scores={"fuzz": 0.3}),
    ),
)


def with_text(text: str) -> CoderPage:
    """`PAGE` with `text` wherever there is text."""
    first, *others = PAGE.latents
    first = dataclasses.replace(
        first,
        explanation=text,
        scores={text: 0.5},
        contexts=(Context((text, "a"), (1.0, 0.0), 0),),
        promoted=((text, 1.0),),
        suppressed=((text, -1.0),),
    )
    return CoderPage(text, {text: text}, {text: 0.5}, (first, *others))


# --- what is in a page ---


def test_a_page_has_all_that_it_was_given() -> None:
    html = latents_page(PAGE)
    assert read_back(html) == [as_shown(PAGE)]
    reader = Reader(html)
    assert reader.text.count("layers.10 mp k=32") == 2  # the title of the window and of the page
    assert "fuzz" in reader.text
    assert "mean 0.556 over 2" in reader.text
    assert "none scored" in reader.text


def test_a_page_of_two_has_both_with_means_and_chance() -> None:
    other = dataclasses.replace(PAGE, title="layers.10 topk k=32", latents=PAGE.latents[1:], chance={"fuzz": 0.4})
    html = comparison_page(PAGE, other)
    assert read_back(html) == [as_shown(PAGE), as_shown(other)]
    text = Reader(html).text
    assert "layers.10 mp k=32 beside layers.10 topk k=32" in text
    for expected in ("left: mean 0.556 over 2", "right: mean 0.300 over 1", "chance 0.5", "chance 0.4", "chance 0.2"):
        assert expected in text
    assert html.count('class="mean side0"') == 1
    assert html.count('class="mean side1"') == 1


def test_a_page_without_latents_is_a_page() -> None:
    empty = CoderPage("new", {}, {}, ())
    assert read_back(latents_page(empty)) == [empty]
    assert read_back(comparison_page(empty, PAGE)) == [empty, as_shown(PAGE)]
    assert "<figure" not in latents_page(empty)


def test_scores_are_spread_over_bins_of_equal_width() -> None:
    scores = [0.0, 0.04, 0.5, 1.0, None, NAN]
    latents = tuple(LatentSummary(n, 0.1, 1.0, scores={"fuzz": score}) for n, score in enumerate(scores))
    spread = spread_of(CoderPage("run", {}, {"fuzz": NAN}, latents), "fuzz")
    assert (spread.unscored, spread.chance) == (2, None)
    assert spread.mean == pytest.approx(1.54 / 4)
    assert {number: share for number, share in enumerate(spread.shares) if share} == {0: 0.5, 10: 0.25, BINS - 1: 0.25}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0), (12.0, 12), (12.34, 12.3), (-0.00012345, -0.000123), (99999.0, 1e5), (1e300, 1e300), (NAN, None),
        (INF, None), (-INF, None), (None, None),
    ],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float | None, expected: float | None) -> None:
    assert rounded(value, 3) == expected


def test_a_context_has_an_activation_for_each_token() -> None:
    with pytest.raises(ValueError, match=r"^activations: 1 of them for 2 tokens$"):
        Context(("a", "b"), (1.0,), 0)


def test_a_page_has_each_latent_once() -> None:
    with pytest.raises(ValueError, match=r"^latents: 7 is there twice"):
        dataclasses.replace(PAGE, latents=PAGE.latents[1:] * 2)


# --- text is text ---


@pytest.mark.parametrize("text", [MARKUP, LONE, "${title} $data %s {}", "__proto__", "'\"`\\", ""], ids=ascii)
def test_no_text_is_markup(text: str) -> None:
    plain, given = Reader(latents_page(with_text("word"))), latents_page(with_text(text))
    reader = Reader(given.encode("utf-8").decode("utf-8"))
    assert reader.tags() == plain.tags()
    assert [sorted(attributes) for _, attributes in reader.elements] == [sorted(a) for _, a in plain.elements]
    assert reader.raw("script")[1] == plain.raw("script")[1]
    assert read_back(given) == [as_shown(with_text(text))]
    assert len(read_back(comparison_page(with_text(text), PAGE))) == 2


def test_the_title_is_shown_as_it_is() -> None:
    title = "</title><b>a & b</b>"
    assert Reader(latents_page(with_text(title))).text.count(title) >= 2


def test_numbers_that_are_not_finite_become_null() -> None:
    odd = LatentSummary(
        latent=1, firing_rate=NAN, max_activation=INF, scores={"fuzz": NAN, "detection": -INF},
        contexts=(Context(("a", "b", "c"), (NAN, INF, 1.0), 0),),
        neighbours=((2, NAN),), promoted=(("a", INF),), suppressed=(("b", -INF),), mostly_at_step=NAN,
    )  # fmt: skip
    (page,) = read_back(latents_page(CoderPage("run", {}, {"fuzz": NAN}, (odd,))))
    (latent,) = page.latents
    assert (latent.firing_rate, latent.max_activation, latent.mostly_at_step) == (None, None, None)
    assert latent.scores == {"fuzz": None, "detection": None}
    assert latent.contexts[0].activations == (None, None, 1.0)
    assert (latent.neighbours, latent.promoted, latent.suppressed) == (((2, None),), (("a", None),), (("b", None),))
    assert page.chance == {}


# --- one file, and a closed one ---


@pytest.mark.parametrize("html", [latents_page(PAGE), comparison_page(PAGE, PAGE)], ids=["one", "two"])
def test_a_page_asks_for_nothing_and_runs_its_own_script_only(html: str) -> None:
    reader = Reader(html)
    assert not re.search(r"https?:|url\(|@import|import\(", html)
    assert {"link", "img", "iframe", "object", "embed", "base", "form"} & {*reader.tags()} == set()
    names = {name for _, attributes in reader.elements for name in attributes}
    assert [name for name in names if name in {"src", "href", "style"} or name.startswith("on")] == []
    (policy,) = [a["content"] for tag, a in reader.elements if tag == "meta" and "http-equiv" in a]
    assert policy is not None
    (style,), (_, script) = reader.raw("style"), reader.raw("script")
    allowed = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert allowed == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'",
        "script-src": f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'",
        "style-src": f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'",
    }  # fmt: skip


def test_no_script_parses_text_as_markup_or_code() -> None:
    assert {path.name for path in FILES.glob("*.js")} == {*SCRIPTS}
    banned = r"(inner|outer|Adjacent|set)HTML|document\.write|DOMParser|createContextual|\beval\b|Function\("
    for path in FILES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(banned, text), path.name
        assert path.suffix == ".html" or not re.search("</(script|style)|<!--", text), path.name
        assert len(text.splitlines()) <= 300, path.name


def test_500_latents_with_40_contexts_of_32_tokens_take_less_than_10_mb() -> None:
    """Every token fires and the words are of a large vocabulary, which is more than a coder's latents would need."""
    rng = random.Random(0)
    words = [f" word{rng.randrange(10**6)}" for _ in range(50_000)]

    def context(quantile: int) -> Context:
        return Context(tuple(rng.choices(words, k=32)), tuple(rng.expovariate(0.1) for _ in range(32)), quantile)

    latents = tuple(
        LatentSummary(latent, 0.01, 50.0, "an explanation of usual length " * 3, {"fuzz": 0.7, "detection": 0.61},
                      tuple(context(number // 4) for number in range(40)), ((1, 0.5),) * 10, ((words[0], 0.123),) * 10)
        for latent in range(500)
    )  # fmt: skip
    page = CoderPage("run", {}, {"fuzz": 0.5}, latents)
    size = len(latents_page(page).encode("utf-8"))
    assert 1e6 < size < 10e6
