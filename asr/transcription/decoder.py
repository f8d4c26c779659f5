"""Which decoder, with what: the options of `asr decode`, `asr transcribe` and `Recognizer.transcribe`, made ready to decode."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from asr.ctc import BeamSearch, Hypothesis, Lexicon, greedy, read_hotwords
from asr.errors import DataError, UsageError
from asr.text import NgramLM, Tokenizer
from asr.text.tables import read_lines, words
from asr.transcription.calibration import Calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = ("greedy", "beam")
Decode = Callable[[Tensor, Tensor], "list[list[Hypothesis]]"]
"""Log-probabilities (B, T, V) and frames (B,) -> the hypotheses of each utterance, the best first."""


@dataclass(frozen=True)
class Weights:
    """What is tuned on dev: see `asr.ctc.BeamSearch`; and ``prior_weight``, how much of the tokens' prior is taken off."""

    lm_weight: float = 0.5
    word_bonus: float = 0.0
    blank_penalty: float = 0.0
    prior_weight: float = 0.0

    @property
    def of_search(self) -> dict[str, float]:
        """The arguments of `BeamSearch.reweighted`."""
        return {"lm_weight": self.lm_weight, "word_bonus": self.word_bonus, "blank_penalty": self.blank_penalty}


@dataclass(frozen=True)
class DecoderOptions:
    """How to decode. Everything but ``method`` and ``calibration`` belongs to the beam search."""

    method: str = "greedy"
    beam: int = 16
    nbest: int = 1
    """How many transcripts, at most, that read differently."""
    lm: NgramLM | str | Path | None = None
    """A language model, or an ARPA file of one."""
    lm_unit: str = "word"
    """What the language model's words are: ``word``, or ``token`` for the tokenizer's tokens."""
    lexicon: Lexicon | str | Path | None = None
    """The only words there are: a file of words, a line each; with spellings behind them (``word token token ...``) or without."""
    hotwords: Mapping[str, float] | Sequence[str] | str | Path | None = None
    """Phrases, or a file of them: a line each, with a boost of its own after a tab or without."""
    hotword_boost: float = 5.0
    weights: Weights = Weights()
    token_threshold: float = 12.0
    """Tokens so many nats below the best of their frame begin no prefix."""
    beam_threshold: float = 20.0
    """Prefixes so many nats below the best are dropped."""
    blank_skip: float = 1.0
    prior: tuple[float, ...] | None = None
    """ln of each token's prior probability, which ``weights.prior_weight`` needs; a tuned.json has it."""
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"--method {self.method}: choose from {', '.join(METHODS)}")
        if self.weights.prior_weight and self.prior is None:
            raise UsageError("a prior_weight needs the prior; give the tuned.json that has both")
        if self.method == "greedy":
            default = {each.name: each.default for each in fields(self)}
            given = [name for name, value in vars(self).items() if name not in ("method", "calibration") and value != default[name]]
            if given:
                raise UsageError(f"{', '.join(given)}: greedy decoding takes the best token of each frame and knows nothing else; "
                                 "add --method beam")

    def settings(self) -> dict[str, Any]:
        """The options as plain values, for decode.json: files by their path, objects by their kind."""
        found: dict[str, Any] = {"method": self.method}
        if self.method == "beam":
            found |= {"beam": self.beam, "lm": _name(self.lm), "lm_unit": self.lm_unit,
                      "lexicon": _name(self.lexicon), "hotwords": _name(self.hotwords), "hotword_boost": self.hotword_boost,
                      **asdict(self.weights), "token_threshold": self.token_threshold, "beam_threshold": self.beam_threshold,
                      "blank_skip": self.blank_skip}
        found["calibrated"] = self.calibration is not None
        return found


GREEDY = DecoderOptions()


