"""Make Kaldi data directories of parts of LibriSpeech, or of any corpus in its layout.

    python recipes/librispeech/local/prepare.py --corpus FOLDER --out data/librispeech --parts dev-clean test-clean [--skip-bad]

A part is FOLDER/LibriSpeech/<part> (or FOLDER/<part>, or FOLDER/<part>/<part>, as stage 0 unpacks it):
<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac and <speaker>-<chapter>.trans.txt. The names of the files are the ids
of the utterances, which begin with their speaker's. SPEAKERS.TXT gives `spk2gender` where it is there. Everything is looked at
before anything is written: transcripts without audio, audio without a transcript, names that are not of the corpus, files
that cannot be read are named and counted; with --skip-bad they are left out, and listed in OUT/left_out.tsv.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path

from asr.cli.progress import progress
from asr.corpus import Utterance
from asr.corpus.building import LeftOut, durations, pair, write_parts
from asr.errors import DataError, run_script

ID = re.compile(r"\d+-\d+-\d+")
CURE = "put whole files in their place (or leave --corpus out to download them)"
PUBLISHED = {"train-clean-100": 28539, "train-clean-360": 104014, "train-other-500": 148688, "dev-clean": 2703, "dev-other": 2864,
             "test-clean": 2620, "test-other": 2939}  # utterances

logger = logging.getLogger("asr")


def find_part(corpus: Path, part: str) -> Path:
    """The folder of a part; raises DataError that says where it was looked for."""
    places = [corpus / "LibriSpeech" / part, corpus / part / part, corpus / part]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(f"{corpus}: no part {part}; looked for {', '.join(map(str, places))}. Give the folder around them with "
                    "--corpus DIR, or name other parts")


def read_transcripts(folder: Path, left_out: LeftOut) -> dict[str, str]:
    """Id -> words, of every *.trans.txt; lines that are no transcript of their chapter are noted."""
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        chapter = path.name.removesuffix(".trans.txt")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            left_out.add("transcript files that cannot be read", str(path), f"{path}: {error}")
            continue
        for number, line in enumerate(lines, start=1):
            id, _, text = line.strip().partition(" ")
            if not id:
                continue
            if not ID.fullmatch(id) or not id.startswith(f"{chapter}-"):
                left_out.add("lines that are no transcript of their chapter", f"{path}:{number}")
            elif id in texts:
                left_out.add("transcripts of an utterance that has one", f"{path}:{number}", f"{path}:{number}: {id}")
            else:
                texts[id] = text
    return texts


def find_audio(folder: Path, left_out: LeftOut) -> dict[str, Path]:
    """Id -> file; files with names that are not of the corpus are noted."""
    audio = {}
    for path in sorted(folder.rglob("*.flac")):
        if ID.fullmatch(path.stem) and path.stem not in audio:
            audio[path.stem] = path.resolve()
        else:
            left_out.add("audio files with a name that is not of the corpus, or that comes twice", str(path))
    return audio


def read_genders(folder: Path) -> dict[str, str]:
    """Speaker -> m or f, of the SPEAKERS.TXT beside the part; empty where there is none."""
    path = folder.parent / "SPEAKERS.TXT"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = [line.split("|") for line in lines if not line.startswith(";")]
    return {row[0].strip(): row[1].strip().lower() for row in fields if len(row) > 2 and row[1].strip() in ("M", "F")}


def prepare(corpus: Path, out: Path, parts: list[str], skip_bad: bool) -> None:
    """Write a data directory for each part below ``out``: all of them or none."""
    left_out, audio, genders = LeftOut(), {}, {}
    written: dict[Path, list[Utterance]] = {}
    for part in dict.fromkeys(parts):
        folder = find_part(corpus, part)
        texts, files = read_transcripts(folder, left_out), find_audio(folder, left_out)
        both = {id: files[id] for id in pair(files, texts, left_out)}
        seconds = durations(both, left_out, progress=lambda ids, part=part: progress(ids, f"reading {part}"))
        if len(seconds) < PUBLISHED.get(part, 0):
            logger.warning("%s: %d utterances; the published part has %d", folder, len(seconds), PUBLISHED[part])
        written[out / part] = [Utterance(id, id, id.split("-")[0], texts[id], duration=length) for id, length in seconds.items()]
        audio |= both
        genders |= read_genders(folder)
    left_out.settle(corpus, sum(map(len, written.values())), skip_bad, CURE)
    write_parts(written, audio, {"spk2gender": genders} if genders else None)
    left_out.write(out / "left_out.tsv")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder with LibriSpeech/<part> or <part>")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--parts", nargs="+", required=True, help="the parts to make directories of")
    parser.add_argument("--skip-bad", action="store_true", help="leave faulty items out, named and counted")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out, options.parts, options.skip_bad))


if __name__ == "__main__":
    sys.exit(main())
