"""Tables in Markdown, read back."""


def rows(table: str) -> list[list[str]]:
    """The entries of every row, the header and the rule below it included."""
    return [[entry.strip() for entry in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
