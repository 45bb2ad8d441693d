"""From the words on a command line to a dataclass: what cannot be meant is answered by one line that says what can."""
