"""`asr doctor`: every check passes here, and finds what is planted; a doctor that cannot say `fault` is no doctor."""

from __future__ import annotations

import errno
import importlib.metadata
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.command import here, process
from torch import nn

import asr.ctc
import asr.models
from asr import audio, doctor
from asr.errors import UsageError


def test_the_command_tries_everything_and_ends_with_0(tmp_path):
    done = process("doctor", "--device", "cpu", "--folder", tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    rows = [(line[:5].strip(), line[7:25].strip(), line[27:]) for line in done.stdout.splitlines()]
    assert [name for _, name, _ in rows] == [
        "toolkit", "packages", "processor", "disk", "encoding", "audio: wav", "audio: flac", "audio: ogg", "audio: opus",
        "audio: mp3", "resampling", "features", "network", "CTC loss", "beam search", "several processes", "GPU", "ONNX", "cluster"]
    states = {name: state for state, name, _ in rows}
    assert set(states.values()) <= {"ok", "note"}
    assert states["GPU"] == "note" and states["packages"] == states["audio: mp3"] == states["features"] == "ok"
    assert str(tmp_path) in {name: what for _, name, what in rows}["disk"]


def test_a_fault_is_named_and_the_command_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr(audio, "read", lambda path: (np.zeros(8000, np.float32), 16_000))
    assert here(monkeypatch, "doctor", "--device", "cpu") == 1
    printed = capsys.readouterr()
    assert "fault  audio: mp3          wrote 16000 samples at 16000 Hz, read 8000 at 16000 Hz" in printed.out
    assert "asr: error: 5 of these do not work here" in printed.err
    assert "ok     features" in printed.out  # it went on


@pytest.mark.parametrize("arguments", [("--folder", "no/such/folder"), ("--device", "tpu")])
def test_wrong_use(monkeypatch, capsys, arguments):
    assert here(monkeypatch, "doctor", *arguments) == 2
    assert arguments[1] in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_absent_is_wrong_use():
    with pytest.raises(UsageError, match="no CUDA device"):
        next(doctor.examine("cuda"))


def broken_import():
    raise ImportError("libfoo.so: cannot open shared object file")


def test_whatever_a_check_meets_is_a_finding():
    assert doctor.run("audio", broken_import) == doctor.Finding("audio", "fault",
                                                                "ImportError: libfoo.so: cannot open shared object file")


# ------------------------------------------------------------------------------------------ the packages, the machine


def test_packages_that_are_missing_or_do_not_fit_are_named(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [
        "numpy<1", "no-such-package>=2", "torch>=2", "ray>=2; extra == 'cluster'", "also-absent; python_version < '3'"])
    found = doctor.run("packages", doctor.packages)
    assert found.state == "fault"
    assert f"numpy {np.__version__} does not fit <1; no-such-package is missing (>=2): ./run.sh setup" in found.what
    assert "torch" not in found.what and "ray" not in found.what and "also-absent" not in found.what


def test_a_local_version_fits_its_release(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["torch==2.11.0"])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.11.0+cu130")
    assert doctor.packages() == "1 of 1, in versions that fit"


def test_a_toolkit_on_the_path_alone_is_a_note(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert doctor.packages().state == "note"


@pytest.mark.parametrize(("busy", "threads", "state"), [(0.0, 2, "ok"), (1.5, 2, "note"), (1.5, 1, "ok")])
def test_threads_beside_busy_processes(monkeypatch, busy, threads, state):
    monkeypatch.setattr("asr.system.busy_cores", lambda seconds: busy)
    monkeypatch.setattr("asr.system.usable_cores", lambda: 2)
    monkeypatch.setattr(doctor, "choose_threads", lambda: threads)
    found = doctor.run("processor", doctor.processor)
    assert found.state == state and ("OMP_NUM_THREADS=1" in found.what) == (state == "note")


def test_a_disk_that_is_nearly_full(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(10**12, 10**12 - 10**8, 10**8))
    found = doctor.disk(tmp_path)
    assert found.state == "note" and f"{tmp_path} has 0.1 GB left" in found.what


def test_a_disk_that_takes_nothing(monkeypatch, tmp_path):
    def full(dir):
        raise OSError(errno.ENOSPC, "No space left on device", str(dir))

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", full)
    found = doctor.run("disk", lambda: doctor.disk(tmp_path))
    assert found.state == "fault" and "No space left on device" in found.what and str(tmp_path) in found.what


def test_file_names_that_are_not_utf_8(monkeypatch):
    monkeypatch.setattr(doctor.sys, "getfilesystemencoding", lambda: "ascii")
    found = doctor.encoding()
    assert found.state == "note" and "LC_ALL=C.UTF-8" in found.what


# ----------------------------------------------------------------------------------------- audio, features, networks


def test_a_libsndfile_without_a_format(monkeypatch):
    def write(*args, **kwargs):
        raise ValueError("Unknown format: 'MP3'")

    import soundfile
    monkeypatch.setattr(soundfile, "write", write)
    found = doctor.run("audio: mp3", lambda: doctor.codec("MP3", "mp3"))
    assert found.state == "fault" and "cannot write it (Unknown format: 'MP3')" in found.what and "wheel of soundfile" in found.what


@pytest.mark.parametrize(("kind", "ending"), [("FLAC", "flac"), ("MP3", "mp3")])
def test_another_tone(monkeypatch, kind, ending):
    monkeypatch.setattr(audio, "read", lambda path: (doctor.tone(hertz=550.0), 16_000))
    found = doctor.run("audio", lambda: doctor.codec(kind, ending))
    assert found.state == "fault" and "a tone comes back different" in found.what


def test_another_resampling(monkeypatch):
    monkeypatch.setattr(audio, "resampler", lambda rate, new_rate: lambda samples: samples[:16_000])
    assert "off by up to" in doctor.run("resampling", doctor.resampling).what


class Unlike(nn.Module):
    """Features that are off Kaldi's."""

    def __init__(self, **settings):
        super().__init__()

    def forward(self, waveforms, lengths):
        return torch.zeros(1, 98, 80), torch.tensor([98])


def test_other_features(monkeypatch):
    import asr.features
    monkeypatch.setattr(asr.features, "Fbank", Unlike)
    found = doctor.run("features", doctor.features)
    assert found.state == "fault" and "98 frames for Kaldi's 98, off by up to" in found.what


class Unmasked(nn.Module):
    """A network whose answer depends on what stands beside."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(80, 30))

    def forward(self, inputs, lengths):
        return (inputs @ self.weight) + inputs.mean(), lengths


class NotFinite(Unmasked):
    def forward(self, inputs, lengths):
        return (inputs @ self.weight) * float("nan"), lengths


@pytest.mark.parametrize(("network", "said"), [(Unmasked, "alone differs"), (NotFinite, "gradients are not finite")])
def test_a_network_that_is_wrong(monkeypatch, network, said):
    monkeypatch.setattr(asr.models, "build_model", lambda config, bins, tokens: network())
    found = doctor.run("network", doctor.network)
    assert found.state == "fault" and said in found.what


def test_the_network_leaves_the_generator_as_it_was():
    before = torch.random.get_rng_state()
    doctor.network()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("wrong", [lambda logits: logits.sum(), lambda logits: logits.square().sum()])
def test_a_loss_that_is_wrong(monkeypatch, wrong):
    monkeypatch.setattr(asr.ctc, "ctc_loss", lambda logits, *args, **kwargs: wrong(logits))
    assert "from the sum over all paths" in doctor.run("CTC loss", doctor.ctc_loss).what


def test_a_search_that_is_wrong_and_one_that_must_be_compiled(monkeypatch):
    honest = asr.ctc.beam_search
    hypothesis = namedtuple("hypothesis", "tokens")
    monkeypatch.setattr(asr.ctc, "beam_search", lambda *args: [[hypothesis([1, 2])]])
    assert "found [1, 2] where 1, 1, 2 was said" in doctor.run("beam search", doctor.beam_search).what
    monkeypatch.setattr(asr.ctc, "beam_search", honest)
    times = iter([0.0, 40.0])
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(times))
    found = doctor.run("beam search", doctor.beam_search)
    assert found.state == "note" and "compiling it took 40 s" in found.what and doctor.kernels_folder() in found.what


def test_where_numba_keeps_what_it_compiles(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert Path(doctor.kernels_folder()) == Path(asr.ctc.__file__).parent
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/elsewhere")
    assert doctor.kernels_folder() == "/elsewhere"


def test_a_torch_without_gloo(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    assert doctor.run("several processes", doctor.several_processes).state == "fault"


@pytest.mark.parametrize(("asked", "cuda", "said"), [
    ("cpu", "13.0", "left out by --device cpu"), ("auto", "13.0", "none is visible"), ("auto", None, "built without CUDA")])
def test_no_gpu_is_a_note(monkeypatch, asked, cuda, said):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = doctor.gpu(asked, "cpu")
    assert found.state == "note" and said in found.what


def test_a_gpu_whose_kernels_cannot_run(monkeypatch):
    properties = namedtuple("properties", "name total_memory major minor")("Tesla P100", 16 * 2**30, 6, 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(asr.ctc.kernels.common, "why_not", lambda device: "too old")
    found = doctor.gpu("auto", "cuda")
    assert found.state == "note" and "2 x Tesla P100, 16 GiB" in found.what and "too old" in found.what


@pytest.mark.parametrize(("check", "missing", "said"), [
    (doctor.onnx, "onnxruntime", "onnxruntime is not installed; asr export needs it: pip install 'asr-crnn[export]'"),
    (doctor.cluster, "ray", "ray is not installed; only jobs on several machines need it: pip install 'asr-crnn[cluster]'")])
def test_an_extra_that_is_absent_is_a_note(monkeypatch, check, missing, said):
    def version(name):
        if name == missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = check()
    assert found.state == "note" and found.what == said
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    assert check().endswith("1.0")
