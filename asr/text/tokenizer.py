"""Text to tokens and back: characters, or SentencePiece's byte-pair encoding (Sennrich et al., 2016). `asr.text.phones` has phones.

Token 0 is the CTC blank in all. A text is words with one space between them, in Unicode NFC; ``check_round_trip``
names the transcripts that would come back changed. A tokenizer is saved as ``tokenizer.json``, which alone is read
back, with ``tokens.txt`` (``TOKEN ID``, as Kaldi and k2 write it) and ``bpe.model`` beside it for people and other tools.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import DataError, ModelError, UsageError
from asr.system import atomic_open, write_text
from asr.text import sentencepiece_model
from asr.text.normalize import NORMALIZERS, get_normalizer

if TYPE_CHECKING:
    from asr.config import TokenizerConfig

BLANK = "<blank>"
UNK = "<unk>"
SPACE = "<space>"
FORMAT = 1  # of state(): raised when its keys change meaning

_log = logging.getLogger("asr")


class Tokenizer(ABC):
    """Turns a text into token ids and back.

    Attributes:
        kind: ``char``, ``bpe`` or ``phone``.
        tokens: the visible name of every token, by id; ``tokens[0]`` is ``<blank>``.
        unk: whether there is a token for what is outside the vocabulary (then id 1, ``<unk>``).
        normalizer: name of the normaliser that ``encode`` applies to a text first.
    """

    kind: str
    missing = "no token for"
    """What is wrong with a part of a text that has no token, and how to mend it."""
    cure = "remove or normalise them, add text that holds them when the tokenizer is made, or make it with --unk"
    alike: Mapping[str, str] = {}
    """Words that come back as another one that sounds the same, and which; only phones have such."""

    def __init__(self, tokens: Sequence[str], surfaces: Sequence[str], alphabet: Iterable[str], unk: bool,
                 normalizer: str) -> None:
        self.tokens = list(tokens)
        self.unk = unk
        self.normalizer = normalizer
        # What each id adds to a text, nothing for the blank: letters, and spaces apart from them.
        self._parts = [_split_keeping_spaces(surface) for surface in surfaces]
        self._alphabet = frozenset(alphabet)
        self._normalize = get_normalizer(normalizer)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the blank included: the width of the network's output layer."""
        return len(self.tokens)

    @property
    def surfaces(self) -> list[str]:
        """What each token adds to a text, by id: letters, spaces; nothing for the blank, and for phones."""
        return ["".join(parts) for parts in self._parts]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without blanks.

        Raises DataError that names what is outside the vocabulary, unless the tokenizer has an unknown token.
        """
        prepared = self._prepare(text)
        if not self.unk and (outside := self._outside(prepared)):
            named = [self.name(part) for part in outside[:_NAMED]]
            more = f" and {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
            raise DataError(f"{self.missing} {', '.join(named)}{more} in {_shorten(text)}; {self.cure}")
        return self._ids(prepared)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids (CTC's repeats already collapsed; blanks are passed over)."""
        return " ".join(word for word, _, _ in self.word_spans(ids))

    def word_spans(self, ids: Iterable[int]) -> list[tuple[str, int, int]]:
        """The words of token ids, each with the positions of its first token and past its last one in ``ids``.

        A token that is only a space belongs to no word. ``decode`` joins these words; each is in Unicode NFC.
        """
        spans: list[tuple[str, int, int]] = []
        word, start, end = "", 0, 0
        for position, token in enumerate(ids):
            for part in self._parts[token]:
                if part == " ":
                    if word:
                        spans.append((unicodedata.normalize("NFC", word), start, end))
                    word = ""
                else:
                    if not word:
                        start = position
                    word += part
                    end = position + 1
        if word:
            spans.append((unicodedata.normalize("NFC", word), start, end))
        return spans

    def unencodable(self, text: str) -> list[str]:
        """The characters of a text (normalised) that have no token, or for phones the words, sorted."""
        return self._outside(self._prepare(text))

    def name(self, part: str) -> str:
        """How to call one of `unencodable` in a message."""
        return name_character(part)

    def sounds(self, token: int) -> str | None:
        """The characters that a token is heard by, of which each has a sound of its own: none for a space; None, any sound, for
        the unknown token."""
        return None if self.tokens[token] == UNK else self.decode([token])

    def sounds_of(self, text: str) -> str:
        """A text (normalised) in the characters of `sounds`, its words parted by spaces: where letters are heard, itself."""
        return text

    def normalize(self, text: str) -> str:
        """The text after this tokenizer's normaliser: what ``decode(encode(text))`` is to give back."""
        return self._normalize(text)

    def state(self) -> dict[str, Any]:
        """All there is to the tokenizer, as plain JSON values, for a model file; ``from_state`` reads it."""
        return {"format": FORMAT, "kind": self.kind, "unk": self.unk,
                "normalizer": {"name": self.normalizer, "version": NORMALIZERS[self.normalizer].version}, **self._state()}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer of a ``state()``; raises ModelError where it is not one."""
        try:
            if state["format"] != FORMAT:
                raise ModelError(f"the tokenizer has format {state['format']!r}; this version reads format {FORMAT}")
            name, version = state["normalizer"]["name"], state["normalizer"]["version"]
            if name not in NORMALIZERS:
                raise ModelError(f"the tokenizer wants the normaliser {name!r}, which this version does not have")
            if version != NORMALIZERS[name].version:
                _log.warning("the tokenizer was made with normaliser %s version %s; this is version %s",
                             name, version, NORMALIZERS[name].version)
            if state["kind"] == "char":
                return CharTokenizer(state["characters"], unk=bool(state["unk"]), normalizer=name)
            if state["kind"] == "phone":
                from asr.text.phones import PhoneTokenizer

                return PhoneTokenizer.of_lines(state["lexicon"], unk=bool(state["unk"]), normalizer=name)
            if state["kind"] == "bpe":
                return BpeTokenizer(base64.b64decode(state["model"], validate=True), unk=bool(state["unk"]), normalizer=name)
            raise ModelError(f"unknown kind of tokenizer {state['kind']!r}")
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise ModelError(f"not a tokenizer's state: {type(error).__name__}: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write ``tokens.txt``, ``bpe.model`` (for bpe), ``lexicon.txt`` (for phones) and, last, ``tokenizer.json``; each whole or
        not at all."""
        folder = Path(folder)
        write_text(folder / "tokens.txt", "".join(f"{token} {index}\n" for index, token in enumerate(self.tokens)))
        for name in ("bpe.model", "lexicon.txt"):
            if (content := self._files().get(name)) is None:
                (folder / name).unlink(missing_ok=True)  # left by another kind saved here before
            else:
                with atomic_open(folder / name, binary=True) as file:
                    file.write(content)
        write_text(folder / "tokenizer.json", json.dumps(self.state(), ensure_ascii=False, indent=1) + "\n")

    def _prepare(self, text: str) -> str:
        return " ".join(unicodedata.normalize("NFC", self._normalize(text)).split())

    def _outside(self, prepared: str) -> list[str]:
        return sorted(set(prepared) - self._alphabet)

    def _files(self) -> dict[str, bytes]:
        """What is saved for other tools."""
        return {}

    @abstractmethod
    def _ids(self, prepared: str) -> list[int]: ...

    @abstractmethod
    def _state(self) -> dict[str, Any]: ...


