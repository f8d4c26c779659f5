"""The one reader of audio: every question about files, codecs, rates and channels is answered here.

soundfile (libsndfile) decodes wav, flac, ogg/vorbis, opus, mp3, NIST sphere and its other formats; torchaudio resamples.
libsndfile shortens a cut file in silence, and of several joined ones it reads the first; so the sizes that the container
declares are compared with the file's own before anything is decoded: what is read here is whole, or an AudioError.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import shlex
import stat
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.containers import JOINED, check_whole, flac_follows
from asr.errors import AudioError
from asr.system import atomic_path, sha256_of_open

if TYPE_CHECKING:
    import soundfile
    import torch

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".nist", ".aif", ".aiff", ".au", ".snd",
                      ".w64", ".rf64", ".caf"))
UNREAD = frozenset((".m4a", ".m4b", ".mp4", ".aac", ".3gp", ".amr", ".mka", ".mkv", ".mov", ".webm", ".wma", ".ape", ".wv"))
"""Endings of recordings that libsndfile does not read."""
OVERSHOOT = 0.5  # seconds an asked span may reach past the end of its file, as Kaldi's extract-segments --max-overshoot
MAX_RATE = 1_000_000  # Hz; a header that says more is broken

STEP = np.float32(2 ** -15)  # between two 16-bit samples
KERNEL = 1 << 20  # most entries of a resampling kernel that is held; 44100 to 16000 Hz has 75,680
ZEROS, ROLLOFF = 6, 0.99  # torchaudio's filter: zero crossings to either side, and the cutoff as a share of Nyquist's

logger = logging.getLogger("asr")


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says; ``frames`` counts samples of one channel, ``duration`` is in seconds."""

    path: str
    sample_rate: int
    channels: int
    frames: int
    duration: float
    format: str


def probe(path: str | Path) -> AudioInfo:
    """Rate, channels and length, from the header alone. Raises AudioError."""
    with _open(path) as (file, _):
        return _info(str(path), file)


def identify(path: str | Path) -> tuple[AudioInfo, str]:
    """`probe`, and the SHA-256 of the whole file, in hex; it is opened once. Raises AudioError."""
    with _open(path) as (file, handle):
        info = _info(str(path), file)
        try:
            return info, sha256_of_open(handle)
        except OSError as error:
            raise AudioError(f"{path}: cannot read: {error.strerror}") from None


def verify(path: str | Path) -> AudioInfo:
    """`probe`, and a look at the last samples: finds a cut flac or mp3 without decoding all of it. Raises AudioError."""
    with _open(path) as (file, _):
        info = _info(str(path), file)
        if file.seekable():
            _decode(str(path), file, max(0, info.frames - 64), info.frames)
        return info


def read(path: str | Path, start: float = 0.0, end: float | None = None,
         channel: int | None = None) -> tuple[np.ndarray, int]:
    """Decode the span [start, end) seconds (``end`` None: to the end) of one channel, or of the average of all.

    Returns (samples (N,) float32, nominally in [-1, 1]; sample rate in Hz). Only the span is decoded. An ``end`` up to
    0.5 s past the file's is cut to it, as Kaldi does; ``channel`` counts from 0, and a mono file has only the one.
    Raises AudioError for a file that is missing, empty, cut, not audio, or holds samples that are not finite.
    """
    with _open(path) as (file, _):
        return _read(str(path), file, start, end, channel)


def read_pipe(command: str, start: float = 0.0, end: float | None = None,
              channel: int | None = None) -> tuple[np.ndarray, int]:
    """Run a shell command that writes audio to its standard output (a ``wav.scp`` entry, with or without its ``|``).

    Returns as `read`. The caller answers for having asked the user: this executes whatever the string says.
    """
    return read_output(command, run_pipe(command), start, end, channel)


def run_pipe(command: str) -> bytes:
    """What the command of `read_pipe` writes: an audio file, for `read_output`. Raises AudioError where it fails."""
    line = _command_line(command)
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], stdin=subprocess.DEVNULL, capture_output=True,
                          check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise AudioError(f"{line}: cannot read: the command ended with status {done.returncode}"
                         + (f": {said[-1]}" if said else ""))
    return done.stdout


