"""The samples of a tree as MLflow's datasets, which its runs page shows and filters by."""

from orchestrator.grid.cells import Cell
from orchestrator.names import digest
from orchestrator.toy.config import ToyConfig
from orchestrator.tracking.datasets import EVALUATION, TRAINING, Dataset, both_splits


def datasets_of(cfg: ToyConfig, cell: Cell) -> list[Dataset]:
    """What one coder is trained and measured on: samples are functions of the tree, the seed and their number."""
    sizes = {TRAINING: {"samples": cfg.train_tokens}, EVALUATION: {"samples": cfg.val_tokens}}
    identity = digest(f"{cfg.settings()[cell.hookpoint]} {cell.seed} {sizes}")
    return both_splits(cell.hookpoint, identity, "code", {"tags": {"mlflow.source.name": "toy/tree.py"}}, sizes)
