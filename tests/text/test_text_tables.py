from __future__ import annotations

import pytest

from asr.errors import DataError, UsageError
from asr.text import read_transcripts
from asr.text.tables import read_lines, words


def test_transcripts_as_kaldi_splits_them(tmp_path) -> None:
    path = tmp_path / "text"
    path.write_bytes("\ufeffu1 a  b\r\nu2\nu3\tx\u00a0y\u2028 z \nu4 \u3000".encode())
    assert read_transcripts(path) == {"u1": "a b", "u2": "", "u3": "x\u00a0y\u2028 z", "u4": "\u3000"}


def test_words_of_a_text_from_elsewhere() -> None:
    assert words("hello world\n") == ["hello", "world"] and words("\r\na\n b\u2028c") == ["a", "b\u2028c"]


@pytest.mark.parametrize(("content", "message"), [
    (b"u1 a\n\nu2 b\n", "text:2: empty line"),
    (b"u1 a\nu1 b\n", "text:2: u1 appears a second time"),
    (b"u1 a\nu2 \xff\n", "text:2: not UTF-8"),
])
def test_faults_have_their_line(tmp_path, content: bytes, message: str) -> None:
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_transcripts(tmp_path / "text")


def test_absent_and_empty_files(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_transcripts(tmp_path / "text")
    (tmp_path / "text").touch()
    assert read_transcripts(tmp_path / "text") == {} and list(read_lines(tmp_path / "text")) == []
