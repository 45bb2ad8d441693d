"""What every sweep is, whatever its coders are trained on: a grid of coders, how they train, where it all is kept."""

import os
import unicodedata
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from models.training import TrainConfig
from models.variants import VARIANTS
from orchestrator.errors import UserError, did_you_mean
from orchestrator.grid.field_types import typed
from orchestrator.names import MAX_BYTES
from orchestrator.redaction import redact
from orchestrator.saved import parse_json
from orchestrator.storage.address import home_of, spelt

CODER_AXES = ("k", "expansion_factor", "variant", "seed")
"""Axes of a grid that every sweep has, and that trials are told apart by beside their learning rate."""

STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
"""Schemes of MLflow's stores; it has given up directories."""

HOUSEKEEPING = (
    "name", "storage", "tracking_uri", "log_every", "streaming", "store_gb", "cache_dir", "gpus_per_trial",
    "checkpoint_every", "max_failures",
)  # fmt: skip
"""Fields that change nothing of what a trial trains and measures; every other tells runs apart."""

RESERVED = ("mlartifacts", "mlflow.db", "mlflow.db-journal", "mlflow.db-shm", "mlflow.db-wal", "tokens")
"""What lies beside the sweeps in their storage."""

MAX_STORAGE_BYTES = 494
"""SQLite takes 512 for a file and its journal, `/mlflow.db-journal` here, with a byte for its end."""

C = TypeVar("C", bound="BaseConfig")


