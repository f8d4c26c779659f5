"""Scoring: word and character error rates by utterance id, with alignments and intervals. Imports without torch.

    >>> from asr.scoring import score
    >>> scores = score({"u1": "the cat sat", "u2": "yes"}, {"u1": "the bat sat", "u2": "yes"})
    >>> scores.kaldi_line()
    '%WER 25.00 [ 1 / 4, 0 ins, 0 del, 1 sub ]'
"""

from asr.scoring.agreement import Agreement
from asr.scoring.align import Counts
from asr.scoring.comparison import Comparison, compare
from asr.scoring.files import as_json, load_scores, summary, write_scores
from asr.scoring.formats import FORMATS
from asr.scoring.intervals import bootstrap_interval
from asr.scoring.matched_pairs import MatchedPairs, mapsswe
from asr.scoring.pretty import pretty
from asr.scoring.rules import RULES, Rules
from asr.scoring.scores import Scores, UtteranceScore
from asr.scoring.slices import Slice
from asr.scoring.wer import error_rate, score

__all__ = ["FORMATS", "RULES", "Agreement", "Comparison", "Counts", "MatchedPairs", "Rules", "Scores", "Slice", "UtteranceScore",
           "as_json", "bootstrap_interval", "compare", "error_rate", "load_scores", "mapsswe", "pretty", "score", "summary",
           "write_scores"]
