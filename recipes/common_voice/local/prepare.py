"""Make Kaldi data directories of a release of Common Voice, in any language.

    python recipes/common_voice/local/prepare.py --corpus cv-corpus-19.0/eu --out data/common_voice/eu [--split own --seed 1]
        [--normalizer basic] [--skip-bad]

A release is a folder with clips/ and tables, train.tsv, dev.tsv, test.tsv and validated.tsv, of which client_id, path and
sentence are read (other columns came and went with the releases). `--split official` takes the three parts as they are;
`--split own` parts the clients of validated.tsv, by the seed, in 80, 10 and 10 % of the clips: more to train on, for the official
parts hold few clips of each sentence. Some releases put a sentence with quotation marks into others and double its own, some do
not: both are read. Clips stay where they are, as mp3.

An utterance is called <client>-<clip>, its speaker <client>: the beginning of client_id, 12 characters or as many as tell all
clients apart. Everything is looked at before anything is written; what is faulty is named and counted, and with --skip-bad left
out and listed in OUT/left_out.tsv.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from asr.cli.progress import progress
from asr.corpus import DataDir, Utterance
from asr.corpus.building import LeftOut, durations, pair, some, write_parts
from asr.corpus.columns import read_columns
from asr.corpus.operations import split
from asr.errors import DataError, UsageError, run_script
from asr.text import get_normalizer

PARTS = ("train", "dev", "test")
COLUMNS = ("client_id", "path", "sentence")
SHARES = [0.8, 0.1, 0.1]
CURE = "unpack the release again"

logger = logging.getLogger("asr")


@dataclass(frozen=True)
class Clip:
    """A row of a table: who read which sentence, and the name of the file."""

    client: str
    name: str
    sentence: str


def read_clips(path: Path, left_out: LeftOut) -> list[Clip]:
    """The clips of a table; rows that are not whole, or come twice, are noted."""
    header, rows = read_columns(path)
    quoted = all(name[:1] == name[-1:] == '"' for name in header)
    names = [name.strip('"') for name in header]
    lacking = [column for column in COLUMNS if column not in names]
    if lacking:
        raise DataError(f"{path}:1: no column {', '.join(lacking)}; there are {', '.join(names)}: is it a table of Common Voice?")
    found: dict[str, Clip] = {}
    for line, row in rows:
        if len(row) != len(header):
            left_out.add("rows with another number of fields than the header", f"{path}:{line}")
            continue
        fields = dict(zip(names, (unquote(field, quoted) for field in row)))
        clip = Clip(*(fields[column].strip() for column in COLUMNS))
        if not clip.client or not clip.name:
            left_out.add("rows without client or path", f"{path}:{line}")
        elif clip.name in found:
            left_out.add("rows of a clip that has one", f"{path}:{line}", f"{path}:{line}: {clip.name}")
        else:
            found[clip.name] = clip
    return list(found.values())


def unquote(field: str, always: bool) -> str:
    """The content of a field that a CSV writer put into quotation marks: it doubles those inside. Other fields as they are."""
    inside = field[1:-1]
    if len(field) < 2 or field[0] != '"' or field[-1] != '"' or '"' in inside.replace('""', ""):
        return field
    return inside.replace('""', '"') if always or '"' in inside else field


def short_names(clients: set[str]) -> dict[str, str]:
    """client_id -> its beginning, 12 characters or as many as tell all of them apart."""
    length = next(n for n in range(12, max(map(len, clients), default=12) + 13)
                  if len({client[:n] for client in clients}) == len(clients))
    return {client: client[:length] for client in clients}


def find_clip(corpus: Path, name: str) -> Path:
    """The file of a clip; old releases leave `.mp3` out of the tables."""
    path = corpus / "clips" / name
    return path if path.suffix else path.with_name(f"{name}.mp3")


def prepare(corpus: Path, out: Path, official: bool, seed: int, normalizer: str, skip_bad: bool) -> None:
    """Write train, dev and test below ``out``: all of them or none."""
    if not (corpus / "clips").is_dir():
        raise UsageError(f"{corpus}: no folder clips in it; give the folder of one language of a release, with clips/ and "
                         "the tables")
    normalize = get_normalizer(normalizer)
    left_out = LeftOut()
    clips = {part: read_clips(corpus / f"{part}.tsv", left_out) for part in (PARTS if official else ("validated",))}
    short = short_names({clip.client for part in clips.values() for clip in part})
    files: dict[str, Path] = {}
    texts: dict[str, str] = {}
    part_of: dict[str, str] = {}
    speaker_of: dict[str, str] = {}
    for part, rows in clips.items():
        for clip in rows:
            id = f"{short[clip.client]}-{Path(clip.name).stem}"
            if id in part_of:
                left_out.add(f"clips of {part} that are in another part too", id)
                continue
            part_of[id], speaker_of[id], texts[id] = part, short[clip.client], normalize(clip.sentence)
            path = find_clip(corpus, clip.name).resolve()
            if path.is_file():
                files[id] = path
    both = {id: files[id] for id in pair(files, texts, left_out)}
    seconds = durations(both, left_out, progress=lambda ids: progress(ids, "reading clips"))
    left_out.settle(corpus, len(seconds), skip_bad, CURE)
    utterances = [Utterance(id, id, speaker_of[id], texts[id], duration=length) for id, length in seconds.items()]
    if official:
        parts = {name: [u for u in utterances if part_of[u.id] == name] for name in PARTS}
    else:
        whole = DataDir.from_utterances(utterances, {id: str(path) for id, path in both.items()})
        parts = {name: data.utterances for name, data in zip(PARTS, split(whole, SHARES, "speaker", seed))}
    for first, second in combinations(PARTS, 2):
        shared = {u.speaker for u in parts[first]} & {u.speaker for u in parts[second]}
        if shared:
            logger.warning("%s and %s share %d speakers: %s", first, second, len(shared), some(sorted(shared)))
    write_parts({out / name: rows for name, rows in parts.items()}, both)
    left_out.write(out / "left_out.tsv")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of one language, with clips/ and the tables")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--split", choices=("official", "own"), default="official", help="the published parts, or by client")
    parser.add_argument("--seed", type=int, default=1, help="of --split own")
    parser.add_argument("--normalizer", default="basic", help="what is done to the sentences; see docs/tokens.md")
    parser.add_argument("--skip-bad", action="store_true", help="leave faulty items out, named and counted")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out, options.split == "official", options.seed,
                                                options.normalizer, options.skip_bad))


if __name__ == "__main__":
    sys.exit(main())
