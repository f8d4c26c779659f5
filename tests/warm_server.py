"""`asr` for the recipes under test, without the seconds that a start of Python and the import of PyTorch and Lightning take.

A recipe is a dozen commands, and most of what its test would wait for is their start. `WarmServer` is a process that has imported
what commands import; `asr` of a ProjectCopy is a client that hands it the arguments, the folder, the environment and its three
standard files. The server forks, and the child, a process of its own as ever, runs the command as `python -m asr` would.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

IMPORTED = ("asr.training.run", "asr.transcription.decode", "asr.transcription.recognizer", "asr.classification.training",
            "asr.series.training", "asr.corpus", "asr.scoring", "matplotlib.pyplot")

# What `asr` is: ends with the command's exit status (1 where a signal ended it), and hands on what it is stopped by itself.
CLIENT = r"""
import json, os, signal, socket, sys, time
server = socket.socket(socket.AF_UNIX)
for left in range(1200, -1, -1):
    try:
        server.connect(sys.argv[1])
        break
    except (FileNotFoundError, ConnectionRefusedError):
        if not left:
            sys.exit("the warm server did not start")
        time.sleep(0.05)
wanted = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(wanted).to_bytes(8, "big")], [0, 1, 2])
server.sendall(wanted)
said = server.makefile()
child = int(said.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda got, _: os.kill(child, got))
sys.exit(int(said.readline() or 1))
"""


class WarmServer:
    """Started at once, ready some seconds later (its clients wait); it ends with the process that made it, however that ends.

    Attributes:
        asr: an executable file; a link to it is the command as well.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="warm"))
        (self.folder / "client.py").write_text(CLIENT)
        self.asr = self.folder / "asr"
        self.asr.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{self.folder}/client.py" "{self.folder}/socket" "$@"\n')
        self.asr.chmod(0o755)
        self.process = subprocess.Popen([sys.executable, __file__, str(self.folder)], stdin=subprocess.PIPE,
                                        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)})
        atexit.register(self.close)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def serve(folder: Path) -> None:
    """Fork for every client, until the other end of standard input has gone; then remove the folder."""
    for module in IMPORTED:
        __import__(module)
    gc.collect()
    gc.freeze()  # what is imported is never looked through by the children's collectors, so its pages stay shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children leave nothing to wait for
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "coming"))
    listening.listen(64)
    os.rename(folder / "coming", folder / "socket")
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        client, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _become(client)
        client.close()
    shutil.rmtree(folder, ignore_errors=True)


def _become(client: socket.socket) -> None:
    """The child: the command that the client asks for, and its exit status as the answer. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 1
    try:
        head, files, _, _ = socket.recv_fds(client, 8, 3)
        arguments, folder, environment = json.loads(client.makefile("rb").read(int.from_bytes(head, "big")))
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        client.sendall(b"%d\n" % os.getpid())
        from asr.cli import main

        sys.argv = [str(Path(main.__file__).parent.parent / "__main__.py"), *arguments]
        main.main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(b"%d\n" % status)
    os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
