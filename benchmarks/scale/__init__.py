"""A sweep on many GPUs, simulated: what the store, the network and the extractors do to a grid of many trials."""
