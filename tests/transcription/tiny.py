"""Models for tests: one whose transcripts are planted in its audio, and small real ones with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import Config, parse_config
from asr.features import CmvnStats, FrontEnd
from asr.models import build_model
from asr.models.storage import SpeechModel, save_model
from asr.text import BpeTokenizer, CharTokenizer, PhoneTokenizer, Tokenizer
from asr.transcription.recognizer import pad

RATE = 8000
SHIFT = 80  # samples to a frame: 10 ms
LETTERS = "abcdefghijklmnopqrstuvwxyz "
SENTENCES = ["the cat sat on the mat", "a dog ran over the hill", "the hat was on the dog", "cats and dogs ran on and on"]


class PlantedFrontEnd(nn.Module):
    """One "feature" a frame: the first sample of the frame."""

    frame_shift = SHIFT / RATE

    def extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return waveforms[:, ::SHIFT].unsqueeze(2), lengths // SHIFT

    def normalize(self, features: Tensor, frames: Tensor, stats: Tensor | None = None) -> Tensor:
        return features

    def forward(self, waveforms: Tensor, lengths: Tensor, stats: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.extract(waveforms, lengths)


class PlantedNetwork(nn.Module):
    """Reads token ids from the features: id = value * 64; every ``subsampling``-th frame counts."""

    def __init__(self, vocab_size: int, subsampling: int):
        super().__init__()
        self.vocab_size, self.frame_subsampling = vocab_size, subsampling
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        ids = (features[:, ::self.frame_subsampling, 0] * 64).round().long()
        return 30.0 * nn.functional.one_hot(ids, self.vocab_size), -(-frames // self.frame_subsampling)


def planted_model(tokenizer: Tokenizer | None = None, subsampling: int = 1) -> SpeechModel:
    tokenizer = tokenizer or CharTokenizer(LETTERS)
    config = parse_config({"features": {"sample_rate": RATE, "cmvn": "none"}})
    network = PlantedNetwork(tokenizer.vocab_size, subsampling)
    return SpeechModel(network, PlantedFrontEnd(), config, tokenizer, {}, "planted", "0" * 64)


def plant(path: list[int], subsampling: int = 1) -> np.ndarray:
    """Audio whose best path of output frames is ``path``; 16-bit files keep it exactly."""
    return np.repeat(np.asarray(path, np.float32) / 64, SHIFT * subsampling)


def spell(tokenizer: Tokenizer, text: str, hold: int = 2) -> list[int]:
    """A path of frames that writes the text: each token held, a blank after each."""
    return [frame for token in tokenizer.encode(text) for frame in [token] * hold + [0]]


def tiny_config(cmvn: str = "utterance") -> Config:
    return parse_config({
        "features": {"sample_rate": RATE, "num_mel_bins": 12, "cmvn": cmvn},
        "model": {"conv": {"layers": [{"channels": 4, "kernel": [3, 3], "stride": [2, 2]}]},
                  "rnn": {"hidden": 8, "layers": 1}}})


def save_tiny_model(path: Path, kind: str = "char", cmvn: str = "utterance", seed: int = 0) -> Path:
    """A real, untrained model; its output layer is scaled and centred so that every token wins some frames."""
    config = tiny_config(cmvn)
    torch.manual_seed(seed)
    tokenizer = {"char": lambda: CharTokenizer("abcd "), "bpe": lambda: BpeTokenizer.train(SENTENCES, 30),
                 "phone": lambda: PhoneTokenizer({"a": ["A"], "bad": [["B", "A", "D"]], "dab": [["D", "A", "B"]]})}[kind]()
    frontend = FrontEnd(config.features)
    network = build_model(config.model, frontend.dim, tokenizer.vocab_size)
    with torch.no_grad():
        features, frames = frontend.extract(*pad(chirps(8, seed=9)))
        if cmvn == "global":
            stats = CmvnStats(frontend.dim)
            for row, count in zip(features, frames.tolist()):
                stats.add(row[:count])
            frontend.set_global(stats)
        network.eval()
        network.output.weight.mul_(40)
        logits, frames = network(frontend.normalize(features, frames), frames)
        network.output.bias.sub_(torch.cat([row[:count] for row, count in zip(logits, frames.tolist())]).mean(dim=0))
    save_model(path, network, frontend, config, tokenizer, {})
    return path


def chirps(count: int, seed: int = 0, shortest: float = 0.3, longest: float = 1.5) -> list[np.ndarray]:
    """Tones that change every 50 ms, of several lengths, at RATE: (N,) float32."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        steps = int(random.uniform(shortest, longest) * 20)
        pitch = np.repeat(random.uniform(100, 3500, steps), RATE // 20)
        made.append((0.4 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * random.uniform(0.2, 1)).astype(np.float32))
    return made
