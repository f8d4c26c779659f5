"""The model file: the same logits and bytes every time, and a clear error for every file that is none."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transcription.tiny import chirps, save_tiny_model, tiny_config

from asr.errors import ModelError
from asr.features import CmvnStats, FrontEnd
from asr.models import build_model
from asr.models.storage import FORMAT, load_model, save_model
from asr.text import BpeTokenizer, CharTokenizer
from asr.transcription.recognizer import pad

SENTENCES = ["the cat sat on the mat", "a dog ran over the hill", "cats and dogs ran on and on"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("whole") / "model.safetensors")


def parts(kind="char", cmvn="global"):
    config = tiny_config(cmvn)
    torch.manual_seed(3)
    tokenizer = CharTokenizer("abcd ") if kind == "char" else BpeTokenizer.train(SENTENCES, 30)
    frontend = FrontEnd(config.features)
    if cmvn == "global":
        stats = CmvnStats(frontend.dim)
        stats.add(torch.randn(100, frontend.dim) * 3 + 7)
        frontend.set_global(stats)
    return build_model(config.model, frontend.dim, tokenizer.vocab_size), frontend, config, tokenizer


def rewrite(source, target, change):
    """A copy of a model file with its metadata changed: ``change`` gets the decoded object and returns the new text."""
    with safe_open(source, framework="pt") as file:
        metadata = json.loads(file.metadata()["asr"])
    save_file(load_file(source), target, {"asr": change(metadata)})
    return target


@pytest.mark.parametrize("kind", ["char", "bpe"])
@pytest.mark.parametrize("cmvn", ["global", "speaker", "utterance", "none"])
def test_a_model_comes_back_with_the_same_logits(tmp_path, kind, cmvn):
    network, frontend, config, tokenizer = parts(kind, cmvn)
    network.train()
    features, frames = frontend(*pad(chirps(5)))
    network(features, frames)  # running statistics that are not those of the beginning
    save_model(tmp_path / "m.safetensors", network, frontend, config, tokenizer, {"seed": "3", "words": "naïve – 語"})
    model = load_model(tmp_path / "m.safetensors")
    assert not model.network.training and not model.frontend.training
    with torch.no_grad():
        expected, lengths = network.eval()(features, frames)
    got, got_lengths = model.log_probs(*pad(chirps(5)))
    assert torch.equal(got, expected.log_softmax(-1)) and torch.equal(got_lengths, lengths)
    assert model.config == config and model.notes == {"seed": "3", "words": "naïve – 語"}
    assert model.tokenizer.tokens == tokenizer.tokens
    text = "abcd cab" if kind == "char" else SENTENCES[0]
    assert model.tokenizer.encode(text) == tokenizer.encode(text)
    assert model.seconds_per_frame == pytest.approx(0.02)


def test_the_same_model_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / name, *parts(), {"seed": "1", "commit": "x", "dev_wer": "0.5"})
    save_model(tmp_path / "c", *parts(), {"seed": "2", "commit": "x", "dev_wer": "0.5"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    first, second, third = (load_model(tmp_path / name).fingerprint for name in "abc")
    assert first == second != third and len(first) == 64


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_model(path, *parts(), {})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, *parts(cmvn="none"), {})
    assert path.read_bytes() == before and [found.name for found in tmp_path.iterdir()] == ["model.safetensors"]


def test_absent(tmp_path):
    with pytest.raises(ModelError, match=r"absent.safetensors: no such model file; train one with `asr train`, or check the path"):
        load_model(tmp_path / "absent.safetensors")


def test_a_folder(tmp_path):
    with pytest.raises(ModelError, match=r"is a folder; name the model file in it \(model.safetensors\)"):
        load_model(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(whole, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole.read_bytes())
    path.chmod(0)
    with pytest.raises(ModelError, match="cannot read: Permission denied"):
        load_model(path)


@given(st.floats(0, 1, exclude_max=True))
def test_truncated_anywhere(whole, tmp_path_factory, part):
    content = whole.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    path.write_bytes(content[:int(part * len(content))])
    with pytest.raises(ModelError, match=r"not a whole safetensors file .*; copy or train it again"):
        load_model(path)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("noise") / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="model.safetensors: "):
        load_model(path)


class Bomb:
    """What a pickle from a stranger can do: run a command while it is read."""

    def __init__(self, planted):
        self.planted = planted

    def __reduce__(self):
        return os.mkdir, (str(self.planted),)


@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_a_pickle_runs_no_code(tmp_path, write):
    path, planted = tmp_path / "model.safetensors", tmp_path / "it-ran"
    with open(path, "wb") as file:
        write({"weights": Bomb(planted)}, file)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(path)
    assert not planted.exists()
    pickle.loads(pickle.dumps(Bomb(planted)))  # the bomb is live
    assert planted.exists()


def test_another_programs_safetensors(tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "foreign.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"holds 'no model of this toolkit', expected 'asr-crnn 2'; use a model.safetensors that"):
        load_model(tmp_path / "foreign.safetensors")


def test_a_model_of_another_task(whole, tmp_path):
    path = rewrite(whole, tmp_path / "m", lambda metadata: json.dumps({**metadata, "task": "forecasting"}))
    with pytest.raises(ModelError, match=r"was trained for 'forecasting', and this needs 'speech': a model that `asr train` wrote"):
        load_model(path)


def test_another_version_of_the_format(whole, tmp_path):
    path = rewrite(whole, tmp_path / "m", lambda metadata: json.dumps({**metadata, "format": "asr-crnn 99"}))
    with pytest.raises(ModelError, match=rf"holds 'asr-crnn 99', expected '{FORMAT}'; use .* with this version of the toolkit"):
        load_model(path)


@pytest.mark.parametrize("text", ["{", "", "not json", '{"format": "asr-crnn 1"', "[" * 100_000])
def test_broken_metadata(whole, tmp_path, text):
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(rewrite(whole, tmp_path / "m", lambda _: text))


@pytest.mark.parametrize("text", ["[]", "3", "null", '"asr-crnn 1"', '{"format": null}', '{"format": ["asr-crnn 1"]}'])
def test_metadata_that_is_no_model(whole, tmp_path, text):
    with pytest.raises(ModelError, match=rf"expected '{FORMAT}'; use a model.safetensors that `asr train` wrote"):
        load_model(rewrite(whole, tmp_path / "m", lambda _: text))


@pytest.mark.parametrize("key", ["config", "tokenizer", "notes"])
@pytest.mark.parametrize("value", [None, 3, "x", [], [1], {"seed": -1, "kind": "bpe", "model": "%%"}, {"a": {"b": 1}}])
def test_metadata_of_another_shape(whole, tmp_path, key, value):
    path = rewrite(whole, tmp_path / "m", lambda metadata: json.dumps({**metadata, key: value}))
    with pytest.raises(ModelError, match=r"(?s)weights and metadata do not fit together \(.+\); train it again"):
        load_model(path)


@pytest.mark.parametrize("key", ["config", "tokenizer", "notes"])
def test_metadata_with_a_hole(whole, tmp_path, key):
    def without(metadata):
        del metadata[key]
        return json.dumps(metadata)

    path = rewrite(whole, tmp_path / "m", without)
    with pytest.raises(ModelError, match=rf"do not fit together \(.*'{key}'.*\); train it again"):
        load_model(path)


def test_weights_of_another_network(whole, tmp_path):
    def widen(metadata):
        metadata["config"]["model"]["rnn"]["hidden"] = 9
        return json.dumps(metadata)

    with pytest.raises(ModelError, match=r"(?s)do not fit together \(.*size mismatch for encoder.context.rnn.*\); train it again"):
        load_model(rewrite(whole, tmp_path / "m", widen))


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_missing_and_weights_too_many(whole, tmp_path, change):
    with safe_open(whole, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(whole)
    if change == "missing":
        del tensors["network.output.bias"]
    else:
        tensors["network.more"] = torch.zeros(2)
    save_file(tensors, tmp_path / "m", metadata)
    with pytest.raises(ModelError, match=r"(?s)do not fit together .*(output\.bias|more)"):
        load_model(tmp_path / "m")
