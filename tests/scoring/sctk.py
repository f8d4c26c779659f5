"""NIST's SCTK (Debian package sctk), where it is installed: the reference for counts, times and MAPSSWE."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

_FOLDERS = "/usr/lib/sctk/bin:/usr/local/bin:/usr/bin"
SCLITE, SC_STATS = (shutil.which(name) or shutil.which(name, path=_FOLDERS) for name in ("sclite", "sc_stats"))
needs_sctk = pytest.mark.skipif(SCLITE is None or SC_STATS is None, reason="sclite is not installed (Debian package sctk)")

Key = tuple[str, ...]
_PATH = re.compile(r'<PATH id="\((.*?)\)" word_cnt="(\d+)"(?:.* file="(.*?)" channel="(.*?)".* R_T1="(.*?)" R_T2="(.*?)")?')


def sclite(folder: Path, ref: str, hyp: str, *options: str) -> dict[Key, list[str]]:
    """Alignments by utterance id, or by (recording, channel, start, end) of an stm file: letters C, S, D and I."""
    kinds = Path(ref).suffix[1:], Path(hyp).suffix[1:]
    speakers = ("-i", "spu_id") if kinds[0] == "trn" else ()
    done = subprocess.run([str(SCLITE), "-r", ref, kinds[0], "-h", hyp, kinds[1], *speakers, *options, "-o", "sgml", "stdout",
                           "-f", "0"], cwd=folder, capture_output=True, check=True)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    found: dict[Key, list[str]] = {}
    for line, path in itertools.pairwise(lines):
        match = _PATH.match(line)
        if match:
            key = (match[1],) if match[3] is None else match.groups()[2:]
            found.setdefault(key, []).append("".join(re.findall(r"(?:^|:)([CSDI]),", path)) if int(match[2]) else "")
    return found


def sc_stats(folder: Path, ref: str, hyp_a: str, hyp_b: str) -> tuple[int, float, float, float]:
    """MAPSSWE: segments, mean, standard deviation, z."""
    aligned = subprocess.run([str(SCLITE), "-r", ref, "trn", "-h", hyp_a, "trn", "-h", hyp_b, "trn", "-i", "spu_id", "-s",
                              "-o", "sgml", "stdout", "-f", "0"], cwd=folder, capture_output=True, check=True).stdout
    done = subprocess.run([str(SC_STATS), "-p", "-t", "mapsswe", "-v", "-n", "-"], cwd=folder, input=aligned,
                          capture_output=True, check=True).stdout.decode()
    match = re.search(r"# segs: *(\d+)\).*mean: *([-\d.]+)\) \(std dev: *([\d.]+)\) \(Z Stat: *([-\d.]+)\)", done)
    assert match, done
    return int(match[1]), float(match[2]), float(match[3]), float(match[4])
