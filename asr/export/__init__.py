"""Trained recognisers as ONNX files, for runtimes without torch."""

from asr.export.export import export_onnx

__all__ = ["export_onnx"]
