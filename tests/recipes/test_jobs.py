"""Jobs of recipes: on this machine and as a Slurm array (a stand-in for sbatch), and decoding in parts that are joined."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project_copy import ROOT
from stand_in import load_script

from asr.corpus import DataDir, Utterance
from asr.errors import DataError

# What sbatch does of an array, one task after the other; what it was asked goes to asked.txt.
SBATCH = """#!/usr/bin/env bash
echo "$*" >>asked.txt
[ -z "${REJECTED-}" ] || exit 1
echo "Submitted batch job 7 on cluster gpu2"
script=${!#} first=1 last=1 status=0
[[ "$*" =~ --array\\ ([0-9]+)-([0-9]+) ]] && first=${BASH_REMATCH[1]} last=${BASH_REMATCH[2]}
for ((task = first; task <= last; task++)); do
  [ "$task" != "${LOST-}" ] || { status=1; continue; }
  (cd / && SLURM_ARRAY_TASK_ID=$task bash "$OLDPWD/$script") || status=1
done
exit ${STATUS:-$status}
"""
# Decodes by repeating the transcripts; everything else is the real command.
ASR = """#!/usr/bin/env bash
[ "$1" = decode ] || exec {python} -m asr "$@"
while [ $# -gt 0 ]; do
  case $1 in --data) data=$2 ;; --out) out=$2 ;; esac
  shift
done
[ "${{BROKEN-}}" != "${{data##*/}}" ] || exit 1
mkdir -p "$out"
cp "$data/text" "$out/text"
awk '{{ print $1, 1, "0.100", "0.200", $2, "1.000" }}' "$data/text" >"$out/words.ctm"
printf '{{"utterances": %d, "decoded": %d, "frames": 3, "skipped": 0, "audio_seconds": 1.5, "wall_seconds": 0.5, "failed": {{}},
 "too_short": [], "confidence": {{}}, "real_time_factor": 0.3, "settings": {{}}, "model": {{}}, "data": "%s"}}' \\
  "$(wc -l <"$data/text")" "$(wc -l <"$data/text")" "$data" >"$out/decode.json"
"""


@pytest.fixture
def bash(tmp_path):
    """Run lines of a recipe in ``tmp_path``, with sbatch and asr of our own first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, content in (("sbatch", SBATCH), ("asr", ASR.format(python=sys.executable))):
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    (folder / "python").symlink_to(sys.executable)

    def run(lines: str, **environment: str) -> subprocess.CompletedProcess[str]:
        script = f"set -euo pipefail\nroot={ROOT}\nlog() {{ echo \"$*\" >&2; }}\n. $root/recipes/utils/cmd.sh\n{lines}"
        settings = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "ASR_LOG_WAIT": "0"}
        return subprocess.run(["bash", "-c", script], cwd=tmp_path, env=settings | environment, capture_output=True, text=True,
                              timeout=120, check=False)

    return run


@pytest.mark.parametrize("kind", ["run_local", "run_slurm"])
def test_every_job_has_its_number_its_log_and_one_thread(bash, tmp_path, kind):
    done = bash(f"{kind} JOB=3:5 'log/it is.JOB.log' "
                "bash -c 'echo \"JOB of $1, $OMP_NUM_THREADS thread in $PWD\"; echo bad >&2' _ xJOBx")
    assert done.returncode == 0, done.stderr
    for number in (3, 4, 5):
        command, started, said, wrong, ended = (tmp_path / f"log/it is.{number}.log").read_text().splitlines()
        assert command.startswith("# bash -c") and started.startswith("# Started at")
        assert said == f"{number} of x{number}x, 1 thread in {tmp_path}" and wrong == "bad"
        assert ended.endswith("(exit status 0)")


@pytest.mark.parametrize("kind", ["run_local", "run_slurm"])
def test_a_failed_job_is_shown_and_the_others_run_to_their_end(bash, tmp_path, kind):
    done = bash(f"{kind} JOB=1:4 log/x.JOB.log bash -c 'echo reason JOB; exit $((JOB % 2))'\necho not reached")
    assert done.returncode == 1 and "not reached" not in done.stdout
    assert "2 of 4 job(s) failed" in done.stderr and "--- the end of log/x.3.log" in done.stderr and "reason 3" in done.stderr
    assert "(exit status 1)" in done.stderr and "reason 2" not in done.stderr
    assert (tmp_path / "log/x.4.log").read_text().endswith("(exit status 0)\n")


@pytest.mark.parametrize("kind", ["run_local", "run_slurm"])
def test_a_last_line_without_its_newline_and_a_folder_for_each_job(bash, tmp_path, kind):
    done = bash(f"{kind} JOB=08:10 log/JOB/x.log printf '{{}}'")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log/9/x.log").read_text().splitlines()[2] == "{}"


