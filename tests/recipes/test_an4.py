"""The recipe an4: its split, what it says of a bad corpus, and the whole on made recordings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from project_copy import ROOT, ProjectCopy
from stand_in import TINY, load_script, make_an4

from asr.config import dump_config, load_config
from asr.corpus import DataDir
from asr.errors import DataError, UsageError

an4 = load_script("recipes/an4/local/prepare.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_an4(tmp_path_factory.mktemp("an4") / "corpus")


@pytest.fixture
def bad(corpus: Path, tmp_path: Path) -> Path:
    return shutil.copytree(corpus, tmp_path / "bad")


def test_dev_is_eight_strangers_and_test_is_the_corpus_own(corpus, tmp_path):
    an4.prepare(corpus, tmp_path / "an4")
    parts = {part: DataDir.load(tmp_path / "an4" / part) for part in ("train", "dev", "test")}
    speakers = {part: set(data.speakers) for part, data in parts.items()}
    assert speakers["dev"] == an4.DEV_SPEAKERS
    assert not speakers["train"] & speakers["dev"] and not (speakers["train"] | speakers["dev"]) & speakers["test"]
    assert (len(parts["train"]) + len(parts["dev"]), len(parts["test"])) == (948, 130)
    for data in parts.values():
        assert data.check() == []
        assert not any("<" in (u.text or "") or "(" in (u.text or "") for u in data.utterances)
        assert data.tables["spk2gender"] == {speaker: speaker[0] for speaker in data.speakers}
        assert all(u.id.startswith(u.speaker + "-an") and data.wav[u.recording].endswith(f"{u.speaker}-b.sph")
                   for u in data.utterances)


def test_a_bad_corpus_is_told_whole_and_nothing_is_written(bad, tmp_path):
    table = bad / "etc/an4_test.transcription"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0].split(" (")[0], lines[2], lines[2], *lines[3:]]) + "\n")
    cut, gone = sorted((bad / "wav/an4_clstk/fclc").iterdir())[:2]
    cut.write_bytes(cut.read_bytes()[:1500])
    gone.unlink()
    with pytest.raises(DataError) as caught:
        an4.prepare(bad, tmp_path / "out")
    said = str(caught.value)
    for what in ("6 items", "1 lines that are not `WORDS (session-speaker-b)`", "an4_test.transcription:1",
                 "1 transcripts that come a second time", "transcription:3: ftcc-an0-b", "2 audio files without a transcript",
                 "an0-ftaa-b.sph", "an0-ftbb-b.sph", "2 audio files that cannot be read", cut.name, gone.name, "--corpus DIR"):
        assert what in said, what
    assert not (tmp_path / "out").exists()


def test_the_dictionary_says_the_letter_a_first(corpus, bad, tmp_path):
    an4.prepare(corpus, tmp_path / "an4")
    assert (tmp_path / "an4/lexicon.txt").read_text().startswith("A EY\nA AH\nB B IY\n")
    (bad / "etc/an4.dic").unlink()
    with pytest.raises(UsageError, match="an4.dic: cannot read"):
        an4.prepare(bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_part_of_the_corpus_is_not_taken_for_the_whole(bad, tmp_path):
    for kind in ("fileids", "transcription"):
        path = bad / f"etc/an4_train.{kind}"
        path.write_text("\n".join(path.read_text().splitlines()[:900]) + "\n")
    with pytest.raises(DataError, match="train has 900 utterances, where the corpus has 948"):
        an4.prepare(bad, tmp_path / "out")
    with pytest.raises(DataError, match=r"holds etc/ and wav/"):
        an4.prepare(bad / "wav", tmp_path / "out")


@pytest.mark.parametrize("conf", ["crnn", "wide"])
def test_every_row_of_the_ablation_changes_the_configuration(conf):
    """And names only keys that there are: what is mistyped is found here, not after hours."""
    folder = ROOT / "recipes/an4/conf"
    phones = ["tokenizer.kind=phone", "tokenizer.lexicon=lexicon.txt"]
    rows = [line.split("\t") for line in (folder / f"ablation_{conf}.tsv").read_text().splitlines()]
    made = {name: load_config(folder / f"{conf}.yaml", [*phones, *keys.split()]) for name, keys in rows}
    assert rows[0] == ["all", ""] and made["all"] == load_config(folder / f"{conf}.yaml", phones)
    assert len({dump_config(config) for config in made.values()}) == len(rows)


def test_the_recipe_from_corpus_to_table(corpus, tmp_path):
    project = ProjectCopy(tmp_path)
    phones = ("an4", "--tokens", "phones", "--methods", "beam_lm", "--beam", 2, "--set", TINY + " training.objective={}")
    done = project.run(*phones, "--corpus", corpus)
    assert done.returncode == 0, done.stderr
    run = project.root / "exp/an4/phones_seed1"
    for part in ("dev", "test"):
        assert json.loads((run / f"decode_{part}_beam_lm/scores.json").read_text())["words"]["reference"] > 100
        assert f"{part}, beam_lm" in done.stdout
    settings = json.loads((run / "decode_test_beam_lm/decode.json").read_text())["settings"]
    assert settings["lm"].endswith("lm_3_train.arpa.gz") and settings["lexicon"].endswith("words_train.txt")
    assert settings["lm_weight"] == json.loads((run / "decode_dev_beam_lm/tuned.json").read_text())["weights"]["lm_weight"]

    done = project.run(*phones, "--all", "yes", "--stage", 2)
    assert done.returncode == 0, done.stderr
    whole = sum(len(DataDir.load(project.root / "data/an4" / part)) for part in ("train", "dev"))
    last = project.root / "exp/an4/phones_all_seed1"
    log = (last / "train.log").read_text()
    assert f"data/an4/train_all: {whole} utterances" in log and "dev (none: " in log
    found = json.loads((last / "decode_test_beam_lm/decode.json").read_text())["settings"]
    assert found["lm"].endswith("lm_3_train_all.arpa.gz") and found["tuned"].endswith("phones_seed1/decode_dev_beam_lm/tuned.json")
    assert found["lm_weight"] == settings["lm_weight"] and not (last / "decode_dev_beam_lm").exists()

    ablation = ("an4", "--tokens", "phones", "--stage", 7, "--stop-stage", 7, "--methods", "greedy beam_lm", "--beam", 2,
                *phones[-2:])
    done = project.run(*ablation, "--rows", "all cmvn_utterance")
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in ("Ablation, dev, greedy", "Ablation, dev, beam_lm", "less all, points"))
    assert done.stdout.count("\n| cmvn_utterance | 1 |") == 2
    assert (project.root / "exp/an4/phones_ablation/cmvn_utterance_seed1/decode_dev_beam_lm/tuned.json").is_file()
    assert "cmvn: utterance" in (project.root / "exp/an4/phones_ablation/cmvn_utterance_seed1/config.yaml").read_text()
    done = project.run(*ablation, "--rows", "none")
    assert done.returncode == 1 and "--rows none: recipes/an4/conf/ablation_crnn.tsv has all no_aug" in done.stderr

    done = project.run(*ablation, "--conf", "pieces")
    assert done.returncode == 1 and "there is no ablation of --conf pieces" in done.stderr

    wrong = project.run("an4", "--tokens", "words")
    assert wrong.returncode == 1 and "--tokens words: choose phones" in wrong.stderr
    again = project.run("an4", "--conf", "absent")
    assert again.returncode == 1 and "there is no recipes/an4/conf/absent.yaml" in again.stderr
