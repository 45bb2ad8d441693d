"""Activation shards: Arrow tables, the actors that compute and keep them, and the stream that a trial reads."""