class CharTokenizer(Tokenizer):
    """One token a character (Unicode code point): ``<blank>``, ``<unk>`` if asked for, then the characters, sorted."""

    kind = "char"

    def __init__(self, characters: Iterable[str], unk: bool = False, normalizer: str = "none") -> None:
        alphabet = sorted(set(characters))
        wrong = [character for character in alphabet
                 if len(character) != 1 or (character.isspace() and character != " ")]
        if wrong:
            raise ValueError(f"not single visible characters: {wrong}")
        special = [BLANK, UNK] if unk else [BLANK]
        super().__init__(special + [_visible(character) for character in alphabet],
                         (["", UNK] if unk else [""]) + alphabet, alphabet, unk, normalizer)
        self._id_of = {character: index for index, character in enumerate(alphabet, start=len(special))}

    @classmethod
    def train(cls, texts: Iterable[str], unk: bool = False, normalizer: str = "none") -> CharTokenizer:
        """The tokenizer of the characters in the texts; the space is always among them."""
        change = get_normalizer(normalizer)
        characters = {" "}
        for text in texts:
            characters.update(" ".join(unicodedata.normalize("NFC", change(text)).split()))
        if len(characters) == 1:
            raise DataError("no text to make tokens of: every transcript is empty")
        return cls(characters, unk, normalizer)

    def _ids(self, prepared: str) -> list[int]:
        return [self._id_of.get(character, 1) for character in prepared]  # 1 is reached with unk alone: encode() checks

    def _state(self) -> dict[str, Any]:
        return {"characters": "".join(sorted(self._alphabet))}