def check_text(field: str, text: str, *, path: bool = False) -> None:
    """Refuse what cannot be written down as it is. Raises UserError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{field} {text!r}: is not UTF-8; rename it, or give a link to it") from None
    if (path or field in ("name", "model", "resume")) and any(unicodedata.category(letter) == "Cc" for letter in text):
        raise UserError(f"{field} {text!r}: has a control character; rename it, or give a link to it")
    if (path or field in ("model", "dataset")) and text.startswith("~/") and not Path(text).exists():
        given = Path(text).expanduser()
        raise UserError(f"{field} {text!r}: a shell replaces ~ only where it begins a word; give {given}")
    if (path or field in ("name", "model")) and redact(text) != text:
        raise UserError(f"{field} {text!r}: reads like a secret, and is blanked in what is logged; rename it")


def check_tracking_uri(field: str, uri: str) -> None:
    """Refuse what is no address of a store of MLflow's. Raises UserError."""
    if uri.startswith("databricks"):
        return
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] not in STORES or not rest.strip("/"):
        raise UserError(
            f"{field} {redact(uri)!r}: must be the address of a server, such as http://localhost:5000, or of a "
            f"database: {', '.join(f'{store}://...' for store in STORES[2:])}"
        )


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """The fields that all sweeps share. Raises UserError naming the field for values out of range."""

    axes: ClassVar[tuple[str, ...]] = (*CODER_AXES, "lr")
    """Fields that hold several values, every combination of which is a trial."""
    variants: ClassVar[tuple[str, ...]] = tuple(VARIANTS)
    """Values of `variant`."""

    k: tuple[int, ...] = (32,)
    """Active latents per token."""
    expansion_factor: tuple[int, ...] = (8,)
    """Latents as a multiple of the width at the hookpoint."""
    variant: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Sparse coders, of: {', '.join(VARIANTS)} (docs/variants.md).")
    ] = ("topk", "mp")
    seed: tuple[int, ...] = (0,)
    """Seeds of initialisation and data order."""

    train_tokens: int = 1 << 18
    """Tokens of training text."""
    val_tokens: int = 1 << 15
    """Held-out tokens, from other documents."""
    batch_tokens: int = 1 << 11
    """Tokens per optimiser step."""
    lr: tuple[float, ...] = (1e-3,)
    """Peak learning rates of Adam; what is best for one architecture need not be for another."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises; it falls linearly to 0 afterwards."""
    auxk_alpha: float = 0.0
    """Weight of the AuxK loss that revives dead latents; 0 leaves it out."""

    log_every: int | None = None
    """Steps between two points of a trial's curves; a hundredth of its steps unless given."""
    storage: Path = Path("runs")
    """Directory for everything the sweep writes."""
    tracking_uri: str | None = None
    """MLflow server; MLFLOW_TRACKING_URI, or a SQLite store under `storage`, unless given."""
    name: str | None = None
    """Name of the sweep; made from the script's name and the time unless given."""

    def __post_init__(self) -> None:
        for axis in self.axes:
            values = getattr(self, axis)
            if not values:
                raise UserError(f"{axis} (): the grid needs at least one value on every axis")
            if repeated := sorted({str(v) for v in values if values.count(v) > 1}):
                raise UserError(f"{axis} {', '.join(repeated)}: given twice, which would make duplicate cells")
        for variant in self.variant:
            if variant not in VARIANTS:
                raise UserError(
                    f"variant {variant!r}: {did_you_mean(variant, VARIANTS)}allowed are {', '.join(VARIANTS)}"
                )
        for axis in ("k", "expansion_factor"):
            for value in getattr(self, axis):
                if value < 1:
                    raise UserError(f"{axis} {value}: must be 1 or more")
        for seed in self.seed:
            if not 0 <= seed < 2**32:
                raise UserError(f"seed {seed}: must be from 0 to 2**32 - 1")
        self._check_sizes()
        self._check_places()
        try:
            for lr in self.lr:
                self.train_config(lr)
        except ValueError as error:
            raise UserError(str(error)) from None

    def _check_sizes(self) -> None:
        for field in ("batch_tokens", "train_tokens", "val_tokens"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} {getattr(self, field)}: must be 1 or more")
        if self.log_every is not None and self.log_every < 1:
            raise UserError(f"log_every {self.log_every}: must be 1 or more")
        if self.steps < 1:
            raise UserError(
                f"train_tokens {self.train_tokens}: too few for one batch of {self.batch_tokens} (batch_tokens)"
                + self._what_is_left_out
            )

    def _check_places(self) -> None:
        """Names and paths go into a database, JSON and lines of text; what those cannot hold is refused here."""
        for field in fields(self):
            value = getattr(self, field.name)
            for text in map(str, value if isinstance(value, tuple) else (value,)):
                if field.name != "tracking_uri":
                    is_path = isinstance(value, Path)
                    check_text(field.name, spelt(Path(text)) if field.name == "storage" else text, path=is_path)
        if self.tracking_uri is not None:
            check_tracking_uri("tracking_uri", self.tracking_uri)
        length = len(os.fsencode(os.path.realpath(home_of(self.storage))))  # Path.resolve raises for links in a circle
        if self.tracking_uri is None and length > MAX_STORAGE_BYTES:
            raise UserError(
                f"storage '...{str(self.storage)[-20:]}': its path has {length} bytes; SQLite takes {MAX_STORAGE_BYTES}"
            )
        if self.name is None:
            return
        if not self.name.strip() or "/" in self.name or self.name.startswith("."):
            raise UserError(f"name {self.name!r}: must be a plain directory name")
        if len(self.name.encode()) > MAX_BYTES:
            raise UserError(
                f"name {self.name[:20]!r}...: has {len(self.name.encode())} bytes; file systems take {MAX_BYTES}"
            )
        if self.name in RESERVED:
            raise UserError(f"name {self.name!r}: what all sweeps share is kept under it; take another")

    @property
    def steps(self) -> int:
        """Optimiser steps: one pass over the training tokens."""
        return self.train_tokens // self.batch_tokens

    @property
    def report_every(self) -> int:
        """`log_every`, or as many steps as give some 100 points."""
        return self.log_every or max(1, self.steps // 100)

    def reports_at(self, step: int) -> bool:
        """Whether a trial's curves have a point there: the first step, the last, and those between."""
        return step % self.report_every == 0 or step in (1, self.steps)

    @property
    def _what_is_left_out(self) -> str:
        """What a message about too few tokens adds."""
        return ""

    @property
    def dead_window(self) -> int:
        """Last training tokens on which a latent must have fired not to be dead, no more than half of a run."""
        return self._at_most_half_a_run(TrainConfig.dead_window_tokens)

    def _at_most_half_a_run(self, tokens: int) -> int:
        return max(1, min(tokens, self.steps * self.batch_tokens // 2))

    def train_config(self, lr: float) -> TrainConfig:
        """How a trial trains that has this learning rate. Raises ValueError for values out of range."""
        return TrainConfig(
            steps=self.steps, lr=lr, warmup_steps=self.warmup_steps, auxk_alpha=self.auxk_alpha,
            dead_window_tokens=self.dead_window,
        )  # fmt: skip

    def params(self) -> dict[str, Any]:
        """What all trials have in common, as params of the sweep's run in MLflow; the axes are listed too."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "tracking_uri"}
        given["lr"] = self.lr if len(self.lr) > 1 else self.lr[0]
        return given | {"log_every": self.report_every, "storage": spelt(self.storage)}

    def distinguishing(self) -> dict[str, Any]:
        """What tells the trials of this sweep from those of another, as params of each beside its axes."""
        return {key: value for key, value in self.params().items() if key not in (*self.axes, *HOUSEKEEPING)}

    def to_json(self) -> dict[str, Any]:
        """JSON form without secrets; `from_json` reads it back."""
        content = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        content["storage"] = spelt(self.storage)
        return content | {"tracking_uri": self.tracking_uri and redact(self.tracking_uri)}

    @classmethod
    def from_json(cls: type[C], text: str | bytes) -> C:
        """Read what `to_json` gave. Raises UserError where something else wrote it."""
        content = parse_json(text, "sweep.json", "this sweep cannot be resumed without it")
        if isinstance(content.get("lr"), int | float):  # of versions in which all trials had the same
            content["lr"] = [content["lr"]]
        if unknown := content.keys() - {field.name for field in fields(cls)}:
            raise UserError(
                f"sweep.json: unknown fields {', '.join(sorted(unknown))}; "
                "was it written by another version, or by another script?"
            )
        return cls(**{name: typed(cls, name, value, "sweep.json") for name, value in content.items()})
