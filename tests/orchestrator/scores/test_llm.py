"""LLMs from a server and in this process: the same answers, whatever happens to the server, and no key anywhere."""

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.scores import llm_openai
from orchestrator.scores.llm import Client, check_llm, make_client
from orchestrator.scores.llm_openai import LlmError, OpenAiClient
from orchestrator.scores.llm_transformers import TransformersClient
from tests.support.openai_server import StartServer
from tests.support.waiting import LIMIT_SECONDS

CHAT = [{"role": "user", "content": "Name a colour. Answer with one word."}]
KEY = "sk-this-is-a-secret"


def ask(client: Any, **options: Any) -> str:
    return asyncio.run(client.generate(CHAT, **({"max_tokens": 8} | options))).text


@pytest.mark.sweep
def test_a_server_and_this_process_give_the_same_answer(start: StartServer) -> None:
    _, url = start()
    client = OpenAiClient(url)
    answer = ask(client)
    assert answer == ask(TransformersClient("packaged")) != ""
    assert answer == ask(client), "also from another event loop"
    assert client.model == "packaged"
    assert OpenAiClient(f"{url}#other").model == "other"


@pytest.mark.sweep
def test_a_server_that_dies_and_comes_back_is_waited_for(start: StartServer) -> None:
    process, url = start()
    client = OpenAiClient(url, give_up_seconds=LIMIT_SECONDS)
    before = ask(client)
    process.kill()
    process.wait()
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(client)))
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)) as away:
        away.settimeout(LIMIT_SECONDS)
        waiting.start()
        away.accept()[0].close()  # it has tried, and now it waits
    assert not answers
    start(port=port)
    waiting.join(timeout=LIMIT_SECONDS)
    assert answers == [before]


@pytest.mark.sweep
def test_a_busy_server_is_asked_again_when_it_says(start: StartServer) -> None:
    _, url = start("--busy", "2")
    began = time.monotonic()
    assert ask(OpenAiClient(url))
    assert time.monotonic() - began >= 2


def test_a_server_that_stays_away_is_one_line_and_no_answer() -> None:
    with pytest.raises(LlmError) as raised:
        ask(OpenAiClient("http://127.0.0.1:9/v1", give_up_seconds=0.1))
    said = "explainer openai:http://127.0.0.1:9/v1: gave up after 0.1 s: ConnectError: [Errno 111] Connection refused"
    assert str(raised.value) == said


@pytest.mark.sweep
def test_a_wrong_key_is_refused_at_once_and_never_shown(
    start: StartServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = start("--key", "another")
    monkeypatch.setenv(llm_openai.KEY, KEY)
    caplog.set_level(0)
    client = Client(OpenAiClient(url, give_up_seconds=300))
    for _ in range(2):  # delphi passes over the first
        with pytest.raises(LlmError) as raised:
            ask(client)
    said = str(raised.value)
    assert "answers 401" in said and f"set {llm_openai.KEY}" in said and "Bearer ***" in said
    shown = [said, repr(raised.value), repr(client), repr(vars(client)), caplog.text]
    assert not [text for text in shown if KEY in text]
    assert client.failure is raised.value


@pytest.mark.sweep
def test_the_right_key_is_sent(start: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _, url = start("--key", KEY)
    monkeypatch.setenv(llm_openai.KEY, KEY)
    assert ask(OpenAiClient(url))


@pytest.mark.parametrize(
    ("explainer", "says"),
    [
        ("gpt-4", "allowed are openai:URL"),
        ("openai:", "allowed are openai:URL"),
        ("openai:localhost:8000", "must have an address"),
        ("vllm:some/model", "vllm is not installed"),
    ],
)
def test_what_is_no_llm_is_one_line(explainer: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_llm(explainer)


def test_a_model_that_is_not_there_is_raised_and_kept() -> None:
    client = make_client("transformers:/nowhere")
    for _ in range(2):
        with pytest.raises(UserError, match="model '/nowhere'"):
            ask(client)
    assert isinstance(client.failure, UserError)


def test_prompts_without_a_chat_and_beyond_the_positions_are_answered(tiny_model: Path) -> None:
    long = [{"role": "user", "content": "word " * 2000}]
    client = TransformersClient(str(tiny_model))
    client._tokenizer.chat_template = None
    assert isinstance(asyncio.run(client.generate(long, max_tokens=5)).text, str)


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-caf\u00e9-secret", "sk-\x7f-secret"])
def test_a_key_that_cannot_be_sent_is_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(llm_openai.KEY, key)
    for refuse in (lambda: check_llm("openai:http://127.0.0.1:9"), lambda: OpenAiClient("http://127.0.0.1:9")):
        with pytest.raises(UserError, match=r"^OPENAI_API_KEY \(not shown\): holds a character that no key has; "):
            refuse()


def test_a_key_with_the_end_of_its_line_is_sent_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(llm_openai.KEY, f"{KEY}\n")
    client = OpenAiClient("http://127.0.0.1:9", give_up_seconds=0)
    with pytest.raises(LlmError) as raised:
        ask(client)
    assert "secret" not in str(raised.value)
    assert "Illegal header" not in str(raised.value)
