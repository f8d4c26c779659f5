"""Kernels for the GPU, one folder an operation: `naive.py` (slow and plain), `triton.py`, `launch.py`, README.md.

Triton comes with torch on Linux and is absent elsewhere, so nothing here imports it until a kernel is asked for: the files
named `triton.py` may be imported inside functions only.
"""
