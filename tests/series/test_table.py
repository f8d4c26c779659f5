"""Reading a table: what is taken as it is, and what is refused with its row and its cure."""

from __future__ import annotations

import gzip
import lzma
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from series.made_series import made_frame, write_csv

from asr.errors import ConfigError, DataError
from asr.series.config import SeriesConfig
from asr.series.table import read_series

DATED = SeriesConfig(time="date")


def put(column: str, row: int, cell: object) -> Callable[[pd.DataFrame], None]:
    """A change of a table: this cell in that place."""
    def change(frame: pd.DataFrame) -> None:
        frame.loc[row, column] = cell

    return change


def changed(tmp_path: Path, change: object, rows: int = 60, freq: str = "h") -> Path:
    """A table of which `change` has altered the frame of text that is written."""
    frame = made_frame(rows, freq=freq).astype(object)
    out = change(frame)
    return write_csv(tmp_path / "x.csv", frame if out is None else out)


def refused(path: Path, config: SeriesConfig = DATED, error: type[Exception] = DataError, **options: bool) -> str:
    with pytest.raises(error) as caught:
        read_series(path, config, **options)
    return str(caught.value)


def test_a_table_is_read_as_it_is(tmp_path):
    frame = made_frame(50)
    series = read_series(write_csv(tmp_path / "x.csv", frame), DATED)
    assert series.names == ("a", "b", "c")
    np.testing.assert_array_equal(series.values, frame[["a", "b", "c"]])
    assert series.observed.all() and series.covariates.shape == (50, 0)
    assert list(series.times) == list(frame["date"]) and series.frequency.freqstr == "h"
    assert list(series.times_after(2)) == [pd.Timestamp("2020-01-03 02:00"), pd.Timestamp("2020-01-03 03:00")]


def test_parquet_and_compressed_csv_give_the_same(tmp_path):
    frame = made_frame(50)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.set_index("date").to_parquet(tmp_path / "indexed.parquet")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    for name in ("x.parquet", "indexed.parquet", "x.csv.gz"):
        series = read_series(tmp_path / name, DATED)
        np.testing.assert_array_equal(series.values, frame[["a", "b", "c"]])
        assert list(series.times) == list(frame["date"])


