"""Sentences read aloud by a machine of tones, whose times are known, and a network that hears them too early or too late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr import audio
from asr.config import parse_config
from asr.corpus import DataDir, Utterance
from asr.features import FrontEnd
from asr.models.storage import SpeechModel
from asr.text import BpeTokenizer, CharTokenizer, PhoneTokenizer, Tokenizer

RATE = 8000
SUBSAMPLING = 4
STEP = 0.01 * SUBSAMPLING  # seconds to an output frame
WORDS = ["bad", "cab", "dab", "face", "beg", "hag", "fade", "head"]
TONES = {letter: 300 * 1.27 ** index for index, letter in enumerate("abcdefgh")}  # Hz
TOKENIZERS = {"char": lambda: CharTokenizer("abcdefgh "), "bpe": lambda: BpeTokenizer.train(SENTENCES, 24),
              "phone": lambda: PhoneTokenizer({word: [[f"{letter}{letter}" for letter in word]] for word in WORDS})}
SENTENCES = [" ".join(np.random.default_rng(seed).choice(WORDS, 4)) for seed in range(30)]


def read_aloud(text: str, seed: int) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Samples (N,) float32 at RATE, and each word with its start and end in seconds: a tone of 40-100 ms a letter."""
    rng = np.random.default_rng(seed)
    parts, words, at = [], [], 0

    def add(samples: np.ndarray) -> None:
        nonlocal at
        parts.append(samples)
        at += len(samples)

    add(np.zeros(int(RATE * rng.uniform(0.1, 0.4))))
    for word in text.split():
        start = at
        for letter in word:
            time = np.arange(int(RATE * rng.uniform(0.04, 0.1))) / RATE
            add(0.3 * np.sin(2 * np.pi * TONES[letter] * time) + 0.1 * np.sin(2 * np.pi * 2 * TONES[letter] * time))
        words.append((word, start / RATE, at / RATE))
        add(np.zeros(int(RATE * rng.uniform(0, 0.3)) if rng.random() < 0.4 else 0))
    add(np.zeros(RATE // 10))
    shift = RATE // 100
    add(np.zeros(shift * ((seed - at // shift) % 40) + shift // 2))  # forty utterances in a row have forty lengths
    samples = np.concatenate(parts)
    return (samples + 0.002 * rng.standard_normal(len(samples))).astype(np.float32), words


def spoken_dir(folder: Path, sentences: list[str]) -> tuple[DataDir, dict[str, list[tuple[str, float, float]]]]:
    """A data directory of the sentences, and the true times of each utterance's words."""
    folder.mkdir(parents=True)
    wav, times, found = {}, {}, []
    for index, text in enumerate(sentences):
        key = f"u{index:02d}"
        samples, times[key] = read_aloud(text, index)
        wav[key] = str(folder / f"{key}.wav")
        audio.write(wav[key], samples, RATE)
        found.append(Utterance(key, key, "s", text))
    return DataDir.from_utterances(found, wav), times


class Displaced(nn.Module):
    """Writes each token near the true place of its word, but up to 0.3 s off, as much as its order allows.

    What it is to write it knows by the number of feature frames, so utterances must differ in that.
    """

    frame_subsampling = SUBSAMPLING

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.paths: dict[int, list[int]] = {}
        self.weight = nn.Parameter(torch.zeros(1))

    def script(self, frames: int, words: list[tuple[str, float, float]], seed: int) -> None:
        rng = np.random.default_rng(seed)
        tokens = self.tokenizer.encode(" ".join(word for word, _, _ in words))
        span = {position: words[index] for index, (_, first, past) in enumerate(self.tokenizer.word_spans(tokens))
                for position in range(first, past)}
        length = -(-frames // SUBSAMPLING)
        path, at = [0] * length, 0
        for position, token in enumerate(tokens):
            _, start, end = span.get(position, span.get(position + 1, words[-1]))
            wanted = round((start + (end - start) * rng.random() + rng.uniform(-0.3, 0.3)) / STEP)
            left = 2 * (len(tokens) - position) - 1  # frames that the tokens from here on need, with blanks between
            at = min(max(wanted, at), length - left)
            path[at] = token
            at += 2
        self.paths[frames] = path

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        rows = [self.paths[count] for count in frames.tolist()]
        logits = torch.zeros(len(rows), max(map(len, rows)), self.tokenizer.vocab_size)
        for row, path in zip(logits, rows):
            row[torch.arange(len(path)), torch.tensor(path)] = 12.0
        return logits, torch.tensor([len(path) for path in rows])


def displaced_model(data: DataDir, times: dict[str, list[tuple[str, float, float]]], kind: str = "char") -> SpeechModel:
    """A recogniser that makes no mistake about the words of ``data`` and many about their places."""
    config = parse_config({"features": {"sample_rate": RATE, "num_mel_bins": 23, "cmvn": "none"}})
    tokenizer = TOKENIZERS[kind]()
    frontend, network = FrontEnd(config.features), Displaced(tokenizer)
    for index, utterance in enumerate(data.utterances):
        frames = frontend.num_frames(len(data.audio(utterance, RATE)))
        assert frames not in network.paths, "two utterances of one length"
        network.script(frames, times[utterance.id], index)
    return SpeechModel(network, frontend, config, tokenizer, {}, "displaced", "0" * 64)
