"""The actor that computes shards: it runs the language model, or reads what an earlier sweep left on disk."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from orchestrator.activations.shards import ActivationError
from orchestrator.activations.tables import ShardSpec, read_table, to_table, write_table
from orchestrator.errors import one_line
from orchestrator.machine_errors import MACHINE_ERRORS
from orchestrator.redaction import log_to_stderr

log = logging.getLogger(__name__)


class Extractor:
    """Computes shards, or reads them from disk; loads the language model when first needed, once."""

    def __init__(self, spec: ShardSpec, cache_dir: str | None, threads: int) -> None:
        log_to_stderr()
        # Not at the top: a sweep waits for its broker, which knows this class and has no use for transformers.
        from orchestrator.language_models.loading import LanguageModel, computes_in

        torch.set_num_threads(threads)
        spec = replace(spec, fingerprint=f"{spec.fingerprint} {computes_in()}")
        self.spec, self.cache_dir = spec, Path(cache_dir) if cache_dir else None
        self.load = LanguageModel.load
        self.model: LanguageModel | None = None
        self._said_unreadable = False

    def extract(self, tokens_NL: np.ndarray, first_sequence: int) -> list[Any]:
        """One result per hookpoint, a table or the ActivationError that replaces it, and a summary of the work."""
        results: dict[str, pa.Table | ActivationError] = {}
        if self.cache_dir:
            for name in self.spec.hookpoints:
                if (table := self._read(self.spec.file(self.cache_dir, name, tokens_NL), name, tokens_NL)) is not None:
                    results[name] = table
        missing = [name for name in self.spec.hookpoints if name not in results]
        if missing:
            try:
                captured = self._capture(tokens_NL, missing)
            except ActivationError as error:
                results |= dict.fromkeys(missing, error)
            else:
                for name in missing:
                    results[name] = self._store(captured.pop(name), tokens_NL, name, first_sequence)
        return [*(results[name] for name in self.spec.hookpoints), {"computed": bool(missing)}]

    def _read(self, file: Path, name: str, tokens_NL: np.ndarray) -> pa.Table | None:
        """The table kept there; None where there is none, or none that can be read."""
        try:
            return read_table(file, name, self.spec.dtype, tokens_NL)
        except OSError as error:
            if not self._said_unreadable:
                log.warning("--cache-dir %s: what cannot be read is computed again: %s", self.cache_dir, error)
            self._said_unreadable = True
            return None

    def _capture(self, tokens_NL: np.ndarray, hookpoints: list[str]) -> dict[str, torch.Tensor]:
        """Raises ActivationError for what would happen again; what a machine or a network did is raised as it is."""
        try:
            self.model = self.model or self.load(self.spec.model)
            return self.model.capture(torch.from_numpy(tokens_NL.astype(np.int64)), hookpoints)
        except MACHINE_ERRORS:
            raise
        except Exception as error:
            if isinstance(error.__cause__, MACHINE_ERRORS):
                raise
            log.exception("no activations of %s", self.spec.model)
            raise ActivationError(one_line(error)) from None

    def _store(self, activations: torch.Tensor, tokens_NL: np.ndarray, name: str, first: int) -> Any:
        try:
            table = to_table(activations, tokens_NL, name, self.spec.dtype, first)
        except ActivationError as error:
            log.error("%s", error)
            return error
        if self.cache_dir:
            try:
                write_table(table, self.spec.file(self.cache_dir, name, tokens_NL))
            except OSError as error:  # what it would have spared later is lost, and nothing else
                log.warning("--cache-dir %s keeps no more activations: %s", self.cache_dir, error)
                self.cache_dir = None
        return table
