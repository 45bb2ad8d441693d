"""The one exception whose text is meant for the person at the keyboard."""


class UserError(ValueError):
    """A mistake in what the user asked for; its message is one line that names field, value and what is allowed."""
