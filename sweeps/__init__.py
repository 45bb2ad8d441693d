"""One short script per experiment; what varies is in its first screen."""
