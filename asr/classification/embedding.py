"""Vectors of words, and of the hashed n-grams beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.classification.config import TextConfig
from asr.classification.vocabulary import PADDING, Vocabulary, read_vectors

SPREAD = 0.03
"""Standard deviation of a vector's numbers before training. With 1, torch's own choice, random words drown what is learned of few
texts; at this, a word never moved is next to nothing."""


class TextEmbedding(nn.Module):
    """A word's own vector, plus the mean of those of its n-grams: (B, T, 1 + K) int64 -> (B, T, D) float32, 0 at padding.

    Pretrained vectors, where the configuration names a file, take the place of the random ones of the words they have, scaled to
    the same spread.
    """

    def __init__(self, vocabulary: Vocabulary, config: TextConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(len(vocabulary), config.dim, padding_idx=PADDING)
        hashed = config.char_ngrams is not None or config.word_ngrams > 1
        self.grams = nn.EmbeddingBag(config.buckets + 1, config.dim, mode="mean", padding_idx=PADDING) if hashed else None
        self.dropout = config.dropout
        for table in filter(None, (self.words, self.grams)):
            nn.init.normal_(table.weight, std=SPREAD)
            with torch.no_grad():
                table.weight[PADDING] = 0
        self.frozen = config.freeze and config.vectors is not None
        if self.frozen:
            self.words.weight.requires_grad_(False)

    def load_vectors(self, vocabulary: Vocabulary, config: TextConfig) -> int:
        """Take the pretrained vectors of the words that have some; returns how many. Errors: see `read_vectors`."""
        found = read_vectors(config.vectors or "", vocabulary, config.dim)
        numbers = torch.tensor(sorted(found))
        vectors = torch.stack([torch.from_numpy(found[number]) for number in sorted(found)])
        with torch.no_grad():
            self.words.weight[numbers] = vectors * (SPREAD / vectors.std().clamp_min(1e-6))
        return len(found)

    def forward(self, coded: Tensor) -> Tensor:
        batch, time, width = coded.shape
        vectors = self.words(coded[..., 0])
        if self.grams is not None and width > 1:
            grams = coded[..., 1:].reshape(batch * time, width - 1)  # (B, T, K) -> (B T, K)
            vectors = vectors + self.grams(grams).view(batch, time, -1)
        return functional.dropout(vectors, self.dropout, self.training)
