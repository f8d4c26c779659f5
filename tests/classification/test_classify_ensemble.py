"""Classifiers that decide together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from classification.made import SERIES, SMALL, TEXT, TIME, make_series, make_texts, run, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.classification import ensemble
from asr.classification.dataset import ItemExample, collate
from asr.classification.ensemble import in_batches, load_ensemble
from asr.classification.evaluation import evaluate, predict
from asr.classification.model import load_classifier
from asr.classification.text import TextReader
from asr.errors import DataError, ModelError, UsageError

# Two ways to read a text: one takes punctuation away first, so that of "?!" no word is left; for the other it is a word.
PLAIN = [*TEXT, "inputs.0.text.normalizer=basic"]
WORDS = ["a", "fine", "dull", "film", "never"]
BLANKS = ["inputs=[{kind: text, text: {dim: 12, words: blanks}}]", *TIME, *SMALL]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three models of texts that read them in two ways, and one of series."""
    folder = tmp_path_factory.mktemp("ensemble")
    table = make_texts(folder / "text")
    return {"table": table, "plain": run(table, folder / "plain", *PLAIN),
            "blanks": run(table, folder / "blanks", *BLANKS, "seed=2"), "third": run(table, folder / "third", *PLAIN, "seed=3"),
            "series": run(make_series(folder / "series"), folder / "series/exp", *SERIES)}


def chances_of(model: Path, texts: list[str]) -> np.ndarray:
    """What one network says, asked by itself."""
    member = load_classifier(model)
    reader = member.readers[0]
    batch = collate([ItemExample(text, (reader.make(reader.read(text)),), -1) for text in texts])
    with torch.inference_mode():
        return torch.softmax(member.network(batch.inputs, batch.lengths).double(), 1).numpy()


@settings(max_examples=20)
@given(names=st.lists(st.sampled_from(["plain", "blanks", "third"]), min_size=1, unique=True),
       texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), min_size=1, max_size=4))
def test_the_mean_of_what_each_says_in_any_order(made, names, texts):
    texts = [" ".join(words) for words in texts]
    models = [made[name] for name in names]
    expected = [chances_of(model, texts) for model in models]
    found = predict(models, texts, device="cpu")
    np.testing.assert_allclose(found.probabilities, sum(expected) / len(expected), rtol=0, atol=1e-6)
    np.testing.assert_allclose(predict(models[::-1], texts, device="cpu").probabilities, found.probabilities, rtol=0, atol=1e-15)
    assert found.predicted == [found.labels[number] for number in (sum(expected) / len(expected)).argmax(1)]


def test_members_disagree_so_that_the_mean_is_another(made):
    texts = ["a fine film", "a dull film , really so"]
    one, other = chances_of(made["plain"], texts), chances_of(made["blanks"], texts)
    assert np.abs(one - other).max() > 0.01


def test_what_is_left_behind_names_every_member(made, tmp_path):
    models = [made["plain"], made["blanks"]]
    scores = evaluate(models, made["table"], tmp_path / "eval", device="cpu")
    found = json.loads((tmp_path / "eval/scores.json").read_text())
    assert found["models"] == [str(model) for model in models] and found["items"] == scores.items == 24
    assert [each["seed"] for each in found["trained"]] == ["1", "2"]


def test_what_one_member_cannot_read_is_in_no_result(made, tmp_path):
    rows = [["x", "a fine film", "praise"], ["y", "?!", "blame"], ["z", "dull", "blame"]]
    table = write_rows(tmp_path / "t.tsv", "id text label", rows)
    assert predict([made["blanks"]], table, device="cpu").ids == ["x", "y", "z"]
    for models in ([made["blanks"], made["plain"]], [made["plain"], made["blanks"]]):
        with pytest.raises(DataError, match=r"1 of 3 items cannot be used(.|\n)*t.tsv:3: y: no word in"):
            evaluate(models, table, tmp_path / "eval", device="cpu")
        scores = evaluate(models, table, tmp_path / "eval", skip_bad=True, device="cpu")
        assert scores.items == 2 and json.loads((tmp_path / "eval/scores.json").read_text())["skipped"] == 1
        found = predict(models, table, skip_bad=True, device="cpu")
        assert found.ids == ["x", "z"]
        alone = [predict([model], ["a fine film", "dull"], device="cpu").probabilities for model in models]
        np.testing.assert_allclose(found.probabilities, (alone[0] + alone[1]) / 2, rtol=0, atol=1e-6)


