"""What a check finds, and what it could not look at."""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """The outcome of one check."""

    check: str
    problems: list[str] = field(default_factory=list)
    """A line each; any of them fails the audit."""
    notes: list[str] = field(default_factory=list)
    """A line each, of what could not be asked."""