def test_a_single_job(bash, tmp_path):
    assert bash("$cmd log/one.log echo JOB; run_slurm log/two.log echo two").returncode == 0
    assert "JOB" in (tmp_path / "log/one.log").read_text().splitlines() and "--array" not in (tmp_path / "asked.txt").read_text()


def test_no_more_jobs_at_once_than_asked_for(bash, tmp_path):
    """Each notes how many are at work beside it."""
    done = bash("mkdir at\nrun_local --max-jobs-run 2 JOB=1:6 log/x.JOB.log "
                "bash -c 'touch at/JOB; ls at | wc -l; sleep 0.15; rm at/JOB'")
    assert done.returncode == 0, done.stderr
    seen = [int((tmp_path / f"log/x.{number}.log").read_text().splitlines()[2]) for number in range(1, 7)]
    assert max(seen) <= 2


def test_what_slurm_is_asked_for(bash, tmp_path):
    done = bash('cmd="run_slurm --partition cpu --mem 4G"\n$cmd --gpu 1 --time 1:00:00 --max-jobs-run 3 JOB=1:8 log/x.JOB.log true')
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked.txt").read_text()
    for words in ("--partition cpu", "--mem 4G", "--gpus 1", "--time 1:00:00", "--array 1-8%3", "--wait", "--job-name x.JOB"):
        assert words in asked


def test_a_job_that_slurm_never_started_is_a_failure(bash):
    done = bash("run_slurm JOB=1:3 log/x.JOB.log true", LOST="2")
    assert done.returncode == 1 and "log/x.2.log was never written: the job did not start" in done.stderr
    assert "1 of 3 job(s) failed" in done.stderr


def test_what_sbatch_alone_says(bash):
    """That it takes no jobs, which is not waited for; and that a job failed, though its log ends well."""
    began = time.monotonic()
    assert bash("run_slurm JOB=1:3 log/x.JOB.log true", REJECTED="1", ASR_LOG_WAIT="60").returncode == 1
    assert time.monotonic() - began < 30
    done = bash("run_slurm JOB=1:3 log/x.JOB.log true", STATUS="3")
    assert done.returncode == 1 and "every log ends well, but sbatch has exit status 3" in done.stderr


@pytest.mark.parametrize("kind", ["run_local", "run_slurm"])
def test_a_killed_job_is_said_to_be_one(bash, kind):
    done = bash(f"{kind} JOB=1:2 log/x.JOB.log bash -c '[ JOB = 1 ] || kill -9 $PPID $$'")
    assert done.returncode == 1 and "1 of 2 job(s) failed" in done.stderr
    assert "the end of log/x.2.log, which the job did not write to its end: it was killed, or runs still" in done.stderr


def test_an_old_log_does_not_count(bash):
    assert bash("run_slurm JOB=1:2 log/x.JOB.log true").returncode == 0
    assert bash("run_slurm JOB=1:2 log/x.JOB.log true", LOST="1").returncode == 1


@pytest.mark.parametrize(("words", "fault"), [
    ("--nonsense 1 log/x.log true", "unknown option --nonsense"), ("JOB=1:2 log/x.log true", "must have JOB in its name"),
    ("JOB=3:2 log/x.JOB.log true", "has no job"), ("log/x.log", "a log and a command are needed"),
    ("--max-jobs-run 0 log/x.log true", "whole number above 0"), ("--mem", "needs a value")])
def test_wrong_use(bash, words, fault):
    done = bash(f"run_local {words}")
    assert done.returncode == 2 and fault in done.stderr


