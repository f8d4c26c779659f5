"""The recipe common_voice on a release of a few clips: tables old and new, splits by client, and what is faulty."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from project_copy import ProjectCopy
from stand_in import load_script, make_common_voice

from asr.corpus import DataDir
from asr.errors import DataError, UsageError

common_voice = load_script("recipes/common_voice/local/prepare.py")
PARTS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_common_voice(tmp_path_factory.mktemp("cv") / "xx")


@pytest.fixture
def release(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "xx")


def prepare(release: Path, out: Path, official: bool = True, seed: int = 1, normalizer: str = "basic", skip_bad: bool = False):
    common_voice.prepare(release, out, official, seed, normalizer, skip_bad)
    return [DataDir.load(out / part) for part in PARTS]


def test_the_official_parts(release, tmp_path):
    train, dev, test = prepare(release, tmp_path / "out")
    assert (len(train), len(dev), len(test)) == (8, 2, 2)
    first = train.utterances[0]
    assert (first.id, first.speaker, first.text) == ("000000000000-common_voice_xx_1000", "000000000000", "sie sagte strasse 0")
    assert first.duration == pytest.approx(0.6, abs=0.1)
    for data in (train, dev, test):
        assert data.check() == []
        assert len(data.read(data.utterances[0])[0]) > 4500
    assert prepare(release, tmp_path / "de", normalizer="basic-de")[0].utterances[0].text == "sie sagte straße 0"


def test_own_parts_share_no_client_and_come_from_the_seed(release, tmp_path):
    (release / "train.tsv").unlink()  # not needed
    parts = prepare(release, tmp_path / "a", official=False)
    assert sum(map(len, parts)) == 12
    assert sum(len(data.speakers) for data in parts) == 6
    again, other = (prepare(release, tmp_path / name, official=False, seed=seed) for name, seed in (("b", 1), ("c", 2)))
    ids = [[u.id for data in made for u in data.utterances] for made in (parts, again, other)]
    assert ids[0] == ids[1] != ids[2]


def test_quoted_sentences_and_old_tables_give_the_same(release, tmp_path):
    new = prepare(release, tmp_path / "new")
    quoted = make_common_voice(tmp_path / "quoted", quoted=True)
    for path in release.glob("*.tsv"):  # old: fewer columns in another order, clips without their ending
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(f"{row[1].removesuffix('.mp3')}\t{row[2]}\t{row[0]}\n" for row in rows), encoding="utf-8")
    for other in (prepare(release, tmp_path / "old"), prepare(quoted, tmp_path / "q")):
        for mine, theirs in zip(new, other):
            assert [(u.id, u.text) for u in mine.utterances] == [(u.id, u.text) for u in theirs.utterances]


@pytest.mark.parametrize(("field", "always", "content"), [
    ('"He said ""no"""', False, 'He said "no"'), ('"No!"', False, '"No!"'), ('"No!"', True, "No!"),
    ('"No!" he "said"', True, '"No!" he "said"'), ('"', True, '"'), ('""', True, ""), ("plain", True, "plain")])
def test_quotation_marks_are_a_writer_s_or_the_sentence_s(field, always, content):
    assert common_voice.unquote(field, always) == content


def test_clients_keep_apart():
    clients = {"a" * 20 + "b", "a" * 20 + "c", "d" * 21}
    assert len(set(common_voice.short_names(clients).values())) == 3
    assert common_voice.short_names({"ab", "abc"}) == {"ab": "ab", "abc": "abc"}


def test_faults_are_named_and_can_be_left_out(release, tmp_path):
    (release / "clips/common_voice_xx_1000.mp3").unlink()
    (release / "clips/common_voice_xx_1001.mp3").write_bytes(b"")
    with open(release / "train.tsv", "a") as file:
        file.write("too few\n\tx.mp3\tno client\t1\t1\n" + (release / "dev.tsv").read_text().splitlines()[1] + "\n")
    with pytest.raises(DataError) as caught:
        prepare(release, tmp_path / "out")
    for said in ("5 items cannot be used (10 utterances can)", "1 transcripts without audio: 000000000000-common_voice_xx_1000",
                 "common_voice_xx_1001.mp3: cannot read", "1 rows with another number of fields than the header", "train.tsv:10",
                 "1 rows without client or path", "1 clips of dev that are in another part too: 040404040404-common_voice_xx_1008"):
        assert said in str(caught.value)
    assert not (tmp_path / "out").exists()
    train, dev, test = prepare(release, tmp_path / "out", skip_bad=True)
    assert (len(train), len(dev), len(test)) == (7, 1, 2)
    assert len((tmp_path / "out/left_out.tsv").read_text().splitlines()) == 6


def test_what_is_no_release_is_said(release, tmp_path):
    with pytest.raises(UsageError, match="no folder clips"):
        prepare(release / "clips", tmp_path / "out")
    (release / "dev.tsv").write_text("path\tsentence\na.mp3\tb\n")
    with pytest.raises(DataError, match=r"dev.tsv:1: no column client_id; there are path, sentence"):
        prepare(release, tmp_path / "out")


def test_stage_1_through_the_shell_and_where_the_corpus_is_to_be_had(release, tmp_path):
    project = ProjectCopy(tmp_path)
    done = project.run("common_voice")
    assert done.returncode == 1
    assert "--corpus DIR" in done.stderr
    assert "https://datacollective.mozillafoundation.org" in project.run("common_voice", "--help").stdout
    done = project.run("common_voice", "--corpus", release, "--stop-stage", 1, "--split", "own")
    assert done.returncode == 0, done.stderr
    assert "data/common_voice/xx/test: no faults" in done.stdout
