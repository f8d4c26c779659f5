"""The check that every transcript survives encoding and decoding."""

from __future__ import annotations

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from asr.errors import DataError
from asr.text.tokenizer import Tokenizer, name_character

_log = logging.getLogger("asr")
_SHOWN = 5  # utterances named per fault


def check_round_trip(tokenizer: Tokenizer, texts: Mapping[str, str]) -> None:
    """Raise DataError unless ``decode(encode(text))`` gives back every text (after the tokenizer's normaliser).

    The message names every character that has no token, and what else would change, with the utterances. With an
    unknown token, characters outside the vocabulary are a warning instead.
    """
    unknown: dict[str, list[str]] = defaultdict(list)  # character -> utterances
    changed: dict[str, list[str]] = defaultdict(list)  # what is wrong -> utterances
    for utterance, text in texts.items():
        characters = tokenizer.unencodable(text)
        for character in characters:
            unknown[character].append(utterance)
        if characters:
            continue
        expected = tokenizer.normalize(text)
        got = tokenizer.decode(tokenizer.encode(text))
        if got != expected:
            changed[_difference(expected, got)].append(utterance)
    lines = [f"{what}: {_some(utterances)}" for what, utterances in sorted(changed.items())]
    lost = [f"no token for {name_character(character)}: {_some(utterances)}"
            for character, utterances in sorted(unknown.items())]
    if tokenizer.unk and lost:
        _log.warning("characters outside the vocabulary become <unk>:\n  %s", "\n  ".join(lost))
        lost = []
    if lost or lines:
        cures = []
        if lost:
            cures.append("remove or normalise the characters, make the tokenizer from text that holds them, or with --unk")
        if lines:
            cures.append("write the transcripts with single spaces and in NFC, or use the normaliser nfc, which does that")
        raise DataError("transcripts do not survive encoding and decoding:\n  " + "\n  ".join(lost + lines)
                        + "\n" + "; ".join(cures))


def _difference(expected: str, got: str) -> str:
    """What a text loses on the way, in words that do not depend on the utterance (so that like faults are gathered)."""
    if " ".join(expected.split(" ")) != " ".join(expected.split()):
        odd = sorted({character for character in expected if character.isspace() and character != " "})
        if odd:
            return f"whitespace other than a space ({', '.join(map(name_character, odd))}) becomes a space"
        return "spaces at the start, at the end or in a row are not kept"
    if not unicodedata.is_normalized("NFC", expected):
        return "not in Unicode NFC (composed) form"
    return f"{expected!r} comes back as {got!r}"


def _some(utterances: Sequence[str]) -> str:
    more = len(utterances) - _SHOWN
    return ", ".join(utterances[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
