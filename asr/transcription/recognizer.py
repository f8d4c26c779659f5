"""The recogniser: a model file in, transcripts of files and arrays out."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from asr import audio as audio_files
from asr.ctc import Hypothesis
from asr.errors import AudioError, UsageError
from asr.models.storage import SpeechModel, load_model
from asr.system import choose_device
from asr.transcription.decoder import GREEDY, Decoder, DecoderOptions, Weights
from asr.transcription.result import Result, calibrated, result_of, spans_of
from asr.transcription.times import hear, token_times


class Emissions(NamedTuple):
    """What the network makes of a batch, and what it was made of; on the model's device."""

    log_probs: Tensor
    """(B, T, V) float32"""
    frames: Tensor
    """(B,) int64: how many rows of each are its own"""
    features: tuple[Tensor, Tensor]
    """(B, T', F) float32, the front-end's before normalisation, and their frames (B,) int64"""


@dataclass(frozen=True)
class Transcript:
    """What became of one of many: its result, or why there is none."""

    index: int
    name: str
    result: Result | None
    error: str | None = None


class Recognizer:
    """A trained model that transcribes. It is loaded once and may be used for any number of files, by several threads.

    An utterance has the same transcript alone and in any batch: padding reaches neither features nor network.
    """

    def __init__(self, model: SpeechModel, options: DecoderOptions = GREEDY, bf16: bool = False):
        """``bf16``: the network computes in bfloat16, on CUDA only. Raises UsageError, and as `load` for the options."""
        if bf16 and model.device.type != "cuda":
            raise UsageError(f"bf16 is for CUDA, and the model is on the {model.device.type}: leave it out here")
        self.model, self.bf16, self.timed = model, bf16, True
        self.decoder = Decoder(options, model.tokenizer)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", options: DecoderOptions = GREEDY, bf16: bool = False,
             int8: bool = False) -> Recognizer:
        """Read a ``model.safetensors`` onto ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``; ``options``: how to decode.

        ``bf16``: the network computes in bfloat16, on CUDA only; ``int8``: in whole numbers of eight bits, on the CPU only.
        Raises ModelError for a file that is absent, damaged or foreign, UsageError for a device that is not there, and for
        options UsageError and DataError.
        """
        model = load_model(path, choose_device(device))
        return cls(model.with_int8() if int8 else model, options, bf16)

    def with_options(self, options: DecoderOptions) -> Recognizer:
        """The same model, decoded otherwise."""
        return self.with_decoder(Decoder(options, self.model.tokenizer))

    def with_decoder(self, decoder: Decoder) -> Recognizer:
        """The same model with a decoder that is made already."""
        other = copy.copy(self)
        other.decoder = decoder
        return other

    def without_times(self) -> Recognizer:
        """The same for a reader of the text alone: times of words are the network's, rough and free, not the timing model's."""
        other = copy.copy(self)
        other.timed = False
        return other

    @property
    def sample_rate(self) -> int:
        """The rate, in Hz, that the model hears; audio files at another are resampled to it."""
        return self.model.config.features.sample_rate

    def log_probs(self, waveforms: Sequence[np.ndarray], stats: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities of tokens, as one padded batch.

        ``waveforms``: 1-D float32 arrays in [-1, 1] at ``sample_rate``, of any lengths. ``stats`` (B, 2, F): mean and
        scale of each one's speaker, for a model with speaker CMVN; without, each array is its own speaker.
        Returns log-probabilities (B, T, V) float32 and frames (B,) int64, both on the CPU; token 0 is the blank, and
        row ``b`` means something up to ``frames[b]``, which is 0 for audio shorter than one window.
        Raises UsageError for what is not such arrays, AudioError for empty or non-finite samples.
        """
        found = self.emissions(waveforms, stats)
        return found.log_probs.cpu(), found.frames.cpu()

    def transcribe(self, audio: str | Path | np.ndarray, sample_rate: int | None = None, **options: Any) -> Result:
        """Transcribe one file, or one 1-D float array in [-1, 1] at ``sample_rate`` (by default the model's).

        ``options``: a beam search in place of the recogniser's own decoder, for this call: ``beam``, ``nbest``, ``lm``,
        ``lexicon``, ``hotwords`` and all others of `DecoderOptions`, and the weights ``lm_weight``, ``word_bonus`` and
        ``blank_penalty``. What they need is read anew at every call: for many, use `with_options`.

        Files may have any rate and number of channels; channels are averaged. Audio shorter than one window has no
        words. A model with speaker CMVN takes the recording for its own speaker. What is longer than half a minute is read,
        cut and put together again as `asr.transcription.longform` says: memory does not grow with its length.
        Raises AudioError (``<path>: cannot read: <why>``) for audio that cannot be used, UsageError for wrong arguments.
        """
        from asr.transcription.longform import LIMITS, transcribe_long, transcribe_long_array

        if options:
            return self.with_options(_options(options)).transcribe(audio, sample_rate)
        if isinstance(audio, (str, os.PathLike)):
            if sample_rate is not None:
                raise UsageError("transcribe: a file states its own rate; give sample_rate with an array only")
            if audio_files.probe(audio).duration > LIMITS.longest:
                return transcribe_long(self, audio)
            samples, duration = self.read(audio)
            return self.transcribe_batch([samples], [duration])[0]
        if sample_rate is not None and (isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer))
                                        or sample_rate <= 0):
            raise UsageError(f"transcribe: sample_rate must be a whole number of Hz, not {sample_rate!r}")
        samples = checked_samples(audio, "audio")
        rate = int(sample_rate or self.sample_rate)
        if len(samples) / rate > LIMITS.longest:
            return transcribe_long_array(self, samples, rate)
        return self.transcribe_batch([self._at_rate(samples, rate)], [len(samples) / rate])[0]

    def transcribe_many(self, audio: Iterable[str | Path | np.ndarray | tuple[str, str | Path | np.ndarray]],
                        batch_seconds: float = 120.0, workers: int = 0) -> Iterator[Transcript]:
        """Transcribe files and arrays (as `transcribe` takes them, arrays at ``sample_rate``), batched by length; fast.

        ``audio`` may be endless: some hundred items are drawn at a time. Each may have a name, as ``(name, audio)``; a
        file's is else its path, an array's its position. Yields a Transcript of each as it is done, **not in their order**:
        ``index`` counts them as they were drawn, ``error`` is why one has no ``result``. ``batch_seconds``: padded audio
        seconds in a batch. ``workers``: threads, each at a batch of its own; 0 for as many as the machine suggests.

        Raises UsageError for what is neither a file nor such an array.
        """
        from asr.transcription.pipeline import Local, transcribe_stream
        from asr.transcription.sources import item_of

        items = (item_of(index, each, self.sample_rate) for index, each in enumerate(audio))
        for item, outcome in transcribe_stream(Local(self, workers), items, batch_seconds):
            failed = isinstance(outcome, str)
            yield Transcript(item.index, item.name, None if failed else outcome, outcome if failed else None)

    def read(self, path: str | Path, channel: int | None = None) -> tuple[np.ndarray, float]:
        """A file's samples (N,) float32 at ``sample_rate`` and its duration in seconds; raises AudioError.

        ``channel`` picks one, counted from 0; None averages all.
        """
        samples, rate = audio_files.read(path, channel=channel)
        return self._at_rate(samples, rate), len(samples) / rate

    def transcribe_batch(self, waveforms: Sequence[np.ndarray], durations: Sequence[float] | None = None) -> list[Result]:
        """Transcribe arrays at ``sample_rate`` as one batch; ``durations`` in seconds, else counted from the samples."""
        if durations is None:
            durations = [len(waveform) / self.sample_rate for waveform in waveforms]
        emissions = self.emissions(waveforms)
        return self.results(emissions.log_probs, emissions.frames, durations, emissions.features)

    def results(self, log_probs: Tensor, frames: Tensor, durations: Sequence[float],
                features: tuple[Tensor, Tensor] | None = None) -> list[Result]:
        """Decode log-probabilities (B, T, V), frames (B,).

        ``features``: the front-end's before normalisation (B, T', F), and their frames (B,). With them words have the times
        that the model's timing model hears; without, those of the network's output frames.
        """
        return [self.result_of(hypotheses, duration, cepstra)
                for hypotheses, duration, cepstra in zip(self.decoder(log_probs, frames), durations,
                                                         self.hear(len(frames), features))]

    def hear(self, count: int, features: tuple[Tensor, Tensor] | None) -> list[np.ndarray] | list[None]:
        """What the model's timing model hears of ``count`` utterances; Nones where there is none, or no features."""
        if self.model.timing is None or features is None or not self.timed:
            return [None] * count
        return hear(*features, self.model.config.features.kind)

    def result_of(self, hypotheses: Sequence[Hypothesis], duration: float, cepstra: np.ndarray | None = None) -> Result:
        """The Result of an utterance of ``duration`` seconds from its hypotheses, of any decoder; ``cepstra`` of `hear`."""
        tokenizer, best = self.model.tokenizer, hypotheses[0]
        times = None
        if cepstra is not None:
            times = token_times(self.model, self.model.timing, best.tokens, list(zip(best.frames, best.ends)),
                                spans_of(best, tokenizer), cepstra, duration)
        result = result_of(hypotheses, tokenizer, self.model.seconds_per_frame, duration, times)
        options = self.decoder.options
        result, calibration = replace(result, nbest=result.nbest[:options.nbest]), options.calibration
        return result if calibration is None else calibrated(result, calibration)

    def emissions(self, waveforms: Sequence[np.ndarray], stats: Tensor | None = None) -> Emissions:
        """`log_probs` and the features, left on the model's device: decoding moves only the best token of each frame."""
        if isinstance(waveforms, (np.ndarray, Tensor, str)):
            raise UsageError("expected a list of 1-D float32 arrays; wrap one recording as [samples]")
        checked = [checked_samples(waveform, f"array {index}") for index, waveform in enumerate(waveforms)]
        if not checked:
            raise UsageError("the list of arrays is empty")
        return emissions_of(self.model, *self.model.extract(*pad(checked)), stats, self.bf16)

    def _at_rate(self, samples: np.ndarray, rate: int) -> np.ndarray:
        return samples if rate == self.sample_rate else audio_files.resample(samples, rate, self.sample_rate)


@torch.inference_mode()
def emissions_of(model: SpeechModel, features: Tensor, frames: Tensor, stats: Tensor | None, bf16: bool = False) -> Emissions:
    """Features before normalisation (B, T, F), frames (B,) -> what the network makes of them; ``stats`` as in `log_probs`."""
    normalized = model.frontend.normalize(features, frames, stats)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        log_probs, made = model.log_probs_of_features(normalized, frames)
    return Emissions(log_probs, made, (features, frames))


def _options(given: dict[str, Any]) -> DecoderOptions:
    """Keyword arguments of `Recognizer.transcribe` as options of a beam search; raises UsageError for a name that is none."""
    names = {each.name for each in fields(Weights)}
    known = names | {each.name for each in fields(DecoderOptions)} - {"weights"}
    if unknown := sorted(given.keys() - known):
        raise UsageError(f"transcribe: unknown option {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    weights = Weights(**{name: value for name, value in given.items() if name in names})
    rest = {name: value for name, value in given.items() if name not in names}
    return DecoderOptions(**{"method": "beam", **rest}, weights=weights)


def pad(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Arrays (N, ...) float32 of several lengths -> one tensor (B, longest, ...) padded with zeros, lengths (B,) int64."""
    lengths = [len(array) for array in arrays]
    padded = np.zeros((len(arrays), max(lengths), *arrays[0].shape[1:]), np.float32)
    for row, array in zip(padded, arrays):
        row[:len(array)] = array
    return torch.from_numpy(padded), torch.tensor(lengths, dtype=torch.int64)


def checked_samples(audio: object, name: str) -> np.ndarray:
    """The array as float32; raises UsageError where it is no audio, AudioError for empty or non-finite samples."""
    if not isinstance(audio, np.ndarray):
        raise UsageError(f"{name}: expected a path or a 1-D float array, got a {type(audio).__name__}")
    if not np.issubdtype(audio.dtype, np.floating):
        raise UsageError(f"{name}: expected float samples in [-1, 1], got {audio.dtype}; "
                         "divide 16-bit samples by 32768: `samples.astype('float32') / 32768`")
    if audio.ndim != 1:
        raise UsageError(f"{name}: expected one channel, shape (samples,), got {audio.shape}; "
                         "average the channels, or take one")
    if not len(audio):
        raise AudioError(f"{name}: there are no samples")
    samples = audio.astype(np.float32, copy=False)
    finite = np.isfinite(samples)
    if not finite.all():
        raise AudioError(f"{name}: {len(samples) - int(finite.sum())} of {len(samples)} samples are NaN or infinite, "
                         f"the first at {int(finite.argmin())}")
    return samples
