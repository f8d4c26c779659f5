"""The model file: one `model.safetensors` with the weights and, in its metadata, everything else.

The metadata is one entry, ``asr``, a JSON object: ``format`` (name and version of this layout), ``task`` (what it was trained
for), ``config`` (the resolved configuration), ``notes`` (commit, seed, training data fingerprint, dev error), and what the task
needs beside them: of a recogniser ``tokenizer`` and, where there is a timing model, ``timing``, its characters. One entry, because
safetensors writes several in random order, and the same training must end in the same bytes.
No pickle is read, so a model file from elsewhere can run no code.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from asr.config import Config, Section, parse_config
from asr.errors import AsrError, ModelError
from asr.features import FrontEnd
from asr.models.int8 import to_int8
from asr.models.network import Crnn, build_model
from asr.models.timing import TimingModel
from asr.system import atomic_open, sha256_of
from asr.text import Tokenizer

FORMAT = "asr-crnn 2"
COMMANDS = {"speech": "asr train", "classification": "asr classify train", "forecasting": "asr forecast train"}
"""Tasks, and the command that trains a model for each."""


@dataclass(frozen=True)
class SpeechModel:
    """A trained recogniser's parts, ready for inference."""

    network: Crnn
    frontend: FrontEnd
    config: Config
    tokenizer: Tokenizer
    notes: dict[str, str] = field(default_factory=dict)
    path: str = ""
    fingerprint: str = ""
    """SHA-256 of the file, in hex."""
    timing: TimingModel | None = None
    """Tells where words are; None where the training data did not suffice for one."""
    int8: bool = False
    """Whether the network computes in whole numbers of eight bits (`with_int8`)."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def seconds_per_frame(self) -> float:
        """Duration of one output frame."""
        return self.network.frame_subsampling * self.frontend.frame_shift

    def with_int8(self) -> SpeechModel:
        """The same with its network in int8, on the CPU. Raises UsageError on another device, and for an LSTM."""
        return replace(self, network=to_int8(self.network), int8=True)

    @torch.inference_mode()
    def extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """waveforms (B, N), lengths (B,) -> features before normalisation (B, T, F), frames (B,), on the model's device."""
        return self.frontend.extract(waveforms.to(self.device), lengths.to(self.device))

    @torch.inference_mode()
    def log_probs(self, waveforms: Tensor, lengths: Tensor, stats: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """waveforms (B, N) float32 in [-1, 1], lengths (B,) samples -> log-probabilities (B, T, V) float32, frames (B,).

        ``stats`` (B, 2, F): mean and scale of each utterance's speaker, for models with speaker CMVN.
        """
        waveforms, lengths = waveforms.to(self.device), lengths.to(self.device)
        return self.log_probs_of_features(*self.frontend(waveforms, lengths, stats=stats))

    @torch.inference_mode()
    def log_probs_of_features(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features (B, T, F), frames (B,) -> log-probabilities (B, T', V) float32, frames (B,)."""
        logits, frames = self.network(features.to(self.device), frames.to(self.device))
        return torch.log_softmax(logits.float(), dim=-1), frames


def save_model(path: str | Path, network: nn.Module, frontend: FrontEnd, config: Config, tokenizer: Tokenizer,
               notes: dict[str, str], timing: TimingModel | None = None) -> None:
    """Write a recogniser's model file, whole or not at all."""
    tensors = {f"frontend.{name}": value for name, value in frontend.state_dict().items()}
    parts: dict[str, Any] = {"tokenizer": tokenizer.state()}
    if timing is not None:
        tensors |= {"timing.mean": torch.from_numpy(timing.mean), "timing.variance": torch.from_numpy(timing.variance)}
        parts["timing"] = timing.characters
    write_model(path, "speech", network, config, notes, tensors, parts)


def write_model(path: str | Path, task: str, network: nn.Module, config: Section, notes: dict[str, str],
                tensors: Mapping[str, Tensor] | None = None, parts: Mapping[str, Any] | None = None) -> None:
    """Write the model file of any task: the network's weights as ``network.*`` and other ``tensors``; ``parts`` are plain values
    (what JSON knows) that stand beside config and notes in the metadata."""
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    metadata = {"format": FORMAT, "task": task, "config": config.model_dump(mode="json"), "notes": notes, **(parts or {})}
    save_tensors(path, weights | dict(tensors or {}), {"asr": json.dumps(metadata, ensure_ascii=False)})


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all; raises OSError where the disk is full (`save_file` has its own)."""
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata)
    with atomic_open(path, binary=True) as file:
        file.write(content)


def load_model(path: str | Path, device: str | torch.device = "cpu") -> SpeechModel:
    """Read a recogniser; raises ModelError when it is absent, truncated, foreign, of another layout, or not a recogniser."""
    with whole_model(path, "speech") as (metadata, tensors):
        config = parse_config(metadata["config"], f"{path}: configuration")
        tokenizer = Tokenizer.from_state(metadata["tokenizer"])
        frontend = FrontEnd(config.features)
        network = build_model(config.model, frontend.dim, tokenizer.vocab_size)
        load_weights(network, tensors)
        load_weights(frontend, tensors, "frontend.")
        timing = None
        if "timing" in metadata:
            timing = TimingModel.of(metadata["timing"], tensors["timing.mean"].numpy(), tensors["timing.variance"].numpy())
    return SpeechModel(network.to(device).eval(), frontend.to(device).eval(), config, tokenizer, metadata["notes"], str(path),
                       sha256_of(path), timing)


@contextlib.contextmanager
def whole_model(path: str | Path, task: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """The metadata and tensors of a model file of this task; within, what does not fit together raises ModelError as well."""
    metadata, tensors = read_model(path, task)
    try:
        notes = metadata["notes"]
        if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
            raise ValueError("notes: not texts by name")
        yield metadata, tensors
    except (AsrError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: weights and metadata do not fit together ({error}); train it again") from None


def read_model(path: str | Path, task: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(metadata, tensors) of a model file; raises ModelError when it is absent, truncated, foreign, of another layout or task."""
    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; name the model file in it (model.safetensors)")
    train = COMMANDS[task]
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = json.loads((file.metadata() or {}).get("asr", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file; train one with `{train}`, or check the path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror or error}") from None
    except (SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}); copy or train it again") from None
    layout = metadata.get("format") if isinstance(metadata, dict) else None
    if layout != FORMAT:
        raise ModelError(f"{path}: holds {layout or 'no model of this toolkit'!r}, expected {FORMAT!r}; "
                         f"use a model.safetensors that `{train}` wrote, with this version of the toolkit")
    if metadata.get("task") != task:
        raise ModelError(f"{path}: was trained for {metadata.get('task')!r}, and this needs {task!r}: a model that `{train}` wrote")
    return metadata, tensors


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "network.") -> None:
    """Give a module the tensors whose names begin with ``prefix``; raises RuntimeError where they are not its own."""
    module.load_state_dict({key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)})
