"""Greedy decoding on the GPU."""
