"""Getting a shard whatever happens to the process or the node that held it: it is asked for again."""

from collections.abc import Sequence
from typing import Any

import ray

ATTEMPTS = 5
"""Times a lost shard is asked for again before the trial gives up."""


def tables_of(broker: Any, split: str, index: int, hookpoints: Sequence[int], upcoming: list[int]) -> list[Any]:
    """What the broker has for the `hookpoints` (by position) of one shard: tables, or errors that take their place.

    Blocks until they are computed. A loss that repeats is raised as Ray raises it.
    """
    attempt = 0
    while True:
        attempt += 1
        references = ray.get(broker.shard.remote(split, index, upcoming))
        wanted = [references[place] for place in hookpoints]
        try:
            return list(ray.get(wanted))
        except (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError):
            if attempt == ATTEMPTS:
                raise
            broker.forget.remote(split, index, wanted[0].hex())
