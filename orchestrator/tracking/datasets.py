"""What a run is trained and measured on, as MLflow's datasets: a column of its runs page, and what metrics are of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

TRAINING, EVALUATION = "training", "evaluation"
_MAX_NAME = 500


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset of a run. MLflow takes two of one name and digest for one, whatever else they are."""

    name: str
    digest: str
    """Of the content, 36 characters at most."""
    context: str
    """`TRAINING` or `EVALUATION`."""
    source_type: str
    """`hugging_face`, `local` or `code`."""
    source: str
    """JSON, as MLflow's sources of that type write it."""
    profile: str
    """JSON: how much there is of it."""


def both_splits(
    name: str, digest: str, source_type: str, source: Mapping[str, object], profiles: Mapping[str, Mapping[str, int]]
) -> list[Dataset]:
    """The training and the evaluation dataset that one digest, of 32 characters at most, identifies together.

    `profiles` has the sizes of both by their contexts.
    """
    digests = {TRAINING: digest, EVALUATION: f"{digest}-val"}
    return [
        Dataset(
            name=name[-_MAX_NAME:], digest=own, context=context, source_type=source_type, source=json.dumps(source),
            profile=json.dumps(profiles[context]),
        )
        for context, own in digests.items()
    ]  # fmt: skip
