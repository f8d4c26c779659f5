"""Make the corpus of spoken commands: sentences of grammar.yaml, said by the voices of voices.yaml.

    python recipes/commands/local/synthesize.py --out data/commands --jobs 2 --seed 1

writes the Kaldi data directories OUT/train, OUT/dev and OUT/test (audio, transcripts, speakers, and in words.ctm the
time of each word), which share neither a voice nor a sentence. The same options give the same bytes, whatever --jobs
is. When OUT holds them already, nothing is done; what is there in part, or made otherwise, is replaced as a whole.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from asr.errors import AsrError, DataError, UsageError
from asr.system import usable_cores, write_text

if TYPE_CHECKING:
    from grammar import Grammar

HERE = Path(__file__).resolve().parent
SPLITS = ("train", "dev", "test")
# A sentence belongs to one of the sets, whichever voice says it: the shares of all sentences that are dev's and test's.
DEV_SHARE, TEST_SHARE = 0.10, 0.15
MOST_USES = {"train": 3, "dev": 1, "test": 1}  # of one sentence
# What a process needs before it can say anything; loaded once, for it takes longer than to say it.
LOADED = ["asr.audio", "asr.config", "asr.features", "espeakng_loader", "soundfile", "torchaudio"]
SAMPLE_RATE = 16000

# Rooms, noise and channels, as sections of asr.config.AugmentConfig; about two in five utterances stay clean and close.
CONDITIONS = {
    "reverb": {"probability": 0.2, "rt60_s": [0.1, 0.4]},
    "noise": {"probability": 0.3, "snr_db": [15.0, 30.0]},
    "telephone": 0.05,
    "volume_db": [-10.0, 6.0],
}


@dataclass(frozen=True)
class Line:
    """A sentence to be said; the id of an utterance begins with its speaker's."""

    id: str
    text: str


@dataclass(frozen=True)
class Part:
    """All that one speaker says in one set: the work of one process."""

    split: str
    speaker: str
    accent: str
    voice: str
    lines: tuple[Line, ...]
    seed: int
    folder: str


@dataclass(frozen=True)
class Recorded:
    """What became of a line: seconds of the utterance, and (word, start, duration) in seconds."""

    id: str
    duration: float
    words: list[tuple[str, float, float]]


def set_of(sentence: str, seed: int) -> str:
    """The set a sentence belongs to: a function of the sentence and the seed alone."""
    place = int.from_bytes(hashlib.sha256(f"{seed} {sentence}".encode()).digest()[:8], "big") / 2**64
    return "test" if place < TEST_SHARE else "dev" if place < TEST_SHARE + DEV_SHARE else "train"


def draw_sentences(grammar: Grammar, split: str, count: int, seed: int) -> list[str]:
    """``count`` sentences of one set, as the grammar weighs them. Raises DataError where it does not hold so many."""
    rng = random.Random(f"{seed} {split}")
    uses: collections.Counter[str] = collections.Counter()
    found: list[str] = []
    refused = 0
    while len(found) < count:
        sentence = grammar.draw(rng)
        if set_of(sentence, seed) == split and uses[sentence] < MOST_USES[split]:
            uses[sentence] += 1
            found.append(sentence)
            refused = 0
        else:
            refused += 1
        if refused > 10000:
            raise DataError(f"the grammar gives no more than {len(found)} sentences for {split}; "
                            f"ask for fewer (--{split}) or add phrases to grammar.yaml")
    return found


def plan(grammar: Grammar, voices: dict, sizes: dict[str, int], seed: int, folder: str) -> list[Part]:
    """Who says what. The sentences of a set go round its speakers, so that each says about as many."""
    parts = []
    for split in SPLITS:
        speakers = [(accent, voice) for voice in voices[split] for accent in voices["accents"]]
        random.Random(f"{seed} speakers of {split}").shuffle(speakers)
        lines: dict[tuple[str, str], list[Line]] = {}
        for number, sentence in enumerate(draw_sentences(grammar, split, sizes[split], seed)):
            accent, voice = speaker = speakers[number % len(speakers)]
            said = lines.setdefault(speaker, [])
            said.append(Line(f"{accent}-{voice.lower()}-{len(said):03d}", sentence))
        parts += [Part(split, f"{accent}-{voice.lower()}", voices["accents"][accent], voice, tuple(said), seed, folder)
                  for (accent, voice), said in sorted(lines.items())]
    return parts


