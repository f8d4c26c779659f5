"""The recipes of classification: what their preparation promises, what it says of a bad corpus, and the whole on a few items."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from project_copy import ROOT, ProjectCopy
from stand_in import load_script

from asr.classification.config import ClassifyConfig
from asr.config import load_config
from asr.errors import DataError

natops = load_script("recipes/natops/local/prepare.py")
sst2 = load_script("recipes/sst2/local/prepare.py")
motion = load_script("recipes/shape_motion/local/make.py")
classified = load_script("recipes/utils/classified.py")

QUICK = "training.epochs=1 training.schedule.warmup_steps=1"


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]


def cut(path: Path, kept: int) -> None:
    """The first rows of each label."""
    seen: Counter[str] = Counter()
    header, *lines = path.read_text().splitlines(keepends=True)
    at = header.rstrip("\n").split("\t").index("label")
    chosen = []
    for line in lines:
        label = line.rstrip("\n").split("\t")[at]
        seen[label] += 1
        chosen += [line] * (seen[label] <= kept)
    path.write_text(header + "".join(chosen))


# -------------------------------------------------------------------------------------------------------- natops


def make_ts(folder: Path, lengths: tuple[int, ...] = (5, 4)) -> Path:
    """Both sets in the form of the published ones: classes differ in the level of a channel."""
    rng = np.random.default_rng(0)
    for place, (name, training, testing, channels, classes) in natops.SETS.items():
        (folder / place).mkdir(parents=True)
        for part, count in (("TRAIN", training), ("TEST", testing)):
            lines = ["# a comment: with a colon", "@problemName made", "@data"]
            for number in range(count):
                label = number % classes
                values = 0.1 * rng.standard_normal((channels, lengths[number % len(lengths)]))
                values[label % channels] += 2
                lines.append(":".join(",".join(f"{value:.3f}" for value in channel) for channel in values) + f":{label + 1}.0")
            (folder / place / f"{name}_{part}.ts").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return make_ts(tmp_path_factory.mktemp("ts") / "corpus")


def test_series_become_items_and_folds(gestures, tmp_path):
    natops.prepare(gestures, tmp_path)
    base = tmp_path / "natops"
    train, test = rows(base / "train.tsv"), rows(base / "test.tsv")
    assert len(train) == 180 and len(test) == 180 and train[7] == ["train-007", "items/train-007.npy", "2"]
    assert np.load(base / train[0][1]).shape == (5, 24) and np.load(base / train[1][1]).shape == (4, 24)
    held = [rows(base / f"fold{number}_test.tsv") for number in range(5)]
    assert sorted(row for fold in held for row in fold) == sorted(train)
    for number, fold in enumerate(held):
        assert Counter(label for *_, label in fold) == {str(label): 6 for label in range(1, 7)}
        rest = rows(base / f"fold{number}_train.tsv")
        assert len(rest) == 144 and not {row[0] for row in rest} & {row[0] for row in fold}


def test_padding_with_nan_is_cut_off(tmp_path):
    (tmp_path / "a.ts").write_text("@data\n1,2,NaN:3,NaN,NaN:x\n")
    (values, label), = natops.read_ts(tmp_path / "a.ts")
    np.testing.assert_array_equal(values, np.array([[1, 3], [2, np.nan]], np.float32))
    assert label == "x"


@pytest.mark.parametrize(("text", "message"), [
    ("@data\n1,2:1\n1,?:1\n", "a.ts:3: could not convert"), ("@data\n1,2:3:x\n", "a.ts:2: its channels have different lengths"),
    ("@data\n1:2:x\n1:x\n", "a.ts:3: 1 channels, the cases before have 2"), ("1,2:x\n", "no cases after @data")])
def test_what_is_no_ts_file(tmp_path, text, message):
    (tmp_path / "a.ts").write_text(text)
    with pytest.raises(DataError, match=message):
        natops.read_ts(tmp_path / "a.ts")


def test_another_corpus_is_refused(gestures, tmp_path):
    with pytest.raises(DataError, match="the corpus lacks .*NATOPS_TRAIN.ts, .*NATOPS_TEST.ts"):
        natops.prepare(tmp_path, tmp_path / "out")
    other = make_ts(tmp_path / "other")
    path = other / "natops/NATOPS_TEST.ts"
    path.write_text(path.read_text().rpartition("\n1")[0] + "\n")
    with pytest.raises(DataError, match="training cases, test cases, channels and classes; expected"):
        natops.prepare(other, tmp_path / "out")


def test_the_recipe_natops_from_corpus_to_table(gestures, tmp_path):
    project = ProjectCopy(tmp_path)
    first = project.run("natops", "--stop-stage", 1, "--corpus", gestures)
    assert first.returncode == 0, first.stderr
    for part in ("train", "test"):
        cut(project.root / f"data/natops/natops/{part}.tsv", 2)
    done = project.run("natops", "--stage", 3, "--sets", "natops", "--systems", "concat", "--set", QUICK, "--seeds", "4 2",
                       "--together", 2)
    assert done.returncode == 0, done.stderr
    scores = json.loads((project.root / "exp/natops/natops_concat_seed4/eval_test/scores.json").read_text())
    assert scores["items"] == 12 and len(scores["labels"]) == 6
    together = json.loads((project.root / "exp/natops/natops_concat_x2_seed4/eval_test/scores.json").read_text())
    assert together["models"] == [f"exp/natops/natops_concat_seed{seed}/model.safetensors" for seed in (4, 2)]
    alone, both = (next(line.split("|") for line in done.stdout.splitlines() if f"| {name} |" in line)
                   for name in ("natops_concat", "natops_concat_x2"))
    assert int(both[2].replace(",", "")) == 2 * int(alone[2].replace(",", "")) and both[6].strip().endswith("/ 12")
    assert project.run("natops", "--stage", "three").returncode == 2
    wrong = project.run("natops", "--stage", 3, "--seeds", "1 2 3", "--together", 2)
    assert wrong.returncode == 1 and "--together 2: 3 seeds cannot be put into groups of 2" in wrong.stderr
    assert project.run("natops", "--stage", 3, "--together", 0).returncode == 1


# ---------------------------------------------------------------------------------------------------------- sst2


def make_sentences(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file, labels, count in sst2.FILES.values():
        lines = [f"{n % len(labels)} word{n % len(labels)} n{n} ?".encode() for n in range(count)]
        lines[0] = b"0 caf\xe9 here"  # Latin-1, as a line of TREC is
        (folder / file).write_bytes(b"\n".join(lines) + b"\n")
    return folder


def test_sentences_become_tables(tmp_path):
    sst2.prepare(make_sentences(tmp_path / "corpus"), tmp_path / "out")
    trec = tmp_path / "out/trec"
    assert len(rows(trec / "train.tsv")) == 5452 and not (trec / "dev.tsv").exists()
    held = [rows(trec / f"fold{fold}_test.tsv") for fold in range(5)]
    assert sorted(row for fold in held for row in fold) == sorted(rows(trec / "train.tsv"))
    for fold, test in enumerate(held):
        train = rows(trec / f"fold{fold}_train.tsv")
        assert abs(len(test) - 5452 / 5) <= 1 and len(train) + len(test) == 5452
        assert not {row[2] for row in train} & {row[2] for row in test}
    assert rows(tmp_path / "out/sst2/test.tsv")[0] == ["test-0000", "negative", "caf\u00e9 here"]
    assert len(rows(tmp_path / "out/sst2/test.tsv")) == 1821


def test_a_sentence_that_is_held_out_is_not_trained_on():
    questions = [(str(n), "a", f"s{n % 30}") for n in range(60)]
    parts = sst2.folds_of(questions, seed=0)
    for fold in range(5):
        train, test = parts[f"fold{fold}_train"], parts[f"fold{fold}_test"]
        assert len(test) == 12 and not {row[2] for row in train} & {row[2] for row in test}
    assert any(len(parts[f"fold{fold}_train"]) < 48 for fold in range(5))


def test_a_corpus_that_is_not_the_known_one(tmp_path):
    folder = make_sentences(tmp_path / "corpus")
    with (folder / "TREC.test.all").open("a") as file:
        file.write("9 what ?\n")
    with pytest.raises(DataError, match=r"TREC.test.all:501: expected a class from 0 to 5"):
        sst2.prepare(folder, tmp_path / "out")
    (folder / "TREC.test.all").write_text("1 what ?\n")
    with pytest.raises(DataError, match="1 sentences, expected 500"):
        sst2.prepare(folder, tmp_path / "out")
    (folder / "TREC.test.all").unlink()
    with pytest.raises(DataError, match="TREC.test.all: the corpus lacks this file"):
        sst2.prepare(folder, tmp_path / "out")


def test_the_recipe_sst2_from_corpus_to_table(tmp_path):
    project = ProjectCopy(tmp_path)
    corpus = make_sentences(tmp_path / "corpus")
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"word{n} " + f"{n + 1} " * 5 + "\n" for n in range(6)))
    first = project.run("sst2", "--stop-stage", 1, "--corpus", corpus)
    assert first.returncode == 0, first.stderr
    for path in [*project.root.glob("data/sst2/trec/*.tsv"), *project.root.glob("data/sst2/sst2/*.tsv")]:
        cut(path, 3)
    done = project.run("sst2", "--stage", 2, "--systems", "gated", "--folds", "yes", "--vectors", vectors, "--dim", 5,
                       "--set", QUICK)
    assert done.returncode == 0, done.stderr
    runs = project.root / "exp/sst2"
    assert "vectors for 6 of" in (runs / "trec_gated_seed1/train.log").read_text()
    assert "| trec_gated |" in done.stdout and "| sst2_gated |" in done.stdout
    # SST-2 has a dev part, TREC has folds.
    assert "dev data/sst2/sst2/dev.tsv" in (runs / "sst2_gated_seed1/train.log").read_text()
    assert "dev (none: the training items)" in (runs / "trec_gated_seed1/train.log").read_text()
    assert sorted(path.name for path in runs.glob("*_fold*")) == [f"trec_gated_fold{fold}" for fold in range(5)]
    assert json.loads((runs / "trec_gated_fold4/eval_fold4_test/scores.json").read_text())["items"] == 18
    wrong = project.run("sst2", "--folds", "perhaps")
    assert wrong.returncode == 1 and "--folds perhaps: choose yes or no" in wrong.stderr


# -------------------------------------------------------------------------------------------------- shape_motion


def test_shapes_differ_and_have_one_mass_in_every_row_column_and_quarter():
    masks = motion.shapes()
    assert len({mask.tobytes() for mask in masks.values()}) == 4
    for mask in masks.values():
        assert (mask.sum(axis=0) == 2).all() and (mask.sum(axis=1) == 2).all()
        assert mask[:4, :4].sum() == mask[4:, :4].sum() == mask[:4, 4:].sum() == 4


def test_left_is_right_played_backwards():
    masks = motion.shapes()
    for forth, back in (("right", "left"), ("down", "up")):
        one, other = (motion.clip(masks["ring"], direction, np.random.default_rng(5)) for direction in (forth, back))
        rng = np.random.default_rng(5)
        rng.uniform(), rng.uniform(), rng.integers(10)
        grey = motion.GREY + motion.CONTRAST * motion.NOISE * rng.standard_normal(one.shape)
        shown, backwards = one - grey, other - grey
        np.testing.assert_allclose(shown, backwards[::-1], atol=1)
        assert (shown > 32).sum() == 12 * 16  # the shape is whole in every frame
        places = [np.argwhere(frame > 32).min(axis=0) for frame in shown]
        assert (np.diff(places, axis=0) >= 0).all() and (places[-1] - places[0]).sum() >= 6


def test_clips_are_a_function_of_seed_part_and_number(tmp_path):
    motion.make(tmp_path / "a", {"train": 32, "test": 16})
    motion.make(tmp_path / "b", {"train": 16, "test": 16})
    for item in ("train-0003", "test-0015"):
        assert (tmp_path / f"a/clips/{item}.npy").read_bytes() == (tmp_path / f"b/clips/{item}.npy").read_bytes()
    assert Counter(label for *_, label in rows(tmp_path / "a/train.tsv")) == {
        f"{shape}-{direction}": 2 for shape in motion.shapes() for direction in motion.DIRECTIONS}
    assert np.load(tmp_path / "a/clips/train-0000.npy").shape == (12, 24, 24)


def test_the_recipe_shape_motion_from_nothing_to_table(tmp_path):
    project = ProjectCopy(tmp_path)
    done = project.run("shape_motion", "--clips", "32 16 16", "--systems", "parallel", "--set", QUICK)
    assert done.returncode == 0, done.stderr
    assert "| parallel |" in done.stdout and "| shape % | motion % |" in done.stdout
    assert (project.root / "exp/shape_motion/parallel_seed1/eval_test/confusion.png").is_file()


@pytest.mark.parametrize(("arguments", "said"), [
    (["natops", "--systems", "cnn rnm"], "--systems: there is no rnm; choose among cnn rnn cascade transformer concat sum"),
    (["natops", "--sets", "sst2"], "--sets: there is no sst2; choose among natops japanese_vowels"),
    (["sst2", "--systems", "bag transformer"], "--systems: there is no transformer"),
    (["shape_motion", "--systems", "cnn film"], "--systems: there is no film"),
    (["shape_motion", "--clips", "10 10"], "--clips 10 10: how many of train, dev and test, three numbers")])
def test_names_are_checked_before_any_work(tmp_path, arguments, said):
    project = ProjectCopy(tmp_path)
    done = project.run(*arguments)
    assert done.returncode == 1 and said in done.stderr and "stage" not in done.stderr
    assert not (project.root / "data").exists()


# -------------------------------------------------------------------------------------------------------- tables


def scored(folder: Path, right: list[bool]) -> Path:
    from asr.classification.metrics import score
    from asr.classification.predictions import Predictions

    chances = np.array([[0.9, 0.1] if good else [0.1, 0.9] for good in right])
    predictions = Predictions([f"i{n}" for n in range(len(right))], ("a", "b"), chances, ["a"] * len(right))
    predictions.write(folder / "eval_test/predictions.tsv")
    scores = score(*predictions.numbers, ("a", "b")).as_json() | {"trained": [{"parameters": "1234"}]}
    (folder / "eval_test/scores.json").write_text(json.dumps(scores))
    return folder


def test_the_table_counts_runs_and_compares(tmp_path, capsys):
    runs = [scored(tmp_path / "x_cnn_seed1", [True] * 6 + [False] * 4), scored(tmp_path / "x_cnn_seed2", [True] * 8 + [False] * 2),
            scored(tmp_path / "x_sum_seed1", [True] * 10)]
    systems = classified.read_runs([*runs, tmp_path / "x_sum_seed9"], "eval_test")
    assert "x_sum_seed9: not scored yet" in capsys.readouterr().err
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in classified.table(systems, "cnn").splitlines()]
    assert lines[0][-1] == "less cnn, points"
    assert lines[2][:3] == ["x_cnn", "1,234", "**70.00**"]
    assert lines[2][4:6] == ["60.00 80.00", "6 / 20"] and "dev %" not in lines[0]
    assert lines[3][2] == "**100.00**" and lines[3][-1].startswith("+30.00 (")
    with pytest.raises(ValueError, match="must be called <name>_seed<N>"):
        classified.read_runs([scored(tmp_path / "odd", [True])], "eval_test")


def test_a_difference_of_several_runs_has_two_intervals_but_for_joined_folds(tmp_path):
    runs = [scored(tmp_path / f"x_{name}_seed{seed}", [True] * right + [False] * (20 - right))
            for name, seed, right in (("cnn", 1, 10), ("cnn", 2, 14), ("sum", 1, 13), ("sum", 2, 15))]
    # That of the accuracy is one more.
    assert classified.table(classified.read_runs(runs, "eval_test"), "cnn").splitlines()[-1].count(" to ") == 3
    for run in runs:
        path = run / "eval_test/scores.json"
        path.write_text(path.read_text().replace('"parameters"', '"folds": "6", "parameters"'))
    assert classified.table(classified.read_runs(runs, "eval_test"), "cnn").splitlines()[-1].count(" to ") == 2


def test_of_many_runs_the_table_says_how_they_lie(tmp_path):
    runs = [scored(tmp_path / f"x_cnn_seed{n}", [True] * n + [False] * (20 - n)) for n in range(5, 16)]
    rates = [5 * n for n in range(5, 16)]
    row = classified.table(classified.read_runs(runs, "eval_test")).splitlines()[-1]
    assert f"| 11: 25.00 to 75.00, deviation {np.std(rates, ddof=1):.2f} | 110 / 220 |" in row


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*/conf/*.yaml")), ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_trainings_of_recipes_use_one_thread(path):
    """Recurrent networks this small lose time to a second thread."""
    if path.parent.parent.name in ("natops", "sst2", "shape_motion"):
        training = load_config(path, root=ClassifyConfig).training
        assert (training.threads, training.workers) == (1, 0)
