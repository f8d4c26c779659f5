"""The recipe fsdd_parallel: networks of one size, tables, folds that are joined, and the whole on a few recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from project_copy import ROOT, ProjectCopy
from stand_in import load_script, make_fsdd

from asr.classification.config import ClassifyConfig
from asr.classification.predictions import Predictions, read_predictions
from asr.config import load_config
from asr.corpus import DataDir, Utterance
from asr.errors import DataError
from asr.models import build_encoder
from asr.models.fusion import FUSIONS
from asr.models.heads import Classifier
from asr.models.summary import parameters

HERE = ROOT / "recipes/fsdd_parallel"
VARIANTS = dict(line.split("\t") for line in (HERE / "conf/variants.tsv").read_text().splitlines())
tables = load_script("recipes/fsdd_parallel/local/tables.py")
joined = load_script("recipes/fsdd_parallel/local/join.py")


def test_variants_are_of_one_size():
    """Within one per cent of 90,000 weights, so that what differs is how they are arranged."""
    sizes = {}
    for name, keys in VARIANTS.items():
        config = load_config(HERE / "conf/base.yaml", keys.split(), ClassifyConfig)
        sizes[name] = parameters(Classifier(build_encoder(config.model, 40), 10))
    assert {name: size for name, size in sizes.items() if abs(size - 90_000) > 900} == {}
    assert {f"parallel_{kind}" for kind in FUSIONS} <= sizes.keys()
    assert {"cnn", "rnn", "cascade", "cascade_lstm", "cascade_transformer", "cascade_conformer"} <= sizes.keys()


def test_a_table_of_whole_words_alone(tmp_path):
    wav = {"a-1": str(tmp_path / "1.wav"), "a-2": str(tmp_path / "2.wav")}
    said = [Utterance(id=name, recording=name, speaker="a", text="one") for name in wav]
    DataDir.from_utterances(said, wav).save(tmp_path / "words")
    tables.write_table(tmp_path / "words")
    assert (tmp_path / "words/items.tsv").read_text().splitlines() == [
        "id\tpath\tlabel\tgroup", *(f"{name}\t{path}\tone\ta" for name, path in wav.items())]
    DataDir.from_utterances([Utterance(id="a-1", recording="a-1", speaker="a", text="one two")], wav).save(tmp_path / "many")
    with pytest.raises(DataError, match=r"many: a-1 says 'one two', which is not one word"):
        tables.write_table(tmp_path / "many")
    part = Utterance(id="a-1", recording="a-1", speaker="a", text="one", start=0.5, end=1.0)
    DataDir.from_utterances([part], wav).save(tmp_path / "part")
    with pytest.raises(DataError, match="a-1 is a segment of a recording"):
        tables.write_table(tmp_path / "part")


def fold(folder: Path, ids: list[str], right: int) -> Path:
    """The scored folder of a fold: so many of its items are right."""
    chances = np.array([[0.9, 0.1] if number < right else [0.2, 0.8] for number in range(len(ids))])
    Predictions(ids, ("x", "y"), chances, ["x"] * len(ids), [name[0] for name in ids]).write(folder / "predictions.tsv")
    (folder / "scores.json").write_text(json.dumps({"trained": [{"parameters": "7", "dev_error": str(right / 10)}]}))
    return folder


def test_folds_are_joined_item_by_item(tmp_path):
    folds = [fold(tmp_path / "a", ["a1", "a2"], 1), fold(tmp_path / "b", ["b1", "b2"], 2)]
    assert joined.join(folds, tmp_path / "out") == 0.75
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    trained, = scores["trained"]
    assert (scores["items"], scores["correct"], trained["dev_error"], trained["folds"]) == (4, 3, "0.15", "2")
    assert read_predictions(tmp_path / "out/predictions.tsv").ids == ["a1", "a2", "b1", "b2"]
    with pytest.raises(DataError, match="an item is in two folds"):
        joined.join([folds[0], folds[0]], tmp_path / "twice")


def test_the_recipe_from_corpus_to_picture(tmp_path):
    corpus, project = make_fsdd(tmp_path / "corpus"), ProjectCopy(tmp_path)
    done = project.run("fsdd_parallel", "--stop-stage", 1, "--corpus", corpus)
    assert done.returncode == 0, done.stderr
    for table in (project.root / "data/fsdd_parallel").glob("**/items.tsv"):
        header, *rows = table.read_text().splitlines(keepends=True)
        words = ("zero", "one", "two")
        kept = [[row for row in rows if row.split("\t")[2] == word][:4] for word in words]
        table.write_text(header + "".join(row for each in kept for row in each))
    done = project.run("fsdd_parallel", "--stage", 2, "--variants", "parallel_film", "--loso", "cnn", "--speakers", "theo",
                       "--set", "training.epochs=1 training.schedule.warmup_steps=1")
    assert done.returncode == 0, done.stderr
    exp = project.root / "exp/fsdd_parallel"
    for run in ("parallel_film_seed1", "loso_theo/cnn_seed1", "loso/cnn_seed1"):
        assert json.loads((exp / run / "eval_test/scores.json").read_text())["items"] == 12
    assert "| parallel_film |" in done.stdout and "Leave one speaker out" in done.stdout and "| cnn |" in done.stdout
    assert (exp / "variants.png").read_bytes().startswith(b"\x89PNG")
    wrong = project.run("fsdd_parallel", "--variants", "serial")
    assert wrong.returncode == 1 and "no such variant: serial; conf/variants.tsv has cnn rnn cascade" in wrong.stderr
