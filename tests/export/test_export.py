"""ONNX files against the recognisers they were made of: any network, any front-end, through the command and without torch."""

from __future__ import annotations

import builtins
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cli.command import here, process
from hypothesis import given, settings
from hypothesis import strategies as st
from models.test_one_utterance_one_answer import BINS, configs, network
from transcription.tiny import RATE, chirps, save_tiny_model, tiny_config

import asr.export.export as export
from asr import audio
from asr.config import AttentionConfig, ConvConfig, FeatureConfig, ModelConfig, RnnConfig, parse_config
from asr.errors import AsrError, ModelError, UsageError
from asr.export import export_onnx
from asr.export.blocks import apply
from asr.export.frontend import waveforms_to_features
from asr.export.graph import FLOAT, INT64, IR_VERSION, OPSET, Graph, rounded
from asr.features import CmvnStats, FrontEnd
from asr.models import build_model
from asr.models.fusion import FUSIONS
from asr.models.int8 import quantized_rows
from asr.models.storage import SpeechModel, load_model, save_model
from asr.text import CharTokenizer
from asr.transcription import Recognizer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def saved(path: Path, sections: dict) -> Path:
    """A model file of a small untrained recogniser, its configuration changed by ``sections``."""
    config = parse_config({"features": {"sample_rate": RATE, "num_mel_bins": BINS, "cmvn": "none", **sections.get("features", {})},
                           "model": sections.get("model", {"conv": {"layers": []}, "rnn": {"hidden": 6, "layers": 1}})})
    frontend = FrontEnd(config.features)
    if config.features.cmvn == "global":
        stats = CmvnStats(frontend.dim)
        stats.add(np.random.default_rng(0).normal(8, 3, (50, frontend.dim)))
        frontend.set_global(stats)
    torch.manual_seed(0)
    save_model(path, build_model(config.model, frontend.dim, 6), frontend, config, CharTokenizer("abcde"), {})
    return path


def session_of(model: SpeechModel, input: str, int8: bool = False) -> onnxruntime.InferenceSession:
    proto = export.build_proto(model, input, int8)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def model_with(config: ModelConfig, features: dict | None = None) -> SpeechModel:
    whole = parse_config({"features": {"sample_rate": RATE, "num_mel_bins": BINS, "cmvn": "none", **(features or {})}})
    return SpeechModel(network(config), FrontEnd(whole.features).eval(), whole, CharTokenizer("abcde"), {}, "made", "0" * 64)


# ------------------------------------------------------------------------------------------------- networks


@settings(max_examples=40)
@given(config=st.one_of(configs("cascade"), configs("parallel")), int8=st.booleans())
def test_any_network_is_the_same_in_the_runtime(config, int8):
    model = model_with(config)
    weighed = export.with_rounded_weights(model) if int8 else model
    difference, alone, agreement = export.compare(session_of(weighed, "features", int8), weighed, model, "features")
    assert difference <= 1e-4 and alone <= 1e-4
    assert int8 or agreement > 0.99  # a tie of two tokens may fall the other way


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("context", [{"rnn": RnnConfig(hidden=5, layers=2)}, {"rnn": RnnConfig(cell="lstm", hidden=5, layers=1)},
                                     {"rnn": RnnConfig(hidden=4, layers=1), "attention": AttentionConfig(
                                         kind="transformer", layers=1, dim=8, heads=2, feedforward=8)},
                                     {"rnn": RnnConfig(layers=0), "attention": AttentionConfig(
                                         kind="conformer", layers=1, dim=8, heads=2, feedforward=8)}],
                         ids=["gru", "lstm", "gru, then transformer", "conformer"])
def test_every_fusion_with_every_context(fusion, context):
    model = model_with(ModelConfig(architecture="parallel", fusion={"kind": fusion, "dim": 8}, **context))
    difference, alone, _ = export.compare(session_of(model, "features"), model, model, "features")
    assert difference <= 1e-4 and alone <= 1e-4


