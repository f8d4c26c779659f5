"""What works on this machine: every part that could be missing or wrong is used once, on a second of sound it makes itself.

A version number tells what is installed, not whether it works: a libsndfile without mp3, a torchaudio of another build, a cache
that cannot be written, a GPU whose driver is too old are found by doing what the commands do, and comparing with what is known.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import AsrError
from asr.system import choose_device, choose_threads, crowding, environment, usable_cores

DISTRIBUTION = "asr-crnn"
RATE, SECONDS = 16_000, 1.0
LOSSLESS, LOSSY = (("WAV", "wav"), ("FLAC", "flac")), (("OGG", "ogg"), ("OGG", "opus"), ("MP3", "mp3"))
LEAST_DISK_GB = 1.0


@dataclass(frozen=True)
class Finding:
    """What one check found: ``state`` is ``ok``, ``note`` (works, but the user should know) or ``fault`` (does not work)."""

    name: str
    state: str
    what: str


class Fault(Exception):
    """A part does not work; the message says why and what mends it."""


def examine(device: str = "auto", folder: str | Path = ".") -> Iterator[Finding]:
    """Check after check, each as soon as it is done. ``folder``: where runs will be written.

    Raises UsageError for a device that is not there; what a check meets becomes its finding.
    """
    chosen = choose_device(device).type
    yield Finding("toolkit", "ok", ", ".join(f"{name} {value}" for name, value in environment().items()))
    checks: list[tuple[str, Callable[[], str | Finding]]] = [
        ("packages", packages), ("processor", processor), ("disk", lambda: disk(Path(folder))), ("encoding", encoding),
        *((f"audio: {name}", lambda kind=kind, name=name: codec(kind, name)) for kind, name in LOSSLESS + LOSSY),
        ("resampling", resampling), ("features", features), ("network", network), ("CTC loss", ctc_loss),
        ("beam search", beam_search), ("several processes", several_processes), ("GPU", lambda: gpu(device, chosen)),
        ("ONNX", onnx), ("cluster", cluster)]
    for name, check in checks:
        yield run(name, check)


def run(name: str, check: Callable[[], str | Finding]) -> Finding:
    """One check as a finding, whatever becomes of it: a doctor that dies of the disease is of no use."""
    try:
        found = check()
    except (Fault, AsrError) as error:
        return Finding(name, "fault", str(error))
    except Exception as error:
        return Finding(name, "fault", f"{type(error).__name__}: {error}")
    return found if isinstance(found, Finding) else Finding(name, "ok", found)


def tone(rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    """A second of a soft tone: (N,) float32."""
    return (0.25 * np.sin(2 * np.pi * hertz * np.arange(round(rate * SECONDS)) / rate)).astype(np.float32)


# --------------------------------------------------------------------------------------------------- the machine


def packages() -> str | Finding:
    """Whether what `setup.cfg` asks for is installed, in versions that fit."""
    from packaging.requirements import Requirement

    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", "note", f"{DISTRIBUTION} is not installed, only on the path: versions were not checked; "
                                           "./run.sh setup installs it")
    wrong, fitting = [], 0
    for line in required:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing ({need.specifier})")
            continue
        if need.specifier.contains(version, prereleases=True):
            fitting += 1
        else:
            wrong.append(f"{need.name} {version} does not fit {need.specifier}")
    if wrong:
        raise Fault(f"{'; '.join(wrong)}: ./run.sh setup installs what fits")
    return f"{fitting} of {fitting}, in versions that fit"


def processor() -> str | Finding:
    """Cores and threads; whether others keep the cores busy, which slows recurrent networks out of proportion."""
    cores, threads = usable_cores(), choose_threads()
    said = f"{cores} cores for this process, {threads} thread{'s' if threads > 1 else ''} for a network"
    if busy := crowding(threads, seconds=0.5):
        return Finding("processor", "note", f"{said}; others keep {busy:.1f} cores busy: set OMP_NUM_THREADS=1, or the threads "
                                            "wait for each other")
    return said


def disk(folder: Path) -> str | Finding:
    """Whether files can be made in the folder of runs and in that of temporary files, and how much room there is."""
    said, low = [], []
    for place in (folder, Path(tempfile.gettempdir())):
        with tempfile.NamedTemporaryFile(dir=place) as file:
            file.write(b"\0" * 4096)
            file.flush()
        free = shutil.disk_usage(place).free / 1e9
        said.append(f"{place.resolve()} {free:.0f} GB free")
        if free < LEAST_DISK_GB:
            low.append(f"{place.resolve()} has {free:.1f} GB left: free some, or choose another disk")
    return Finding("disk", "note", "; ".join(low)) if low else ", ".join(said)


def encoding() -> str | Finding:
    """Whether the names of files are UTF-8, as transcripts are."""
    name = sys.getfilesystemencoding()
    if name.lower() not in ("utf-8", "utf8"):
        return Finding("encoding", "note", f"file names are {name}: those with other letters cannot be read; set LC_ALL=C.UTF-8")
    return "UTF-8"


# --------------------------------------------------------------------------------------------- audio and features


def codec(kind: str, ending: str) -> str:
    """Write a tone in a format and read it as the commands do: whole, and the same tone."""
    import soundfile

    from asr import audio

    said = tone()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"tone.{ending}"
        try:
            soundfile.write(path, said, RATE, format=kind, subtype="OPUS" if ending == "opus" else None)
        except (soundfile.LibsndfileError, ValueError) as error:
            raise Fault(f"libsndfile {soundfile.__libsndfile_version__} cannot write it ({error}), so it could not be tried: "
                        "install the wheel of soundfile, which brings a libsndfile with every format") from None
        heard, rate = audio.read(path)
    if rate != RATE or len(heard) < len(said):
        raise Fault(f"wrote {len(said)} samples at {RATE} Hz, read {len(heard)} at {rate} Hz: reinstall soundfile")
    # A codec may delay what it writes: compare spectra, of the middle.
    middle = slice(len(said) // 4, 3 * len(said) // 4)
    spectra = [np.abs(np.fft.rfft(samples[middle] * np.hanning(len(said) // 2))) for samples in (said, heard)]
    error = float(np.linalg.norm(spectra[0] - spectra[1]) / np.linalg.norm(spectra[0]))
    if error > (1e-3 if (kind, ending) in LOSSLESS else 0.1):
        raise Fault(f"a tone comes back different (by {error:.1%}): reinstall soundfile")
    return f"written and read, libsndfile {soundfile.__libsndfile_version__}"


def resampling() -> str:
    """44.1 to 16 kHz: a tone stays that tone."""
    import torch

    from asr import audio

    resampled, expected = audio.resampler(44_100, RATE)(torch.from_numpy(tone(44_100))).numpy(), tone()
    middle = slice(1000, len(expected) - 1000)  # away from the edges, where there is no sound to interpolate
    error = float(np.abs(resampled[middle] - expected[middle]).max())
    if len(resampled) != len(expected) or error > 1e-2:
        raise Fault(f"{len(resampled)} samples for {len(expected)}, off by up to {error:.3g}: torchaudio must have torch's version")
    return f"44.1 to 16 kHz, off by at most {error:.1e}"


def features() -> str:
    """The filterbank against torchaudio's port of Kaldi's."""
    import torch
    from torchaudio.compliance.kaldi import fbank

    from asr.features import Fbank

    noisy = torch.from_numpy(tone() + np.random.default_rng(0).normal(0, 0.01, round(RATE * SECONDS)).astype(np.float32))
    ours, frames = Fbank(sample_rate=RATE, num_mel_bins=80)(noisy[None], torch.tensor([len(noisy)]))
    kaldi = fbank(noisy[None] * 32768, num_mel_bins=80, sample_frequency=RATE, dither=0.0)
    error = float((ours[0] - kaldi).abs().max())
    if int(frames[0]) != len(kaldi) or not error < 1e-2:
        raise Fault(f"{int(frames[0])} frames for Kaldi's {len(kaldi)}, off by up to {error:.3g}: reinstall torch and torchaudio")
    return f"80 mel bins, off Kaldi's by at most {error:.1e}"


# ------------------------------------------------------------------------------------------------------- networks


def network() -> str:
    """A step of training: a small cascade forwards and backwards, and an utterance alone as in a batch."""
    import torch

    from asr.config import ModelConfig
    from asr.models import build_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(), 80, 30)
        inputs = torch.randn(2, 100, 80)
    began = time.perf_counter()
    logits, lengths = model(inputs, torch.tensor([100, 60]))
    logits.square().mean().backward()
    took = time.perf_counter() - began
    if not all(bool(weight.grad.isfinite().all()) for weight in model.parameters() if weight.grad is not None):
        raise Fault("gradients are not finite: reinstall torch")
    model.eval()
    with torch.inference_mode():
        together, alone = model(inputs, torch.tensor([100, 60]))[0], model(inputs[1:, :60], torch.tensor([60]))[0]
    error = float((together[1, :int(lengths[1])] - alone[0]).abs().max())
    if not error < 1e-5:
        raise Fault(f"an utterance alone differs from the same in a batch by {error:.1e}: report it, with all that is printed here")
    return f"forwards and backwards in {1000 * took:.0f} ms; alone and in a batch within {error:.0e}"


def ctc_loss(device: str = "cpu") -> str:
    """The loss and its gradient against the plain sum over paths, in float64."""
    import torch

    from asr.ctc import ctc_loss as loss_of
    from asr.ctc.kernels.ctc_loss.naive import ctc_loss_naive

    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(12, 5, generator=generator), [1, 1, 3]
    expected, gradient = ctc_loss_naive(logits, target)
    given = logits[:, None].to(device).requires_grad_()
    loss = loss_of(given, torch.tensor([target]), torch.tensor([12]), torch.tensor([3]), reduction="sum")
    loss.backward()
    error = max(abs(float(loss.detach()) - float(expected)), float((given.grad.cpu()[:, 0] - gradient).abs().max()))
    if not error < 1e-4:
        raise Fault(f"off by {error:.1e} from the sum over all paths: report it, with all that is printed here")
    return f"loss and gradient within {error:.0e} of the sum over all paths"


def beam_search() -> str | Finding:
    """The compiled search on a made utterance; and whether what numba compiles is kept."""
    import torch

    from asr.ctc import beam_search as search
    from asr.ctc import greedy

    log_probs = torch.full((1, 6, 3), -8.0)
    for frame, token in enumerate((1, 1, 0, 1, 2, 0)):  # two of token 1 apart, and a 2
        log_probs[0, frame, token] = -0.001
    began = time.perf_counter()
    found = search(log_probs, torch.tensor([6]))[0][0].tokens
    took = time.perf_counter() - began
    if list(found) != [1, 1, 2] or list(greedy(log_probs, torch.tensor([6]))[0].tokens) != [1, 1, 2]:
        raise Fault(f"found {list(found)} where 1, 1, 2 was said: reinstall numba")
    if took > 2.0:
        return Finding("beam search", "note", f"works; compiling it took {took:.0f} s. If the next time takes as long, numba's "
                                              f"cache cannot be written: make {kernels_folder()} writable, or set NUMBA_CACHE_DIR")
    return f"compiled and kept, {1000 * took:.0f} ms"


def kernels_folder() -> str:
    """Where numba keeps what it compiles."""
    return os.environ.get("NUMBA_CACHE_DIR") or str(Path(__file__).resolve().parent / "ctc")


def several_processes() -> str:
    """What torchrun needs: the backends of torch.distributed."""
    from torch import distributed

    if not distributed.is_available() or not distributed.is_gloo_available():
        raise Fault("torch was built without gloo: training in several processes needs PyPI's wheel of torch")
    return "gloo" + (" and nccl" if distributed.is_nccl_available() else "")


def gpu(asked: str, chosen: str) -> str | Finding:
    """The device, and CTC's kernels on it against the CPU."""
    import torch

    if chosen != "cuda":
        why = "left out by --device cpu" if asked == "cpu" else f"none is visible (torch is built for CUDA {torch.version.cuda})" \
            if torch.version.cuda else "torch is built without CUDA"
        return Finding("GPU", "note", f"{why}; everything runs on the CPU")
    from asr.ctc.kernels.common import why_not

    properties = torch.cuda.get_device_properties(0)
    said = (f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.0f} GiB, compute capability "
            f"{properties.major}.{properties.minor}, CUDA {torch.version.cuda}")
    if reason := why_not(torch.device("cuda", 0)):
        return Finding("GPU", "note", f"{said}; the CTC kernels do not run: {reason}. torch's loss is taken in their place")
    return f"{said}; CTC kernels: {ctc_loss('cuda')}"


def onnx() -> str | Finding:
    """What `asr export` needs."""
    return _extra("ONNX", ("onnx", "onnxruntime"), "asr export needs it", "export")


def cluster() -> str | Finding:
    """What `asr transcribe --ray` needs."""
    return _extra("cluster", ("ray",), "only jobs on several machines need it", "cluster")


def _extra(name: str, distributions: tuple[str, ...], why: str, extra: str) -> str | Finding:
    """Packages that the toolkit does without, mostly."""
    found = []
    for distribution in distributions:
        try:
            found.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            return Finding(name, "note", f"{distribution} is not installed; {why}: pip install 'asr-crnn[{extra}]'")
    return ", ".join(found)
