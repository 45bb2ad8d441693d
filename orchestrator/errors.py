"""Exceptions by what they mean: a person's mistake, a machine's failure that may pass, or one that would repeat."""

import torch

MACHINE_ERRORS: tuple[type[BaseException], ...] = (
    OSError,  # disks and networks
    MemoryError,
    torch.AcceleratorError,
    torch.OutOfMemoryError,
)
"""What another attempt, perhaps on another machine, may not meet. Ray has errors of its own for lost processes."""


class UserError(ValueError):
    """A mistake in what the user asked for; its message is one line that names field, value and what is allowed."""


def one_line(error: BaseException) -> str:
    """What an exception says, for a person who does not read tracebacks; its kind too unless it was meant for them."""
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, UserError) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
