from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cli.command import heard
from scored import Scored, scored_folder

from asr.errors import UsageError
from asr.report import write_report


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id") or "" if tag == "script" else self._script

    def handle_endtag(self, tag: str) -> None:
        self._script = None if tag == "script" else self._script

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


def test_everything_is_in_the_file(made: Scored, tmp_path: Path) -> None:
    report = write_report([made.one, made.other], tmp_path / "r.html")
    assert (report.utterances, report.with_sound, report.notes) == (12, 12, [])
    page = Page(tmp_path / "r.html")
    sources = [attrs.get(name) for _, attrs in page.elements for name in ("src", "href") if attrs.get(name)]
    assert sources and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not [attrs for tag, attrs in page.elements if tag in ("link", "iframe")]
    policy = next(attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert len([1 for tag, attrs in page.elements if tag == "img" and str(attrs["alt"]).startswith("WER by ")]) == 1
    assert "Training curves of one" in [attrs.get("alt") for _, attrs in page.elements]
    rows = json.loads(page.scripts["content"])[0]
    assert [row[0] for row in rows["rows"]] == made.ids and rows["systems"] == ["one/decode_test", "other/decode_test"]
    assert sorted(rows["media"]) == made.ids
    for number in range(12):
        assert json.loads(page.scripts[f"m-0-{number}"])["audio"].startswith("data:audio/flac;base64,")
    hardest = min(rows["media"], key=rows["media"].get)
    assert hardest == made.ids[0] or hardest == made.ids[1]


def test_texts_cannot_break_out(made: Scored, tmp_path: Path) -> None:
    write_report([made.one, made.other], tmp_path / "r.html", title="<i>a</i> & b")
    page = Page(tmp_path / "r.html")
    assert all("class" in attrs for tag, attrs in page.elements if tag in ("b", "i"))  # the bars of intervals, no text's
    assert "<i>a</i> & b" in page.text
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2 + 12
    heard = {row[0]: row[3][0][1] for row in json.loads(page.scripts["content"])[0]["rows"]}
    assert heard[made.ids[1]] == "</script><script>alert(1)</script>" and heard[made.ids[0]] == "hi hi <b>lo</b>"


def test_the_size_is_kept(made: Scored, tmp_path: Path) -> None:
    whole = write_report([made.one, made.other], tmp_path / "whole.html")
    small = write_report([made.one, made.other], tmp_path / "small.html", max_mb=0.7 * whole.megabytes)
    assert 0 < small.with_sound < 12 and small.utterances == 12
    assert (tmp_path / "small.html").stat().st_size <= 0.7e6 * whole.megabytes
    assert small.notes == [f"No sound of {12 - small.with_sound} of 12 utterances: --max-mb has no room for it."]
    assert small.notes[0] in Page(tmp_path / "small.html").text
    with pytest.raises(UsageError, match=r"--max-mb 0.01: the texts and pictures alone are 0\.\d MB"):
        write_report([made.one], tmp_path / "none.html", max_mb=0.01)
    assert not (tmp_path / "none.html").exists()


def test_the_same_report_is_the_same_bytes(made: Scored, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report([made.one, made.other], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_sound_and_without_speakers(tmp_path: Path) -> None:
    scored_folder(tmp_path / "x", {"u": "{ a / b c } (uh)", "v": ""}, {"u": "b c", "v": "d"}, rules="sclite")
    report = write_report([tmp_path / "x"], tmp_path / "r.html")
    assert report.with_sound == 0 and report.notes == ["No sound: no decode.json names the data directory; name it with --data."]
    page = Page(tmp_path / "r.html")
    assert report.notes[0] in page.text
    assert json.loads(page.scripts["content"])[0]["rows"] == [["u", [], 3, [["b c (uh)", "b c", "CCd", 0]]],
                                                              ["v", [], 0, [["", "d", "I", 1]]]]


def test_a_run_that_is_not_decoded_yet(made: Scored, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text((made.one.parent / "metrics.csv").read_text())
    assert write_report([tmp_path], tmp_path / "r.html").utterances == 0
    assert "Training" in Page(tmp_path / "r.html").text


def test_the_command(made: Scored, tmp_path: Path) -> None:
    done = heard("report", made.one, made.other, "--out", tmp_path / "r.html", "--max-mb", 5, "--title", "Tones")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r".*r.html: [\d.]+ MB, 12 utterances, 12 with sound\n", done.stdout)
    absent = heard("report", tmp_path / "absent", "--out", tmp_path / "x.html")
    assert absent.returncode == 2 and "no such folder" in absent.stderr
    assert heard("report", tmp_path, "--out", tmp_path / "x.html").returncode == 2
    assert not (tmp_path / "x.html").exists()
