"""What a script says while it runs: log lines on standard error, and what is kept out of them."""

import logging
import os
import sys

from huggingface_hub.utils.tqdm import disable_progress_bars

from orchestrator.redaction import RedactingFormatter

NOISY = ("ray", "httpx", "datasets", "alembic", "mlflow")
RAY_TOKENS = "ray._private.authentication.authentication_token_setup"
"""The logger that says at every start that Ray's token authentication is on, which is as it should be."""


class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what standard error is at the moment: a live table takes its place, to put lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.setStream(sys.stderr)
        super().emit(record)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Token authentication is enabled")


def set_up_logging() -> None:
    """Our lines with the time of day; of other libraries, warnings of what a person can do something about."""
    handler = StderrHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger(RAY_TOKENS).addFilter(_is_news)
    if not sys.stderr.isatty():
        _hide_bars()


def be_quiet() -> None:
    """Warnings and errors alone from here on (`--quiet`)."""
    logging.getLogger().setLevel(logging.WARNING)
    _hide_bars()


def _hide_bars() -> None:
    """Of downloads: in a file each of their movements is a line."""
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read when `datasets` is imported, which is later
    disable_progress_bars()
