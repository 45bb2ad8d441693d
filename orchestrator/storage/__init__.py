"""Where a sweep's files are kept: a directory, or an address with a copy of what is needed on this machine."""
