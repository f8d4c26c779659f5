"""Connectionist temporal classification: the loss, and decoding of its outputs."""

from asr.ctc.align import WILDCARD, Alignment, align
from asr.ctc.beam import BeamSearch, beam_search
from asr.ctc.greedy import greedy
from asr.ctc.hotwords import read_hotwords
from asr.ctc.hypothesis import Hypothesis
from asr.ctc.lexicon import Lexicon
from asr.ctc.loss import ctc_loss, ctc_loss_and_gradient_

__all__ = ["WILDCARD", "Alignment", "BeamSearch", "Hypothesis", "Lexicon", "align", "beam_search", "ctc_loss",
           "ctc_loss_and_gradient_", "greedy", "read_hotwords"]
