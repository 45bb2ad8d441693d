"""Latents explained and scored by an LLM: the packaged one, here and behind a server, and kept as they come."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.scores.autointerp import Autointerp, Scored, ScoredFile
from orchestrator.scores.llm import Client
from orchestrator.scores.llm_openai import LlmError, OpenAiClient
from orchestrator.scores.llm_transformers import TransformersClient
from orchestrator.scores.protocol import PROTOCOLS
from orchestrator.scores.scorers import Score
from tests.support.openai_server import StartServer
from tests.support.words import Prose, WordReader

PROTOCOL = replace(PROTOCOLS["laptop"], train=5, test=5, inactive=5, quantiles=5)
"""Few questions: the packaged model needs a second or two for each."""
SHORT = 40
"""Tokens of an answer."""


@pytest.fixture(scope="module")
def prose() -> Prose:
    return Prose.read(PROTOCOL)


def autointerp(prose: Prose, client: Any, *scorers: str) -> Autointerp:
    return Autointerp("words", prose.examples, scorers, client, seed=0)


def packaged() -> Client:
    return Client(TransformersClient("packaged", answer_tokens=SHORT))


def run(prose: Prose, client: Any, file: Path, *scorers: str) -> Scored:
    (found,) = autointerp(prose, client, *scorers).run([[7]], {7: prose.word(" file")}, ScoredFile(file))
    return found


@pytest.fixture(scope="module")
def here(prose: Prose, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """What the packaged model says in this process."""
    return run(prose, packaged(), tmp_path_factory.mktemp("here") / "a", "detection", "intruder")


@pytest.mark.sweep
def test_the_packaged_model_answers_and_what_says_nothing_is_counted(here: Scored) -> None:
    assert here.explanation
    for name, asked in (("detection", 10), ("intruder", 5)):
        score = here.scores[name]
        assert score.answers + score.unparseable == asked
        assert score.value is None or 0 <= score.value <= 1
    assert here.scores["intruder"].answers > 0
    assert Scored.from_json(here.to_json()) == here


@pytest.mark.sweep
def test_a_server_gives_the_same_result(here: Scored, prose: Prose, start: StartServer, tmp_path: Path) -> None:
    _, url = start()
    there = run(prose, Client(OpenAiClient(url, answer_tokens=SHORT)), tmp_path / "there", "detection")
    assert there.explanation == here.explanation
    assert there.scores["detection"] == here.scores["detection"]


def test_a_server_that_is_gone_ends_scoring_and_keeps_what_there_is(prose: Prose, tmp_path: Path) -> None:
    gone = Client(OpenAiClient("http://127.0.0.1:9/v1", give_up_seconds=0.1))
    file = ScoredFile(tmp_path / "a")
    activations = {7: prose.word(" file"), 8: prose.word(" class")}
    autointerp(prose, Client(WordReader()), "fuzz").run([[7]], activations, file)
    with pytest.raises(LlmError, match="gave up"):
        autointerp(prose, gone, "fuzz").run([[7, 8]], activations, file)
    assert file.read().keys() == {7}
    found = autointerp(prose, Client(WordReader()), "fuzz").run([[7, 8]], activations, file)
    assert [each.latent for each in found] == [7, 8]


def test_a_scorer_that_comes_later_finds_the_explanation_and_the_other_scores(prose: Prose, tmp_path: Path) -> None:
    first = run(prose, Client(WordReader()), tmp_path / "a", "fuzz")
    lines = (tmp_path / "a").read_text(encoding="utf-8").replace('"explanation": "file"', '"explanation": "class"')
    (tmp_path / "a").write_text(lines, encoding="utf-8")
    second = run(prose, Client(WordReader()), tmp_path / "a", "fuzz", "detection")
    assert second.scores["fuzz"] == first.scores["fuzz"]
    assert second.explanation == "class", "it was explained again"
    assert second.scores["detection"].value < 0.6 < run(
        prose, Client(WordReader()), tmp_path / "b", "detection"
    ).scores["detection"].value  # fmt: skip


def test_an_answer_that_is_no_explanation_is_counted(prose: Prose, tmp_path: Path) -> None:
    class Silent(WordReader):
        async def generate(self, prompt: Any, **options: Any) -> Any:
            found = await super().generate(prompt, **options)
            return replace(found, text=found.text.replace("[EXPLANATION]", "well"))

    found = run(prose, Client(Silent()), tmp_path / "a", "fuzz", "intruder")
    assert found.explanation == ""
    assert found.scores["fuzz"] == Score(None, 0, 1)
    assert found.scores["intruder"].value is not None, "it needs no explanation"