def test_a_mutant_without_masks_is_found(monkeypatch, tmp_path):
    """What the comparison is there for: with every frame called real, nothing is written."""
    path = save_tiny_model(tmp_path / "model.safetensors")
    monkeypatch.setattr(Graph, "silence", lambda graph, frames, lengths: frames)
    honest = Graph.mask
    monkeypatch.setattr(Graph, "mask", lambda graph, lengths, size: honest(graph, graph.add("Max", lengths, size), size))
    with pytest.raises(AsrError, match="not written: onnxruntime .* is off the recogniser by"):
        export_onnx(path, tmp_path / "model.onnx", "features")
    assert not (tmp_path / "model.onnx").exists()


def test_a_gate_in_the_wrong_place_is_found(monkeypatch, tmp_path):
    path = save_tiny_model(tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").write_text("what was there before")
    monkeypatch.setattr("asr.export.blocks.GRU_ORDER", (0, 1, 2))
    with pytest.raises(AsrError, match="not written"):
        export_onnx(path, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir() if "onnx" in file.name] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "what was there before"


@pytest.mark.parametrize("input", ["waveforms", "features"])
def test_what_is_no_number_is_found(input, monkeypatch, tmp_path):
    path = saved(tmp_path / "model.safetensors", {})
    monkeypatch.setattr(export, "apply", lambda graph, module, value: graph.add("Mul", apply(graph, module, value),
                                                                               graph.number(np.nan)))
    with pytest.raises(AsrError, match="not written"):
        export_onnx(path, tmp_path / "model.onnx", input)


# ------------------------------------------------------------------------------------------------- front-ends


@pytest.mark.parametrize("features", [
    {"cmvn": "none"}, {"cmvn": "utterance"}, {"cmvn": "utterance", "cmvn_variance": False}, {"cmvn": "speaker"}, {"cmvn": "global"},
    {"kind": "mfcc", "num_ceps": 9}, {"kind": "mfcc", "num_ceps": 9, "cepstral_lifter": 0.0}, {"window": "rectangular"},
    {"window": "hamming", "preemphasis": 0.0}, {"remove_dc_offset": False}, {"low_freq": 100.0, "high_freq": -200.0},
    {"frame_length_ms": 20.0, "frame_shift_ms": 7.0}, {"sample_rate": 16_000, "num_mel_bins": 40}],
    ids=lambda features: " ".join(f"{key}={value}" for key, value in features.items()))
def test_every_front_end(features, tmp_path):
    made = export_onnx(saved(tmp_path / "model.safetensors", {"features": features}), tmp_path / "model.onnx")
    assert made.difference < 1e-3 and made.alone < 1e-3 and made.agreement > 0.99


@pytest.mark.parametrize("features", [{}, {"kind": "mfcc", "num_ceps": 9}, {"window": "rectangular", "preemphasis": 0.0}],
                         ids=["fbank", "mfcc", "rectangular"])
def test_an_offset_changes_nothing_even_near_silence(features):
    """Features of the runtime, of silence and of noise in the last of 16 bits: the front-end's without the offset."""
    frontend = FrontEnd(FeatureConfig(**{"sample_rate": RATE, "num_mel_bins": BINS, "cmvn": "none", **features}))
    noise = np.round(np.random.default_rng(0).normal(0, 1, 2 * RATE)) / 32768
    sounds = np.stack([np.zeros(2 * RATE), noise, np.where(np.arange(2 * RATE) < RATE, noise, noise + 0.25)]).astype(np.float32)
    lengths = np.array([RATE, 2 * RATE, RATE])
    expected, counts = frontend.extract(torch.from_numpy(sounds), torch.from_numpy(lengths))
    graph = Graph()
    values = waveforms_to_features(graph, frontend, "waveforms", "lengths")
    made = onnx.helper.make_graph(
        graph.nodes, "features", [onnx.helper.make_tensor_value_info("waveforms", FLOAT, ["batch", "samples"]),
                                  onnx.helper.make_tensor_value_info("lengths", INT64, ["batch"])],
        [onnx.helper.make_tensor_value_info(values[0], FLOAT, None)], graph.constants)
    session = onnxruntime.InferenceSession(onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION).SerializeToString())
    for offset in (0.0, 0.125, -0.5):
        found, = session.run(None, {"waveforms": sounds + np.float32(offset), "lengths": lengths})
        for row, count in enumerate(counts.tolist()):
            np.testing.assert_allclose(found[row, :count], expected[row, :count], atol=5e-4, rtol=0)


