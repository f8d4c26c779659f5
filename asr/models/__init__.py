"""The networks: blocks (conv, recurrent, norms), the cascade CRNN made of them, and the model file."""

from asr.models.cascade import CascadeCrnn, build_model, summarize

__all__ = ["CascadeCrnn", "build_model", "summarize"]
