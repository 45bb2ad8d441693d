"""Where the text of a sweep comes from, as a user says it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Where text comes from."""

    dataset: str
    """A path that exists: a Parquet, JSON lines, JSON, CSV, Arrow or text file, or a directory of files of one format;
    else a pattern of such files, a Hugging Face id, or `python-docs`. A text file is cut into documents at empty
    lines, so parts of one text may be on both sides of the split; in a directory or a pattern, each is a document."""
    dataset_config: str | None = None
    """Configuration (subset) of a Hugging Face dataset or of a directory laid out as one."""
    dataset_split: str = "train"
    """Split to read; single files and patterns have only `train`."""
    text_column: str = "text"
    """Column that holds the text, the only one that is read."""
    streaming: bool = False
    """Read a Hugging Face dataset while it is downloaded, and only as much as is needed. Local files always are."""