def started(tmp_path: Path, script: str, pids: int, **environment: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Bash at work on a script, in a process group of its own, and what its jobs have written to so many files *.pid; said.txt."""
    with open(tmp_path / "said.txt", "w") as said:
        # By env, as whoever runs the tests in the background ignores SIGINT.
        process = subprocess.Popen(["env", "--default-signal=INT", "bash", "-c",
                                    f"set -euo pipefail; . {ROOT}/recipes/utils/cmd.sh; {script}"], cwd=tmp_path,
                                   start_new_session=True, stderr=said, text=True, env=os.environ | environment)
    deadline = time.monotonic() + 60
    while len([*tmp_path.glob("*.pid")]) < pids and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    return process, [int(file.read_text()) for file in tmp_path.glob("*.pid")]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_jobs_leave_nothing_running(tmp_path, name):
    (tmp_path / "tmp").mkdir()
    process, pids = started(tmp_path, "run_local JOB=1:2 log/x.JOB.log bash -c 'echo $$ >JOB.pid; exec sleep 60'", 2,
                            TMPDIR=str(tmp_path / "tmp"))
    os.killpg(process.pid, getattr(signal, name))
    assert process.wait(timeout=30) != 0 and len(pids) == 2
    deadline = time.monotonic() + 60
    while (any(Path(f"/proc/{pid}").exists() for pid in pids) or any((tmp_path / "tmp").iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any((tmp_path / "tmp").iterdir()) and "failed" not in (tmp_path / "said.txt").read_text()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stopped_recipe_cancels_its_array_at_once(bash, tmp_path, name):
    """Its own, by the number that sbatch gave it; and the shell ends by the signal."""
    (tmp_path / "bin/scancel").write_text("echo $* >cancelled.txt\n")
    (tmp_path / "bin/scancel").chmod(0o755)
    process, (pid,) = started(tmp_path, "run_slurm log/x.log bash -c 'echo $$ >x.pid; exec sleep 60'", 1,
                              PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    process.send_signal(getattr(signal, name))
    try:
        assert process.wait(timeout=30) == -getattr(signal, name)
    finally:
        os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "cancelled.txt").read_text() == "7\n"


# ----------------------------------------------------------------------------------------------------- decoding


@pytest.fixture
def data(tmp_path):
    """Three speakers, two utterances each; the audio is never read."""
    found = [Utterance(id=f"s{n}-{k}", recording=f"s{n}-{k}", speaker=f"s{n}", text=f"word{n}{k}")
             for n in range(3) for k in range(2)]
    DataDir.from_utterances(found, {u.id: str(tmp_path / f"{u.id}.wav") for u in found}).save(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("count", [1, 3, 9])
def test_decoding_in_jobs_leaves_what_one_would_have_left(bash, tmp_path, data, count):
    done = bash(f"decode_jobs {count} --model m --data data --out out")
    assert done.returncode == 0, done.stderr
    assert ("data has 3 speaker(s): 3 job(s), not 9" in done.stderr) == (count == 9)
    assert (tmp_path / "out/text").read_text() == (data / "text").read_text()
    assert (tmp_path / "out/words.ctm").read_text().count("\n") == 6
    notes = json.loads((tmp_path / "out/decode.json").read_text())
    assert (notes["utterances"], notes["decoded"]) == (6, 6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decode.json", "log", "text", "words.ctm"]
    assert len([*(tmp_path / "out/log").iterdir()]) == min(count, 3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_failed_decoding_is_repeated_with_another_number_of_jobs(bash, tmp_path, data, count):
    assert bash("decode_jobs 3 --model m --data data --out out", BROKEN="2").returncode == 1
    assert sorted(path.name for path in (tmp_path / "out/part").iterdir()) == ["1", "3"]
    done = bash(f"decode_jobs {count} --model m --data data --out out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/text").read_text() == (data / "text").read_text()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decode.json", "log", "text", "words.ctm"]


def test_scores_of_an_earlier_decoding_go(bash, tmp_path, data):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/scores.json").write_text("{}")
    assert bash("decode_jobs 3 --model m --data data --out out").returncode == 0
    assert not (tmp_path / "out/scores.json").exists()


def test_a_channel_that_is_silent_in_one_part_alone_is_not_silent(tmp_path):
    joined = load_script("recipes/utils/join_decoded.py")
    for part, lines in (("1", ["a 1 2.000 0.000 @ 0.000", "b 1 1.000 0.000 @ 0.000"]),
                        ("2", ["a 1 3.000 0.500 yes 0.900", "b 1 0.000 0.000 @ 0.000"]), ("3", ["b 1 0.000 0.000 @ 0.000"])):
        (tmp_path / part).mkdir()
        (tmp_path / part / "words.ctm").write_text("".join(f"{line}\n" for line in lines))
    assert joined._words([tmp_path / part for part in "123"]) == ["a 1 3.000 0.500 yes 0.900\n", "b 1 0.000 0.000 @ 0.000\n"]


def test_parts_that_are_not_whole_are_not_joined(bash, tmp_path, data):
    joined = load_script("recipes/utils/join_decoded.py")
    done = bash("asr data split data --out split --parts 3\nfor n in 1 2 3; do asr decode --data split/$n --out part/$n; done")
    assert done.returncode == 0, done.stderr
    whole, parts = DataDir.load(data), sorted((tmp_path / "part").iterdir())
    with pytest.raises(DataError, match="6 utterances, 4 in the parts"):
        joined.join(whole, parts[:2], tmp_path)
    notes = json.loads((parts[1] / "decode.json").read_text())
    (parts[1] / "decode.json").write_text(json.dumps(notes | {"settings": {"beam": 4}}))
    with pytest.raises(DataError, match="different models or settings"):
        joined.join(whole, parts, tmp_path)
    (parts[1] / "decode.json").unlink()
    with pytest.raises(DataError, match="not decoded to the end: .*part/2"):
        joined.join(whole, parts, tmp_path)
