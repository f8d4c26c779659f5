r"""ARPA files of n-gram language models, plain or gzipped: a strict reader, and a writer.

    \data\
    ngram 1=4
    ngram 2=2

    \1-grams:
    -0.9    <unk>   0
    -99     <s>     -0.3
    ...
    \2-grams:
    -0.1    <s> hello
    ...
    \end\

A line is a log10 probability, the words and, below the highest order, a log10 backoff weight, with blanks between them.
The weight may be left out where no longer n-gram begins with these words (SRILM leaves it out there). What stands before
``\data\`` is passed over, and so is what follows ``\end\``. Beyond KenLM's reader, this one refuses an n-gram whose
context is not in the file: it could never be reached.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from asr.errors import DataError, UsageError
from asr.system import atomic_open
from asr.text.ngram_tables import BOS, EOS, NgramTable, keys, look_up

_COUNT = re.compile(rb"ngram\s+([0-9]+)\s*=\s*([0-9]+)\s*")
_CHUNK = 10_000  # lines read or written at a time
_AGAIN = "copy the file again, or write it anew"
_MEND = "mend the number there, or write the file anew"


def read_arpa(path: str | Path) -> tuple[list[str], list[NgramTable]]:
    """The words of an ARPA file by id, in its own order, and the tables of its n-grams from order 1 up.

    Raises UsageError where the file cannot be opened; DataError with its line for anything in it that is wrong.
    """
    with _open(path) as source:
        return _Reader(source).read()


def write_arpa(path: str | Path, words: Sequence[str], tables: Sequence[NgramTable]) -> None:
    """Write an ARPA file, whole or not at all; gzipped where the name ends in ``.gz``. Numbers come back exactly."""
    with atomic_open(path, binary=True) as file:
        if Path(path).suffix == ".gz":
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:  # no name or date in it: same model, same bytes
                _write(packed, words, tables)
        else:
            _write(file, words, tables)


def _write(file: BinaryIO, words: Sequence[str], tables: Sequence[NgramTable]) -> None:
    counts = "".join(f"ngram {order}={len(table.word)}\n" for order, table in enumerate(tables, start=1))
    file.write(f"\\data\\\n{counts}".encode())
    texts = [""]
    for order, table in enumerate(tables, start=1):
        file.write(f"\n\\{order}-grams:\n".encode())
        longer = []
        for start in range(0, len(table.word), _CHUNK):
            part = slice(start, start + _CHUNK)
            names = [words[word] for word in table.word[part].tolist()]
            if order > 1:
                names = [f"{texts[row]} {name}" for row, name in zip(table.context[part].tolist(), names)]
            columns = [_numbers(table.log10_prob[part]), names]
            if order < len(tables):
                columns.append(_numbers(table.backoff[part]))
                longer += names
            file.write("".join([line + "\n" for line in map("\t".join, zip(*columns))]).encode())
        texts = longer
    file.write(b"\n\\end\\\n")


def _numbers(values: np.ndarray) -> list[str]:
    return values.astype(np.str_).tolist()  # the fewest digits that give the same float32


class _Source:
    """The lines of a file, counted from 1; ``number`` is that of the line read last."""

    def __init__(self, path: str | Path, file: BinaryIO) -> None:
        self.path = path
        self.number = 0
        self._file = file

    def line(self) -> bytes:
        """The next line with its end, or b"" after the last."""
        return b"".join(self.lines(1))

    def lines(self, count: int) -> list[bytes]:
        """So many lines, or those that are left."""
        try:
            lines = list(islice(self._file, count))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.fail(f"the gzip data are damaged or cut off after this line ({error}); {_AGAIN}")
        self.number += len(lines)
        return lines

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise DataError at a line, by default the one read last."""
        raise DataError(f"{self.path}:{self.number if line is None else line}: {message}") from None


