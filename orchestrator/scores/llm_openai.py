"""An LLM behind a server that speaks OpenAI's protocol, as vLLM, llama.cpp, Ollama and OpenRouter do."""

import asyncio
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import httpx

from orchestrator.errors import UserError
from orchestrator.redaction import redact
from orchestrator.scores.delphi import delphi
from orchestrator.scores.protocol import ANSWER_TOKENS

KEY = "OPENAI_API_KEY"
"""The environment variable with the key, where the server wants one."""
TOGETHER = 8
"""Requests under way at once."""
ANSWER_SECONDS = 120.0
GIVE_UP_SECONDS = 600.0
"""How long one request is tried again while the server is away, busy or broken."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between tries: twice as long each time, up to half as long again by chance."""
_AGAIN = {408, 409, 425, 429}


class LlmError(RuntimeError):
    """The LLM gives no answer; its one line holds no key."""


def key_of_server() -> str:
    """The key, if there is one. Raises UserError for what cannot be sent: httpx would repeat it in its message."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{KEY} (not shown): holds a character that no key has; allowed are printable ASCII ones")
    return key


class OpenAiClient:
    """Asks `URL/chat/completions`; `address` is URL or URL#MODEL, without a model the first that the server has."""

    def __init__(
        self, address: str, *, give_up_seconds: float = GIVE_UP_SECONDS, answer_tokens: int = ANSWER_TOKENS
    ) -> None:
        self._answer_tokens = answer_tokens
        self._url, _, self._model = address.rstrip("/").partition("#")
        self._url = self._url.rstrip("/")
        self._give_up_seconds = give_up_seconds
        self._key = key_of_server()
        # Threads, because an asynchronous connection belongs to one event loop and a client outlives it.
        self._threads = ThreadPoolExecutor(TOGETHER)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx.Client(headers=headers, timeout=ANSWER_SECONDS)

    async def generate(self, prompt: Any, **options: Any) -> Any:
        """delphi's `Response` to chat messages; of `options`, `temperature` and `max_tokens` count.

        Raises LlmError where the server refuses, or is away for too long.
        """
        text = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, prompt, options)
        return delphi("clients.client").Response(text=text)

    @cached_property
    def model(self) -> str:
        """The model that is asked."""
        return self._model or str(self._request("GET", "/models")["data"][0]["id"])

    def _answer(self, messages: list[dict[str, str]], options: dict[str, Any]) -> str:
        content = {
            "model": self.model, "messages": messages, "temperature": options.get("temperature", 0.0),
            "max_tokens": options.get("max_tokens", self._answer_tokens),
        }  # fmt: skip
        return str(self._request("POST", "/chat/completions", content)["choices"][0]["message"]["content"] or "")

    def _request(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        started, wait = time.monotonic(), FIRST_WAIT
        while True:
            try:
                answer = self._http.request(method, self._url + path, json=content)
                if answer.is_success:
                    return answer.json()
                problem = f"answers {answer.status_code} ({self._clean(answer.text)})"
                if answer.status_code < 500 and answer.status_code not in _AGAIN:
                    raise self._error(problem)
                wait = max(wait, _asked_wait(answer))
            except (httpx.TransportError, ValueError) as error:  # ValueError: cut off in the middle of its JSON
                problem = f"{type(error).__name__}: {self._clean(str(error))}"
            if time.monotonic() - started + wait > self._give_up_seconds:
                raise self._error(f"gave up after {self._give_up_seconds:g} s: {problem}")
            time.sleep(wait * random.uniform(1, 1.5))
            wait = min(2 * wait, LONGEST_WAIT)

    def _error(self, problem: str) -> LlmError:
        hint = f"; set {KEY}" if "answers 401" in problem else ""
        return LlmError(f"explainer openai:{self._clean(self._url)}: {problem}{hint}")

    def _clean(self, text: str) -> str:
        """On one line, cut short, without the key: servers repeat what they were sent."""
        short = " ".join(redact(text).split())
        return (short.replace(self._key, "***") if self._key else short)[:200]


def _asked_wait(answer: httpx.Response) -> float:
    """Seconds that a busy server asks for."""
    try:
        return float(answer.headers.get("Retry-After", 0))
    except ValueError:  # a date
        return 0.0