class Decoder:
    """The options made ready for one model's tokens: files are read and checked here, once."""

    def __init__(self, options: DecoderOptions, tokenizer: Tokenizer) -> None:
        """Raises UsageError and DataError for options and files that do not fit, each other or the tokens."""
        self.options, self.tokenizer = options, tokenizer
        if options.prior is not None and len(options.prior) != tokenizer.vocab_size:
            raise DataError(f"the prior is of {len(options.prior)} tokens, and the model has {tokenizer.vocab_size}: it is another "
                            "model's; tune again for this one")
        self.search: BeamSearch | None = None
        if options.method == "beam":
            lm = NgramLM.load(options.lm) if isinstance(options.lm, (str, Path)) else options.lm
            lexicon = options.lexicon
            if isinstance(lexicon, (str, Path)):
                lexicon = load_lexicon(lexicon, tokenizer)
            hotwords = options.hotwords
            if isinstance(hotwords, (str, Path)):
                hotwords = read_hotwords(hotwords, options.hotword_boost)
            # More than asked for where several are: of those that read alike one counts.
            nbest = max(options.beam, options.nbest) if options.nbest > 1 else options.nbest
            self.search = BeamSearch(
                beam=options.beam, nbest=nbest, lm=lm, lexicon=lexicon, hotwords=hotwords, tokenizer=tokenizer,
                lm_unit=options.lm_unit, **options.weights.of_search, hotword_boost=options.hotword_boost,
                token_threshold=options.token_threshold, beam_threshold=options.beam_threshold, blank_skip=options.blank_skip)

    def __call__(self, log_probs: Tensor, frames: Tensor) -> list[list[Hypothesis]]:
        """Log-probabilities (B, T, V), frames (B,) -> hypotheses of each utterance, the best first: one, or, where ``nbest`` asks
        for more, all of the beam, of which several may read alike."""
        if self.search is None:
            return [[hypothesis] for hypothesis in greedy(log_probs, frames)]
        return self.search(self._less_prior(log_probs), frames)

    def _less_prior(self, log_probs: Tensor) -> Tensor:
        """ln p(token | audio) - weight ln p(token), made a distribution again: what a language model is to be added to, which has
        a prior of its own (Bourlard and Morgan, 1994; for CTC, Miao et al., 2015, "EESEN", arXiv 1507.08240)."""
        weight, prior = self.options.weights.prior_weight, self.options.prior
        if not weight or prior is None:
            return log_probs
        return torch.log_softmax(log_probs - weight * log_probs.new_tensor(prior), dim=-1)

    def skipped(self, log_probs: Tensor, frames: Tensor) -> int:
        """How many frames ``blank_skip`` takes for certain blanks."""
        return 0 if self.search is None or self.options.blank_skip >= 1 else sum(
            self.search.skipped(self._less_prior(log_probs), frames))

    def reweighted(self, weights: Weights) -> Decoder:
        """The same with other weights; nothing is read or built anew."""
        other = copy.copy(self)
        other.options = replace(self.options, weights=weights)
        if self.search is not None:
            other.search = self.search.reweighted(**weights.of_search)
        return other

    def with_prior(self, prior: tuple[float, ...]) -> Decoder:
        """The same, that knows the tokens' prior."""
        other = copy.copy(self)
        other.options = replace(self.options, prior=prior)
        return other


def load_lexicon(path: str | Path, tokenizer: Tokenizer) -> Lexicon:
    """A closed vocabulary from a file: spelled by the tokenizer, or as the file says where every line has a spelling.

    Raises UsageError where the file cannot be read, DataError for a line without a spelling among those that have one.
    """
    rows = [parts for _, line in read_lines(path) if (parts := words(line))]
    if any(len(parts) > 1 for parts in rows):
        return Lexicon.load(path, tokenizer.tokens)
    return Lexicon.from_words((tokenizer.normalize(parts[0]) for parts in rows), tokenizer)


def _name(value: object) -> object:
    if value is None or isinstance(value, (str, Path)):
        return None if value is None else str(value)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return dict(value) if isinstance(value, Mapping) else list(value)
    return type(value).__name__
