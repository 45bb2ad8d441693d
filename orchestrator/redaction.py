"""Keeping credentials out of logs, files and MLflow."""

import re

_USERINFO = re.compile(r'(?<=://)[^/?#\s"]*@')
_SECRET_PARAMETER = re.compile(r'([?&](?:\w*password|pwd|token|\w*secret|api_?key)=)[^&#\s"]*', re.IGNORECASE)


def redact(text: str) -> str:
    """Return `text` without the `user:password@` of any URI in it and with secret query parameters blanked."""
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub("", text))
