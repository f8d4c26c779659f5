"""Prefix beam search on the GPU."""
