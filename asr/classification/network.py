"""The classifier whole: vectors of words where an input is a text, then an encoder and a head of `asr.models`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from asr.classification.config import ClassifyConfig
from asr.classification.embedding import TextEmbedding
from asr.classification.reader import Reader
from asr.classification.text import TextReader
from asr.models import build_encoder
from asr.models.heads import Classifier


class ItemClassifier(nn.Module):
    """Inputs as `collate` makes them -> logits (B, classes). An item has the same logits alone and in any batch."""

    def __init__(self, config: ClassifyConfig, readers: Sequence[Reader], classes: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            TextEmbedding(reader.vocabulary, reader.config.text) if isinstance(reader, TextReader) else nn.Identity()
            for reader in readers)
        second = None
        if len(readers) > 1:
            shape = readers[1].shape
            second = shape if isinstance(shape, int) else shape[0] * shape[1] * shape[2]
        encoder = build_encoder(config.model, readers[0].shape, second)
        self.classifier = Classifier(encoder, classes, config.pooling, config.model.dropout)

    def load_vectors(self, readers: Sequence[Reader]) -> list[str]:
        """Take the pretrained vectors that the configuration names; a line for the log for each input that has some."""
        lines = []
        for embedding, reader in zip(self.embeddings, readers):
            if isinstance(embedding, TextEmbedding) and isinstance(reader, TextReader) and reader.config.text.vectors:
                count = embedding.load_vectors(reader.vocabulary, reader.config.text)
                lines.append(f"{reader.config.text.vectors}: vectors for {count} of {len(reader.vocabulary.words)} words")
        return lines

    def forward(self, inputs: Tensor, lengths: Tensor, second: Tensor | None = None, second_lengths: Tensor | None = None
                ) -> Tensor:
        """inputs (B, T, ...), lengths (B,) int64, and the second input with its lengths where there are two."""
        frames = self.embeddings[0](inputs)
        if second is None:
            return self.classifier(frames, lengths)
        return self.classifier(frames, lengths, self.embeddings[1](second).flatten(2), second_lengths)
