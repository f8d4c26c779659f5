"""What comes in that should not, row by row, through the command line: the message, the exit status, what is left behind.

Rows are those of the table of bad input in docs/architecture.md. What another file shows already is not repeated here:

    row                      here                                            elsewhere
    unreadable audio         test_batch_jobs..., test_training_stops...      test_audio.py, cli/test_*.py
    other sample rate        test_rate_and_channels...                       test_audio.py, transcription/test_recognizer.py
    stereo                   test_rate_and_channels...                       cli/test_transcribe.py, corpus/test_datadir.py
    shorter than its labels  test_too_short_for_its_labels...                corpus/test_dataset.py, corpus/test_info.py
    faulty data directory    test_every_fault_in_one_report                  corpus/test_check.py, cli/test_data.py
    unknown key, value       test_a_mistyped_key..., test_a_value_that...    test_config.py
    unwritable text          test_text_that_the_tokenizer_cannot_write       text/test_round_trip.py, cli/test_tokenizer.py
    non-finite loss          test_a_loss_that_is_not_finite...
    disk full, killed        test_interrupted.py                             test_system.py, training/test_exact.py
    foreign model            test_a_model_file_from_elsewhere                cli/test_decode.py
    shell commands           test_no_command...                              corpus/test_archive.py, cli/test_decode.py
    broken ARPA file                                                         text/test_arpa.py, cli/test_lm.py
    absent paths             test_absent_paths...
    faulty series                                                            series/test_table.py, cli/test_forecast.py
    labels of a loss                                                         ctc/test_loss.py, ctc/kernels/test_ctc_loss_kernels.py
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from bad_input.commands import CONFIG, decode, features, train, transcribe, wavs
from safetensors.torch import save_file
from tones import RATE, make_tones
from transcription.tiny import save_tiny_model

from asr import audio
from asr.corpus import DataDir, SpeechDataset
from asr.errors import DataError
from asr.training.speech import SpeechTask

# --------------------------------------------------------------------------------------------- unreadable audio

SPOILT = {"cut": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "cut: its header promises"),
          "empty": (lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
          "text": (lambda path: path.write_text("not audio at all, but long enough to be"), "not an audio file"),
          "missing": (lambda path: path.unlink(), "No such file")}


@pytest.mark.parametrize("command", ["transcribe", "decode", "features"])
def test_batch_jobs_name_each_bad_file_go_on_and_end_with_1(asr, corpus, command):
    make_tones(corpus / "train", 80, seed=1)  # of 80, four may fail before `asr features` gives up
    spoilt = dict(zip(wavs(corpus / "train")[3:40:10], SPOILT))
    kinds = dict.fromkeys(SPOILT) if command != "transcribe" else dict.fromkeys(("cut", "empty", "text"))
    spoilt = {path: kind for path, kind in spoilt.items() if kind in kinds}
    for path, kind in spoilt.items():
        SPOILT[kind][0](path)
    arguments = {"transcribe": transcribe(corpus, corpus / "train" / "wav"), "decode": decode(corpus),
                 "features": features(corpus)}[command]
    ended = asr(*arguments)
    assert ended.status == 1
    for path, kind in spoilt.items():
        assert f"{path}: cannot read: {SPOILT[kind][1]}" in ended.err
    assert f"{len(spoilt)} of 80 " in ended.err
    if command == "transcribe":
        assert len(ended.out.splitlines()) == 80 - len(spoilt)
    else:
        table = corpus / ("out/text" if command == "decode" else "train/feats.scp")
        assert len(table.read_text().splitlines()) == 80 - len(spoilt)


@pytest.mark.parametrize("kind", SPOILT)
def test_training_stops_before_any_work_on_audio_that_cannot_be_read(asr, corpus, kind):
    spoil, said = SPOILT[kind]
    path = wavs(corpus / "train")[5]
    spoil(path)
    ended = asr(*train(corpus))
    assert ended.status == 1
    assert f"wav.scp:6: {path.stem}: {path}: cannot read: {said}" in ended.err and "asr data fix drops its utt" in ended.err
    assert not (corpus / "exp" / "checkpoints").exists()


def test_a_cured_directory_trains_in_the_same_folder_with_another_configuration(asr, corpus):
    """A run that stopped before its first checkpoint has left nothing that would have to be kept."""
    path = wavs(corpus / "train")[5]
    path.write_bytes(b"")
    assert asr(*train(corpus)).status == 1
    assert asr("data", "fix", corpus / "train").status == 0
    assert asr(*train(corpus, "--set", "seed=7")).status == 0
    assert "seed: 7" in (corpus / "exp" / "config.yaml").read_text()


# --------------------------------------------------------------------------------------------- rate and channels


@pytest.mark.parametrize("command", ["transcribe", "decode", "features", "train"])
def test_rate_and_channels_that_are_not_the_models_are_said_once(asr, corpus, command):
    audio._said.cache_clear()
    for path in wavs(corpus / "train"):
        samples, _ = audio.read(path)
        audio.write(path, np.stack([samples, 0.5 * samples], axis=1), 2 * RATE)
    (corpus / "train" / "utt2dur").unlink(missing_ok=True)
    two_epochs = ["--set", "training.workers=1", "--set", "training.epochs=2"]  # each has a worker of its own
    arguments = {"transcribe": transcribe(corpus, corpus / "train" / "wav"), "decode": decode(corpus),
                 "features": features(corpus), "train": train(corpus, *two_epochs)}
    ended = asr(*arguments[command])
    assert ended.status == 0, ended.err
    said = (corpus / "exp" / "train.log").read_text() if command == "train" else ended.err
    for message in (f"audio at {2 * RATE} Hz is resampled to {RATE} Hz", "audio of 2 channels is averaged to one (choose one"):
        assert said.count(message) == 1


def test_several_processes_say_it_once_too(corpus):
    for path in wavs(corpus / "train"):
        audio.write(path, audio.read(path)[0], 2 * RATE)
    command = [sys.executable, "-m", "asr", *map(str, features(corpus, "--jobs", 2))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == f"audio at {2 * RATE} Hz is resampled to {RATE} Hz\n"


# ------------------------------------------------------------------------------------------------- labels and text


def test_too_short_for_its_labels_is_named_counted_and_dropped(asr, corpus):
    text = corpus / "train" / "text"
    lines = text.read_text().splitlines()
    lines[3] = lines[3].split()[0] + " " + "lo mid hi " * 12 + "lo"
    text.write_text("\n".join(lines) + "\n")
    ended = asr(*train(corpus))
    assert ended.status == 0, ended.err
    name = lines[3].split()[0]
    labels = len("lo mid hi " * 12 + "lo")
    assert f"{name}: dropped from training: " in ended.err and f"output frames, its {labels} labels need {labels}" in ended.err
    assert "1 of 12 training utterances dropped as shorter than their labels need" in ended.err
    assert f"{name}: dropped" in (corpus / "exp" / "train.log").read_text()


def test_text_that_the_tokenizer_cannot_write(asr, corpus, tmp_path):
    """The characters and the utterances; a tokenizer made with --unk takes them."""
    text = corpus / "dev" / "text"
    lines = text.read_text().splitlines()
    text.write_text("\n".join([lines[0] + " ça va?", *lines[1:]]) + "\n", encoding="utf-8")
    ended = asr(*train(corpus))
    name = lines[0].split()[0]
    assert ended.status == 1
    for character in ("'ç'", "'?'", "'v'"):
        assert f"{character} (U+" in ended.err or f"no token for {character}" in ended.err
    assert name in ended.err and "--unk" in ended.err and not (corpus / "exp" / "checkpoints").exists()
    assert asr("tokenizer", "--text", corpus / "train" / "text", "--unk", "--out", corpus / "tokens").status == 0
    ended = asr(*train(corpus, "--set", f"tokenizer.dir={corpus / 'tokens'}"))
    assert ended.status == 0 and "what is outside the vocabulary becomes <unk>" in ended.err
    ended = asr("decode", "--model", corpus / "exp" / "model.safetensors", "--data", corpus / "dev", "--out", corpus / "out")
    assert ended.status == 0 and len((corpus / "out" / "text").read_text().splitlines()) == len(lines)


def test_a_damaged_tokenizer_is_found_before_the_data_are_read(asr, corpus):
    """The data are spoilt as well, and are not what is complained of."""
    assert asr("tokenizer", "--text", corpus / "train" / "text", "--normalizer", "basic", "--out", corpus / "tokens").status == 0
    (corpus / "train" / "text").write_text("")
    chosen = train(corpus, "--set", f"tokenizer.dir={corpus / 'tokens'}")
    ended = asr(*chosen)
    assert ended.status == 2 and "set tokenizer.normalizer: basic" in ended.err
    path = corpus / "tokens" / "tokenizer.json"
    path.write_text(path.read_text()[:20])
    ended = asr(*chosen)
    assert ended.status == 1 and f"asr: error: {path}: damaged" in ended.err and not (corpus / "exp").exists()
    lexicon = corpus / "lexicon.txt"
    phones = train(corpus, "--set", "tokenizer.kind=phone", "--set", f"tokenizer.lexicon={lexicon}")
    ended = asr(*phones)
    assert ended.status == 2 and f"asr: error: {lexicon}: cannot read" in ended.err
    lexicon.write_text("one W AH N\ntwo\n")
    ended = asr(*phones)
    assert ended.status == 1 and f"asr: error: {lexicon}:2: two has no pronunciation" in ended.err and not (corpus / "exp").exists()


def test_words_without_a_pronunciation_are_named_before_any_work(asr, corpus):
    lexicon = corpus / "lexicon.txt"
    lexicon.write_text("nothing N AH TH IH NG\n")
    ended = asr(*train(corpus, "--set", "tokenizer.kind=phone", "--set", f"tokenizer.lexicon={lexicon}"))
    assert ended.status == 1 and "no pronunciation of '" in ended.err and "add them to the lexicon" in ended.err


# -------------------------------------------------------------------------------------------------- data directory


def test_every_fault_in_one_report(asr, corpus):
    """Unsorted, missing, duplicate and unknown ids at once: file, line and cure of each; nothing is trained on them."""
    data = corpus / "train"
    text = (data / "text").read_text().splitlines()
    ids = [line.split()[0] for line in text]
    (data / "text").write_text("\n".join([text[1], text[0], *text[3:], text[5], "zed-1 hi"]) + "\n")
    wanted = [f"text:2: not sorted: {ids[0]} comes after {ids[1]} (the order is that of bytes, LC_ALL=C sort) [asr data fix]",
              f"utt2spk:3: utterance {ids[2]} has no line in text [add the line, or asr data fix drops the utterance]",
              f"text:12: {ids[5]} comes twice, first in line 5, with the same content [asr data fix]",
              "text:13: utterance zed-1 is unknown: it is not in utt2spk [asr data fix drops the line]"]
    ended = asr("data", "check", data)
    assert ended.status == 1
    for fault in wanted:
        assert f"{data}/{fault}" in ended.out
    refused = asr(*train(corpus))
    assert refused.status == 1 and not (corpus / "exp" / "checkpoints").exists()
    assert f"utt2spk:3: utterance {ids[2]} has no line in text" in refused.err
    fixed = asr("data", "fix", data)
    assert fixed.status == 0 and f"utterance {ids[2]} dropped" in fixed.out
    assert asr("data", "check", data).status == 0


# --------------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize("where", ["file", "option"])
def test_a_mistyped_key_ends_with_2_before_any_work(asr, corpus, where):
    more = []
    if where == "file":
        (corpus / "c.yaml").write_text(CONFIG.replace("epochs: 1", "epcohs: 1").replace("hidden: 8", "hiden: 8"))
    else:
        more = ["--set", "training.epcohs=1", "--set", "model.rnn.hiden=8"]
    ended = asr(*train(corpus, *more))
    assert ended.status == 2 and not (corpus / "exp").exists()
    assert "training.epcohs: unknown key; did you mean `epochs`?" in ended.err  # all of them, with their paths
    assert "model.rnn.hiden: unknown key; did you mean `hidden`?" in ended.err
    if where == "file":
        assert asr(*features(corpus)).status == 2 and not (corpus / "train" / "features").exists()


@pytest.mark.parametrize(("setting", "said"), [
    ("augment.noise={probability: 0.5, files: /nowhere}", "augment.noise.files: no such folder or file: /nowhere"),
    ("augment.tempo=[1.2,0.8]", "augment.tempo: a range is [from, to], the smaller number first (got [1.2, 0.8])"),
    ("features.frame_length_ms=0.01", "frame_length_ms"),
    ("tokenizer.normalizer=nfd", "unknown normaliser 'nfd'"),
    ("tokenizer.kind=phone", "kind: phone needs a lexicon"),
    ("tokenizer.lexicon=lexicon.txt", "a lexicon is for kind: phone, not char"),
    ("tokenizer.dir=/nowhere", "tokenizer.dir: no tokenizer in /nowhere; write one with `asr tokenizer --out /nowhere`"),
    ("training.epochs=none", "training.epochs: Input should be a valid integer"),
])
def test_a_value_that_cannot_work_ends_with_2_before_any_work(asr, corpus, setting, said):
    ended = asr(*train(corpus, "--set", setting))
    assert ended.status == 2 and said in ended.err and not (corpus / "exp").exists()


# --------------------------------------------------------------------------------------------------- non-finite loss


def test_a_loss_that_is_not_finite_is_skipped_named_and_saved(asr, corpus, monkeypatch):
    names = [line.split()[0] for line in (corpus / "train" / "text").read_text().splitlines()]
    original = SpeechTask.losses

    def spoilt(self, batch, generator):
        losses, labels = original(self, batch, generator)
        return losses.masked_fill(torch.tensor([name == names[4] for name in batch.ids]), float("nan")), labels

    monkeypatch.setattr(SpeechTask, "losses", spoilt)
    ended = asr(*train(corpus))
    assert ended.status == 0, ended.err
    (saved,) = (corpus / "exp" / "nonfinite").iterdir()
    assert f"loss is not finite for {names[4]}; step skipped, batch saved as {saved}" in ended.err
    batch = torch.load(saved, weights_only=True)
    assert names[4] in batch["ids"] and torch.isnan(batch["losses"][batch["ids"].index(names[4])])


def test_losses_that_stay_not_finite_stop_the_run(asr, corpus):
    (corpus / "c.yaml").write_text(CONFIG.replace("epochs: 1", "epochs: 9, nonfinite_limit: 2"))
    ended = asr(*train(corpus, "--set", "training.optimizer.lr=1e30", "--set", "training.gradient_clip=0"))
    assert ended.status == 1 and "2 steps in a row had a non-finite loss or gradient (last: batch " in ended.err
    assert "lower training.optimizer.lr" in ended.err and not (corpus / "exp" / "model.safetensors").exists()


# ----------------------------------------------------------------------------------------------- models from elsewhere


class Planted:
    def __reduce__(self):
        return os.mkdir, ("planted",)


@pytest.mark.parametrize("command", [transcribe, decode])
@pytest.mark.parametrize(("kind", "said"), [
    ("pickle", "not a whole safetensors file"), ("torch", "not a whole safetensors file"), ("empty", "not a whole safetensors"),
    ("cut", "not a whole safetensors file"), ("foreign", "no model of this toolkit"), ("text", "not a whole safetensors file"),
    ("weights", "weights and metadata do not fit together")])
def test_a_model_file_from_elsewhere(asr, corpus, monkeypatch, command, kind, said):
    monkeypatch.chdir(corpus)
    path = corpus / "model.safetensors"
    whole = path.read_bytes()
    if kind == "torch":
        torch.save({"weights": torch.zeros(3), "planted": Planted()}, path)
    elif kind == "foreign":
        save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    elif kind == "weights":
        from safetensors import safe_open
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file({"network.output.bias": torch.zeros(3)}, path, metadata)
    else:
        path.write_bytes({"pickle": pickle.dumps(Planted()), "empty": b"", "cut": whole[:len(whole) // 2],
                          "text": b"weights: none\n" * 50}[kind])
    ended = asr(*command(corpus, *((corpus / "dev" / "wav",) if command is transcribe else ())))
    assert ended.status == 1 and f"asr: error: {path}: " in ended.err and said in ended.err
    assert ended.out == "" and not (corpus / "planted").exists() and not (corpus / "out").exists()


# ------------------------------------------------------------------------------------------------- shell commands


@pytest.mark.parametrize("position", ["touch {} |", "touch {} |:0", "| touch {}"])
@pytest.mark.parametrize("table", ["feats.scp", "cmvn.scp"])
def test_no_command_in_place_of_an_archive_is_run(asr, corpus, table, position):
    (corpus / "c.yaml").write_text(CONFIG.replace("cmvn: utterance", "cmvn: speaker"))
    save_tiny_model(corpus / "model.safetensors", cmvn="speaker")
    assert asr(*features(corpus)).status == 0
    path = corpus / "train" / table
    lines = path.read_text().splitlines()
    key = lines[1].split()[0]
    planted = position.format(corpus / "planted")
    path.write_text("\n".join([lines[0], f"{key} {planted}", *lines[2:]]) + "\n")
    refused = f"{table}:2: {key}: a shell command in place of an archive, and it is never run"
    checked = asr("data", "check", corpus / "train")
    assert checked.status == 1 and refused in checked.out
    for arguments in (train(corpus, "--set", "training.archived=true"), train(corpus)):
        ended = asr(*arguments)
        assert ended.status == 1 and refused in ended.err
    for arguments in (decode(corpus, "--archived", "--allow-pipes"), decode(corpus)):
        ended = asr(*arguments)
        if table == "feats.scp" and "--archived" not in arguments:
            assert ended.status == 0  # the table is not needed
        else:
            assert ended.status == 1 and f"{planted}: a shell command in place of an archive" in ended.err
    data = DataDir.load(corpus / "train")
    if table == "feats.scp":
        with pytest.raises(DataError, match="a shell command in place of an archive"):
            SpeechDataset(data, RATE, archived=True)[0, 1]
    assert not (corpus / "planted").exists()


@pytest.mark.parametrize("keep", [0, 4, 40])
def test_statistics_that_cannot_be_read_end_decoding(asr, corpus, keep):
    (corpus / "c.yaml").write_text(CONFIG.replace("cmvn: utterance", "cmvn: speaker"))
    save_tiny_model(corpus / "model.safetensors", cmvn="speaker")
    assert asr(*features(corpus)).status == 0
    path, = (corpus / "train" / "features").glob("cmvn.*.ark")
    path.write_bytes(path.read_bytes()[:keep])
    ended = asr(*decode(corpus))
    position = (corpus / "train" / "cmvn.scp").read_text().split()[1]
    assert ended.status == 1 and f"asr: error: speaker s0: cannot read {position}: " in ended.err
    assert ended.err.rstrip().endswith("write it again with `asr features`") and not list((corpus / "out").glob("*"))


@pytest.mark.parametrize("command", [train, decode, features, transcribe])
def test_no_command_in_wav_scp_is_run_unless_allowed(asr, corpus, command):
    path = corpus / "train" / "wav.scp"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0].split()[0]} touch {corpus}/planted |", *lines[1:]]) + "\n")
    given = (corpus / "train",) if command is transcribe else ()
    ended = asr(*command(corpus, *given))
    assert ended.status == 1 and "wav.scp:1: recording" in ended.err and "is a shell command" in ended.err
    assert "--allow-pipes" in ended.err and not (corpus / "planted").exists()
    path.write_text("".join(" ".join([line.split()[0], "cat", line.split()[1], "|\n"]) for line in lines))
    assert asr(*command(corpus, *given, "--allow-pipes")).status == 0


# --------------------------------------------------------------------------------------------------- absent paths


@pytest.mark.parametrize(("arguments", "said"), [
    ("data check {train} {none}", "no such data directory"),
    ("data fix {none}", "no such data directory"),
    ("data info {none}", "no such data directory"),
    ("data subset {none} --out {out} --first 1", "no such data directory"),
    ("data subset {train} --out {out} --utterances {none}", "no such list of utterances"),
    ("data split {none} --out {out} --parts 2", "no such data directory"),
    ("data combine {train} {none} --out {out}", "no such data directory"),
    ("features {none}", "no such data directory"),
    ("features {train} --config {none}", "cannot read: No such file"),
    ("tokenizer --text {none} --out {out}", "no such text file"),
    ("train --config {none} --train {train} --dev {dev} --exp {out}", "cannot read: No such file"),
    ("train --config {config} --train {none} --dev {dev} --exp {out}", "no such data directory"),
    ("train --config {config} --train {train} --dev {none} --exp {out}", "no such data directory"),
    ("decode --model {none} --data {train} --out {out}", "no such model file; train one with `asr train`"),
    ("decode --model {model} --data {none} --out {out}", "no such data directory"),
    ("align --model {none} --data {train} --out {out}", "no such model file; train one with `asr train`"),
    ("align --model {model} --data {none} --out {out}", "no such data directory"),
    ("lm build --text {none} --out {out}", "no such text file"),
    ("lm perplexity --lm {none} --text {train}/text", "no such ARPA file; `asr lm build` writes one"),
    ("decode --model {model} --data {train} --out {out} --method beam --lm {none}", "no such ARPA file"),
    ("decode --model {model} --data {train} --out {out} --tuned {none}", "no such tuned.json"),
    ("score --ref {none} --hyp {train}/text --out {out}", "no such file of references"),
    ("score --ref {train}/text --hyp {none} --out {out}", "no such file of hypotheses"),
    ("score --ref {train}/text --hyp {train}/text --utt2spk {none} --out {out}", "no such utt2spk file"),
    ("transcribe --model {none} {train}/wav --out {out}", "no such model file; train one with `asr train`"),
    ("transcribe --model {model} {train}/wav {none} --out {out}", "no such file or folder"),
    ("transcribe --model {model} --list {none} --out {out}", "cannot read the list: No such file"),
])
def test_absent_paths_are_wrong_use_before_any_work(asr, made, tmp_path, arguments, said):
    places = {"train": made / "train", "dev": made / "dev", "model": made / "model.safetensors", "config": made / "c.yaml",
              "none": tmp_path / "none", "out": tmp_path / "out"}
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    ended = asr(*arguments.format(**places).split())
    assert ended.status == 2 and ended.out == ""
    assert f"asr: error: {tmp_path / 'none'}: {said}" in ended.err
    assert not (tmp_path / "out").exists() and {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize(("arguments", "said"), [
    ("features {model}", "not a data directory"), ("decode --model {train} --data {train} --out {out}", "name the model file"),
    ("score --ref {train} --hyp {train}/text", "name the file of references itself")])
def test_a_file_for_a_folder_and_a_folder_for_a_file(asr, made, tmp_path, arguments, said):
    places = {"train": made / "train", "model": made / "model.safetensors", "out": tmp_path / "out"}
    ended = asr(*arguments.format(**places).split())
    assert ended.status == 2 and said in ended.err


def test_a_folder_that_cannot_be_written_is_said_without_a_traceback(asr, made, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ended = asr("tokenizer", "--text", made / "train" / "text", "--out", tmp_path / "file" / "tokens")
    assert ended.status == 1 and ended.err.startswith(f"asr: error: {tmp_path / 'file'}") and "Not a directory" in ended.err