@pytest.mark.parametrize("cmvn", ["none", "utterance"])
def test_a_front_end_whose_rounding_grows_with_the_offset_is_found(cmvn, monkeypatch, tmp_path):
    """Samples off by 1e-7 of themselves, which is not seen in ordinary sound."""
    path = saved(tmp_path / "model.safetensors", {"features": {"cmvn": cmvn}})

    def rounded_worse(graph, frontend, waveforms, lengths):
        error = graph.add("Mul", graph.add("RandomNormalLike", waveforms, seed=0.0), graph.number(1e-7))
        return waveforms_to_features(graph, frontend, graph.add("Add", waveforms, graph.add("Mul", waveforms, error)), lengths)

    monkeypatch.setattr(export, "waveforms_to_features", rounded_worse)
    with pytest.raises(AsrError, match="not written: onnxruntime .* is off the recogniser by"):
        export_onnx(path, tmp_path / "model.onnx")
    monkeypatch.setattr(export, "OFFSET", 0.0)
    assert export_onnx(path, tmp_path / "model.onnx").difference < 1e-4


@settings(max_examples=20)
@given(around=st.integers(0, 6), offset=st.integers(-2, 2), longer=st.integers(0, 500))
def test_frames_are_counted_as_the_front_end_counts_them(around, offset, longer):
    model = model_with(ModelConfig(conv=ConvConfig(layers=()), rnn=RnnConfig(hidden=3, layers=1)))
    extractor = model.frontend.extractor
    samples = max(0, extractor.window_size + around * extractor.shift + offset)
    found = session_of(model, "waveforms").run(["frames"], {
        "waveforms": np.zeros((2, samples + longer), np.float32), "lengths": np.array([samples, min(3, samples)], np.int64)})[0]
    assert found.tolist() == [extractor.num_frames(samples), 0]


@pytest.mark.parametrize("features", [{"kind": "spectrogram"}, {"snip_edges": False}])
def test_what_cannot_be_a_graph_of_waveforms_can_be_one_of_features(features, tmp_path):
    path = saved(tmp_path / "model.safetensors", {"features": features})
    with pytest.raises(UsageError, match="choose --input features"):
        export_onnx(path, tmp_path / "model.onnx")
    assert export_onnx(path, tmp_path / "model.onnx", "features").difference < 1e-4


# ------------------------------------------------------------------------------------------------- eight bits


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_rounding_is_half_a_step_of_the_row_at_most(rows):
    weight = torch.tensor(rows)
    whole, scales = quantized_rows(weight)
    assert whole.dtype == torch.int8 and int(whole.abs().max()) <= 127
    assert bool(((rounded(weight) - weight).abs() <= 0.501 * scales + 1e-12).all())


def test_eight_bits_make_the_file_small(tmp_path):
    path = saved(tmp_path / "model.safetensors", {"model": {"rnn": {"hidden": 96}}})
    whole, small = (export_onnx(path, tmp_path / f"{int8}.onnx", "features", int8) for int8 in (False, True))
    assert small.megabytes < 0.35 * whole.megabytes
    assert small.difference < 2e-4 and 0.8 < small.agreement <= whole.agreement == 1.0


# ------------------------------------------------------------------------------------------------- the command


