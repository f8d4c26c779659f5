"""Connectionist temporal classification: the loss, and decoding of its outputs."""

from asr.ctc.greedy import Hypothesis, greedy
from asr.ctc.loss import ctc_loss

__all__ = ["Hypothesis", "ctc_loss", "greedy"]
