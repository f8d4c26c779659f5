from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scored import Scored, scored_folder

from asr.errors import DataError, UsageError
from asr.report.gather import gather


def test_scored_folders_and_their_runs(made: Scored) -> None:
    material = gather([made.one, made.other])
    assert [system.name for system in material.sets[0].systems] == ["one/decode_test", "other/decode_test"]
    assert material.sets[0].name == "/".join(made.data.path.parts[-2:])
    assert list(material.curves) == ["one"] and len(material.curves["one"]) == 2
    comparison = material.sets[0].comparisons[0, 1]
    assert comparison.names == ("one/decode_test", "other/decode_test")
    assert comparison.first.errors == material.sets[0].systems[0].scores.errors


def test_a_run_stands_for_its_scored_folders(made: Scored) -> None:
    material = gather([made.one.parent])
    assert [system.folder for system in material.sets[0].systems] == [made.one] and list(material.curves) == ["one"]
    assert material.sets[0].comparisons == {}


def test_other_utterances_are_another_set(made: Scored, tmp_path: Path) -> None:
    scored_folder(tmp_path / "x", {"u": "a"}, {"u": "b"})
    scored_folder(tmp_path / "y", {"u": "a"}, {"u": "a"}, normalizer="basic")  # counted otherwise: not comparable
    material = gather([made.one, tmp_path / "x", made.other, tmp_path / "y"])
    assert [len(each.systems) for each in material.sets] == [2, 1, 1]
    assert [each.name.rpartition("/")[2] for each in material.sets][1:] == ["x", "y"]


def test_many_systems_are_compared_with_the_first(tmp_path: Path) -> None:
    folders = [scored_folder(tmp_path / str(number), {"u": "a b", "v": "c"}, {"u": "a", "v": "c"}) for number in range(6)]
    assert set(gather(folders).sets[0].comparisons) == {(0, other) for other in range(1, 6)}
    assert len(gather(folders[:4]).sets[0].comparisons) == 6


def test_what_is_no_result_is_refused(made: Scored, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither scored \(no scores.json: run `asr score --out .*nor a training run"):
        gather([tmp_path])
    shutil.copytree(made.one, tmp_path / "copy")
    (tmp_path / "copy" / "decode.json").write_text("{")
    with pytest.raises(DataError, match=r"decode.json: not JSON"):
        gather([tmp_path / "copy"])
    (tmp_path / "copy" / "decode.json").write_text("[]")
    with pytest.raises(DataError, match=r"decode.json: holds list"):
        gather([tmp_path / "copy"])
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "metrics.csv").write_text("epoch\nx\n")
    with pytest.raises(DataError, match=r"metrics.csv: not a table of numbers"):
        gather([tmp_path])
