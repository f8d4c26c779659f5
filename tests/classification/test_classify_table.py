"""Tables of items: what is read, and that all that is wrong is told at once, by line."""

from __future__ import annotations

import os

import pytest
from classification.made import SERIES, TEXT, settings, write_rows

from asr.classification.table import Fault, read_table, table_of
from asr.errors import DataError, UsageError

TEXTS = settings(*TEXT)


def test_a_table_as_it_should_be(tmp_path):
    table = read_table(write_rows(tmp_path / "a.tsv", "id text label group more", [["x", 'he said "no', "10", "g", ""],
                                                                                  ["y", "yes", "9", "h", "?"]]), TEXTS)
    assert [(item.id, item.sources, item.label, item.group) for item in table.items] == [
        ("x", ('he said "no',), "10", "g"), ("y", ("yes",), "9", "h")]
    assert table.labels == ["9", "10"] and table.groups == ["g", "h"]  # whole numbers in their own order
    assert [item.where for item in table.items] == [f"{tmp_path}/a.tsv:2", f"{tmp_path}/a.tsv:3"]


def test_commas_quotes_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufefflabel,text\nb,"one, two"\n\na,"a ""b"""\n', encoding="utf-8")
    table = read_table(path, TEXTS)
    assert [(item.id, item.sources[0], item.label) for item in table.items] == [("2", "one, two", "b"), ("4", 'a "b"', "a")]
    assert table.labels == ["a", "b"] and table.groups is None


def test_paths_are_relative_to_the_table_and_columns_are_configuration(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "x.npy").touch()
    path = write_rows(tmp_path / "sub/t.tsv", "name file class", [["n", "../x.npy", "c"]])
    config = settings("inputs=[{kind: series, column: file}]", "table={id: name, label: class}")
    item = read_table(path, config).items[0]
    assert (item.id, item.sources, item.label) == ("n", (f"{tmp_path}/sub/../x.npy",), "c")


def test_every_faulty_item_is_named_at_once(tmp_path):
    rows = [["a", "ok", "good"], ["a", "ok", "good"], ["b", "", "good"], ["c", "ok", "goad"], ["d", "ok", ""], ["", "ok", "bad"]]
    path = write_rows(tmp_path / "t.tsv", "id text label", rows)
    with pytest.raises(DataError) as caught:
        read_table(path, TEXTS, ["bad", "good"])
    said = str(caught.value)
    for expected in ("5 of 6 items cannot be used", "--skip-bad", f"{path}:3: a: this id is that of {path}:2 already",
                     f"{path}:4: b: empty text", f"{path}:5: c: unknown 'goad'", "did you mean 'good'?", f"{path}:6: d: no label",
                     f"{path}:7: : no id"):
        assert expected in said
    table = read_table(path, TEXTS, ["bad", "good"], skip_bad=True)
    assert [item.id for item in table.items] == ["a"] and table.skipped == 5


def test_names_that_would_break_a_table_of_predictions(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,text,label,group\n"a\tb",ok,x,g\nc,ok,"x\ny",g\nd,ok,x,"g\r\nh"\ne,o\tk,x,g\u2028i\n', encoding="utf-8",
                    newline="")
    with pytest.raises(DataError) as caught:
        read_table(path, TEXTS)
    said = str(caught.value)
    for expected in ("3 of 4 items cannot be used", r"a tab or the end of a line in id 'a\tb'", r"in label 'x\ny'",
                     r"in group 'g\r\nh'"):
        assert expected in said
    assert [item.id for item in read_table(path, TEXTS, skip_bad=True).items] == ["e"]
    assert len(read_table(path, TEXTS, need_labels=False, skip_bad=True)) == 2  # where labels are left aside, so are their faults


def test_files_that_are_not_there(tmp_path):
    path = write_rows(tmp_path / "t.tsv", "id path label", [["a", "no.npy", "x"]])
    with pytest.raises(DataError, match=rf"t.tsv:2: a: no such file: {tmp_path}/no.npy"):
        read_table(path, settings(*SERIES))
    os.mkfifo(tmp_path / "no.npy")
    with pytest.raises(DataError, match=rf"t.tsv:2: a: no ordinary file: {tmp_path}/no.npy"):
        read_table(path, settings(*SERIES))


@pytest.mark.parametrize(("content", "error", "message"), [
    (b"id\tlabel\nx\ty\n", UsageError, r"t.tsv:1: no column 'text'; there are 'id', 'label'"),
    (b"", DataError, "empty; the first line names the columns"),
    (b"id\ttext\tlabel\n", DataError, "a header and no items"),
    (b"id\ttext\tlabel\nx\ty\n", DataError, "t.tsv:2: 2 fields, the header has 3"),
    (b"id\tid\ttext\tlabel\n", DataError, "columns that come twice: id"),
    (b"id\ttext\tlabel\nx\t\xff\ty\n", DataError, "not UTF-8"),
])
def test_what_is_no_table(tmp_path, content, error, message):
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(error, match=message):
        read_table(tmp_path / "t.tsv", TEXTS)


def test_a_quotation_that_never_ends(tmp_path):
    (tmp_path / "t.csv").write_text('text,label\n"one,a\n')
    with pytest.raises(DataError, match=r"t.csv:2: "):
        read_table(tmp_path / "t.csv", TEXTS)


def test_labels_need_not_be_there_to_predict(tmp_path):
    path = write_rows(tmp_path / "t.tsv", "text", [["one"], ["two"]])
    assert [item.label for item in read_table(path, TEXTS, need_labels=False).items] == [None, None]


def test_inputs_of_the_command_line():
    assert [item.id for item in table_of(["a film", "b"], TEXTS).items] == ["1", "2"]
    with pytest.raises(DataError, match="input 1: none.npy: no such file"):
        table_of(["none.npy"], settings(*SERIES))


def test_nothing_left(tmp_path):
    table = table_of(["a", "b"], TEXTS)
    with pytest.raises(DataError, match="none of 2 items can be used"):
        table.without([Fault(item, "bad") for item in table.items], skip_bad=True)
