"""Kaldi's log-mel filterbank, MFCC and log power spectrogram, for a batch of waveforms at once.

Follows Kaldi's ``compute-fbank-feats``, ``compute-mfcc-feats`` and ``compute-spectrogram-feats`` (``feat/*.cc``):
the numbers are theirs within float32 rounding. Where we differ:

* dither is drawn once for each sample, not anew for each overlapping frame, and in training mode only;
* energy is never added to the filterbank, and the first cepstrum of MFCC is C0 (``--use-energy=false``, as in every
  Kaldi recipe; Kaldi's bare default is the log energy). Spectrogram does carry the log energy in bin 0, as in Kaldi;
* an utterance shorter than one window has no frames, where Kaldi's programs drop it with a warning.

How it is fast: frames are a strided view, never a copy of the padding; the pre-emphasis is applied to the samples before
they are cut into overlapping frames; scale and window are one factor; the work goes in pieces that stay in the cache; and
each sixteen mel filters are multiplied by the few FFT bins they touch, not by all.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr.config import FeatureConfig, parse_config
from asr.errors import ConfigError
from asr.features.mel import cepstral_matrix, mel_banks, window

SCALE = 32768.0  # Kaldi's features are those of 16-bit samples; a power of two, so scaling never rounds
EPSILON = torch.finfo(torch.float32).eps  # Kaldi's floor under every logarithm
FEW_ROWS = 8  # fewer are multiplied in another order: a frame's last place would depend on how many are beside it
CACHED_WARPS = 256
CPU_ROWS = 1024  # frames worked on at once, for each thread: 2 MiB of windows, about one core's cache
CUDA_ROWS = 1 << 15


class Extractor(nn.Module):
    """Frames, window and Fourier transform; subclasses turn spectra into features.

    Options are those of :class:`asr.config.FeatureConfig`, by the same names and with the same defaults; an unknown or
    impossible one raises ConfigError. There are no parameters and no gradient: features are data.
    """

    kind: str

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.config: FeatureConfig = parse_config({"features": {**options, "kind": self.kind}}, type(self).__name__).features
        config = self.config
        self.window_size = int(config.sample_rate * 0.001 * config.frame_length_ms)  # samples, truncated as in Kaldi
        self.shift = int(config.sample_rate * 0.001 * config.frame_shift_ms)
        if self.window_size < 2 or self.shift < 1:
            raise ConfigError(f"features: a window of {config.frame_length_ms:g} ms every {config.frame_shift_ms:g} ms is "
                              f"{self.window_size} samples every {self.shift} at {config.sample_rate} Hz; "
                              "frame_length_ms and frame_shift_ms are milliseconds")
        self.fft_size = 1 << (self.window_size - 1).bit_length()
        self.dim = self._dim()
        scaled = torch.from_numpy(window(config.window, self.window_size) * SCALE)
        self.register_buffer("window", scaled.float(), persistent=False)
        # A window that starts at zero hides the first sample of a frame, which pre-emphasis treats apart.
        self._first_weight = float(scaled[0]) if abs(float(scaled[0])) > 1e-6 else 0.0

    def _dim(self) -> int:
        raise NotImplementedError

    def num_frames(self, lengths: Any) -> Any:
        """Frames of so many samples: an int for an int, an int64 tensor for a tensor. Kaldi's ``NumFrames``."""
        if self.config.snip_edges:
            frames = (lengths - self.window_size) // self.shift + 1
            return frames.clamp(min=0) if isinstance(lengths, Tensor) else max(0, frames)
        return (lengths + self.shift // 2) // self.shift

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor, warp: Tensor | None = None,
                generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Features of a batch.

        waveforms (B, N) float32 in [-1, 1]; lengths (B,) int64, in samples; warp (B,) the vocal-tract-length warp factor
        of each utterance, or none (1.0); generator draws the dither in training mode.
        Returns features (B, T, dim) float32, zero beyond the frames of each utterance, and frames (B,) int64. What lies
        in the padding of ``waveforms`` changes nothing.
        """
        if waveforms.dim() != 2 or lengths.shape != waveforms.shape[:1]:
            raise ValueError(f"expected waveforms (B, N) and lengths (B,), got {tuple(waveforms.shape)} "
                             f"and {tuple(lengths.shape)}")
        if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= waveforms.shape[1]:
            raise ValueError(f"lengths must lie between 0 and the {waveforms.shape[1]} samples of the padded batch")
        frames = self.num_frames(lengths)
        counts: list[int] = frames.tolist()
        waveforms = waveforms.float().contiguous()
        if self.training and self.config.dither:
            noise = torch.randn(waveforms.shape, generator=generator, device=generator.device if generator else None)
            waveforms = waveforms + noise.to(waveforms.device) * (self.config.dither / SCALE)
        if not self.config.snip_edges:
            waveforms = self._reflect(waveforms, lengths)
        factors = None if warp is None else warp.tolist()
        features = waveforms.new_empty(len(counts), max(counts, default=0), self.dim)
        limit = CPU_ROWS * torch.get_num_threads() if waveforms.device.type == "cpu" else CUDA_ROWS
        pieces = list(_pieces(counts, limit))
        rows = max(((b1 - b0) * (t1 - t0) for b0, b1, t0, t1 in pieces), default=0)
        buffer = waveforms.new_zeros(rows, self.fft_size)  # the columns beyond the window stay zero
        with _exact_products(waveforms.device):
            for b0, b1, t0, t1 in pieces:
                spectra, energy = self._spectra(waveforms[b0:b1, t0 * self.shift:], t1 - t0, buffer)
                part = self._features(spectra, energy, None if factors is None else factors[b0:b1])
                features[b0:b1, t0:t1] = part.view(b1 - b0, t1 - t0, self.dim)
        for row, count in zip(features, counts):
            row[count:] = 0
        return features, frames

    def _reflect(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Extend each utterance at both ends by its mirror image, so that frame t starts at sample t * shift.

        Kaldi's ``snip_edges=false``: frame t is centred on (t + 1/2) * shift.
        """
        begin = self.shift // 2 - self.window_size // 2  # of frame 0, in samples of the utterance
        width = waveforms.shape[1]
        margin = self.window_size + self.shift
        extended = waveforms.new_zeros(len(waveforms), width + margin + max(0, -begin))
        if width == 0:
            return extended
        source = waveforms[:, max(0, begin):]
        extended[:, max(0, -begin):max(0, -begin) + source.shape[1]] = source
        period = lengths.clamp(min=1)[:, None]

        def mirrored(positions: Tensor) -> Tensor:
            inside = positions.remainder(2 * period)
            return waveforms.gather(1, torch.where(inside < period, inside, 2 * period - 1 - inside))

        if begin < 0:
            extended[:, :-begin] = mirrored(torch.arange(begin, 0, device=lengths.device).expand(len(lengths), -1))
        after = lengths[:, None] + torch.arange(margin + min(0, begin), device=lengths.device)
        return extended.scatter_(1, (after - begin).clamp(min=0), mirrored(after))

    def _spectra(self, waveforms: Tensor, count: int, buffer: Tensor) -> tuple[Tensor, Tensor | None]:
        """The first ``count`` frames of each row of (G, n): spectra (G * count, fft_size // 2 + 1), log energy or none."""
        config, size, shift = self.config, self.window_size, self.shift
        rows = len(waveforms) * count
        waveforms = waveforms[:, :(count - 1) * shift + size]
        raw = waveforms.as_strided((len(waveforms), count, size), (waveforms.stride(0), shift, 1))
        windowed = buffer[:rows].view(len(waveforms), count, self.fft_size)[..., :size]
        mean = raw.mean(dim=2, keepdim=True) if config.remove_dc_offset else None
        energy = self._energy(raw, mean)
        samples = waveforms
        if config.preemphasis:
            samples = torch.empty_like(waveforms, memory_format=torch.contiguous_format)
            samples[:, 0] = 0
            torch.sub(waveforms[:, 1:], waveforms[:, :-1], alpha=config.preemphasis, out=samples[:, 1:])
        emphasized = samples.as_strided(raw.shape, (samples.stride(0), shift, 1))
        if mean is None:
            torch.mul(emphasized, self.window, out=windowed)
        else:
            # (x[i] - mean) - p (x[i-1] - mean) = (x[i] - p x[i-1]) - (1 - p) mean
            torch.sub(emphasized, mean, alpha=1 - config.preemphasis, out=windowed)
            windowed.mul_(self.window)
        if self._first_weight:  # Kaldi's first sample of a frame is its own predecessor
            first = raw[..., 0] if mean is None else raw[..., 0] - mean[..., 0]
            windowed[..., 0] = first * ((1 - config.preemphasis) * self._first_weight)
        return torch.fft.rfft(buffer[:rows]), energy

    def _energy(self, raw: Tensor, mean: Tensor | None) -> Tensor | None:
        """Log energy of the frames (G, count, size), where the features hold it."""
        return None

    def _features(self, spectra: Tensor, energy: Tensor | None, warps: Sequence[float] | None) -> Tensor:
        """Spectra of the equally many frames of len(warps) utterances, complex (rows, bins) -> features (rows, dim)."""
        raise NotImplementedError


class Fbank(Extractor):
    """Log-mel filterbank: ``Fbank(sample_rate=16000, num_mel_bins=80)(waveforms, lengths) -> (B, T, 80), (B,)``."""

    kind = "fbank"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._banks: OrderedDict[tuple[float, torch.device], list[_Bank]] = OrderedDict()
        self._filters(1.0, torch.device("cpu"))

    def _dim(self) -> int:
        return self.config.num_mel_bins

    def _features(self, spectra: Tensor, energy: Tensor | None, warps: Sequence[float] | None) -> Tensor:
        return self._log_mel(spectra, warps)

    def _log_mel(self, spectra: Tensor, warps: Sequence[float] | None) -> Tensor:
        # Re^2 and Im^2 side by side, (rows, 2 bins); each filter weight stands twice, so the product adds them up.
        squares = torch.view_as_real(spectra).flatten(1).square_()
        mel = squares.new_empty(len(squares), self.config.num_mel_bins)
        if warps is None or all(factor == warps[0] for factor in warps):
            self._filter(squares, self._filters(warps[0] if warps else 1.0, squares.device), mel)
        elif squares.is_cuda:
            weights = torch.stack([self._filters(factor, squares.device)[0].weights for factor in warps])
            batch = squares.view(len(warps), -1, squares.shape[1])
            torch.bmm(batch, weights, out=mel.view(len(warps), -1, mel.shape[1]))
        else:
            for factor, part, out in zip(warps, squares.chunk(len(warps)), mel.chunk(len(warps))):
                self._filter(part, self._filters(factor, squares.device), out)
        return mel.clamp_(min=EPSILON).log_()

    @staticmethod
    def _filter(squares: Tensor, banks: list[_Bank], out: Tensor) -> None:
        few = len(squares) < FEW_ROWS
        rows, found = (_padded(squares), out.new_empty(FEW_ROWS, out.shape[1])) if few else (squares, out)
        for bank in banks:
            torch.mm(rows[:, bank.columns], bank.weights, out=found[:, bank.filters])
        if few:
            out.copy_(found[:len(out)])

    def _filters(self, warp: float, device: torch.device) -> list[_Bank]:
        """The mel filters at this warp, exact, in blocks that each read a narrow band; kept for the next batch."""
        key = (warp, device)
        if key not in self._banks:
            config = self.config
            if not 0.5 <= warp <= 2:
                raise ConfigError(f"vocal-tract-length warp {warp:g}: a factor near 1 is expected, such as 0.9 to 1.1")
            banks = mel_banks(config.num_mel_bins, self.fft_size, config.sample_rate, config.low_freq,
                              config.high_freq, warp)
            block = 16 if device.type == "cpu" else config.num_mel_bins  # 16 float32 fill one vector register
            self._banks[key] = [_Bank(banks, start, min(start + block, len(banks)), device, device.type != "cpu")
                                for start in range(0, len(banks), block)]
            if len(self._banks) > CACHED_WARPS:
                self._banks.popitem(last=False)
        self._banks.move_to_end(key)
        return self._banks[key]


class _Bank:
    """A block of mel filters: which columns of the squares it reads, and its weights there."""

    def __init__(self, banks: np.ndarray, start: int, end: int, device: torch.device, whole: bool) -> None:
        touched = np.flatnonzero(banks[start:end].any(axis=0))
        low, high = (0, banks.shape[1]) if whole or not len(touched) else (int(touched[0]), int(touched[-1]) + 1)
        self.filters = slice(start, end)
        self.columns = slice(2 * low, 2 * high)
        # (filters, bins) -> (bins, filters), each bin twice: for the real and the imaginary part
        weights = np.repeat(banks[start:end, low:high].T, 2, axis=0)
        self.weights = torch.from_numpy(np.ascontiguousarray(weights)).to(device)


class Mfcc(Fbank):
    """Mel-frequency cepstra, C0 first (``--use-energy=false``), liftered: (B, T, num_ceps)."""

    kind = "mfcc"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        matrix = cepstral_matrix(self.config.num_mel_bins, self.config.num_ceps, self.config.cepstral_lifter)
        self.register_buffer("cepstra", torch.from_numpy(matrix), persistent=False)

    def _dim(self) -> int:
        return self.config.num_ceps

    def _features(self, spectra: Tensor, energy: Tensor | None, warps: Sequence[float] | None) -> Tensor:
        mel = self._log_mel(spectra, warps)
        return (_padded(mel) @ self.cepstra)[:len(mel)] if len(mel) < FEW_ROWS else mel @ self.cepstra


class Spectrogram(Extractor):
    """Linear log power spectrogram, (B, T, fft_size // 2 + 1); bin 0 holds the log energy of the raw frame, as in Kaldi."""

    kind = "spectrogram"

    def _dim(self) -> int:
        return self.fft_size // 2 + 1

    def _energy(self, raw: Tensor, mean: Tensor | None) -> Tensor | None:
        centred = raw if mean is None else raw - mean
        return (centred.square().sum(dim=2) * SCALE**2).clamp_(min=EPSILON).log_().flatten()

    def _features(self, spectra: Tensor, energy: Tensor | None, warps: Sequence[float] | None) -> Tensor:
        if warps is not None and any(factor != 1.0 for factor in warps):
            raise ConfigError("features.kind spectrogram has no mel axis to warp; set augment.vtlp to null")
        parts = torch.view_as_real(spectra)
        power = torch.addcmul(parts[..., 0].square(), parts[..., 1], parts[..., 1])
        features = power.clamp_(min=EPSILON).log_()
        if energy is not None:
            features[:, 0] = energy
        return features


EXTRACTORS: dict[str, type[Extractor]] = {extractor.kind: extractor for extractor in (Fbank, Mfcc, Spectrogram)}


def build_extractor(config: FeatureConfig) -> Extractor:
    """The extractor of a ``features`` section."""
    return EXTRACTORS[config.kind](**config.model_dump(exclude={"kind"}))


def _padded(rows: Tensor) -> Tensor:
    """(n, F), n below FEW_ROWS -> (FEW_ROWS, F), zeros below."""
    return torch.nn.functional.pad(rows, (0, 0, 0, FEW_ROWS - len(rows)))


def _pieces(counts: Sequence[int], limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a batch of so many frames each into pieces (utterance from, to, frame from, to) of at most ``limit`` rows.

    Short neighbours share a piece, as long as the rows this wastes cost less than the calls it saves.
    """
    start = 0
    while start < len(counts):
        end, longest, total = start + 1, counts[start], counts[start]
        while end < len(counts):
            height = max(longest, counts[end])
            rows = height * (end + 1 - start)
            if rows > limit or rows - total - counts[end] > 64 * (end - start):
                break
            end, longest, total = end + 1, height, total + counts[end]
        pieces = math.ceil(longest / limit)
        for piece in range(pieces):  # equal pieces rather than full ones and a rest
            yield start, end, longest * piece // pieces, longest * (piece + 1) // pieces
        start = end


@contextlib.contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """Full float32 in matrix products, whatever precision the network around runs in (autocast, TF32, bf16)."""
    precision = torch.get_float32_matmul_precision()
    with torch.autocast(device.type, enabled=False):
        if precision == "highest":
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
