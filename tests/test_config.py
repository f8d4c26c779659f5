"""The configuration: defaults, overrides, and messages that name the key, the fault and the closest known key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asr.classification.config import ClassifyConfig
from asr.config import Config, dump_config, load_config, parse_config
from asr.errors import ConfigError
from asr.series.config import ForecastConfig

RECIPES = sorted(path for path in (Path(__file__).parent.parent / "recipes").glob("*/conf/*.yaml") if path.stem != "published")


def test_defaults_are_kaldis_filterbank():
    features = load_config().features
    assert (features.kind, features.num_mel_bins, features.frame_length_ms, features.frame_shift_ms) == ("fbank", 80, 25, 10)
    assert (features.window, features.dither, features.preemphasis) == ("povey", 0, 0.97)


def test_a_written_configuration_reads_back_equal(tmp_path):
    config = load_config(None, ["augment.speed=[0.9, 1.1]", "augment.vtlp=[0.9, 1.1]", "seed=7",
                                "model.conv.layers=[{channels: 4}]"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert parse_config(yaml.safe_load(config.model_dump_json())) == config


ROOTS = {"inputs": ClassifyConfig, "forecast": ForecastConfig}  # a key that this kind of configuration alone has


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.parent.name}/{path.name}")
def test_every_recipes_configuration_is_accepted(path):
    root = next((root for key, root in ROOTS.items() if key in yaml.safe_load(path.read_text())), Config)
    assert isinstance(load_config(path, root=root), root)


def test_an_entry_of_a_list_is_overridden_by_its_number(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model: {conv: {layers: [{channels: 4}, {channels: 8}]}}")
    assert [layer.channels for layer in load_config(path, ["model.conv.layers.1.channels=9"]).model.conv.layers] == [4, 9]
    for key in ("2", "x", "-1"):
        with pytest.raises(ConfigError, match=rf"`{key}` is no entry of a list of 2; the first is 0"):
            load_config(path, [f"model.conv.layers.{key}.channels=9"])


def test_there_are_recipe_configurations_to_check():
    assert len(RECIPES) >= 3


@pytest.mark.parametrize(("override", "message"), [
    ("training.epoch=3", r"training\.epoch: unknown key; did you mean `epochs`\?"),
    ("trainig.epochs=3", r"trainig: unknown key; did you mean `training`\?"),
    ("training.optimizer.learning_rate=1", r"optimizer\.learning_rate: unknown key; did you mean `[a-z_]+`\? \(known: name, lr"),
    ("model.conv.layers=[{channel: 3}]", r"model\.conv\.layers\.0\.channel: unknown key; did you mean `channels`\?"),
    ("training.epochs=many", r"training\.epochs: .*integer.*\(got 'many'\)"),
    ("training.batch_seconds=lots", r"training\.batch_seconds: .*number.*\(got 'lots'\) or .*'auto' \(got 'lots'\)$"),
    ("training.batch_seconds=-1", r"training\.batch_seconds: Input should be greater than 0 \(got -1\) or "),
    ("training.objective.intermediate=[3]", r"configuration: training\.objective\.intermediate: \[3\] must be different"),
    ("training.epochs=0", r"training\.epochs: .*greater than or equal to 1"),
    ("features.kind=mel", r"features\.kind: .*'fbank', 'mfcc' or 'spectrogram'"),
    ("features.low_freq=9000", "low_freq 9000 and high_freq 8000 Hz must satisfy"),
    ("model.conv.layers=[{channels: 3, kernel: [4, 3]}]", "kernel sizes must be odd"),
    ("augment.speed=[3]", "each speed factor must be from 0.5 to 2"),
    ("seed", "expected a.b=value"), ("=3", "expected a.b=value"), ("a..b=3", "expected a.b=value"),
    ("seed.x=1", None), ("training.epochs={", "not valid YAML"), ("seed=2001-13-45", "not valid YAML"),
    ("augment.vtlp=[1.1, 0.9]", r"augment\.vtlp: a range is \[from, to\], the smaller number first \(got \[1\.1, 0\.9\]\)"),
    ("augment.noise.snr_db=[20, 5]", r"augment\.noise\.snr_db: a range is"),
    ("augment.volume_db=[.nan, 1]", r"augment\.volume_db\.0: .*finite number"),
    ("features.frame_length_ms=.inf", r"features\.frame_length_ms: .*finite number"),
    ("features.dither=.inf", "finite number"), ("training.batch_seconds=.inf", "finite number"),
    ("training.optimizer.lr=inf", "finite number"),
    ("training.optimizer.betas=[1.5, 0.9]", r"training\.optimizer\.betas: each of the two must be from 0 to less than 1"),
    (f"seed={2**63}", "seed: a seed must be below"), ("seed=-1", "seed: .*greater than or equal to 0"),
    ("training.epochs=yes", r"training\.epochs: a number is needed here, not true or false \(got True\)"),
    ("model.rnn.hidden=true", r"model\.rnn\.hidden: a number"), ("augment.speed=[1.0, on]", r"augment\.speed: a number"),
    ("training.batch_seconds=no", r"training\.batch_seconds: a number"),
    ("augment={telephone: 0.1, telephone: 0.2}", "`telephone` comes twice, first in line 1, then in line 1"),
])
def test_faults_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_all_faults_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["training.epochs=0", "sed=1", "model.rnn.cell=rnn"])
    assert "3 faults" in str(caught.value)
    assert all(part in str(caught.value) for part in ("training.epochs", "sed: unknown key; did you mean `seed`", "model.rnn.cell"))


@pytest.mark.parametrize(("content", "message"), [("a: [", "not valid YAML"), ("- 1", "expected sections"), ("\xff\xfe", None)])
def test_files_that_are_no_configuration(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_section_that_comes_twice_is_an_error(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {epochs: 3}\nmodel:\n  rnn: {layers: 1}\ntraining: {workers: 0}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: not valid YAML: `training` comes twice, first in line 1, then in line 4"):
        load_config(path)
    path.write_text("training: &loop {epochs: 3}\nmodel: {rnn: {layers: 1}, dropout: 0.1}\n")  # the same key in two places
    assert load_config(path).training.epochs == 3


@pytest.mark.parametrize("root", [Config, ForecastConfig])
def test_what_holds_for_every_number_holds_in_every_tree(root):
    with pytest.raises(ConfigError, match="3 faults"):
        load_config(None, ["seed=-1", "training.gradient_clip=.inf", "training.epochs=yes"], root)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot read: No such file"):
        load_config(tmp_path / "absent.yaml")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), max_leaves=6, extend=lambda inner:
                    st.dictionaries(st.text(max_size=8), inner, max_size=3) | st.lists(inner, max_size=2)))
def test_no_tree_escapes_as_another_error(tree):
    """Whatever a file holds, the answer is a configuration or a ConfigError."""
    if isinstance(tree, dict):
        try:
            config = parse_config(tree, "planted")
        except ConfigError as error:
            assert str(error).startswith("planted: ")
        else:
            assert parse_config(yaml.safe_load(dump_config(config))) == config
