"""Make train, dev and test of a folder of audio and a table of what is said in it.

    python recipes/template/local/prepare.py --corpus recordings --table transcripts.csv --out data/mine [--seed 1] [--skip-bad]

The table is .csv (commas) or anything else (tabs). With a header, its columns are found by name, in any order:

    file      (or path, filename, audio, name)         within the folder; the ending of an audio file may be left out
    text      (or sentence, transcript, transcription)
    speaker   (or speaker_id, client_id, spk)          if there is one
    split     (or part, set)                           if there is one: train, dev (or valid, validation), test

Without a header, a row is a file and its text. Where the table has no split, utterances are drawn by the seed, 80 % to train,
10 % to dev, 10 % to test; by speaker where three or more are known, so that none is in two parts. Where it has train and test
but no dev, a tenth of train becomes dev. Everything is looked at before anything is written; what is faulty is named and
counted, and with --skip-bad left out and listed in OUT/left_out.tsv.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path

from asr import audio as audio_files
from asr.cli.progress import progress
from asr.corpus import DataDir, Utterance
from asr.corpus.building import LeftOut, durations, pair, write_parts
from asr.corpus.columns import Rows, read_rows
from asr.corpus.operations import split
from asr.errors import DataError, UsageError, run_script
from asr.text import get_normalizer

NAMES = {"file": ("file", "path", "filename", "audio", "name"), "text": ("text", "sentence", "transcript", "transcription"),
         "speaker": ("speaker", "speaker_id", "client_id", "spk"), "split": ("split", "part", "set")}
SPLITS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}
CURE = "mend the table or the files"

logger = logging.getLogger("asr")


def find_columns(rows: Rows) -> tuple[dict[str, int], Rows]:
    """Which column holds what, and the rows of utterances; a first row that names neither file nor text is one of them."""
    header = [field.strip().lower() for field in rows[0][1]]
    columns = {what: next((header.index(name) for name in names if name in header), -1) for what, names in NAMES.items()}
    columns = {what: place for what, place in columns.items() if place >= 0}
    if columns.keys() >= {"file", "text"}:
        return columns, rows[1:]
    if len(header) != 2 or columns:
        lacking = " and ".join(what for what in ("file", "text") if what not in columns)
        raise DataError(f"line {rows[0][0]}: no column for {lacking}; there are {', '.join(header)}. Name the columns in "
                        "the first line: file, text, and if you have them speaker, split")
    return {"file": 0, "text": 1}, rows


def find_file(folder: Path, name: str) -> Path | None:
    """The audio file of this name, with or without its ending; None where there is none, or several."""
    path = folder / name
    if path.is_file():
        return path
    found = [other for suffix in sorted(audio_files.SUFFIXES) if (other := Path(f"{path}{suffix}")).is_file()]
    return found[0] if len(found) == 1 else None


def prepare(folder: Path, table: Path, out: Path, seed: int, normalizer: str, skip_bad: bool) -> None:
    """Write train, dev and test below ``out``: all of them or none."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of audio files")
    normalize = get_normalizer(normalizer)
    try:
        columns, rows = find_columns(read_rows(table))
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(str(table)) else f"{table}: {error}") from None
    left_out = LeftOut()
    audio: dict[str, Path] = {}
    texts: dict[str, str] = {}
    speakers: dict[str, str] = {}
    parts: dict[str, str] = {}
    mentioned: set[Path | None] = set()
    for line, row in rows:
        where = f"{table}:{line}"
        if len(row) <= max(columns.values()):
            left_out.add("rows with too few fields", where)
            continue
        name, text, speaker, part = (row[columns[what]].strip() if what in columns else "" for what in NAMES)
        path = find_file(folder, name) if name else None
        mentioned.add(path)
        id = re.sub(r"[\s/\\]+", "_", name.removesuffix(path.suffix if path else ""))
        speaker = re.sub(r"\s+", "_", speaker)
        id = id if not speaker or id.startswith(f"{speaker}-") else f"{speaker}-{id}"
        if "speaker" in columns and not speaker:
            left_out.add("rows without a speaker", where)
        elif "split" in columns and part.lower() not in SPLITS:
            left_out.add(f"rows whose split is none of {', '.join(SPLITS)}", where, f"{where}: {part!r}")
        elif id in texts:
            left_out.add("rows of a file that has one", where, f"{where}: {name}")
        else:
            texts[id], speakers[id], parts[id] = normalize(text), speaker or id, SPLITS.get(part.lower(), "")
            if path is not None:
                audio[id] = path.resolve()
    for path in audio_files.find_audio([folder], recursive=True):
        if path not in mentioned:
            left_out.add("audio files that are not in the table", str(path))
    both = {id: audio[id] for id in pair(audio, texts, left_out)}
    seconds = durations(both, left_out, progress=lambda ids: progress(ids, "reading audio"))
    left_out.settle(table, len(seconds), skip_bad, CURE)
    utterances = [Utterance(id, id, speakers[id], texts[id], duration=length) for id, length in seconds.items()]
    write_parts({out / name: rows for name, rows in split_up(utterances, both, parts, seed).items()}, both)
    left_out.write(out / "left_out.tsv")


def split_up(utterances: list[Utterance], audio: dict[str, Path], parts: dict[str, str], seed: int) -> dict[str, list[Utterance]]:
    """train, dev and test: as the table says, else drawn. Raises DataError where there is too little for three."""
    given = {name: [u for u in utterances if parts[u.id] == name] for name in ("", "train", "dev", "test")}
    if given.pop(""):  # no split in the table
        given = dict(zip(given, _draw(utterances, audio, [0.8, 0.1, 0.1], seed)))
    elif not given["dev"] and given["train"]:
        given["train"], given["dev"] = _draw(given["train"], audio, [0.9, 0.1], seed)
    empty = [name for name, rows in given.items() if not rows]
    if empty:
        raise DataError(f"no utterance is left for {', '.join(empty)} ({len(utterances)} in all); more recordings are needed, or a "
                        "column split that names train, dev and test")
    return given


def _draw(utterances: list[Utterance], audio: dict[str, Path], shares: list[float], seed: int) -> list[list[Utterance]]:
    data = DataDir.from_utterances(utterances, {id: str(path) for id, path in audio.items()})
    by = "speaker" if len(shares) <= len(data.speakers) else "utterance"
    if by == "utterance":
        logger.warning("%d speakers are too few to keep them apart: every part hears the same ones", len(data.speakers))
    return [part.utterances for part in split(data, shares, by, seed)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of audio files")
    parser.add_argument("--table", type=Path, required=True, help="table of files and texts")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--seed", type=int, default=1, help="of the split")
    parser.add_argument("--normalizer", default="nfc", help="what is done to the texts; see docs/tokens.md")
    parser.add_argument("--skip-bad", action="store_true", help="leave faulty items out, named and counted")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.table, options.out, options.seed, options.normalizer,
                                                options.skip_bad))


if __name__ == "__main__":
    sys.exit(main())
