"""`push_folder` at the address that people script against; what it does is in `models.formats.hub`."""

from models.formats.hub import push_folder

__all__ = ["push_folder"]