def test_a_file_without_names_or_timestamps(tmp_path):
    (tmp_path / "x.txt").write_text("1;2\n3;4\n5;6\n")
    series = read_series(tmp_path / "x.txt", SeriesConfig(header=False, separator=";"))
    assert series.names == ("0", "1") and series.times is None and series.times_after(3) is None
    np.testing.assert_array_equal(series.values, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize("freq", ["h", "15min", "D", "B", "W-SUN", "MS", "QS-OCT"])
def test_the_step_is_found_and_goes_on(tmp_path, freq):
    series = read_series(write_csv(tmp_path / "x.csv", made_frame(40, freq=freq)), DATED)
    assert list(series.times_after(3)) == list(pd.date_range("2020-01-01", periods=43, freq=freq)[40:])


@pytest.mark.parametrize(("change", "said"), [
    (put("b", 6, "n/s"), r"row 7 \(line 8\): column 'b' holds 'n/s', which is not.*data.fill"),
    (lambda f: f.__setitem__("b", "text"), r"row 1 \(line 2\): .*'text'.*in 59 more rows; leave the column out with data.targets"),
    (put("b", 3, "inf"), r"row 4 \(line 5\): column 'b' is infinite"),
    (put("c", 9, ""), r"1 values are missing: row 10 \(line 11\): column 'c'; .*data.fill"),
    (lambda f: f.drop(index=[20, 21]), r"row 21 \(line 22\): a gap: 2020-01-01 22:00:00 follows 2020-01-01 19:00:00, .*"
                                       r"2 rows are missing in 1 gaps; .*data.fill"),
    (lambda f: pd.concat([f[:31], f[30:]]), r"row 32 \(line 33\): 2020-01-02 06:00:00 repeats the .*keep one row"),
    (lambda f: pd.concat([f[:10], f[11:20], f[10:11], f[20:]]), r"row 20 \(line 21\): 2020-01-01 10.* goes back.*sort the rows"),
    (put("date", 5, "soon"), r"row 6 \(line 7\): holds 'soon', which is not a"),
    (put("date", 5, ""), r"row 6 \(line 7\): has no timestamp"),
    (put("date", 5, pd.Timestamp("2020-01-01 05:20")), r"row 6 \(line 7\): 2020-01-01 05:20:00 does not lie on the steps of h"),
    (lambda f: f.__setitem__("date", range(60)), "column 'date' holds numbers, not timestamps"),
    (lambda f: f[:0], "no rows"),
])
def test_what_is_wrong_is_named_with_its_row(tmp_path, change, said):
    path = changed(tmp_path, change)
    with pytest.raises(DataError, match=said) as caught:
        read_series(path, DATED)
    assert str(caught.value).startswith(str(path))


def test_timestamps_that_are_not_named_are_recognised(tmp_path):
    path = write_csv(tmp_path / "x.csv", made_frame(20))
    assert "row 1 (line 2): column 'date' holds '2020-01-01 00:00:00'" in refused(path, SeriesConfig())
    assert "set data.time=date" in refused(path, SeriesConfig())


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "latin.csv").write_bytes("date,é\n".encode("latin-1"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not at all")
    (tmp_path / "ragged.csv").write_text("date,a\n2020-01-01,1\n2020-01-02,1,2,3\n")
    for name, said in {"empty.csv": "is empty", "latin.csv": "cannot read as a table", "x.parquet": "cannot read",
                       "ragged.csv": "cannot read as a table: .*line 3", "absent.csv": "cannot read: No such file"}.items():
        with pytest.raises(DataError, match=said):
            read_series(tmp_path / name, DATED)


def test_cells_beyond_the_last_name_are_not_thrown_away(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("date,a\n" + "".join(f"2020-01-01 0{h}:00:00,10,{h}\n" for h in range(9)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "row 1 (line 2): rows have more cells than the line of names; write decimal points" in refused(path)
        path.write_text("date,a\n" + "".join(f"2020-01-01 0{h}:00:00,{h},\n" for h in range(9)))  # nothing in them
        np.testing.assert_array_equal(read_series(path, DATED).values[:, 0], range(9))


def test_damaged_archives(tmp_path):
    text = made_frame(500).to_csv(index=False).encode()
    for pack, name in ((gzip.compress, "x.csv.gz"), (lzma.compress, "x.csv.xz")):
        packed = pack(text)
        (tmp_path / f"cut_{name}").write_bytes(packed[:len(packed) // 2])
        (tmp_path / f"other_{name}").write_bytes(packed[:20] + bytes(2000))
    with zipfile.ZipFile(tmp_path / "locked.csv.zip", "w") as packed:
        packed.writestr("x.csv", text)
    packed = bytearray((tmp_path / "locked.csv.zip").read_bytes())
    for start, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(start) + place] |= 1  # says that it has a password
    (tmp_path / "locked.csv.zip").write_bytes(packed)
    (tmp_path / "other.csv.zip").write_bytes(b"no zip at all")
    for path in sorted(tmp_path.iterdir()):
        assert refused(path).startswith(f"{path}: cannot read: ")


def test_one_wrong_year_among_seconds(tmp_path):
    path = changed(tmp_path, put("date", 59, "2203-01-01 00:00:59"), freq="s")
    assert ("row 60 (line 61): 2203-01-01 00:00:59 follows 2020-01-01 00:00:58, the largest of the jumps by which 60 rows span "
            "5774889659 steps of s; correct it") in refused(path)


@pytest.mark.parametrize(("config", "said"), [
    (SeriesConfig(time="when"), "data.time: .* has no column 'when'; it has date, a, b, c"),
    (SeriesConfig(time="date", targets=("z",)), "data.targets: .* has no column 'z'"),
    (SeriesConfig(time="date", covariates=("z",)), "data.covariates: .* has no column 'z'"),
    (SeriesConfig(time="date", targets=("a",), covariates=("a",)), "'a' is also the time or a covariate"),
    (SeriesConfig(time="date", covariates=("a", "b", "c")), "no column is left to forecast"),
    (SeriesConfig(time="date", frequency="furlong"), "pandas knows no step 'furlong'"),
    (SeriesConfig(time="date", frequency="0h"), "data.frequency: '0h' does not go on in time"),
    (SeriesConfig(time="date", frequency="-1D"), "data.frequency: '-1D' does not go on in time"),
    (SeriesConfig(targets=("a",), calendar=("hour",)), "data.calendar: hour needs timestamps"),
])
def test_a_configuration_that_does_not_fit_the_table(tmp_path, config, said):
    with pytest.raises(ConfigError, match=said):
        read_series(write_csv(tmp_path / "x.csv", made_frame(20)), config)


def test_holes_are_filled_and_remembered(tmp_path):
    frame = made_frame(40).astype(object)
    frame.loc[[5, 6], "a"] = ""
    frame.loc[0, "b"] = "NA"
    path = write_csv(tmp_path / "x.csv", frame.drop(index=[20, 21]))
    values = made_frame(40)
    linear = read_series(path, DATED.model_copy(update={"fill": "linear"}))
    forward = read_series(path, DATED.model_copy(update={"fill": "forward"}))
    for series in (linear, forward):
        assert len(series) == 40 and list(series.times) == list(values["date"])
        holes = np.zeros((40, 3), bool)
        holes[[5, 6], 0] = holes[0, 1] = holes[[20, 21]] = True
        np.testing.assert_array_equal(series.observed, ~holes)
        np.testing.assert_array_equal(series.values[~holes], values[["a", "b", "c"]].to_numpy()[~holes])
        assert series.values[0, 1] == values["b"][1]
    a = values["a"]
    np.testing.assert_allclose(linear.values[[5, 6], 0], [a[4] + (a[7] - a[4]) / 3, a[4] + (a[7] - a[4]) * 2 / 3])
    np.testing.assert_array_equal(forward.values[[5, 6], 0], [a[4], a[4]])


def test_a_column_of_nothing_cannot_be_filled(tmp_path):
    path = changed(tmp_path, lambda f: f.__setitem__("b", ""))
    assert "column 'b' holds no value" in refused(path, SeriesConfig(time="date", fill="linear"))


def test_calendar_and_covariates_stand_side_by_side(tmp_path):
    config = SeriesConfig(time="date", targets=("a",), covariates=("c",), calendar=("hour", "weekday"))
    frame = made_frame(60)
    series = read_series(write_csv(tmp_path / "x.csv", frame), config)
    assert series.names == ("a",) and series.covariates.shape == (60, 5)
    np.testing.assert_array_equal(series.covariates[:, 0], frame["c"])
    np.testing.assert_allclose(series.covariates[[0, 6, 30], 1:3], [[0, 1], [1, 0], [1, 0]], atol=1e-12)  # midnight, six, six
    wednesday = 2 * np.pi * 2 / 7
    np.testing.assert_allclose(series.covariates[:24, 3], np.sin(wednesday))


def test_rows_of_the_future_hold_covariates_alone(tmp_path):
    config = SeriesConfig(time="date", targets=("a", "b"), covariates=("c",))
    frame = made_frame(30).astype(object)
    frame.loc[26:, ["a", "b"]] = ""
    path = write_csv(tmp_path / "x.csv", frame)
    assert "8 values are missing" in refused(path, config)
    series = read_series(path, config, future=True)
    assert series.future == 4 and len(series) == 30
    assert not series.observed[26:].any() and series.observed[:26].all()
    np.testing.assert_array_equal(series.covariates[:, 0], made_frame(30)["c"])
    frame.loc[28, "c"] = ""
    assert "row 29 (line 30): the covariate 'c' is missing" in refused(write_csv(path, frame), config, future=True)
    gapped = config.model_copy(update={"fill": "forward"})
    write_csv(path, frame.drop(index=range(5, 15)))
    assert "row 19 (line 20): the covariate 'c' is missing at 2020-01-02 04:00:00" in refused(path, gapped, future=True)
    write_csv(path, frame.drop(index=[26, 28]))
    assert "no row for 2020-01-02 02:00:00, which is to be forecast; add it" in refused(path, gapped, future=True)
