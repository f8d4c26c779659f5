"""Forced alignment on the GPU."""
