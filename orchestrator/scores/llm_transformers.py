"""An LLM in this process, by transformers: slow, and there without a server, a GPU or a network."""

from functools import cached_property
from typing import Any

import torch

from orchestrator.language_models.loading import LanguageModel, load_tokenizer
from orchestrator.scores.delphi import delphi
from orchestrator.scores.protocol import ANSWER_TOKENS


class TransformersClient:
    """Asks a model that `LanguageModel` loads: `packaged`, a directory, an id of the hub."""

    def __init__(self, model: str, *, answer_tokens: int = ANSWER_TOKENS) -> None:
        self._name, self._answer_tokens = model, answer_tokens

    @cached_property
    def _model(self) -> Any:
        return LanguageModel.load(self._name).model

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._name)

    async def generate(self, prompt: Any, **options: Any) -> Any:
        """delphi's `Response` to chat messages; of `options`, `temperature` and `max_tokens` count.

        Raises UserError where the model cannot be loaded. Of a prompt that is too long the end counts.
        """
        text = self._answer(prompt, options.get("max_tokens", self._answer_tokens), options.get("temperature", 0.0))
        return delphi("clients.client").Response(text=text)

    @torch.no_grad()
    def _answer(self, messages: list[dict[str, str]], most: int, temperature: float) -> str:
        ids = self._ids(messages)
        positions = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if positions:
            ids = ids[:, -max(1, positions - most) :]
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        answer = self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=most,
            pad_token_id=self._tokenizer.eos_token_id, **sampling,
        )  # fmt: skip
        return str(self._tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True))

    def _ids(self, messages: list[dict[str, str]]) -> torch.Tensor:
        """[1, L]; messages one after another where the tokenizer knows no chat."""
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        else:
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        ids: torch.Tensor = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        return ids.to(self._model.device)
