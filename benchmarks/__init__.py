"""What the kernels cost, measured against other libraries: `python -m benchmarks.run --help`.

Shape letters as in `kernels`: B tokens, D width, M latents, K active latents per token.
"""
