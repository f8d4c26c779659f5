"""The one reader of archived matrices: what it gives, what it refuses, and that no archive runs anything."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from asr.corpus.archive import check_archives, parse_position, read_matrix
from asr.corpus.tables import Row, Table
from asr.errors import DataError

MATRIX = np.random.default_rng(0).normal(size=(7, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`a.ark`: one float32 matrix, key `u`, so its bytes begin at 2."""
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": MATRIX.astype(np.float32)})
    return tmp_path


@pytest.mark.parametrize(("dtype", "compression", "close"), [
    (np.float32, None, 0), (np.float64, None, 0), (np.float32, 2, 0.02), (np.float32, 3, 1e-3), (np.float32, 5, 0.02)])
def test_every_binary_form_is_read_into_memory_of_its_own(tmp_path: Path, dtype, compression, close) -> None:
    kaldiio.save_ark(str(tmp_path / "x: y.ark"), {"key": MATRIX.astype(dtype)}, compression_method=compression)
    matrix = read_matrix(f"{tmp_path}/x: y.ark:4", "key", columns=3)
    assert matrix.dtype == (dtype if compression is None else np.float32) and matrix.flags.writeable
    np.testing.assert_allclose(matrix, MATRIX.astype(dtype), atol=close, rtol=0)


def test_a_position_is_a_file_and_an_offset() -> None:
    assert parse_position("a/b c.ark:12") == (Path("a/b c.ark"), 12)
    assert parse_position("a:b.mat") == (Path("a:b.mat"), 0)


def test_archives_that_are_not_there_or_too_short_are_named_once_each(folder: Path) -> None:
    size = (folder / "a.ark").stat().st_size
    places = ["a.ark:2", "gone.ark:5", f"a.ark:{size}", "gone.ark:50", "touch x |"]
    table = Table("feats.scp", [Row(line, f"u{line}", f"{folder}/{place}") for line, place in enumerate(places, 1)])
    short, gone = sorted(map(str, check_archives(table)), reverse=True)
    assert gone.startswith(f"feats.scp:2: u2: its archive cannot be read: {folder}/gone.ark: No such file or directory (and 1 more")
    assert short.startswith(f"feats.scp:3: u3: its archive cannot be read: {folder}/a.ark ends at byte {size}, before it [write "
                            "them again with `asr features`, or remove the table]")


@pytest.mark.parametrize("position", ["touch {0} |", "touch {0} |:0", "| touch {0}", " touch {0} | ", "touch {0}|[0:1]",
                                      "touch {0} | cat |:7"])
def test_no_command_is_run(folder: Path, position: str) -> None:
    with pytest.raises(DataError, match="utterance u: .* a shell command in place of an archive"):
        read_matrix(position.format(folder / "planted"), "utterance u")
    assert not (folder / "planted").exists()


class Planted:
    def __reduce__(self):
        return Path.touch, (Path("planted"),)


def test_no_pickle_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "p.ark").write_bytes(b"PKL" + pickle.dumps(Planted()))
    with pytest.raises(DataError, match="no binary Kaldi matrix"):
        read_matrix("p.ark:0", "u")
    assert not (folder / "planted").exists()


@pytest.mark.parametrize(("position", "said"), [
    ("", "u: there is no archive position for it; write the features with"),
    ("{0}/none.ark:2", "u: cannot read .*none.ark:2: No such file or directory; write it again with `asr features`"),
    ("{0}:2", "Is a directory"),
    ("-", "No such file"),  # kaldiio would wait for standard input
    ("{0}/a.ark:99999", r"position 99999 is beyond the end of the file \(101 bytes\)"),
    ("{0}/a.ark:0", "no binary Kaldi matrix at this place"),
    ("{0}/a.ark:2[0:3]", "a range of rows cannot be read"),
])
def test_positions_that_hold_nothing(folder: Path, position: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_matrix(position.format(folder), "u")


@pytest.mark.parametrize("cut", [3, 6, 10, 20, 100])
def test_a_cut_archive(folder: Path, cut: int) -> None:
    whole = (folder / "a.ark").read_bytes()
    (folder / "a.ark").write_bytes(whole[:cut])
    with pytest.raises(DataError, match="u: cannot read .*a.ark:2: (cut or corrupt|there is no binary)"):
        read_matrix(f"{folder}/a.ark:2", "u")


@pytest.mark.parametrize(("content", "said"), [
    (b"\0BFV \4" + struct.pack("<if", 1, 1.0), "expected a matrix with rows"),
    (b"\0BFM \4" + struct.pack("<i", 0) + b"\4" + struct.pack("<i", 0), "expected a matrix with rows"),
    (b"\0BFM \4" + struct.pack("<i", 1) + b"\4" + struct.pack("<if", 1, float("nan")), "values that are not finite"),
    (b"\0BFM \4" + struct.pack("<i", -1) + b"\4" + struct.pack("<i", -4), "cut or corrupt"),
    (b"\0BFM \4" + struct.pack("<i", 2 ** 31 - 1) + b"\4" + struct.pack("<i", 2 ** 31 - 1), "cut or corrupt"),
    (b"\0BXY junk", "cut or corrupt"),
])
def test_bytes_that_are_no_matrix_of_features(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "b.ark").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_matrix(f"{tmp_path}/b.ark", "u")


def test_another_number_of_columns(folder: Path) -> None:
    with pytest.raises(DataError, match=r"u: .*a.ark:2 holds a matrix of shape \(7, 3\), 4 columns are needed"):
        read_matrix(f"{folder}/a.ark:2", "u", columns=4)
