"""Getting a shard whatever happens to the process or the node that held it: it is asked for again."""

from collections.abc import Sequence
from typing import Any

import ray

ATTEMPTS = 5
"""Times a lost shard is asked for again before the trial gives up."""


LOOK_SECONDS = 60.0
"""So often a reader that waits asks whether what it waits for can still come."""


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
            return when_there(broker, wanted)
        except (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError):
            if attempt == ATTEMPTS:
                raise
            broker.forget.remote(split, index, wanted[0].hex())


def when_there(broker: Any, wanted: list[Any]) -> list[Any]:
    """What the references stand for; blocks until then. Raises ObjectLostError where their broker has died.

    Ray does not always: a reference that arrives while its owner dies may be waited for without end.
    """
    while True:
        try:
            return list(ray.get(wanted, timeout=LOOK_SECONDS))
        except ray.exceptions.GetTimeoutError:
            if not ray.get(broker.employs.remote(maker_of(wanted[0]))):
                raise ray.exceptions.OwnerDiedError(wanted[0].hex(), b"", "") from None


def maker_of(reference: Any) -> str:
    """The actor whose task makes what a reference stands for, in hex: it is part of the reference."""
    maker: str = reference.task_id().actor_id().hex()
    return maker
