"""Make the data directories of AN4 (CMU, 1991) from its archive as published.

    python recipes/an4/local/prepare.py --corpus FOLDER --out data/an4

lexicon.txt
    The corpus' own dictionary, with the letter's pronunciation of A first: nobody says the article.

train, dev, test
    Test is the corpus' own: 130 utterances of ten speakers. Of the 74 training speakers, the eight of DEV_SPEAKERS (three
    women, five men: a tenth of each) become dev, and no utterance of theirs is trained on: dev is strangers, as test is.

FOLDER holds etc/an4_{train,test}.{fileids,transcription}, etc/an4.dic and wav/ with NIST SPHERE files, which are read where they
lie. An utterance is called after its speaker first (an4's an251-fash-b is fash-an251-b here), for speakers and utterances must sort
alike.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from asr.corpus import Utterance
from asr.corpus.building import LeftOut, durations, pair, write_parts
from asr.errors import DataError, run_script
from asr.system import write_text
from asr.text.phones import read_pronunciations

COUNTS = {"train": 948, "test": 130}
DEV_SPEAKERS = frozenset(("fclc", "flmm2", "fwxs", "mdxn", "mema", "mjjs2", "mnjl", "mrcb"))
LINE = re.compile(r"(?:<s> )?(.*?)(?: </s>)? ?\((\w+)-(\w+)-b\)")  # training lines carry <s>, test lines do not
CURE = "give a whole copy with --corpus DIR, or leave --corpus out to download it"


def read_part(corpus: Path, part: str, left_out: LeftOut) -> tuple[dict[str, str], dict[str, Path]]:
    """Transcripts and files of ``part`` (train, test) by utterance; lines that are none are noted."""
    table, texts = corpus / "etc" / f"an4_{part}.transcription", {}
    for number, line in enumerate(_lines(table), start=1):
        found = LINE.fullmatch(line)
        if not found:
            left_out.add("lines that are not `WORDS (session-speaker-b)`", f"{table.name}:{number}", f"{table}:{number}: {line!r}")
        elif (id := _id(found[2], found[3])) in texts:
            left_out.add("transcripts that come a second time", f"{table.name}:{number}", f"{table}:{number}: {id}")
        else:
            texts[id] = found[1]
    files = {}
    for name in _lines(corpus / "etc" / f"an4_{part}.fileids"):
        session, speaker, _ = name.rpartition("/")[2].split("-")
        files[_id(session, speaker)] = (corpus / "wav" / f"{name}.sph").resolve()
    return texts, files


def _id(session: str, speaker: str) -> str:
    return f"{speaker}-{session}-b"


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot read: {why}; --corpus names the folder that holds etc/ and wav/") from None


def lexicon(corpus: Path) -> str:
    """The lines of lexicon.txt."""
    words = read_pronunciations(corpus / "etc" / "an4.dic")
    if "A" in words:
        words["A"].sort(key=lambda phones: phones != ("EY",))
    return "".join(f"{word} {' '.join(phones)}\n" for word, each in words.items() for phones in each)


def prepare(corpus: Path, out: Path) -> None:
    """Write lexicon, train, dev and test below ``out``, or nothing: raises DataError that lists and counts all that is wrong."""
    left_out, audio, parts = LeftOut(), {}, {}
    for part, count in COUNTS.items():
        texts, files = read_part(corpus, part, left_out)
        ids = pair(files, texts, left_out)
        seconds = durations({id: files[id] for id in ids}, left_out, decode=True)
        parts[part] = [Utterance(id, id, id.partition("-")[0], texts[id], duration=seconds[id]) for id in sorted(seconds)]
        audio |= files
        if not left_out and len(seconds) != count:
            left_out.add("parts that are not whole", part, f"{part} has {len(seconds)} utterances, where the corpus has {count}")
    if left_out:  # a figure on AN4 is one on all of it
        raise DataError(f"{corpus}: {len(left_out)} items cannot be used:\n{left_out}\n{CURE}")
    pronunciations = lexicon(corpus)
    genders = {u.speaker: u.speaker[0] for own in parts.values() for u in own}  # fash is a woman, mblb a man
    dev = [u for u in parts["train"] if u.speaker in DEV_SPEAKERS]
    train = [u for u in parts["train"] if u.speaker not in DEV_SPEAKERS]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "lexicon.txt", pronunciations)
    write_parts({out / "train": train, out / "dev": dev, out / "test": parts["test"]}, audio, {"spk2gender": genders})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder with etc/ and wav/, as the archive has them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data directories")
    options = parser.parse_args()
    return run_script(__file__, lambda: prepare(options.corpus, options.out))


if __name__ == "__main__":
    sys.exit(main())
