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

    The message names every character (of phones: every word) that has no token, and what else would change, with the utterances.
    With an unknown token, what is outside the vocabulary is a warning instead; so are words that come back as one that sounds
    the same.
    """
    unknown: dict[str, list[str]] = defaultdict(list)  # what has no token -> utterances
    changed: dict[str, list[str]] = defaultdict(list)  # what is wrong -> utterances
    alike: dict[str, list[str]] = defaultdict(list)  # what sounds like something else -> utterances
    for utterance, text in texts.items():
        parts = tokenizer.unencodable(text)
        for part in parts:
            unknown[part].append(utterance)
        if parts:
            continue
        expected = tokenizer.normalize(text)
        if tokenizer.alike:
            written = expected.split(" ")
            for word in sorted(tokenizer.alike.keys() & set(written)):
                alike[f"{word} is heard as {tokenizer.alike[word]}"].append(utterance)
            expected = " ".join(tokenizer.alike.get(word, word) for word in written)
        got = tokenizer.decode(tokenizer.encode(text))
        if got != expected:
            changed[_difference(expected, got)].append(utterance)
    lines = [f"{what}: {_some(utterances)}" for what, utterances in sorted(changed.items())]
    lost = [f"{tokenizer.missing} {tokenizer.name(part)}: {_some(utterances)}" for part, utterances in sorted(unknown.items())]
    if tokenizer.unk and lost:
        _log.warning("what is outside the vocabulary becomes <unk>:\n  %s", "\n  ".join(lost))
        lost = []
    if alike:
        _log.warning("words that sound alike; a language model over words tells them apart:\n  %s",
                     "\n  ".join(f"{what}: {_some(utterances)}" for what, utterances in sorted(alike.items())))
    if lost or lines:
        cures = []
        if lost:
            cures.append(tokenizer.cure)
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
