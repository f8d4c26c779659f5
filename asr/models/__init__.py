"""The networks: blocks (conv, recurrent, attention, fusion), the encoders and heads made of them, and the model file."""

from asr.models.network import Crnn, build_encoder, build_model
from asr.models.summary import summarize

__all__ = ["Crnn", "build_encoder", "build_model", "summarize"]
