"""`asr export`: a recogniser as one ONNX file, checked against the recogniser before it gets its name."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr.errors import AsrError, UsageError
from asr.export.blocks import apply, encoder
from asr.export.frontend import normalize, waveforms_to_features
from asr.export.graph import FLOAT, INT64, IR_VERSION, OPSET, Graph, rounded
from asr.models.storage import SpeechModel, load_model
from asr.system import atomic_open, choose_threads

FORMAT = "asr-crnn-onnx 1"
INPUTS = ("waveforms", "features")
TOLERANCE = {"waveforms": 2e-3, "features": 2e-4}
"""How far log-probabilities may be off the recogniser's; of waveforms more, for the logarithm of what is nearly silent magnifies
the last place of its Fourier transform."""
OFFSET = 0.25  # of a sound in the comparison


@dataclass(frozen=True)
class Exported:
    """What `export_onnx` wrote, and how it compares. Differences are the largest of any log-probability."""

    path: str
    megabytes: float
    difference: float
    """From the recogniser (in int8, from one with its weights rounded likewise)."""
    alone: float
    """Between an utterance alone and in a batch, in the runtime."""
    agreement: float
    """Share of frames whose best token is the recogniser's as it was trained; less than 1 in int8."""


def export_onnx(model: str | Path, out: str | Path, input: str = "waveforms", int8: bool = False) -> Exported:
    """Write the recogniser ``model`` as ONNX (opset 17), and compare what onnxruntime makes of it with what the recogniser does.

    Inputs of the graph: ``waveforms`` (B, N) float32 in [-1, 1] at the model's sample rate, ``lengths`` (B,) int64 in samples; or,
    with ``input`` features, ``features`` (B, T, F) as `asr features` writes them, and their frames. Outputs: ``log_probs``
    (B, T', V) float32, natural logarithms, token 0 the blank; ``frames`` (B,) int64. Every size is dynamic, and an utterance has
    the same log-probabilities alone and in any batch. ``int8``: the weights of linear and recurrent layers are kept in eight
    bits, a scale for each row; computed is in float32. Where the model normalises by speaker, the statistics are those of the
    utterance.

    The metadata ``asr`` is a JSON object: ``format``, ``input``, ``int8``, ``sample_rate``, ``seconds_per_frame``, ``tokens`` and
    ``surfaces`` by id, ``tokenizer``, ``config``, ``notes`` and ``model`` (SHA-256 of the model file).

    Raises UsageError where ``out`` is a folder or the model itself, where onnx or onnxruntime is not installed, and for an input or
    a part of a network that cannot be written; ModelError for a model file that cannot be used; AsrError, and writes nothing, where
    the comparison fails.
    """
    if input not in INPUTS:
        raise UsageError(f"--input {input}: choose waveforms or features")
    if Path(out).is_dir():
        raise UsageError(f"--out {out}: is a folder; name the file, as in model.onnx")
    if Path(out).exists() and Path(model).exists() and Path(out).samefile(model):
        raise UsageError(f"--out {out}: is the model itself, which would be lost; name another file, as in model.onnx")
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'asr-crnn[export]'") from None
    trained = load_model(model)
    weighed = with_rounded_weights(trained) if int8 else trained
    proto = build_proto(weighed, input, int8)
    onnx.checker.check_model(proto, full_check=True)
    content = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = choose_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    difference, alone, agreement = compare(session, weighed, trained, input)
    if not (difference <= TOLERANCE[input] and alone <= TOLERANCE[input]):
        raise AsrError(f"{out}: not written: onnxruntime {onnxruntime.__version__} is off the recogniser by {difference:.1e}, and "
                       f"an utterance alone off the same in a batch by {alone:.1e}, where {TOLERANCE[input]:.0e} is allowed; "
                       "report it with the configuration of the model")
    with atomic_open(out, binary=True) as file:
        file.write(content)
    return Exported(str(out), len(content) / 1e6, difference, alone, agreement)


