"""The LLM that explains latents and answers delphi's questions, from one word of the command line."""

from typing import Any

from orchestrator.errors import UserError
from orchestrator.scores.delphi import delphi, has_vllm
from orchestrator.scores.llm_openai import OpenAiClient, key_of_server
from orchestrator.scores.llm_transformers import TransformersClient

SOURCES = "openai:URL (or openai:URL#MODEL), transformers:MODEL, vllm:MODEL"


def check_llm(explainer: str) -> None:
    """Raises UserError for what is no source of an LLM, or cannot be used here. Nothing is loaded or asked."""
    kind, _, what = explainer.partition(":")
    if kind not in ("openai", "transformers", "vllm") or not what:
        raise UserError(f"explainer {explainer!r}: allowed are {SOURCES}")
    if kind == "openai" and not what.startswith(("http://", "https://")):
        raise UserError(f"explainer {explainer!r}: must have an address, such as openai:http://localhost:8000/v1")
    if kind == "openai":
        key_of_server()
    if kind == "vllm" and not has_vllm():
        raise UserError(f"explainer {explainer!r}: vllm is not installed; pip install vllm on a machine with a GPU")


class Client:
    """What delphi's explainer and scorers ask. They pass over what it raises, so it is kept in `failure`.

    An LLM that is gone must not look like one that answers nonsense: whoever asked for a score raises `failure`. After
    the first, nothing more is asked.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.failure: Exception | None = None

    async def generate(self, prompt: Any, **options: Any) -> Any:
        """delphi's `Response` to chat messages. Raises what the LLM's source raises, the same from then on."""
        if self.failure is not None:
            raise self.failure
        try:
            return await self._client.generate(prompt, **options)
        except Exception as error:
            self.failure = error
            raise


def make_client(explainer: str) -> Client:
    """The client of an LLM; it loads what it needs when it is first asked. Raises UserError as `check_llm` does."""
    check_llm(explainer)
    kind, _, what = explainer.partition(":")
    if kind == "openai":
        return Client(OpenAiClient(what))
    if kind == "transformers":
        return Client(TransformersClient(what))
    return Client(delphi("clients.offline").Offline(what, max_memory=0.8, num_gpus=1, max_model_len=5120))