def record(part: Part) -> tuple[Part, list[Recorded]]:
    """Say, place in a room, and write everything of one speaker. Needs a process in which espeak has said nothing yet."""
    import numpy as np
    import torch
    from espeak import Espeak

    from asr import audio
    from asr.config import AugmentConfig
    from asr.features import WaveAugment

    torch.set_num_threads(1)  # several speakers are at work side by side
    logging.getLogger("asr").setLevel(logging.ERROR)  # that espeak's rate is resampled is no news
    number = zlib.crc32(part.speaker.encode())
    espeak = Espeak(number ^ part.seed)
    espeak.choose(part.accent, part.voice)
    channel = WaveAugment(AugmentConfig.model_validate(CONDITIONS), SAMPLE_RATE)
    own = np.random.default_rng([part.seed, number])
    rate, pitch, range = own.uniform(138, 195), own.uniform(35, 65), own.uniform(35, 75)
    recorded = []
    for line in part.lines:
        rng = np.random.default_rng([part.seed, zlib.crc32(line.id.encode()), 1])
        speech = espeak.say(line.text, round(rate * rng.uniform(0.93, 1.07)), round(pitch + rng.uniform(-8, 8)),
                            round(range + rng.uniform(-15, 15)))
        samples = audio.resample(speech.samples, speech.sample_rate, SAMPLE_RATE)
        lead, trail = rng.integers(SAMPLE_RATE // 20, SAMPLE_RATE // 4, size=2)  # 50 to 250 ms of quiet
        samples = np.pad(samples * (0.08 / np.sqrt(np.mean(samples**2))), (lead, trail))
        # No microphone is without noise; digital silence would be a mark of its own in the log spectrum.
        samples += rng.standard_normal(len(samples)) * 0.08 * 10 ** (-rng.uniform(45, 65) / 20)
        samples = channel(samples.astype(np.float32), rng)
        audio.write(Path(part.folder, part.split, "wav", f"{line.id}.wav"), samples, SAMPLE_RATE)
        offset = lead / SAMPLE_RATE
        words = [(word, offset + first / speech.sample_rate, (past - first) / speech.sample_rate)
                 for word, first, past in speech.words]
        recorded.append(Recorded(line.id, len(samples) / SAMPLE_RATE, words))
    return part, recorded


def synthesize(out: Path, sizes: dict[str, int], seed: int, jobs: int) -> None:
    """Make the corpus in ``out`` unless it is there, and say what it holds."""
    from grammar import Grammar

    from asr.cli.progress import progress
    from asr.corpus import DataDir, Utterance

    grammar = Grammar.load(HERE / "grammar.yaml")
    voices = load_voices(HERE / "voices.yaml")
    made = settings(sizes, seed)
    marker = out / "settings.json"
    if marker.is_file() and marker.read_text(encoding="utf-8") == made:
        print(f"{out}: already made with these settings")
        return
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(".making-*"):  # of a run that was stopped
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=out, prefix=".making-") as folder:
        parts = plan(grammar, voices, sizes, seed, folder)
        for split in SPLITS:
            Path(folder, split, "wav").mkdir(parents=True)
        # Every process is a fresh copy of one that has loaded the modules (but not espeak), and does one part.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", *LOADED])
        done: dict[str, list[tuple[Part, list[Recorded]]]] = {split: [] for split in SPLITS}
        with context.Pool(jobs, maxtasksperchild=1) as pool:
            for part, recorded in progress(pool.imap_unordered(record, parts, chunksize=1), "speakers", total=len(parts)):
                done[part.split].append((part, recorded))
        for split in SPLITS:
            wav = {r.id: str(out.resolve() / split / "wav" / f"{r.id}.wav") for _, said in done[split] for r in said}
            utterances = [Utterance(r.id, r.id, part.speaker, line.text, duration=r.duration)
                          for part, said in done[split] for line, r in zip(part.lines, said)]
            DataDir.from_utterances(utterances, wav).save(Path(folder, split))
            write_ctm(Path(folder, split, "words.ctm"), [r for _, said in done[split] for r in said])
        marker.unlink(missing_ok=True)
        for split in SPLITS:
            if (out / split).exists():
                os.replace(out / split, Path(folder, f"old-{split}"))
            os.replace(Path(folder, split), out / split)
        write_text(marker, made)
    for split in SPLITS:
        said = [line for part, _ in done[split] for line in part.lines]
        hours = sum(r.duration for _, recorded in done[split] for r in recorded) / 3600
        print(f"{split:5s} {len(said):5d} utterances, {hours:.2f} hours, {sum(len(s.text.split()) for s in said)} words, "
              f"{len({part.speaker for part, _ in done[split]})} speakers")
    print(f"{out}: made in {time.monotonic() - started:.0f} s")


