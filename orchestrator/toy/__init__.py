"""Sweeps over a synthetic hierarchy with a known dictionary: a second driver, without language models and Ray."""