@contextmanager
def _open(path: str | Path) -> Iterator[_Source]:
    try:
        with open(path, "rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as unpacked:
                    yield _Source(path, io.BufferedReader(unpacked, 1 << 20))  # type: ignore[arg-type]
            else:
                yield _Source(path, file)
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from None


def _read_counts(source: _Source) -> list[int]:
    r"""The number of n-grams of each order, from ``\data\``."""
    while (line := source.line()).strip().removeprefix(b"\xef\xbb\xbf") != b"\\data\\":
        if source.number == 1 and line.startswith(b"mmap lm "):
            raise DataError(f"{source.path}: is KenLM's binary form; give the ARPA file that it was made of")
        if not line:
            raise DataError(f"{source.path}: has no line \\data\\, so it is no ARPA file; "
                            "`asr lm build` and KenLM's lmplz write them")
    counts: list[int] = []
    while line := source.line():
        if found := _COUNT.fullmatch(line.strip()):
            order, count = int(found[1]), int(found[2])
            if order != len(counts) + 1:
                source.fail(f"expected the number of {len(counts) + 1}-grams, found that of {order}-grams; "
                            "every order has one line, from 1 up")
            counts.append(count)
        elif line.strip():
            if not line.startswith(b"\\1-grams:"):
                source.fail(f"expected `ngram {len(counts) + 1}=NUMBER` or \\1-grams:, found {_show(line)}")
            break
    if not counts or not counts[0]:
        source.fail(f"\\data\\ names no {'1-grams' if counts else 'n-grams'} (`ngram 1=NUMBER`); {_AGAIN}")
    if not line:
        source.fail(f"the file ends before \\1-grams:; {_AGAIN}")
    return counts


class _Reader:
    """One pass over a file; what is known of the orders below is needed to check an order."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.words: list[str] = []
        self.ids: dict[bytes, int] = {}
        self.tables: list[NgramTable] = []
        self.keys: list[np.ndarray] = []
        self.lines = np.zeros(0, np.int64)  # on which line each row of the last table stood

    def read(self) -> tuple[list[str], list[NgramTable]]:
        self.counts = _read_counts(self.source)
        for order in range(1, len(self.counts) + 1):
            if order > 1:
                self._expect(f"\\{order}-grams:", order - 1)
            self._read_order(order)
        self._expect("\\end\\", len(self.counts))
        for marker in (BOS, EOS):
            if marker.encode() not in self.ids:
                raise DataError(f"{self.source.path}: {marker} is not among the 1-grams; build the model from sentences, "
                                f"one a line, with a tool that marks their ends by {BOS} and {EOS}")
        for table in self.tables:
            np.nan_to_num(table.backoff, copy=False)  # left out in the file: 0, for nothing extends those n-grams
        return self.words, self.tables

    def _expect(self, header: str, order: int) -> None:
        """Pass over blank lines to a header, which follows the n-grams of ``order``."""
        while (line := self.source.line()) and not line.strip():
            pass
        if line.strip() == header.encode():
            return
        if not line:
            self.source.fail(f"the file ends before {header}; {_AGAIN}")
        if not line.startswith(b"\\"):
            self.source.fail(f"\\{order}-grams: goes on after the {self.counts[order - 1]} n-grams that \\data\\ promises: "
                             f"{_show(line)}; {_MEND}")
        self.source.fail(f"expected {header}, found {_show(line)}; \\data\\ names the orders 1 to {len(self.counts)}")

    def _read_order(self, order: int) -> None:
        first = self.source.number + 1
        ids, log10_prob, backoff = self._read_section(order)
        if order == 1:
            places = np.arange(len(ids))
            context = np.zeros(len(ids), np.int64)
            key = ids[:, 0].astype(np.int64)
        else:
            context = self._contexts(ids, first)
            key = keys(context, ids[:, -1], len(self.words))
            places = np.argsort(key, kind="stable")
            key = key[places]
            self._check_duplicates(key, places + first, ids[places])
            self._check_backoffs(order, context, first)
        self.lines = places + first
        self.keys.append(key)
        self.tables.append(NgramTable(context[places].astype(np.int32), ids[places, -1], log10_prob[places], backoff[places]
                                      if order < len(self.counts) else np.zeros(0, np.float32)))

    def _read_section(self, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Word ids (M, order), log10 probabilities (M,) and backoff weights (M,; NaN where left out), in the file's order."""
        count = self.counts[order - 1]
        parts = [self._parse(order, [])]
        for start in range(0, count, _CHUNK):
            wanted = min(_CHUNK, count - start)
            first = self.source.number + 1
            lines = self.source.lines(wanted)
            try:
                parts.append(self._parse(order, lines))
            except (ValueError, KeyError):
                self._explain(order, lines, first, start)
            if len(lines) < wanted:
                self.source.fail(f"the file ends after {start + len(lines)} of {count} {order}-grams; {_AGAIN}")
        ids, log10_prob, backoff = map(np.concatenate, zip(*parts))
        return ids, log10_prob, backoff

    def _parse(self, order: int, lines: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What ``_read_section`` gives, of some lines; raises ValueError or KeyError where one of them is wrong."""
        rows = [line.split() for line in lines]
        weighed = np.array([len(row) == order + 2 for row in rows], bool)
        if any(len(row) != order + 1 for row in rows if len(row) != order + 2):
            raise ValueError("columns")
        log10_prob = _floats([row[0] for row in rows])
        backoff = np.full(len(rows), np.nan, np.float32)
        backoff[weighed] = _floats([row[-1] for row in rows if len(row) == order + 2])
        if not (np.isfinite(log10_prob) & (log10_prob <= 0)).all() or not np.isfinite(backoff[weighed]).all():
            raise ValueError("numbers")
        if order == len(self.counts) and backoff[weighed].any():
            raise ValueError("a weight that nothing uses")
        if order == 1:
            self._add_words([row[1] for row in rows])
        flat = map(self.ids.__getitem__, chain.from_iterable(row[1:order + 1] for row in rows))
        return np.fromiter(flat, np.int32, len(rows) * order).reshape(-1, order), log10_prob, backoff

    def _add_words(self, words: list[bytes]) -> None:
        new = dict(zip(words, range(len(self.ids), len(self.ids) + len(words))))
        decoded = [word.decode() for word in words]
        if len(new) < len(words) or not self.ids.keys().isdisjoint(new):
            raise ValueError("a word twice")
        self.ids.update(new)
        self.words += decoded

    def _explain(self, order: int, lines: Sequence[bytes], first: int, done: int) -> NoReturn:
        """Find the first line that is wrong, and say why."""
        for place, line in enumerate(lines):
            try:
                self._parse(order, [line])
            except (ValueError, KeyError):
                self.source.fail(self._fault(order, line, done + place), first + place)
        raise RuntimeError(f"{self.source.path}: lines {first} to {first + len(lines)} are wrong together but not alone")

    def _fault(self, order: int, line: bytes, done: int) -> str:
        row = line.split()
        if not row or line.startswith(b"\\"):
            return f"\\{order}-grams: ends after {done} n-grams, but \\data\\ promises {self.counts[order - 1]}; {_MEND}"
        if len(row) not in (order + 1, order + 2):
            return (f"expected a log10 probability, {order} word{'s' * (order > 1)} and perhaps a backoff weight, found "
                    f"{_show(line)}; {_AGAIN}")
        for column, name in ((row[0], "log10 probability"), *([(row[-1], "backoff weight")] if len(row) == order + 2 else [])):
            if not math.isfinite(_number(column)):
                return f"{_show(column)} is no {name}; a finite number is needed (-99 stands for log10 of 0)"
        if _number(row[0]) > 0:
            return (f"{_show(row[0])} is the log10 of a probability above 1; the model was built wrongly, or holds natural "
                    "logarithms or plain probabilities")
        if order == len(self.counts) and len(row) == order + 2 and _number(row[-1]) != 0:
            return f"{_show(row[-1])} is a backoff weight, which an n-gram of the highest order cannot have; {_AGAIN}"
        for word in row[1:order + 1]:
            if order > 1 and word not in self.ids:
                return f"the word {_show(word)} is not among the 1-grams; {_AGAIN}"
            if order == 1 and word in self.ids:
                return f"the 1-gram {_show(word)} comes a second time; remove one of them, and mend the number in \\data\\"
        return f"{_show(line)}: not UTF-8; convert the file with `iconv -t UTF-8`"

    def _contexts(self, ids: np.ndarray, first: int) -> np.ndarray:
        """The row of each n-gram's context in the table of the order below; ``ids`` is (M, order)."""
        context = ids[:, 0].astype(np.int64)
        for order in range(2, ids.shape[1]):
            context = look_up(self.keys[order - 1], keys(context, ids[:, order - 1], len(self.words)))
        if (context < 0).any():
            row = int(np.argmax(context < 0))
            order = ids.shape[1]
            self.source.fail(f"the {order}-gram {self._text(ids[row])} has no context: {self._text(ids[row, :-1])} is not "
                             f"among the {order - 1}-grams; write the file anew with a tool that keeps contexts", first + row)
        return context

    def _check_duplicates(self, key: np.ndarray, lines: np.ndarray, ids: np.ndarray) -> None:
        twice = np.flatnonzero(key[1:] == key[:-1])
        if len(twice):
            row = twice[np.argmin(lines[twice + 1])]
            self.source.fail(f"the {ids.shape[1]}-gram {self._text(ids[row])} comes a second time (first on line "
                             f"{lines[row]}); remove one of them, and mend the number in \\data\\", lines[row + 1])

    def _check_backoffs(self, order: int, context: np.ndarray, first: int) -> None:
        without = np.isnan(self.tables[-1].backoff[context])
        if without.any():
            row = int(np.argmax(without))
            self.source.fail(f"no backoff weight, but the {order}-gram on line {first + row} begins with these words; {_AGAIN}",
                             self.lines[context[row]])

    def _text(self, ids: np.ndarray) -> str:
        return '"' + " ".join(self.words[word] for word in ids) + '"'


def _floats(columns: Sequence[bytes]) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as that
        return np.array([float(column) for column in columns]).astype(np.float32)


def _number(column: bytes) -> float:
    """The float32 that the reader makes of it; NaN where it is no number."""
    try:
        return float(_floats([column])[0])
    except ValueError:
        return math.nan


def _show(content: bytes) -> str:
    text = content.decode("utf-8", "replace").strip()
    return f'"{text if len(text) <= 60 else text[:57] + "..."}"'
