"""run.sh, .ci/run and recipes/utils: set-up, messages and options, without installing anything."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project_copy import ROOT, ProjectCopy

TOOLS = ("awk", "basename", "bash", "cat", "cksum", "df", "dirname", "find", "grep", "head", "ls", "mkdir", "mv", "readlink",
         "rm", "sed", "tail", "tee", "uname")

RECIPE = """#!/usr/bin/env bash
# A recipe for tests.
#
#   --stage N         first stage
#   --stop-stage N    last stage
#   --corpus DIR      a folder
#   --exp-tag NAME    a name
#   --set PAIRS       configuration
stage=1
stop_stage=3
corpus=""
exp_tag=plain
set=""
. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"
train_options "$set"
if begin 1 "first"; then echo "one $exp_tag $corpus $PWD"; fi
if begin 2 "second"; then echo "two ${train_options[*]}"; fi
if begin 3 "third"; then ls no-such-file; fi
"""


@pytest.fixture
def project(tmp_path: Path) -> ProjectCopy:
    copy = ProjectCopy(tmp_path)
    (copy.root / "recipes/toy").mkdir()
    (copy.root / "recipes/toy/run.sh").write_text(RECIPE)
    return copy


# ------------------------------------------------------------------------------------------------------- words


def test_help_lists_the_commands_and_every_recipe(project):
    done = project.run("--help")
    assert done.returncode == 0
    for word in ("./run.sh test", "./run.sh setup", "ASR_VENV", "toy              A recipe for tests."):
        assert word in done.stdout
    for recipe in ROOT.glob("recipes/*/run.sh"):
        assert f"  {recipe.parent.name} " in done.stdout
    assert project.asked == []


@pytest.mark.parametrize("words", [["nothing"], ["--nothing"], ["utils"], ["../recipes/toy"], ["setup", "now"]])
def test_wrong_words_list_the_recipes_and_end_with_2(project, words):
    done = project.run(*words)
    assert done.returncode == 2
    assert "  toy " in done.stderr
    assert words[-1] in done.stderr
    assert project.asked == []


def test_tests_are_run_from_the_root_one_thread_a_process(project, tmp_path):
    done = project.run("test", "-k", "two words", cwd=tmp_path)
    assert done.returncode == 0
    assert f"pytest threads=1 in {project.root}: -m pytest -n" in done.stdout
    assert "-k two words" in done.stdout
    assert project.asked == [f"pip {project.root}[test]"]


# ------------------------------------------------------------------------------------------------------ set-up


def test_set_up_is_made_once(project):
    assert project.run("setup").returncode == 0
    assert (project.root / ".venv/bin/asr").exists()
    again = project.run("setup")
    assert again.returncode == 0
    assert "installing" not in again.stderr
    assert project.asked == [f"pip {project.root}"]


def test_set_up_for_tests_serves_recipes_too(project):
    project.run("setup")
    assert project.run("test").returncode == 0
    assert project.run("setup").returncode == 0
    assert project.asked == [f"pip {project.root}", f"pip {project.root}[test]"]


def test_through_symlinks_from_another_directory_with_a_relative_environment(project, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links/first").symlink_to("../project/run.sh")
    (tmp_path / "second").symlink_to("links/first")
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    done = project.run("setup", script="../second", cwd=elsewhere, ASR_VENV="my environment")
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "my environment/bin/asr").exists()
    assert project.asked == [f"pip {project.root}"]


def test_an_environment_whose_name_is_a_pattern(project, tmp_path):
    assert project.run("setup", cwd=tmp_path, ASR_VENV="b[1]/v*").returncode == 0
    (tmp_path / "b[1]/v*/.asr-setup/ready").unlink()  # as where it was killed: made anew, and its state is kept
    (tmp_path / "b[1]/v*/stale").touch()
    done = project.run("setup", cwd=tmp_path, ASR_VENV="b[1]/v*")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "b[1]/v*/stale").exists()
    assert len(project.asked) == 2


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml"])
def test_changed_packages_are_installed_again_into_the_same_environment(project, name):
    project.run("setup")
    kept = project.root / ".venv/kept"
    kept.touch()
    with open(project.root / name, "a") as file:
        file.write("# changed\n")
    assert project.run("setup").returncode == 0
    assert len(project.asked) == 2
    assert kept.exists()


def test_a_moved_project_makes_its_environment_anew(project, tmp_path):
    project.run("setup")
    stale = project.root / ".venv/stale"
    stale.touch()
    moved = project.root.rename(tmp_path / "moved")
    done = project.run("setup", script=moved / "run.sh", cwd=tmp_path)
    assert done.returncode == 0
    assert project.asked[1:] == [f"pip {moved}"]
    assert not (moved / ".venv/stale").exists()


def test_an_environment_shared_by_two_copies_follows_the_one_in_use(project, tmp_path):
    other = ProjectCopy(tmp_path / "other")
    shared = str(tmp_path / "shared")
    for copy in (project, other, project):
        assert copy.run("setup", ASR_VENV=shared, FAKE_LOG=str(project.log), PYTHON=str(project.python)).returncode == 0
    assert project.asked == [f"pip {project.root}", f"pip {other.root}", f"pip {project.root}"]


def test_a_killed_set_up_is_made_anew(project):
    process = subprocess.Popen(project.command("setup"), env=project.environment | {"FAKE_PIP_SECONDS": "60"},
                               stderr=subprocess.DEVNULL, start_new_session=True)
    _until(lambda: project.asked)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    half = project.root / ".venv/half"
    half.touch()
    done = project.run("setup")
    assert done.returncode == 0
    assert len(project.asked) == 2
    assert not half.exists()


def test_two_set_ups_at_once_install_once(project):
    environment = project.environment | {"FAKE_PIP_SECONDS": "1"}
    first = subprocess.Popen(project.command("setup"), env=environment, stderr=subprocess.PIPE, text=True)
    _until(lambda: project.asked)
    second = subprocess.Popen(project.command("setup"), env=environment, stderr=subprocess.PIPE, text=True)
    said = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert "waiting for it" in said[1]
    assert len(project.asked) == 1


def test_an_environment_made_elsewhere_is_used_and_never_emptied(project, tmp_path):
    theirs = tmp_path / "theirs"
    subprocess.run([project.python, "-m", "venv", theirs], check=True, env=project.environment)
    (theirs / "kept").touch()
    assert project.run("setup", ASR_VENV=str(theirs)).returncode == 0
    with open(project.root / "setup.cfg", "a") as file:
        file.write("# changed\n")
    assert project.run("setup", ASR_VENV=str(theirs)).returncode == 0
    assert (theirs / "kept").exists()
    assert len(project.asked) == 2


def test_a_folder_of_other_things_is_refused_and_left_alone(project, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/one.txt").write_text("Dear")
    done = project.run("setup", ASR_VENV=str(tmp_path / "letters"))
    assert done.returncode == 1
    assert "other things in it" in done.stderr
    assert os.listdir(tmp_path / "letters") == ["one.txt"]


# ---------------------------------------------------------------------------------------------- what is missing


def _stub(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the shell's tools and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or pytest.fail(f"this machine has no {tool}"))
    return folder


def _pretending(statement: str) -> str:
    """The body of a Python that runs `statement` before what it is asked."""
    return f'exec {sys.executable} -c "import sys; {statement}; exec(sys.argv[1])" "$2"'


def test_without_python_every_candidate_is_told(project, tools):
    _stub(tools, "python3.12", "echo 'pyenv: command not found' >&2; exit 127")
    _stub(tools, "python3", _pretending("sys.version_info = (3, 9, 1)"))
    _stub(tools, "python", _pretending("sys.version_info = (3, 13, 0)"))
    done = project.run("setup", PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    for line in ("needs 3.10, 3.11 or 3.12", "python3.12: does not start", "python3.11: not found",
                 "python3: is version 3.9", "python: is version 3.13", "apt install"):
        assert line in done.stderr
    assert not (project.root / ".venv").exists()


def test_a_shim_that_fails_is_passed_over(project, tools):
    _stub(tools, "python3.12", "exit 127")
    (tools / "python3.11").symlink_to(project.python)
    for tool in ("sleep", "ln", "touch", "chmod"):
        (tools / tool).symlink_to(shutil.which(tool))
    (tools / "env").symlink_to(shutil.which("env"))
    done = project.run("setup", PATH=str(tools), PYTHON="")
    assert done.returncode == 0, done.stderr
    assert f"with {tools}/python3.11" in done.stderr


def test_without_the_venv_module(project, tools):
    _stub(tools, "python3", _pretending("sys.modules['ensurepip'] = None"))
    done = project.run("setup", PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    assert "python3: has no venv module (on Debian and Ubuntu: sudo apt install python3." in done.stderr


def test_a_python_that_was_named_is_not_replaced_by_another(project):
    done = project.run("setup", PYTHON="no-such-python")
    assert done.returncode == 1
    assert "no-such-python: not found" in done.stderr
    assert "python3.12" not in done.stderr.partition("Install one")[0]


def test_another_python_makes_the_environment_anew(project, tmp_path):
    project.run("setup")
    other = tmp_path / "other-python"
    other.write_text(project.python.read_text().replace(str(project.python), str(other)).replace(
        "*) exec", '"-S -c") echo 3.10.99 ;;\n  *) exec'))
    other.chmod(0o755)
    done = project.run("setup", PYTHON=str(other))
    assert done.returncode == 0
    assert f"with {other} (3.10.99)" in done.stderr
    assert len(project.asked) == 2


def test_without_disk_space(project):
    done = project.run("setup", ASR_DISK_GB="99999999")
    assert done.returncode == 1
    assert "needs about 99999999 GB" in done.stderr
    assert "ASR_VENV=" in done.stderr
    assert project.asked == []


def test_on_a_machine_without_wheels(project, tools):
    _stub(tools, "uname", "echo Linux riscv64")
    done = project.run("setup", PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "torch has no wheels for this machine (Linux riscv64)" in done.stderr


@pytest.mark.parametrize(("said", "shown"), [
    ("[Errno 28] No space left on device", "the disk is full"),
    ("<pip._vendor.urllib3.connection.HTTPSConnection>: [Errno -3] Temporary failure in name resolution",
     "the package index cannot be reached"),
    ("No matching distribution found for torch==2.11.0", "the package index lacks a version"),
    ("something new", "something new"),
])
def test_when_pip_fails_the_cause_is_told_and_the_next_call_begins_again(project, said, shown):
    done = project.run("setup", FAKE_PIP_SAYS=said)
    assert done.returncode == 1
    assert shown in done.stderr
    assert "installing failed" in done.stderr
    assert project.run("setup").returncode == 0


# ----------------------------------------------------------------------------------------------------- recipes


def test_a_recipe_runs_its_stages_at_the_root_from_anywhere(project, tmp_path):
    done = project.run("toy", "--corpus", "some where", "--exp-tag=other tag", "--stop-stage", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"one other tag {tmp_path}/some where {project.root}", "two --resume"]
    assert "toy, stage 2: second" in done.stderr


def test_a_recipe_can_be_called_by_itself_and_begun_at_a_stage(project, tmp_path):
    done = project.run("--stage", 2, "--stop-stage", 2, "--set", "a.b=[1,2] c=3", cwd=tmp_path,
                       script=project.root / "recipes/toy/run.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["two --resume --set a.b=[1,2] --set c=3"]


def test_a_stage_that_fails_ends_the_recipe_and_says_how_to_go_on(project):
    done = project.run("toy")
    assert done.returncode != 0
    assert "no-such-file" in done.stderr
    assert "stopped in stage 3" in done.stderr
    assert "./run.sh toy --stage 3" in done.stderr


def test_help_of_a_recipe_is_its_head(project):
    done = project.run("toy", "--help")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "A recipe for tests."
    assert "  --exp-tag NAME    a name" in done.stdout
    assert project.asked == []


@pytest.mark.parametrize(("arguments", "shown"), [
    (["--stgae", "2"], "unknown option: --stgae"),
    (["--root", "/"], "unknown option: --root"),
    (["--stage", "two"], "--stage takes a whole number, not 'two'"),
    (["--stage", "4"], "--stage 4 is after --stop-stage 3: nothing would be run"),
    (["--stage", "3", "--stop-stage", "2"], "--stage 3 is after --stop-stage 2"),
    (["--stage="], "--stage takes a whole number"),
    (["--stage"], "--stage needs a value"),
    (["--exp-tag", "--stage", "2"], "--exp-tag needs a value"),
    (["2"], "unexpected argument: 2"),
])
def test_wrong_options_of_a_recipe_end_with_2_before_any_work(project, arguments, shown):
    done = project.run("toy", *arguments)
    assert done.returncode == 2
    assert shown in done.stderr
    assert "--stage --stop-stage --corpus --exp-tag --set" in done.stderr
    assert project.asked == []


def test_stages_that_are_not_there_are_told(project):
    done = project.run("toy", "--stage", 7, "--stop-stage", 9)
    assert done.returncode == 2 and "done" not in done.stderr
    assert "toy: there is no stage from 7 to 9, and nothing was run; ./run.sh toy --help lists the stages" in done.stderr


# ---------------------------------------------------------------------------------------------------- download


def _fetching(project: ProjectCopy, body: str) -> subprocess.CompletedProcess[str]:
    (project.root / "recipes/toy/run.sh").write_text(
        '#!/usr/bin/env bash\nstage=1\nstop_stage=1\n. "$(dirname "${BASH_SOURCE[0]}")/../utils/recipe.sh"\n'
        'begin 1 "download"\n' + body)
    return project.run("toy")


def _archive(tmp_path: Path) -> Path:
    (tmp_path / "release-1.0/recordings").mkdir(parents=True)
    (tmp_path / "release-1.0/recordings/a.wav").write_bytes(os.urandom(100_000))
    subprocess.run(["tar", "-czf", "release.tar.gz", "release-1.0"], cwd=tmp_path, check=True)
    return tmp_path / "release.tar.gz"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_download_goes_on_where_it_stopped_and_unpacks_whole(project, tmp_path):
    archive = _archive(tmp_path)
    (project.root / "data").mkdir()
    (project.root / "data/c.tar.gz.part").write_bytes(archive.read_bytes()[:50_000])
    done = _fetching(project, f"fetch file://{archive} data/c.tar.gz\nunpack data/c.tar.gz data/c\n")
    assert done.returncode == 0, done.stderr
    unpacked = project.root / "data/c/recordings/a.wav"
    assert unpacked.read_bytes() == (tmp_path / "release-1.0/recordings/a.wav").read_bytes()
    assert sorted(os.listdir(project.root / "data")) == ["c", "c.tar.gz"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_download_that_fails_leaves_nothing_under_the_final_name(project, tmp_path):
    done = _fetching(project, f"fetch file://{tmp_path}/absent data/c.tar.gz\n")
    assert done.returncode == 1
    assert "cannot download" in done.stderr
    assert "--corpus DIR" in done.stderr
    assert not (project.root / "data/c.tar.gz").exists()


def test_a_damaged_archive_is_removed_and_nothing_is_unpacked(project, tmp_path):
    damaged = _archive(tmp_path).read_bytes()[:60_000]
    (project.root / "data").mkdir()
    (project.root / "data/c.tar.gz").write_bytes(damaged)
    done = _fetching(project, "unpack data/c.tar.gz data/c\n")
    assert done.returncode == 1
    assert "is damaged and was removed" in done.stderr
    assert os.listdir(project.root / "data") == []


# ---------------------------------------------------------------------------------------------------------- ci


@pytest.mark.parametrize(("tests", "ruff", "status"), [("7 passed", "0", 0), ("1 failed, 6 passed", "0", 1),
                                                       ("7 passed", "3", 3), ("1 failed, 6 passed", "3", 1)])
def test_ci_runs_tests_and_linter_and_ends_with_the_summary(project, tmp_path, tests, ruff, status):
    done = project.run(script=project.root / ".ci/run", cwd=tmp_path, FAKE_TESTS=tests, FAKE_RUFF=ruff)
    lines = done.stdout.splitlines()
    assert done.returncode == status
    assert "ruff check ." in lines
    assert lines[-1] == f"=== {tests} in 0.10s ==="


def _until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