def test_what_members_read_alike_is_read_once(made, monkeypatch):
    """Two models of one vocabulary and one of another way to read, in any order; one more that learned other words."""
    read = []
    plainly = TextReader.read
    monkeypatch.setattr(TextReader, "read", lambda self, source: (read.append((self, source)), plainly(self, source))[1])
    texts = ["a fine film", "dull"]
    for names, times in ((["plain", "third"], 1), (["plain", "blanks", "third"], 2), (["plain"], 1)):
        read.clear()
        predict([made[name] for name in names], texts, device="cpu")
        assert sorted(source for _, source in read) == sorted(texts * times)
    one, other = load_classifier(made["plain"]).readers[0], load_classifier(made["third"]).readers[0]
    assert one.reads_as(other)
    other.vocabulary = type(other.vocabulary)(["film"], other.config.text)
    assert not one.reads_as(other)


def test_a_batch_is_bounded_by_its_padded_size_and_the_answers_stay(made, monkeypatch):
    def of(frames: int, width: int = 128) -> tuple[ItemExample, ...]:
        return (ItemExample(str(frames), (np.zeros((frames, width), np.float32),), -1),)

    def sizes(lengths: list[int], width: int = 128) -> list[list[int]]:
        return [[len(item[0].inputs[0]) for item in batch] for batch in in_batches(of(length, width) for length in lengths)]

    assert [len(batch) for batch in sizes([3] * 130)] == [64, 64, 2]
    monkeypatch.setattr(ensemble, "BATCH_VALUES", 128 * 100)
    assert sizes([10, 10, 40, 30, 500, 10, 10, 90, 20]) == [[10, 10], [40, 30], [500], [10, 10], [90], [20]]
    assert sizes([50, 50, 50], 2) == [[50, 50, 50]] and sizes([50, 50, 50], 256) == [[50], [50], [50]]  # narrow frames: 64
    assert sizes([]) == []
    texts = ["a fine film", "never " * 150, "dull", "a film", "a " * 90, "fine"]
    models = [made["plain"], made["blanks"]]
    cut = predict(models, texts, device="cpu")
    monkeypatch.undo()
    whole = predict(models, texts, device="cpu")
    assert cut.ids == whole.ids
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, rtol=0, atol=1e-6)


def test_models_that_cannot_decide_together(made, tmp_path):
    with pytest.raises(UsageError, match="no model is named"):
        load_ensemble([])
    with pytest.raises(UsageError, match="named twice"):
        load_ensemble([made["plain"], made["blanks"], made["plain"].parent / "../plain/model.safetensors"])
    with pytest.raises(ModelError, match=r"series/exp/model.safetensors: its classes \(falls, rises\) .* \(blame, praise\)"):
        load_ensemble([made["plain"], made["series"]])
    rows = [line.split("\t") for line in made["table"].read_text().splitlines()[1:]]
    table = write_rows(tmp_path / "other.tsv", "id said label", rows)
    other = run(table, tmp_path / "other", *BLANKS, "inputs.0.column=said", "training.epochs=1")
    with pytest.raises(ModelError, match="text in column 'said' .* text in column 'text'"):
        load_ensemble([made["plain"], other])
    (tmp_path / "cut.safetensors").write_bytes(made["plain"].read_bytes()[:500])
    with pytest.raises(ModelError, match=r"cut.safetensors: .*not a whole safetensors file"):
        load_ensemble([made["plain"], tmp_path / "cut.safetensors"])
