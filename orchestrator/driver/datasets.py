"""The text of a sweep as MLflow's datasets, which its runs page shows and filters by."""

from pathlib import Path

from orchestrator.driver.inputs import Inputs
from orchestrator.text.config import TextConfig
from orchestrator.text.sources import MADE_HERE, is_local
from orchestrator.tracking.datasets import EVALUATION, TRAINING, Dataset, both_splits


def datasets_of(cfg: TextConfig, inputs: Inputs) -> list[Dataset]:
    """The training and the evaluation tokens of one model, by the name of their text. Raises UserError."""
    sizes = {
        context: {"sequences": blocks_NL.shape[0], "tokens": blocks_NL.size}
        for context, blocks_NL in ((TRAINING, inputs.blocks.train), (EVALUATION, inputs.blocks.val))
    }
    source_type, source = _source(cfg)
    return both_splits(cfg.dataset, inputs.blocks.fingerprint, source_type, source, sizes)


def _source(cfg: TextConfig) -> tuple[str, dict[str, object]]:
    """In MLflow's words."""
    if cfg.dataset in MADE_HERE:
        return "code", {"tags": {"mlflow.source.name": cfg.dataset}}
    if is_local(cfg):
        return "local", {"uri": str(Path(cfg.dataset).resolve())}
    return "hugging_face", {"path": cfg.dataset, "config_name": cfg.dataset_config, "split": cfg.dataset_split}
