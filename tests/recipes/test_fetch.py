"""Downloads of recipes: gone on with, begun again, several at once; and the same of what is unpacked."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from project_copy import ROOT

BODY = bytes(range(256)) * 400
SUM = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """BODY or the rest of it: /slow in two parts, /silent after its headers, /whole without regard to ranges."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(re.findall(r"\d+", asked)[0]) if asked and self.path != "/whole" else 0
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        for part in (BODY[start:start + 50000], BODY[start + 50000:]):
            time.sleep({"/slow": 0.4, "/silent": 20}.get(self.path, 0))
            self.wfile.write(part)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads, made.block_on_close, made.asked = True, False, []
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def start(tmp_path, server):
    """Begin lines of a recipe in ``tmp_path``; $from is the server."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)

    def begin(lines: str) -> subprocess.Popen[str]:
        script = f"""set -euo pipefail
            log() {{ echo "$*" >&2; }}
            die() {{ log "$*"; exit 1; }}
            root={ROOT}
            . {ROOT}/recipes/utils/fetch.sh
            from=http://127.0.0.1:{server.server_port}
            {lines}"""
        return subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                                env=os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})

    return begin


def end(process: subprocess.Popen[str]) -> str:
    """What it said; it must have ended well."""
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("sum", [SUM, hashlib.md5(BODY).hexdigest(), ""])
@pytest.mark.parametrize(("part", "path"), [(None, "/any"), (BODY[:70000], "/any"), (BODY[:70000], "/whole"), (BODY, "/any"),
                                            (BODY + b"more", "/any")])
def test_whatever_an_earlier_download_left_the_file_is_the_servers(start, server, tmp_path, part, path, sum):
    (tmp_path / "a b").mkdir()
    if part is not None:
        (tmp_path / "a b/x.part").write_bytes(part)
    end(start(f"fetch $from{path} 'a b/x' {sum}"))
    assert (tmp_path / "a b/x").read_bytes() == BODY and not (tmp_path / "a b/x.part").exists()
    if part == BODY and sum:  # killed just before the file had its name
        assert server.asked == [f"bytes={len(BODY)}-"]


def test_what_is_not_the_file_wanted_does_not_stay(start, tmp_path):
    process = start(f"fetch $from/any x {'0' * 64}")
    assert "not the file this recipe was made for (its SHA-256 is another)" in process.communicate(timeout=60)[1]
    assert process.returncode == 1 and not list(tmp_path.glob("x*"))


def test_a_server_that_falls_silent_is_left_and_what_came_is_kept(start, server, tmp_path):
    (tmp_path / "x.part").write_bytes(BODY[:70000])
    process = start('curl() { command curl "${@/#60/1}"; }  # a second where it is a minute\nfetch $from/silent x')
    assert "cannot download" in process.communicate(timeout=60)[1] and process.returncode == 1
    end(start(f"fetch $from/any x {SUM}"))
    assert server.asked == ["bytes=70000-"] * 2


def test_of_two_at_once_one_downloads_and_the_other_waits(start, server, tmp_path):
    said = [end(process) for process in [start(f"fetch $from/slow data/x {SUM}") for _ in range(2)]]
    assert server.asked == [None] and (tmp_path / "data/x").read_bytes() == BODY
    assert sorted("waiting for it" in each for each in said) == [False, True]


def test_a_run_that_was_killed_leaves_no_second_writer(start, server, tmp_path):
    """Its curl goes on without it."""
    killed = start("fetch $from/slow x")
    while not (tmp_path / "x.part").exists():
        time.sleep(0.02)
    killed.kill()
    assert "waiting for it" in end(start(f"fetch $from/slow x {SUM}"))
    killed.communicate()
    assert (tmp_path / "x").read_bytes() == BODY and server.asked == [None, f"bytes={len(BODY)}-"]


def test_an_archive_unpacked_twice_at_once(start, tmp_path):
    (tmp_path / "top").mkdir()
    for number in range(200):
        (tmp_path / f"top/{number}").write_bytes(os.urandom(9000))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "top", "top")
    for process in [start("unpack a.tar.gz data/a") for _ in range(3)]:
        end(process)
    assert len(list((tmp_path / "data/a").iterdir())) == 200 and not (tmp_path / "data/a.part").exists()


def test_a_damaged_archive_is_removed(start, tmp_path):
    (tmp_path / "a.tar.gz").write_text("<html>log in</html>")
    process = start("unpack a.tar.gz a")
    assert "a.tar.gz is damaged and was removed: call again" in process.communicate(timeout=60)[1]
    assert process.returncode == 1 and not list(tmp_path.glob("a*"))