def read_output(command: str, content: bytes, start: float = 0.0, end: float | None = None,
                channel: int | None = None) -> tuple[np.ndarray, int]:
    """`read_pipe` of a command that has been run, and wrote ``content``."""
    line = _command_line(command)
    with _open_bytes(line, content) as file:
        return _read(line, file, start, end, channel)


def _command_line(command: str) -> str:
    return command.strip().removesuffix("|").strip()


def load(path: str | Path, sample_rate: int, start: float = 0.0, end: float | None = None,
         channel: int | None = None) -> np.ndarray:
    """`read`, resampled to ``sample_rate`` Hz where the file has another rate: (N,) float32."""
    samples, rate = read(path, start, end, channel)
    return resample(samples, rate, sample_rate)


def blocks(path: str | Path, sample_rate: int, channel: int | None = None, seconds: float = 30.0) -> Iterator[np.ndarray]:
    """The whole file at ``sample_rate`` Hz as arrays (N,) float32 of about ``seconds`` each: memory knows nothing of its length.

    Joined, they are what `load` gives. Raises as `read` does, from the iteration: of a file that is cut, only where it ends.
    """
    with _open(path) as (file, _):
        info = _info(str(path), file)
        yield from resample_blocks(_mono_blocks(str(path), file, info, channel, seconds), info.sample_rate, sample_rate)


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """`resample` of a recording that comes in blocks (N,) of any lengths: joined, the same samples as of the whole.

    The filter sees a few samples to both sides, so each block is resampled with its neighbours' edges, in steps of the
    smallest span that holds a whole number of samples at both rates.
    """
    if rate == new_rate:
        yield from blocks
        return
    common = math.gcd(rate, new_rate)
    step, new_step = rate // common, new_rate // common
    edge = math.ceil(resampler(rate, new_rate).width / step)  # steps that the filter sees before and after
    held, before = np.zeros(0, np.float32), 0  # samples from a step's start on; whole steps of them are done already
    for block in blocks:
        held = np.concatenate([held, block])
        ready = len(held) // step - edge  # steps, of those held, whose right-hand edge is here
        if ready > before:
            made = resample(held[:(ready + edge) * step], rate, new_rate)
            yield made[before * new_step:ready * new_step]
            passed = max(0, ready - edge)
            held, before = held[passed * step:], ready - passed
    if len(held) > before * step:
        yield resample(held, rate, new_rate)[before * new_step:]


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Band-limited resampling by windowed sinc (torchaudio's defaults): (N,) -> (ceil(N * new_rate / rate),) float32."""
    if rate == new_rate:
        return samples
    import torch

    _say_once(f"audio at {rate} Hz is resampled to {new_rate} Hz")
    with torch.inference_mode():
        return resampler(rate, new_rate)(torch.from_numpy(np.ascontiguousarray(samples, np.float32))).numpy()


def write(path: str | Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write (N,) or (N, channels) samples in [-1, 1] as 16-bit PCM, wav or flac by the name's ending; whole or not at all.

    A sample is rounded to the nearest of 65536 steps (what `read` gave from a 16-bit file is written back bit for bit),
    and clipped at the range. Raises AudioError for another ending, or samples that are not finite.
    """
    import soundfile

    path = Path(path)
    format = {".wav": "WAV", ".flac": "FLAC"}.get(path.suffix.lower())
    if format is None:
        raise AudioError(f"{path}: cannot write: the name must end in .wav or .flac")
    samples = np.asarray(samples)
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: cannot write: samples that are not finite numbers")
    steps = np.clip(np.rint(samples.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, steps, sample_rate, format=format, subtype="PCM_16")


def find_audio(inputs: Iterable[str | Path], recursive: bool = False) -> list[Path]:
    """Files as they are named; folders as the audio files in them (by ending), sorted; no file twice.

    Recordings in other formats are counted on the log. Raises AudioError for a name that is not there.
    """
    found: dict[Path, None] = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = list(path.rglob("*") if recursive else path.iterdir())
            found.update(dict.fromkeys(sorted(p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file())))
            tell_unread(path, map(str, inside))
        elif path.exists():
            found[path] = None
        else:
            raise AudioError(f"{path}: cannot read: no such file or folder")
    return list(found)


def tell_unread(folder: str | Path, paths: Iterable[str]) -> None:
    """Say on the log how many of a folder's files are recordings that cannot be read, and were not made into one beside them."""
    endings: dict[str, set[str]] = {}
    for stem, ending in map(os.path.splitext, paths):
        endings.setdefault(ending.lower(), set()).add(stem)
    known = set().union(*(stems for ending, stems in endings.items() if ending in SUFFIXES))
    left = {ending: len(stems - known) for ending, stems in sorted(endings.items()) if ending in UNREAD and stems - known}
    if left:
        logger.warning("%s: %d recordings are left out, of formats that libsndfile does not read (%s); convert them: ffmpeg -i a%s "
                       "a.flac", folder, sum(left.values()), ", ".join(f"{count} {ending}" for ending, count in left.items()),
                       next(iter(left)))


# ---------------------------------------------------------------------------------------------------- decoding


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[tuple[soundfile.SoundFile, int]]:
    """The file and its descriptor, opened once: declared and real sizes are compared through that which the decoder then uses."""
    import soundfile

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # of a named pipe: not to wait for one who writes
    except OSError as error:
        raise AudioError(f"{path}: cannot read: {error.strerror}") from None
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path}: cannot read: it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{path}: cannot read: it is no ordinary file")
        check_whole(str(path), lambda offset, count: os.pread(handle, count, offset), status.st_size)
        with soundfile.SoundFile(handle, closefd=False) as file:
            yield file, handle
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: cannot read: {_reason(str(path), error)}") from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def _open_bytes(name: str, content: bytes) -> Iterator[soundfile.SoundFile]:
    import soundfile

    try:
        check_whole(name, lambda offset, count: content[offset:offset + count], len(content))
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: cannot read: {_reason(name, error)}") from None


def _reason(name: str, error: soundfile.LibsndfileError) -> str:
    said = str(error.error_string).strip().rstrip(".")
    if "ormat not recognised" not in said:
        return said or "corrupt or cut"
    source, cure = Path(name), ""
    if source.suffix.lower() in UNREAD:
        cure = f"; convert it: ffmpeg -i {shlex.quote(source.name)} {shlex.quote(source.stem + '.flac')}"
    return f"not an audio file that libsndfile knows{cure}"


def _info(name: str, file: soundfile.SoundFile) -> AudioInfo:
    if file.frames <= 0:
        raise AudioError(f"{name}: cannot read: it holds no audio")
    if file.frames > 1 << 60:  # a flac stream; libsndfile can then neither seek nor read to the end
        raise AudioError(f"{name}: cannot read: its header does not say its length (it was written into a pipe); "
                         "write it again as a file")
    if file.samplerate > MAX_RATE:
        raise AudioError(f"{name}: cannot read: its header says {file.samplerate} Hz, which no recording has "
                         f"(at most {MAX_RATE}); correct the header")
    return AudioInfo(name, file.samplerate, file.channels, file.frames, file.frames / file.samplerate, file.format)


def _read(name: str, file: soundfile.SoundFile, start: float, end: float | None,
          channel: int | None) -> tuple[np.ndarray, int]:
    info = _info(name, file)
    rate = info.sample_rate
    first = round(start * rate)
    last = info.frames if end is None else round(end * rate)
    if first < 0 or last <= first:
        raise AudioError(f"{name}: cannot read: the span {start:g}-{_shown(end)} s is empty or begins before 0")
    if first >= info.frames or last > info.frames + math.ceil(OVERSHOOT * rate):
        raise AudioError(f"{name}: cannot read: the span {start:g}-{_shown(end)} s is beyond its end at {info.duration:g} s")
    return _mono(name, _decode(name, file, first, min(last, info.frames)), channel), rate


def _mono_blocks(name: str, file: soundfile.SoundFile, info: AudioInfo, channel: int | None,
                 seconds: float) -> Iterator[np.ndarray]:
    size = max(1, round(seconds * info.sample_rate))
    for first in range(0, info.frames, size):
        yield _mono(name, _decode(name, file, first, min(first + size, info.frames), here=True), channel)


def _mono(name: str, samples: np.ndarray, channel: int | None) -> np.ndarray:
    """One channel of (N, channels), or the average of all: (N,) float32."""
    channels = samples.shape[1]
    if channels == 1:
        mono = samples[:, 0]
    elif channel is None:
        _say_once(f"audio of {channels} channels is averaged to one (choose one by reco2file_and_channel or --channel)")
        mono = samples.mean(axis=1)
    elif 0 <= channel < channels:
        mono = np.ascontiguousarray(samples[:, channel])
    else:
        raise AudioError(f"{name}: cannot read: it has no channel {channel} (channels 0 to {channels - 1})")
    if not np.isfinite(mono).all():
        raise AudioError(f"{name}: cannot read: it holds samples that are not finite numbers")
    return mono


def _shown(end: float | None) -> str:
    return "end" if end is None else f"{end:g}"


def _decode(name: str, file: soundfile.SoundFile, first: int, last: int, here: bool = False) -> np.ndarray:
    """Frames [first, last) of all channels, (N, channels) float32, of a file at its start or, ``here``, at ``first``."""
    import soundfile

    try:
        if first and not here and file.seekable():
            file.seek(first)
        elif first and not here:
            file.read(first, dtype="float32")  # a few codecs (GSM 6.10) only run forwards
        # Of 16-bit samples the same floats as libsndfile would make, in half the time.
        whole = file.subtype == "PCM_16"
        samples = file.read(last - first, dtype="int16" if whole else "float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise AudioError(f"{name}: cannot read: cut or corrupt: its header promises {file.frames} samples, "
                         f"but {first} to {last} cannot be decoded") from None
    if len(samples) < last - first:
        raise AudioError(f"{name}: cannot read: cut or corrupt: its header promises {file.frames} samples, "
                         f"decoding stops at {first + len(samples)}")
    if file.format == "FLAC" and last == file.frames and flac_follows(file.name):
        raise AudioError(f"{name}: cannot read: {JOINED}")
    return np.multiply(samples, STEP, dtype=np.float32) if whole else samples


# ---------------------------------------------------------------------------------------------------- resampling


@lru_cache(maxsize=512)
def resampler(rate: int, new_rate: int) -> Any:
    """torchaudio's resampling with its kernel kept, where its functional form builds the filter anew for each file.

    The kernel is made in float64 (the functional form: float32), so the two agree to about 2e-6, no closer.
    """
    import torchaudio

    made = _Pointwise(rate, new_rate)
    if made.new_rate * (made.rate + 2 * made.width) > KERNEL:
        return made
    return torchaudio.transforms.Resample(rate, new_rate, lowpass_filter_width=ZEROS, rolloff=ROLLOFF)


class _Pointwise:
    """torchaudio's filter, computed anew for every sample: (N,) -> (ceil(N * new_rate / rate),) float32 tensors.

    torchaudio holds it for every phase, with zeros to either side. Rates without a common factor have a phase for every Hz:
    from 11127 to 16000 Hz that is a kernel of gigabytes. This takes a few MB, and gives the same to 1e-4 (torchaudio's phases
    are rounded to float32, these are not).
    """

    def __init__(self, rate: int, new_rate: int) -> None:
        common = math.gcd(rate, new_rate)
        self.rate, self.new_rate = rate // common, new_rate // common
        self.pace = ROLLOFF * min(1.0, new_rate / rate)  # zero crossings of the filter in a sample
        self.width = math.ceil(ZEROS / self.pace)

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        import torch

        taps = torch.arange(-self.width, self.width + 2)
        padded = torch.nn.functional.pad(samples, (self.width, self.width + 1))
        made = torch.empty(-(-len(samples) * self.new_rate // self.rate))
        size = max(1, KERNEL // 8 // len(taps))
        for first in range(0, len(made), size):
            places = torch.arange(first, min(first + size, len(made))) * self.rate  # in samples * new_rate
            shares = (places % self.new_rate).double() / self.new_rate
            crossings = ((taps - shares[:, None]) * self.pace).clamp(-ZEROS, ZEROS)
            kernel = torch.sinc(crossings) * torch.cos(crossings * (math.pi / 2 / ZEROS)) ** 2 * self.pace
            near = padded[(places // self.new_rate)[:, None] + taps + self.width]
            made[first:first + size] = (near * kernel).sum(1)
        return made


_saying = threading.Lock()


def _say_once(message: str) -> None:
    with _saying:  # of several threads that find the same, one says it
        _said(message)


@lru_cache(maxsize=256)
def _said(message: str) -> None:
    logger.warning(message)
