"""Every mistake that a user can make, made; each is answered by one line.

    pytest tests/messages -rP | grep "^error:"

reads them all in one go.
"""