def write_ctm(path: Path, recorded: list[Recorded]) -> None:
    """NIST's ctm: utterance, channel, start and duration in seconds, word."""
    write_text(path, "".join(f"{r.id} 1 {start:.3f} {duration:.3f} {word}\n"
                             for r in sorted(recorded, key=lambda r: r.id) for word, start, duration in r.words))


def load_voices(path: Path) -> dict:
    """Accents and the voices of each set. Raises DataError where a set is missing, or a voice is in two."""
    voices = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(voices, dict) or set(voices) != {"accents", *SPLITS} or not all(voices.values()):
        raise DataError(f"{path}: expected accents, train, dev and test, none of them empty")
    uses = collections.Counter(voice.lower() for split in SPLITS for voice in voices[split])
    if twice := sorted(voice for voice, count in uses.items() if count > 1):
        raise DataError(f"{path}: listed more than once: {', '.join(twice)}; a voice of dev or test must be in no other set")
    return voices


def settings(sizes: dict[str, int], seed: int) -> str:
    """All that decides what the corpus is, as the text of the file that says it is whole."""
    sources = hashlib.sha256()
    for path in sorted([*HERE.glob("*.py"), *HERE.glob("*.yaml")]):
        sources.update(path.name.encode() + path.read_bytes())
    return json.dumps({"seed": seed, "sizes": sizes, "sources": sources.hexdigest(), "asr": version("asr-crnn"),
                       "espeakng-loader": version("espeakng-loader")}, indent=1) + "\n"


def show_words(sizes: dict[str, int], seed: int) -> None:
    """How often each word of the grammar comes in each set, the rarest first."""
    from grammar import Grammar

    grammar = Grammar.load(HERE / "grammar.yaml")
    counts = {split: collections.Counter(word for sentence in draw_sentences(grammar, split, sizes[split], seed)
                                         for word in sentence.split()) for split in SPLITS}
    print(f"{'word':12s} {'train':>6s} {'dev':>6s} {'test':>6s}   {len(grammar.words())} words")
    for word in sorted(grammar.words(), key=lambda word: counts["train"][word]):
        print(f"{word:12s} " + " ".join(f"{counts[split][word]:6d}" for split in SPLITS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/commands"), help="folder of the three data directories")
    parser.add_argument("--jobs", type=int, default=0, help="processes (0: one for each core)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", type=int, default=4000, help="utterances")
    parser.add_argument("--dev", type=int, default=300, help="utterances")
    parser.add_argument("--test", type=int, default=480, help="utterances")
    parser.add_argument("--show-words", action="store_true", help="only count the words of each set")
    options = parser.parse_args()
    sizes = {split: getattr(options, split) for split in SPLITS}
    try:
        if min(sizes.values()) < 1 or options.jobs < 0 or options.seed < 0:
            raise UsageError("--train, --dev and --test must be 1 or more, --jobs and --seed 0 or more")
        if options.show_words:
            show_words(sizes, options.seed)
        else:
            synthesize(options.out, sizes, options.seed, options.jobs or usable_cores())
    except UsageError as error:
        print(f"synthesize.py: {error}", file=sys.stderr)
        sys.exit(2)
    except AsrError as error:
        print(f"synthesize.py: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
