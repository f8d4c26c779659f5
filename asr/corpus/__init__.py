"""Kaldi data directories, their checks and repair, and the batches that training draws from them."""

from __future__ import annotations

from asr.corpus.batching import BatchSampler
from asr.corpus.check import check
from asr.corpus.datadir import DataDir, Utterance
from asr.corpus.dataset import Batch, Example, SpeechDataset, TensorBatch, collate, labels_needed, untrainable
from asr.corpus.tables import Fault

__all__ = ["Batch", "BatchSampler", "DataDir", "Example", "Fault", "SpeechDataset", "TensorBatch", "Utterance", "check", "collate",
           "labels_needed", "untrainable"]