def test_the_command_and_what_users_run_on_its_file(tmp_path):
    """The page's program, word for word, in a Python that cannot import torch, writes what the recogniser writes."""
    path = save_tiny_model(tmp_path / "model.safetensors", cmvn="global")
    done = process("export", "--model", path, "--out", tmp_path / "model.onnx")
    assert done.returncode == 0, done.stderr
    assert re.search(r"model.onnx: 0\.2 MB; log-probabilities within \de-0\d of the recogniser's", done.stdout)
    assert "at 100.00% of frames" in done.stdout
    for number, samples in enumerate(chirps(3, seed=4)):
        audio.write(tmp_path / f"{number}.wav", samples, RATE)
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S).group(1)
    blocked = "import sys\nsys.modules['torch'] = sys.modules['asr'] = None\n"
    names = [f"{number}.wav" for number in range(3)]
    ran = subprocess.run([sys.executable, "-c", blocked + program, "model.onnx", *names], cwd=tmp_path, capture_output=True,
                         text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    recognizer = Recognizer.load(path)
    said = [recognizer.transcribe(str(tmp_path / name)).text for name in names]
    assert ran.stdout.splitlines() == [f"{name}: {text}" for name, text in zip(names, said)] and any(said)


def test_the_metadata_says_what_a_reader_needs(tmp_path):
    path = save_tiny_model(tmp_path / "model.safetensors", kind="bpe")
    export_onnx(path, tmp_path / "model.onnx", "features", int8=True)
    model = load_model(path)
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    said = json.loads(properties["asr"])
    assert said["format"] == "asr-crnn-onnx 1" and said["input"] == "features" and said["int8"] is True
    assert said["sample_rate"] == RATE and said["seconds_per_frame"] == pytest.approx(model.seconds_per_frame)
    assert said["tokens"] == model.tokenizer.tokens and said["tokens"][0] == "<blank>"
    assert said["config"] == tiny_config().model_dump(mode="json") and said["model"] == model.fingerprint


def test_the_same_model_makes_the_same_bytes(tmp_path):
    path = save_tiny_model(tmp_path / "model.safetensors")
    for name in ("a.onnx", "b.onnx"):
        export_onnx(path, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


# ------------------------------------------------------------------------------------------------- bad input


def test_wrong_use(monkeypatch, capsys, tmp_path):
    path = save_tiny_model(tmp_path / "model.safetensors")
    for arguments, said in ((("--model", tmp_path / "no.safetensors", "--out", "x.onnx"), "no such model file"),
                            (("--model", path, "--out", tmp_path), "is a folder; name the file"),
                            (("--model", path, "--out", tmp_path / "m.onnx", "--input", "audio"), "choose waveforms or features")):
        assert here(monkeypatch, "export", *arguments) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_the_model_is_not_written_over(monkeypatch, capsys, tmp_path, link):
    path = out = save_tiny_model(tmp_path / "model.safetensors")
    if link:
        out = tmp_path / "model.onnx"
        getattr(out, link)(path)
    before = path.read_bytes()
    monkeypatch.setattr(export, "load_model", lambda path: pytest.fail("work has begun"))
    assert here(monkeypatch, "export", "--model", path, "--out", out) == 2
    assert "is the model itself" in capsys.readouterr().err and path.read_bytes() == before


def test_a_truncated_model_is_an_error(monkeypatch, capsys, tmp_path):
    path = save_tiny_model(tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    assert here(monkeypatch, "export", "--model", path, "--out", tmp_path / "m.onnx") == 1
    assert "not a whole safetensors file" in capsys.readouterr().err and not (tmp_path / "m.onnx").exists()
    with pytest.raises(ModelError):
        export_onnx(path, tmp_path / "m.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_onnx_the_extra_is_named(monkeypatch, tmp_path, missing):
    path = save_tiny_model(tmp_path / "model.safetensors")
    honest = builtins.__import__

    def no(name, *args, **kwargs):
        if name == missing:
            raise ImportError(f"No module named {name!r}", name=name)
        return honest(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no)
    with pytest.raises(UsageError, match=rf"{missing} is not installed: pip install 'asr-crnn\[export\]'"):
        export_onnx(path, tmp_path / "m.onnx")
