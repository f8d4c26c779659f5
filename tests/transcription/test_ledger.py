"""The ledger: what rows mean, what a torn one does, and who may work on what, between real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr.errors import AsrError, UsageError
from asr.transcription.ledger import NAME, Done, Ledger
from asr.transcription.survey import Seen

HOLDER = """
import sys
from asr.transcription.ledger import Ledger
ledger = Ledger(sys.argv[1])
print(ledger.claim(int(sys.argv[2])), flush=True)
sys.stdin.read()
"""


def holding(out: Path, batch: int) -> subprocess.Popen[str]:
    """A process that has claimed a batch and lives until its standard input is closed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(out), str(batch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def done(name: str, digest: str = "d", settings: str = "s", formats: tuple[str, ...] = ("txt",)) -> dict:
    return {"file": name, "digest": digest, "settings": settings, "formats": list(formats), "batch": 0, "seconds": 1.0}


def test_rows_are_read_again_and_the_last_one_counts(tmp_path):
    name = os.fsdecode(b"a\xff.wav")
    with Ledger(tmp_path) as ledger:
        with ledger.writing():
            ledger.plan([[(name, "d", "/x/a"), ("b", "e", "/x/b")], [("c", "f", "")]], "s")
            ledger.plan([[(name, "new", "/y/a")]], "s")
        ledger.append([done(name), {"failed": "b", "path": "/b", "shown": "b", "error": "broken"},
                       {"failed": "c", "path": "/c", "shown": "c", "error": "broken"},
                       {"seen": "/b", "is": [1, 2, 3, 4, "hash", 0.5, 2]}])
        ledger.append([done("b", formats=("srt", "txt")), {"mended": "c"}])
    with Ledger(tmp_path) as ledger:
        assert ledger.done == {name: Done("d", "s", ("txt",)), "b": Done("d", "s", ("srt", "txt"))} and ledger.failed == {}
        assert ledger.planned == {(name, "d", "s"): 0, ("b", "e", "s"): 0, ("c", "f", "s"): 1, (name, "new", "s"): 2}
        assert ledger.batches[0].files == ((name, "d"), ("b", "e"))
        assert ledger.origins == {name: ("new", "/y/a"), "b": ("e", "/x/b"), "c": ("f", "")}
        assert ledger.seen == {"/b": Seen(1, 2, 3, 4, "hash", 0.5, 2)}


@pytest.mark.parametrize("keep", range(1, 12))
def test_a_torn_last_row_is_passed_over_and_closed_off(tmp_path, keep):
    with Ledger(tmp_path) as ledger:
        ledger.append([done("a"), done("b")])
    path = tmp_path / NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-keep * 7])
    with Ledger(tmp_path) as ledger:
        assert set(ledger.done) <= {"a"}
        ledger.append([done("c")])
        assert set(ledger.done) <= {"a", "c"} and "c" in ledger.done
    with Ledger(tmp_path) as ledger:
        assert "c" in ledger.done
    assert json.loads(path.read_bytes().splitlines()[-1])["file"] == "c"


def test_rows_of_another_kind_are_no_harm(tmp_path):
    (tmp_path / NAME).write_bytes(b"\xff\xfe\n[]\n3\n{\"file\": \"a\"}\n{\"batch\": 0, \"files\": 5}\nnull\n\n")
    with Ledger(tmp_path) as ledger:
        assert ledger.done == {} and ledger.batches == {}


def test_another_process_cannot_claim_what_is_claimed_until_its_holder_ends_however(tmp_path):
    first, second = holding(tmp_path, 0), holding(tmp_path, 1)
    with Ledger(tmp_path) as ledger:
        assert not ledger.claim(0) and not ledger.claim(1) and ledger.claim(2)
        with ledger.alone() as alone:
            assert not alone
        first.kill()
        first.communicate()
        assert ledger.claim(0) and not ledger.claim(1)
        second.communicate()
        assert ledger.claim(1)
        ledger.release(1)
        with ledger.alone() as alone:
            assert alone
    third = holding(tmp_path, 0)  # closing gave everything back
    third.communicate()


def test_rows_of_another_process_are_seen_when_a_batch_is_claimed(tmp_path):
    with Ledger(tmp_path) as ledger:
        script = f"from asr.transcription.ledger import Ledger; Ledger({str(tmp_path)!r}).append([{done('a')!r}])"
        subprocess.run([sys.executable, "-c", script], check=True)
        assert ledger.done == {} and ledger.claim(0) and set(ledger.done) == {"a"}


def test_a_process_opens_a_ledger_once(tmp_path):
    with Ledger(tmp_path), pytest.raises(UsageError, match="this process is transcribing into this folder already"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()


def test_a_full_disk_leaves_no_part_of_a_row(tmp_path, monkeypatch):
    with Ledger(tmp_path) as ledger:
        ledger.append([done("a")])
        before = (tmp_path / NAME).read_bytes()
        original = os.write
        monkeypatch.setattr(os, "write", lambda file, data: original(file, bytes(data[:10])) if len(data) > 50 else _full())
        with pytest.raises(AsrError, match=r"ledger\.jsonl: cannot write: No space left on device; free some space"):
            ledger.append([done("b")])
        monkeypatch.undo()
        assert (tmp_path / NAME).read_bytes() == before
        ledger.append([done("c")])
        assert set(ledger.done) == {"a", "c"}


def _full() -> int:
    raise OSError(28, "No space left on device")


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch):
    import fcntl

    def unsupported(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    with pytest.raises(AsrError, match="cannot lock: No locks available; write into a folder on a disk with file locks"):
        Ledger(tmp_path)
    monkeypatch.undo()
    Ledger(tmp_path).close()  # and it is not held to be open


def test_a_ledger_that_cannot_be_opened(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(AsrError, match=r"ledger\.jsonl: cannot open the ledger: Is a directory"):
        Ledger(tmp_path)