class BpeTokenizer(Tokenizer):
    """SentencePiece's byte-pair encoding; a piece that starts a word starts with U+2581.

    SentencePiece's own id 0 is its unknown piece. Without an unknown token that slot is the blank and ids are
    SentencePiece's own; with one, every id is SentencePiece's plus one.
    """

    kind = "bpe"

    def __init__(self, model: bytes, unk: bool = False, normalizer: str = "none") -> None:
        self._model = model
        self._processor = sentencepiece_model.load(model)
        pieces = [self._processor.id_to_piece(index) for index in range(1, self._processor.get_piece_size())]
        self._shift = 1 if unk else 0
        surfaces = [piece.replace(sentencepiece_model.WORD_START, " ") for piece in pieces]
        names = ["".join(map(_visible, piece)) for piece in pieces]
        super().__init__(([BLANK, UNK] if unk else [BLANK]) + names, (["", UNK] if unk else [""]) + surfaces,
                         [" ", *(surface for surface in surfaces if len(surface) == 1)], unk, normalizer)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, unk: bool = False, normalizer: str = "none") -> BpeTokenizer:
        """Learn ``vocab_size`` tokens (blank, and unk if any, counted) from the texts; their order does not matter.

        Raises UsageError that states the smallest or the largest size this text supports when ``vocab_size`` is outside.
        """
        change = get_normalizer(normalizer)
        prepared = [" ".join(unicodedata.normalize("NFC", change(text)).split()) for text in texts]
        if not any(prepared):
            raise DataError("no text to make tokens of: every transcript is empty")
        shift = 1 if unk else 0
        try:
            model = sentencepiece_model.train_bpe([text for text in prepared if text], vocab_size - shift)
        except sentencepiece_model.VocabularyError as error:
            edge = "largest" if error.limit < vocab_size - shift else "smallest"
            raise UsageError(f"vocab_size {vocab_size}: the {edge} possible for this text is {error.limit + shift} "
                             f"(the blank{' and <unk>' if unk else ''} counted)") from None
        return cls(model, unk, normalizer)

    def _ids(self, prepared: str) -> list[int]:
        # The word-start mark in a text would pass for a space; where it gets here (unk), it is an unknown character.
        known = prepared.replace(sentencepiece_model.WORD_START, sentencepiece_model.NEVER_KNOWN)
        return [index + self._shift for index in self._processor.encode(known)]

    def _state(self) -> dict[str, Any]:
        return {"model": base64.b64encode(self._model).decode("ascii")}

    def _files(self) -> dict[str, bytes]:
        return {"bpe.model": self._model}


def build_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """The tokenizer a configuration asks for: read from ``config.dir`` if given, else learnt from the texts.

    The texts are normalised with ``config.normalizer`` first, and so is whatever the tokenizer is given to encode.
    Raises UsageError where ``config.dir`` holds a tokenizer made with another normaliser, and what ``load_tokenizer``
    and ``train`` of the kinds raise.
    """
    if config.dir is not None:
        tokenizer = load_tokenizer(config.dir)
        if tokenizer.normalizer not in ("none", config.normalizer):
            raise UsageError(f"{config.dir} was made with --normalizer {tokenizer.normalizer}, but tokenizer.normalizer is "
                             f"{config.normalizer}; set tokenizer.normalizer: {tokenizer.normalizer}")
        return tokenizer
    if config.kind == "char":
        return CharTokenizer.train(texts, normalizer=config.normalizer)
    if config.lexicon is not None:  # of phones, as the configuration sees to
        from asr.text.phones import PhoneTokenizer, read_pronunciations

        return PhoneTokenizer.train(texts, read_pronunciations(config.lexicon), normalizer=config.normalizer)
    return BpeTokenizer.train(texts, config.vocab_size, normalizer=config.normalizer)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer saved in a folder; raises ModelError where there is none, or it is damaged."""
    path = Path(folder) / "tokenizer.json"
    try:
        return Tokenizer.from_state(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}; `asr tokenizer --out {folder}` writes one") from None
    except ValueError as error:  # not JSON, not UTF-8
        raise ModelError(f"{path}: damaged: {error}; write it again with `asr tokenizer --out {folder}`") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


_NAMED = 20  # parts of a text without a token, in a message


def _visible(character: str) -> str:
    """A character's name in tokens.txt: itself, unless it cannot be seen there."""
    if character == " ":
        return SPACE
    return character if character.isprintable() else f"<U+{ord(character):04X}>"


def _split_keeping_spaces(surface: str) -> list[str]:
    """``" ab"`` as ``[" ", "ab"]``; most surfaces are one part."""
    if " " not in surface or surface == " ":
        return [surface] if surface else []
    parts: list[str] = []
    for index, part in enumerate(surface.split(" ")):
        if index:
            parts.append(" ")
        if part:
            parts.append(part)
    return parts


def name_character(character: str) -> str:
    """``'ß' (U+00DF)``, or ``U+200B ZERO WIDTH SPACE`` where the character itself shows nothing."""
    if character.isprintable() and not character.isspace() and not unicodedata.combining(character):
        return f"'{character}' (U+{ord(character):04X})"
    return f"U+{ord(character):04X} {unicodedata.name(character, '(no name)')}"


def _shorten(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 3] + "...")
