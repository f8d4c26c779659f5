"""recipes/utils/results.py: the table over seeds and folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stand_in import load_script

from asr.errors import DataError
from asr.scoring import compare, score
from asr.scoring.files import FORMAT, hypotheses_in, load_scores, write_scores
from asr.scoring.intervals import crossed_interval

results = load_script("recipes/utils/results.py")


def _scored(base: Path, run: str, errors: int, words: int = 300) -> Path:
    folder = base / run / "decode_test_greedy"
    folder.mkdir(parents=True)
    counts = {"reference": words, "errors": errors, "insertions": 0, "deletions": 1, "substitutions": errors - 1,
              "interval": [0.0, 0.02]}
    scores = {"format": FORMAT, "wer": errors / words, "words": counts, "partial": False, "missing": []}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def test_seeds_are_gathered_with_their_mean_and_range(tmp_path):
    folders = [_scored(tmp_path, f"crnn_seed{seed}", errors) for seed, errors in ((10, 6), (2, 3), (1, 3))]
    lines = results.table(results.read_scores(folders)).splitlines()
    assert lines[2] == "| crnn | 1 | 1.00 | 3 / 300 | 0 | 1 | 2 | 0.00 to 2.00 |"
    assert [line.split(" | ")[1] for line in lines[2:5]] == ["1", "2", "10"]
    assert lines[5].startswith("| crnn | mean of 3 | **1.33** | 1.00 to 2.00 |")
    assert len(lines) == 6


def test_folds_end_in_the_mean_of_their_means(tmp_path):
    folders = [_scored(tmp_path, f"loso_{speaker}_seed{seed}", errors)
               for speaker, seed, errors in (("a", 1, 3), ("a", 2, 9), ("b", 1, 30))]
    lines = results.table(results.read_scores(folders)).splitlines()
    assert lines[-1].startswith("| mean of 2 |  | **6.00** | 2.00 to 10.00 |")


def test_what_is_not_scored_is_named_and_left_out(tmp_path, capsys):
    (tmp_path / "crnn_seed3/decode_test_greedy").mkdir(parents=True)
    assert results.read_scores([tmp_path / "crnn_seed3/decode_test_greedy"]) == {}
    assert "crnn_seed3/decode_test_greedy: not scored yet, left out" in capsys.readouterr().err


def test_the_score_of_other_hypotheses_is_refused(tmp_path):
    folder = tmp_path / "crnn_seed1/decode_dev_greedy"
    folder.mkdir(parents=True)
    (folder / "text").write_text("u one\n")
    write_scores(score({"u": "one"}, folder / "text"), folder, hypotheses_in(folder, folder / "text"))
    assert results.read_scores([folder])["crnn"][1][1]["wer"] == 0
    (folder / "text").write_text("u two\n")
    with pytest.raises(DataError, match="text is not what scores.json was made of"):
        results.read_scores([folder])


def test_a_run_without_a_seed_in_its_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be called <name>_seed<N>"):
        results.read_scores([_scored(tmp_path, "crnn", 3)])


# Four speakers, two utterances each; a system says some of them wrongly.
TEXTS = {f"s{n}-{k}": f"one two three {'four ' * n}".strip() for n in range(4) for k in range(2)}


def _said(base: Path, run: str, wrong: str, texts: dict[str, str] = TEXTS) -> Path:
    folder = base / run / "decode_dev_greedy"
    folder.mkdir(parents=True)
    said = {name: text.replace("two", "x") if name in wrong.split() else text for name, text in texts.items()}
    write_scores(score(texts, said, utt2spk={name: name[:2] for name in texts}), folder)
    return folder


def test_systems_are_compared_with_one_of_them_on_the_same_speakers(tmp_path):
    folders = [_said(tmp_path, "whole_seed1", "s0-0"), _said(tmp_path, "less_seed1", "s0-0 s1-0 s3-0 s3-1"),
               _said(tmp_path, "other_seed2", "s0-0")]
    lines = results.table(results.read_scores(folders), against="whole").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| whole", "| less", "| other"]  # as given, and no mean of systems
    assert lines[0].endswith("| less whole, points |") and lines[2].endswith("|  |")
    found = compare(load_scores(folders[1]), load_scores(folders[0]))
    low, high = (100 * edge for edge in found.bootstrap.interval)
    assert found.difference == 3 / sum(len(text.split()) for text in TEXTS.values())
    assert lines[3].endswith(f"| {100 * found.difference:+.2f} ({low:+.2f} to {high:+.2f}) |")
    assert lines[4].endswith("| no seed in common |")


def test_seeds_are_compared_with_their_like_and_drawn_together(tmp_path):
    folders = [_said(tmp_path, f"{name}_seed{seed}", wrong) for name, seed, wrong in
               (("whole", 1, "s0-0"), ("whole", 2, ""), ("less", 1, "s0-0 s1-0"), ("less", 2, "s2-1"), ("less", 3, "s0-0 s1-0"))]
    lines = results.table(results.read_scores(folders), against="whole").splitlines()
    words = sum(len(text.split()) for text in TEXTS.values())
    assert lines[4].startswith("| whole | mean of 2") and lines[4].endswith("|  |")
    assert lines[8].startswith("| less | mean of 3") and f"| {100 * 2 / (2 * words):+.2f} (" in lines[8]
    per_speaker = [2 * len(TEXTS[f"s{n}-0"].split()) for n in range(4)]
    less, whole = np.array([[1, 1, 0, 0], [0, 0, 1, 0]]), np.array([[1, 0, 0, 0], [0, 0, 0, 0]])  # seeds 1 and 2, four speakers
    low, high = crossed_interval(less, whole, np.array(per_speaker))
    assert lines[8].endswith(f"; {100 * low:+.2f} to {100 * high:+.2f}) |") and lines[8].count(" to ") == 3
    other = [_said(tmp_path / "x", f"{name}_seed2", "", {"s0-0": "one two"}) for name in ("whole", "less")]
    with pytest.raises(DataError, match="the seeds were scored on other utterances"):
        results.table(results.read_scores([folders[0], folders[2], *other]), against="whole")


def test_what_cannot_be_compared_is_refused(tmp_path):
    folders = [_said(tmp_path, "whole_seed1", ""), _said(tmp_path, "less_seed1", "", {"s0-0": "one two"})]
    with pytest.raises(DataError, match="the one it is compared with has no score|the run has no score"):
        results.table(results.read_scores(folders), against="whole")
    with pytest.raises(ValueError, match="--against half: no scored folder of that name, only of whole, less"):
        results.table(results.read_scores(folders), against="half")
