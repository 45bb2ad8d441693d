"""Failures of a machine, which may pass, as against those that would repeat."""

import torch

MACHINE_ERRORS: tuple[type[BaseException], ...] = (
    OSError,  # disks and networks
    MemoryError,
    torch.AcceleratorError,
    torch.OutOfMemoryError,
)
"""What another attempt, perhaps on another machine, may not meet. Ray has errors of its own for lost processes."""
