"""The kit for a bare machine with a GPU: what is right, how fast it is, and what comes out at the study's size.

It needs torch, triton, transformers, safetensors, pytest with xdist, hypothesis and numpy; no Ray and no network.
"""
