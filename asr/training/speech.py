"""Training a recogniser: one step of it, and what is measured on dev."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from asr.corpus import Batch
from asr.ctc import ctc_loss, greedy
from asr.features import SpecAugment
from asr.training.objective import Mix, disagreement
from asr.training.preparation import Prepared
from asr.training.task import Metric, Task


class SpeechTask(Task):
    """Normalisation and masking of raw features, network, CTC loss; on dev greedy transcripts."""

    metrics: ClassVar[dict[str, Metric]] = {"wer": Metric("WER"), "cer": Metric("CER")}
    loss_label: ClassVar[str] = "CTC loss per label (nats)"
    measures: ClassVar[tuple[str, ...]] = ("hypotheses", "dev_loss_sum", "dev_label_sum")

    def __init__(self, prepared: Prepared, total_steps: int, dump_dir: Path):
        super().__init__(prepared.network, prepared.config.seed, prepared.config.training, total_steps, dump_dir)
        self.prepared, self.config, self.has_dev = prepared, prepared.config, prepared.has_dev
        tokens = sha256(json.dumps(prepared.tokenizer.state()).encode()).hexdigest()
        self.trained_on = {"train": str(prepared.train), "dev": str(prepared.dev),
                           "tokens": f"{prepared.tokenizer.vocab_size} ({tokens[:12]})"}
        self.spec_augment = SpecAugment(self.config.augment.spec_augment)
        self.hypotheses: dict[str, str] = {}
        self.dev_loss_sum, self.dev_label_sum = 0.0, 0

    def on_fit_start(self) -> None:
        self.prepared.frontend.to(self.device)

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, int]:
        """The objective of each utterance, (B,) float32 (its CTC loss, and what is added), and the number of labels."""
        views = 2 if self.config.training.objective.consistency else 1
        with torch.no_grad():
            features, lengths = self._features(batch, self.prepared.train.speaker_stats), batch.lengths
            mix = None
            if part := self.config.training.objective.mix:
                mix = Mix.draw(part, len(lengths), generator)
                features, lengths = mix.heard(features, lengths)
            features = torch.cat([self.spec_augment(features, lengths, generator) for _ in range(views)])
        return self._losses(features, lengths, batch, views, mix), int(batch.target_lengths.sum())

    def _features(self, batch: Batch, speaker_stats: dict[str, np.ndarray]) -> Tensor:
        """The batch's features, (B, T, F), normalised."""
        stats = None
        if speaker_stats:
            stats = torch.from_numpy(np.stack([speaker_stats[speaker] for speaker in batch.speakers])).to(batch.inputs)
        return self.prepared.frontend.normalize(batch.inputs, batch.lengths, stats)

    def _losses(self, features: Tensor, frames: Tensor, batch: Batch, views: int, mix: Mix | None) -> Tensor:
        """The objective for each utterance, (B,) float32, of ``views`` of the batch, (views * B, T, F), one after the other."""
        objective = self.config.training.objective
        layers, lengths = self.network.layer_logits(features, frames.repeat(views), objective.intermediate)
        losses = [torch.stack([self._mixed(view, own, batch, mix) for view, own in zip(logits.chunk(views), lengths.chunk(views))])
                  .mean(0) for logits in layers]
        *inner, total = losses
        if inner:
            total = (1 - objective.intermediate_weight) * total + objective.intermediate_weight * torch.stack(inner).mean(0)
        if objective.consistency:
            total = total + objective.consistency * disagreement(*layers[-1].chunk(2), lengths.chunk(2)[0])
        return total

    def _mixed(self, logits: Tensor, lengths: Tensor, batch: Batch, mix: Mix | None) -> Tensor:
        """Losses (B,) of logits (B, T, V): of an utterance that is heard with another one, of both transcripts."""
        losses = self._ctc(logits, lengths, batch.targets, batch.target_lengths)
        if mix is None or not (mix.share < 1).any():
            return losses
        rows = (mix.share < 1).nonzero().squeeze(1)
        share, partner = mix.share[rows].to(losses), mix.partner[rows]
        theirs = self._ctc(logits[rows], lengths[rows], batch.targets[partner], batch.target_lengths[partner])
        return losses.index_put((rows,), share * losses[rows] + (1 - share) * theirs)

    def _ctc(self, logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Losses (B,) of logits (B, T, V)."""
        logits = logits.transpose(0, 1)  # (B, T, V) -> (T, B, V)
        # The labels are our tokenizer's; on a GPU another look at them would wait for all that is queued there.
        return ctc_loss(logits, targets, lengths, target_lengths, reduction="none",
                        backend=self.config.training.ctc_backend, validate=not logits.is_cuda)

    # -------------------------------------------------------------------------------------------------- dev

    def begin_measuring(self) -> None:
        self.hypotheses, self.dev_loss_sum, self.dev_label_sum = {}, 0.0, 0

    def validation_step(self, batch: Batch, index: int) -> None:
        features = self._features(batch, self.prepared.dev.speaker_stats)
        logits, lengths = self.network(features, batch.lengths)
        losses = self._ctc(logits, lengths, batch.targets, batch.target_lengths)
        fits = torch.isfinite(losses)  # a transcript longer than its frames has no likelihood; its errors still count
        self.dev_loss_sum += float(losses[fits].sum())
        self.dev_label_sum += int(batch.target_lengths[fits].sum())
        log_probs = torch.log_softmax(logits.float(), dim=-1).nan_to_num(-math.inf)  # an overflow of fp16 is heard as nothing
        for name, hypothesis in zip(batch.ids, greedy(log_probs, lengths)):
            self.hypotheses[name] = self.prepared.tokenizer.decode(hypothesis.tokens)

    def dev_loss(self) -> float:
        return self.dev_loss_sum / self.dev_label_sum if self.dev_label_sum else math.nan

    def measured(self) -> dict[str, float]:
        """Loss per label, WER and CER of the dev set's greedy transcripts."""
        from asr.scoring import error_rate

        texts = self.prepared.dev.texts
        ids = sorted(texts)
        references, hypotheses = [texts[name] for name in ids], [self.hypotheses[name] for name in ids]
        return {"loss": self.dev_loss(), "wer": error_rate(references, hypotheses),
                "cer": error_rate(references, hypotheses, characters=True)}

    def samples(self) -> list[str]:
        texts = self.prepared.dev.texts
        return [f"{name}  ref: {texts[name]} | hyp: {self.hypotheses.get(name, '')}"
                for name in sorted(texts)[:: max(1, len(texts) // 3)][:3]]