def build_proto(model: SpeechModel, input: str, int8: bool) -> Any:
    """The graph of a recogniser as an onnx.ModelProto. Raises UsageError for a part that cannot be written."""
    from onnx import helper

    graph, frontend, network = Graph(int8), model.frontend, model.network
    if input == "waveforms":
        features, frames = waveforms_to_features(graph, frontend, "waveforms", "lengths")
        given = helper.make_tensor_value_info("waveforms", FLOAT, ["batch", "samples"])
    else:
        features, frames = "features", "lengths"
        given = helper.make_tensor_value_info("features", FLOAT, ["batch", "feature_frames", frontend.dim])
    encoded, lengths = encoder(graph, network.encoder, normalize(graph, frontend, features, frames), frames)
    logits = graph.silence(apply(graph, network.output, encoded), lengths)
    longest = graph.longest(lengths)
    logits = graph.slice(logits, graph.ints(0), longest, 1)
    for value, name in ((graph.add("LogSoftmax", logits, axis=-1), "log_probs"), (lengths, "frames")):
        graph.nodes.append(helper.make_node("Identity", [value], [name], name=name))
    made = helper.make_graph(
        graph.nodes, "asr", [given, helper.make_tensor_value_info("lengths", INT64, ["batch"])],
        [helper.make_tensor_value_info("log_probs", FLOAT, ["batch", "output_frames", network.vocab_size]),
         helper.make_tensor_value_info("frames", INT64, ["batch"])], graph.constants)
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="asr-crnn")
    helper.set_model_props(proto, {"asr": json.dumps({
        "format": FORMAT, "input": input, "int8": int8, "sample_rate": frontend.sample_rate,
        "seconds_per_frame": model.seconds_per_frame, "tokens": model.tokenizer.tokens,
        "surfaces": model.tokenizer.surfaces, "tokenizer": model.tokenizer.state(),
        "config": model.config.model_dump(mode="json"), "notes": model.notes, "model": model.fingerprint}, ensure_ascii=False)})
    return proto


def with_rounded_weights(model: SpeechModel) -> SpeechModel:
    """The recogniser with the matrices of its linear and recurrent layers as they are after a stay in eight bits."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, (nn.Linear, nn.RNNBase, nn.MultiheadAttention)):
                for name, weight in layer.named_parameters(recurse=False):
                    if "weight" in name:
                        weight.copy_(rounded(weight))
    return replace(model, network=network)


def compare(session: Any, weighed: SpeechModel, trained: SpeechModel, input: str) -> tuple[float, float, float]:
    """(off the recogniser, an utterance alone off itself in a batch, share of frames with the trained one's best token).

    On a batch of made sounds: some seconds, one second, and one too short for a frame, padded with sound that is no one's.
    Where the front-end takes off the mean of each frame, sound and then silence with an offset too, which changes nothing.
    """
    rate = weighed.frontend.sample_rate
    random = np.random.default_rng(0)
    lengths = torch.tensor([int(seconds * rate) for seconds in (3.1, 1.0, 0.004, 0.35)])
    sound = random.normal(0, 0.05, (len(lengths), int(lengths.max()) + rate // 7))
    sound *= 1 + np.sin(np.arange(sound.shape[1]) / rate * 2 * np.pi * 4)  # syllables
    inputs = torch.from_numpy(sound.astype(np.float32))
    with torch.inference_mode():
        features, frames = weighed.extract(inputs, lengths)
        normalized = weighed.frontend.normalize(features, frames)
        expected, counts = weighed.log_probs_of_features(normalized, frames)
        original, _ = trained.log_probs_of_features(normalized, frames)
    if input == "features":
        inputs, lengths = features, frames

    def run(rows: torch.Tensor, sizes: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        return session.run(["log_probs", "frames"], {input: rows.numpy(), "lengths": sizes.numpy()})

    found, found_counts = run(inputs, lengths)
    if found_counts.tolist() != counts.tolist():
        raise AsrError(f"the graph makes {found_counts.tolist()} frames where the recogniser makes {counts.tolist()}; report it "
                       "with the configuration of the model")
    off, alone, same = [0.0], [0.0], 0.0
    for row, count in enumerate(counts.tolist()):
        by_itself, _ = run(inputs[row:row + 1, :max(int(lengths[row]), 1)], lengths[row:row + 1])
        off.append(np.abs(found[row, :count] - expected[row, :count].numpy()).max(initial=0))
        alone.append(np.abs(found[row, :count] - by_itself[0, :count]).max(initial=0))
        same += float((found[row, :count].argmax(-1) == original[row, :count].numpy().argmax(-1)).sum())
    if input == "waveforms" and weighed.frontend.config.remove_dc_offset:
        # In steps of 16 bits, which an offset leaves exact in float32.
        sound_then_silence = torch.from_numpy(np.round(sound[:1, :rate // 2] * 32768) / 32768).float()
        sound_then_silence[:, rate // 4:] = 0
        size = torch.tensor([rate // 2])
        expected, made = weighed.log_probs(sound_then_silence, size)
        found, _ = run(sound_then_silence + OFFSET, size)
        off.append(np.abs(found[0, :int(made)] - expected[0, :int(made)].numpy()).max(initial=0))
    return float(np.max(off)), float(np.max(alone)), same / max(1, int(counts.sum()))  # of a NaN, a NaN
