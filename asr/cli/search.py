"""The options of a beam search, as `asr decode` and `asr transcribe` have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.paths import need_file
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.transcription.decoder import DecoderOptions

PANEL = "Beam search (--method beam)"


def _option(text: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=PANEL, **more)


Method = Annotated[str, typer.Option(help="greedy: the most probable token of every frame. beam: prefix beam search.")]
Beam = Annotated[int, _option("Prefixes kept at each frame.")]
Lm = Annotated[Path | None, _option("n-gram language model, an ARPA file (.gz too); `asr lm build` makes one.")]
LmUnit = Annotated[str, _option("What its words are: word, or token for the tokenizer's tokens.")]
Lexicon = Annotated[Path | None, _option("Closed vocabulary: a file of words, with spellings in tokens behind them or without.")]
Hotwords = Annotated[Path | None, _option("Phrases to listen for, one a line, with a boost of their own after a tab or without.")]
HotwordBoost = Annotated[float, _option("Boost, in nats, of phrases without one of their own.")]
LmWeight = Annotated[float | None, _option("Weight of the language model's log-probability.", show_default="0.5")]
WordBonus = Annotated[float | None, _option("Added for every word, in nats.", show_default="0")]
BlankPenalty = Annotated[float | None, _option("Taken off the blank's log-probability.", show_default="0")]
TokenThreshold = Annotated[float, _option("Tokens so many nats below the best of their frame begin no prefix.")]
BeamThreshold = Annotated[float, _option("Prefixes so many nats below the best are dropped.")]
BlankSkip = Annotated[float, _option("A frame whose blank has a higher posterior than this is passed over; 1 passes over none.")]
Tuned = Annotated[Path | None, typer.Option(help="tuned.json of `asr decode --tune`: weights, and the calibration of confidences.")]


def decoder_options(method: str, beam: int, lm: Path | None, lm_unit: str, lexicon: Path | None, hotwords: Path | None,
                    hotword_boost: float, lm_weight: float | None, word_bonus: float | None, blank_penalty: float | None,
                    token_threshold: float, beam_threshold: float, blank_skip: float, tuned: Path | None,
                    nbest: int = 1) -> DecoderOptions:
    """The options as one value. Raises UsageError for files that are not there, and weights given twice."""
    from asr.transcription.decoder import DecoderOptions, Weights

    for path, what in ((lm, "ARPA file"), (lexicon, "lexicon"), (hotwords, "file of phrases"), (tuned, "tuned.json")):
        if path is not None:
            need_file(path, what)
    given = {name: value for name, value in (("lm_weight", lm_weight), ("word_bonus", word_bonus), ("blank_penalty", blank_penalty))
             if value is not None}
    if given and tuned is not None:
        raise UsageError(f"--tuned {tuned} gives the weights; leave out --{', --'.join(given).replace('_', '-')}, or --tuned")
    if lm_weight is not None and lm is None:
        raise UsageError("--lm-weight: there is no language model; name one with --lm")
    return DecoderOptions(method, beam, nbest, lm, lm_unit, lexicon, hotwords, hotword_boost, Weights(**given), token_threshold,
                          beam_threshold, blank_skip)
