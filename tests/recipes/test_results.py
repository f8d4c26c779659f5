"""recipes/utils/results.py: the table over seeds and folds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stand_in import load_script

results = load_script("recipes/utils/results.py")


def _scored(base: Path, run: str, errors: int, words: int = 300) -> Path:
    folder = base / run / "decode_test_greedy"
    folder.mkdir(parents=True)
    counts = {"reference": words, "errors": errors, "insertions": 0, "deletions": 1, "substitutions": errors - 1,
              "interval": [0.0, 0.02]}
    scores = {"wer": errors / words, "words": counts, "partial": False, "missing": []}
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


def test_a_run_without_a_seed_in_its_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be called <name>_seed<N>"):
        results.read_scores([_scored(tmp_path, "crnn", 3)])
