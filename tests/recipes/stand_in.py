"""Made corpora in the shape of the published ones: tones for words, so that a test needs no recordings."""

from __future__ import annotations

import importlib.util
import sys
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile
from project_copy import ROOT

RATE = 8000
# One epoch of a network that learns nothing: what is tested is the way of the data.
TINY = ("training.epochs=1 training.schedule.warmup_steps=1 training.workers=0 augment={} "
        'model.rnn={"hidden":8,"layers":1} model.conv.layers=[{"channels":4,"stride":[2,2]}]')


def load_script(path: str) -> ModuleType:
    """A script of a recipe as a module (two recipes have a `prepare.py`, so each gets a name of its own)."""
    name = path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def tone(hertz: float, seconds: float, amplitude: float = 0.3) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def make_fsdd(folder: Path) -> Path:
    """recordings/<digit>_<speaker>_<index>.wav, all 3,000: digits differ in pitch, speakers in a second tone."""
    (folder / "recordings").mkdir(parents=True)
    for number, speaker in enumerate(("george", "jackson", "lucas", "nicolas", "theo", "yweweler")):
        for digit in range(10):
            samples = tone(300 + 150 * digit, 0.25) + tone(2500 + 200 * number, 0.25, 0.1)
            for index in range(50):
                write_wav(folder / f"recordings/{digit}_{speaker}_{index}.wav", samples)
    return folder


def make_yesno(folder: Path) -> Path:
    """60 files of eight tones with pauses, high for yes and low for no."""
    (folder / "waves_yesno").mkdir(parents=True)
    pause = np.random.default_rng(0).standard_normal(round(0.3 * RATE)) * 1e-4
    for n in range(60):
        marks = format(n * 4 + 3, "08b")
        parts = [pause]
        for mark in marks:
            parts += [tone(900 if mark == "1" else 350, 0.3), pause]
        write_wav(folder / "waves_yesno" / ("_".join(marks) + ".wav"), np.concatenate(parts))
    return folder


def make_an4(folder: Path) -> Path:
    """etc/ and wav/ as the archive has them: 948 and 130 SPHERE files of 74 and ten speakers, a tone for each word."""
    words = ("YES", "NO", "ONE", "TWO", "THREE", "A", "B", "C")
    dev = ("fclc", "flmm2", "fwxs", "mdxn", "mema", "mjjs2", "mnjl", "mrcb")
    training = [*dev, *(f"mx{first}{second}" for first in "abcdef" for second in "abcdefghijk")]
    for part, speakers, count in (("train", training, 948), ("test", [f"ft{letter}{letter}" for letter in "abcdefghij"], 130)):
        names, lines = [], []
        for number in range(count):
            speaker, rest = speakers[number % len(speakers)], number // len(speakers)
            chosen = [words[(number * 5 + place) % len(words)] for place in range(1 + number % 2)]
            name = f"an4{'test' if part == 'test' else ''}_clstk/{speaker}/an{rest}-{speaker}-b"
            path = folder / "wav" / f"{name}.sph"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = np.concatenate([tone(300 + 150 * words.index(word), 0.3) for word in chosen])
            soundfile.write(path, samples, 2 * RATE, format="NIST", subtype="PCM_16")
            names.append(name)
            text = " ".join(chosen)
            lines.append(f"<s> {text} </s> (an{rest}-{speaker}-b)" if part == "train" else f"{text} (an{rest}-{speaker}-b)")
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc" / f"an4_{part}.fileids").write_text("\n".join(names) + "\n")
        (folder / "etc" / f"an4_{part}.transcription").write_text("\n".join(lines) + "\n")
    (folder / "etc" / "an4.dic").write_text("A AH\nA(2) EY\nB B IY\nC S IY\nNO N OW\nONE HH W AH N\nONE(2) W AH N\nTHREE TH R IY\n"
                                            "TWO T UW\nYES Y EH S\n")
    return folder


def make_librispeech(folder: Path, parts: dict[str, int], utterances: int = 3) -> Path:
    """LibriSpeech/<part>/<speaker>/<chapter>/ with flac and trans.txt, so many speakers to a part; SPEAKERS.TXT beside them."""
    root = folder / "LibriSpeech"
    listed = ["; ID  |SEX| SUBSET | MINUTES | NAME"]
    words = ("ONE", "TWO", "THREE", "FOUR")
    for number, (part, speakers) in enumerate(parts.items(), start=1):
        for speaker in range(100 * number, 100 * number + speakers):
            chapter = root / part / str(speaker) / "7"
            chapter.mkdir(parents=True)
            listed.append(f"{speaker:<4} | {'MF'[speaker % 2]} | {part} | 1.0 | Someone | Else")
            lines = []
            for n in range(utterances):
                said = [(speaker + n + k) % 4 for k in range(2 + n % 2)]
                lines.append(f"{speaker}-7-{n:04d} " + " ".join(words[word] for word in said) + "\n")
                samples = np.concatenate([tone(300 + 200 * word, 0.3) for word in said])
                soundfile.write(chapter / f"{speaker}-7-{n:04d}.flac", samples, RATE)
            (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text("\n".join(listed) + "\n")
    return folder


def make_common_voice(folder: Path, clients: int = 6, clips: int = 2, quoted: bool = False) -> Path:
    """A release of one language: mp3 clips of tones, four tables (``quoted`` as by a CSV writer); two clients are dev and test."""
    (folder / "clips").mkdir(parents=True)
    rows = []
    for n in range(clients * clips):
        client, name = f"{n // clips:02x}" * 32, f"common_voice_xx_{1000 + n}.mp3"
        sentence = f'Sie sagte: "Straße {n // 3}!"'
        if quoted:
            sentence = '"' + sentence.replace('"', '""') + '"'
        rows.append(f"{client}\t{name}\t{sentence}\t2\t0\n")
        soundfile.write(folder / "clips" / name, tone(300 + 50 * n, 0.6), RATE, format="MP3")
    header = "client_id\tpath\tsentence\tup_votes\tdown_votes\n"
    cuts = {"train": (0, (clients - 2) * clips), "dev": ((clients - 2) * clips, (clients - 1) * clips),
            "test": ((clients - 1) * clips, None), "validated": (0, None)}
    for part, (first, last) in cuts.items():
        (folder / f"{part}.tsv").write_text(header + "".join(rows[first:last]), encoding="utf-8")
    return folder
