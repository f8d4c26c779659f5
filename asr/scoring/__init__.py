"""Scoring: word and character error rates by utterance id, with alignments and intervals. Imports without torch.

    >>> from asr.scoring import score
    >>> scores = score({"u1": "the cat sat", "u2": "yes"}, {"u1": "the bat sat", "u2": "yes"})
    >>> scores.kaldi_line()
    '%WER 25.00 [ 1 / 4, 0 ins, 0 del, 1 sub ]'
"""

from asr.scoring.align import Counts
from asr.scoring.files import as_json, summary, write_scores
from asr.scoring.intervals import bootstrap_interval
from asr.scoring.pretty import pretty
from asr.scoring.wer import Scores, SpeakerScore, UtteranceScore, error_rate, score

__all__ = ["Counts", "Scores", "SpeakerScore", "UtteranceScore", "as_json", "bootstrap_interval", "error_rate", "pretty",
           "score", "summary", "write_scores"]
