"""Classifiers of every kind of input, from table to predictions: what they learn, and the laws."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from classification.made import SERIES, SMALL, TEXT, TIME, VIDEO, make_clips, make_series, make_texts, run, settings, write_rows
from tones import RATE

from asr import audio
from asr.classification.dataset import collate
from asr.classification.evaluation import evaluate, predict
from asr.classification.model import load_classifier
from asr.classification.preparation import prepare
from asr.classification.task import ClassifyTask
from asr.classification.training import train
from asr.errors import ConfigError, DataError, ModelError, UsageError
from asr.models.storage import load_model

PARALLEL = "model.architecture=parallel"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return {"series": make_series(folder / "series"), "text": make_texts(folder / "text"), "video": make_clips(folder / "video")}


@pytest.fixture(scope="module")
def text_model(tables, tmp_path_factory):
    plain = "inputs.0.text.normalizer=basic"
    return run(tables["text"], tmp_path_factory.mktemp("text") / "exp", *TEXT, plain, "training.epochs=6")


@pytest.mark.parametrize(("kind", "overrides"), [
    ("series", [*SERIES, "training.epochs=6"]), ("text", None), ("video", [*VIDEO, "training.epochs=10"])])
def test_what_can_be_told_apart_is(tables, text_model, tmp_path, kind, overrides):
    model = run(tables[kind], tmp_path / "exp", *overrides) if overrides else text_model
    scores = evaluate(model, tables[kind], tmp_path / "eval", device="cpu")
    assert scores.accuracy == 1
    found = json.loads((tmp_path / "eval/scores.json").read_text())
    assert found["accuracy"] == 1 and found["skipped"] == 0 and found["trained"][0]["seed"] == "1"
    assert (tmp_path / "eval/confusion.png").stat().st_size > 1000
    rows = (tmp_path / "eval/classes.tsv").read_text().splitlines()
    assert rows[0].startswith("label\titems") and len(rows) == 3 and rows[1].endswith("1.000000\t1.000000\t1.000000")
    assert scores.unit == ("group" if kind == "series" else "item")


def test_sounds(tmp_path):
    rows = []
    for number in range(8):
        hertz = (350, 2200)[number % 2]
        tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE // 5) / RATE)
        audio.write(tmp_path / f"{number}.wav", tone.astype(np.float32), RATE)
        rows.append([f"{number}.wav", ("lo", "hi")[number % 2]])
    table = write_rows(tmp_path / "t.tsv", "path label", rows)
    augment = "{volume_db: [-3, 3], spec_augment: {freq_masks: 1, freq_width: 3}}"
    model = run(table, tmp_path / "exp", f"inputs=[{{kind: audio, features: {{sample_rate: {RATE}, num_mel_bins: 20}}, "
                f"augment: {augment}}}]", "model.conv.layers=[{channels: 4, stride: [2, 2]}]", *SMALL, "training.epochs=8")
    assert predict(model, [str(tmp_path / "0.wav"), str(tmp_path / "1.wav")], device="cpu").predicted == ["lo", "hi"]


def test_two_inputs_a_branch_each(tables, tmp_path):
    """Clips to the convolutions, a path to the recurrence: of another kind, of another length, joined after pooling."""
    rows = [line.split("\t") for line in tables["video"].read_text().splitlines()[1:]]
    for number, row in enumerate(rows):
        np.save(tables["video"].parent / f"path{number}.npy", np.linspace(0, (1, -1)[number % 2], 6 + number % 3))
        row.append(f"path{number}.npy")
    table = write_rows(tables["video"].parent / "two.tsv", "id path label track", rows)
    model = run(table, tmp_path / "exp", "inputs=[{kind: video}, {kind: series, column: track}]", *VIDEO[1:], PARALLEL,
                "model.fusion.level=utterance")
    found = predict(model, table, device="cpu")
    assert len(found.ids) == 16 and found.references is None
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    with pytest.raises(UsageError, match="two inputs of every item"):
        predict(model, ["0.mkv"], device="cpu")


# -------------------------------------------------------------------------------------------------------- law one


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "attention"])
@pytest.mark.parametrize("overrides", [[*TEXT], [*SERIES, PARALLEL], [*VIDEO, PARALLEL, "model.fusion.level=utterance"]],
                         ids=["text", "series", "video"])
def test_an_item_has_the_same_logits_alone_and_in_any_batch(tables, overrides, pooling):
    kind = "text" if overrides[0] == TEXT[0] else "series" if overrides[0] == SERIES[0] else "video"
    config = settings(*overrides, f"pooling={pooling}")
    prepared = prepare(config, tables[kind], None)
    network = prepared.network.eval()
    examples = [prepared.train.dataset(prepared.readers, prepared.labels)[0, index] for index in range(10)]

    def logits(chosen):
        batch = collate(chosen)
        return network(batch.inputs, batch.lengths)

    with torch.no_grad():
        together, backwards = logits(examples), logits(examples[::-1]).flip(0)
        alone = torch.cat([logits([example]) for example in examples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, backwards, atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


# -------------------------------------------------------------------------------------------------------- law two


def test_same_seed_same_bits_whatever_the_workers(tables, tmp_path):
    overrides = [*SERIES, "training.epochs=2", "inputs=[{kind: series, series: {jitter: 0.1, warp: 0.1}}]"]
    models = [run(tables["series"], tmp_path / name, *overrides, f"seed={seed}", f"training.workers={workers}")
              for name, seed, workers in (("a", 1, 0), ("b", 1, 1), ("c", 2, 0))]
    weights = [load_classifier(model).network.state_dict() for model in models]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])

    # A finished run is left as it is, and not gone on with in another configuration.
    written = models[0].read_bytes()
    config = settings(*overrides, "training.workers=0")
    assert train(config, tables["series"], None, tmp_path / "a", resume=True, device="cpu").read_bytes() == written
    with pytest.raises(ConfigError, match="pooling was 'mean', is 'max'"):
        train(config.model_copy(update={"pooling": "max"}), tables["series"], None, tmp_path / "a", resume=True, device="cpu")


def test_without_dev_items_the_last_epochs_count(tables, tmp_path):
    """Also where earlier ones fitted the training items better; with a dev table those that it prefers."""
    import csv

    from asr.training.averaging import average_weights

    overrides = [*SERIES, "training.epochs=6", "training.average_best=2", "training.optimizer.lr=5",
                 "training.schedule.name=constant"]
    model = run(tables["series"], tmp_path / "last", *overrides)
    with open(tmp_path / "last/metrics.csv", newline="") as file:
        losses = [float(row["dev_loss"]) for row in csv.DictReader(file)]
    assert sorted(sorted(range(1, 7), key=lambda epoch: losses[epoch - 1])[:2]) != [5, 6]
    kept = [tmp_path / f"last/checkpoints/epoch-000{epoch}.safetensors" for epoch in (5, 6)]
    assert sorted((tmp_path / "last/checkpoints").glob("epoch-*")) == kept
    mean, weights = average_weights(kept), load_classifier(model).network.state_dict()
    assert all(torch.equal(mean[name], weights[name]) for name in mean)
    assert "mean of epochs 5, 6 it is" in (tmp_path / "last/train.log").read_text()
    with pytest.raises(ConfigError, match="early_stop: without dev items"):
        run(tables["series"], tmp_path / "stopped", *overrides, "training.early_stop=2")


# ---------------------------------------------------------------------------------------------------- model files


def test_the_model_file_is_all_that_is_needed(tmp_path):
    table = make_texts(tmp_path / "data")
    vectors = tmp_path / "data/v.txt"
    vectors.write_text("good " + "1 " * 12 + "\nbad " + "-1 " * 12 + "\n")
    model = run(table, tmp_path / "exp", *TEXT, f"inputs=[{{kind: text, text: {{dim: 12, vectors: {vectors}}}}}]")
    assert "vectors for 2 of" in (tmp_path / "exp/train.log").read_text()
    before = predict(model, ["a good film"], device="cpu").probabilities
    shutil.rmtree(tmp_path / "data")
    model.rename(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(predict(tmp_path / "m.safetensors", ["a good film"], device="cpu").probabilities, before)


def test_files_of_other_tasks(text_model, tmp_path):
    with pytest.raises(ModelError, match=r"trained for 'classification', and this needs 'speech'"):
        load_model(text_model)
    (tmp_path / "x.safetensors").write_bytes(text_model.read_bytes()[:100])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_classifier(tmp_path / "x.safetensors")


# ------------------------------------------------------------------------------------------------------ bad input


def test_all_that_cannot_be_read_is_named_before_training(tmp_path):
    table = make_clips(tmp_path / "c", 8)
    (tmp_path / "c/3.mkv").write_bytes(b"broken")
    (tmp_path / "c/2.npy").unlink()
    np.save(tmp_path / "c/5.npy", np.zeros((3, 4, 4), np.uint8))
    overrides = [*VIDEO, "training.epochs=1"]
    with pytest.raises(DataError, match=r"1 of 8 items cannot be used(.|\n)*clips.tsv:4: v2: no such file"):
        run(table, tmp_path / "exp", *overrides)
    (tmp_path / "c/2.npy").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        run(table, tmp_path / "exp", *overrides)
    said = str(caught.value)
    assert "3 of 8 items cannot be used" in said and "clips.tsv:4: v2: " in said and "clips.tsv:5: v3: " in said
    assert "5.npy: frames of 4 x 4 pixels, the clips of training have 12 x 10" in said
    model = run(table, tmp_path / "exp2", *overrides, skip_bad=True)
    assert load_classifier(model).notes["skipped"] == "3"
    log = (tmp_path / "exp2/train.log").read_text()
    assert log.count("left out: ") == 3 and "3 of 8 items left out" in log

    with pytest.raises(DataError, match="3 of 8 items cannot be used"):
        evaluate(model, table, tmp_path / "eval", device="cpu")
    assert not (tmp_path / "eval").exists()
    scores = evaluate(model, table, tmp_path / "eval", skip_bad=True, device="cpu")
    assert scores.items == 5 and json.loads((tmp_path / "eval/scores.json").read_text())["skipped"] == 3


def test_what_cannot_be_learned_from(tables, tmp_path):
    one = write_rows(tmp_path / "one.tsv", "id text label", [["a", "x", "same"], ["b", "y", "same"]])
    with pytest.raises(DataError, match="of one class, 'same'"):
        prepare(settings(*TEXT), one, None)
    with pytest.raises(DataError, match=r"share 24 items \(first: .*texts.tsv:2 is .*texts.tsv:2\)"):
        prepare(settings(*TEXT), tables["text"], tables["text"])
    other = write_rows(tmp_path / "dev.tsv", "id text label", [["z", "fine film", "prais"]])
    with pytest.raises(DataError, match=r"dev.tsv:2: z: unknown 'prais'.*did you mean 'praise'"):
        prepare(settings(*TEXT), tables["text"], other)
    lost = write_rows(tmp_path / "lost.tsv", "id text label", [["a", "x", "p"], ["b", "!", "p"], ["c", "  ", "q"]])
    with pytest.raises(DataError, match="empty text"):
        prepare(settings(*TEXT), lost, None)


@pytest.mark.parametrize("with_ids", [False, True])
def test_a_file_of_train_is_found_in_dev_whatever_it_is_called(tables, tmp_path, with_ids):
    header, *rows = [line.split("\t") for line in tables["series"].read_text().splitlines()]
    dev = tables["series"].parent / f"dev{with_ids}.tsv"
    first = 0 if with_ids else 1
    write_rows(dev, " ".join(header[first:]), [[f"d{number}", f"items/../{row[1]}", *row[2:]][first:]
                                               for number, row in enumerate(rows[:4][::-1])])
    with pytest.raises(DataError, match=rf"share 4 items \(first: {dev}:2 is .*series.tsv:5\)"):
        prepare(settings(*SERIES), tables["series"], dev)


def test_a_text_may_come_twice_and_an_item_of_two_inputs_is_both_of_its_files(tables, tmp_path):
    rows = [[f"d{number}", "a bad film , so", ("blame", "praise")[number]] for number in range(2)]
    assert len(prepare(settings(*TEXT), tables["text"], write_rows(tmp_path / "dev.tsv", "id text label", rows)).dev.table) == 2
    two = settings("inputs=[{kind: series}, {kind: series, column: of}]", *TIME, *SMALL, PARALLEL, "model.fusion.level=utterance")
    folder = tables["series"].parent
    parts = [write_rows(folder / f"two{part}.tsv", "path of label", [[f"items/{number + part}.npy", "items/0.npy", str(number)]
                                                                     for number in (2, 4)]) for part in (0, 1)]
    assert len(prepare(two, *parts).dev.table) == 2


def test_the_first_item_is_named_where_others_have_other_channels(tables, tmp_path):
    items = tables["series"].parent / "items"
    np.save(tmp_path / "odd.npy", np.zeros((5, 3)))
    train = write_rows(tmp_path / "t.tsv", "path label", [["odd.npy", "falls"], ["odd.npy", "rises"], [f"{items}/0.npy", "falls"]])
    dev = write_rows(tmp_path / "d.tsv", "path label", [[f"{items}/1.npy", "rises"]])
    with pytest.raises(DataError, match=r"d.tsv:2: .* 2 channels, the training items have 3, as the first of them, .*odd\.npy"):
        prepare(settings(*SERIES), train, dev, skip_bad=True)


def test_a_text_without_a_word(text_model):
    with pytest.raises(DataError, match=r"input 2: 2: no word in '\?!'"):
        predict(text_model, ["fine", "?!"], device="cpu")
    assert predict(text_model, ["fine", "?!"], skip_bad=True, device="cpu").ids == ["1"]


@pytest.mark.parametrize(("overrides", "message"), [
    (["inputs=[{kind: text}]"], "model.conv.over: spectrogram does not go with an input of kind text; choose time"),
    (["inputs=[{kind: video}]", *TIME], "choose image"),
    (["inputs=[{kind: text, video: {frame_step: 2}}]", *TIME], "`video` says nothing to an input of kind text"),
    (["inputs=[{kind: audio, features: {cmvn: speaker}}]"], "needs a data directory"),
    (["inputs=[{kind: series}, {kind: series}]"], "two inputs need model.architecture: parallel"),
    (["inputs=[]"], "one or two, not 0"),
    (["inputs=[{kind: text, text: {char_ngrams: [4, 3]}}]", *TIME], "the smaller one first"),
    (["inputs=[{kind: text, text: {dims: 3}}]", *TIME], "did you mean `dim`"),
])
def test_configurations_that_make_no_sense(overrides, message):
    with pytest.raises(ConfigError) as caught:
        settings(*overrides)
    assert message in str(caught.value)


def test_rare_classes_may_count_as_much(tables):
    rows = [[f"t{n}", "fine film" if n else "bad film", "good" if n else "bad"] for n in range(4)]
    table = write_rows(tables["text"].parent / "rare.tsv", "id text label", rows)
    weights = prepare(settings(*TEXT, "class_weights=balanced"), table, None).class_weights
    torch.testing.assert_close(weights, torch.tensor([4 / 2, 4 / 6]))  # bad, good: as much in all
    assert prepare(settings(*TEXT), table, None).class_weights is None


def test_a_bag_of_words_needs_a_projection_and_nothing_else(tables, tmp_path):
    bag = [TEXT[0], "model={conv: {over: time, layers: []}, rnn: {layers: 0}, projection: 8}", *SMALL[1:], "training.epochs=6"]
    model = run(tables["text"], tmp_path / "exp", *bag)
    chances = predict(model, ["film fine a", "a fine film"], device="cpu").probabilities
    assert chances[0, 1] > 0.5 < chances[1, 1]
    assert load_classifier(model).network.classifier.encoder.context.rnn is None


def test_a_run_is_not_resumed_with_other_items(tables, tmp_path, monkeypatch):
    """Wherever they lie: a folder may move."""
    def stopped(self, batch, index):
        if self.batches == 2:
            raise RuntimeError("killed")
        return original(self, batch, index)

    original, config = ClassifyTask.training_step, settings(*TEXT, "training.checkpoint_steps=1")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(ClassifyTask, "training_step", stopped)
        train(config, tables["text"], None, tmp_path / "exp", device="cpu")
    moved = tmp_path / "moved.tsv"
    moved.write_text(tables["text"].read_text().replace("film", "song"))
    with pytest.raises(ConfigError, match=r"other data.*; train was '24 items \(\w{12}\)', is '24 items .*choose another --exp"):
        train(config, moved, None, tmp_path / "exp", resume=True, device="cpu")
    shutil.copy(tables["text"], moved)
    assert train(config, moved, None, tmp_path / "exp", resume=True, device="cpu").exists()
