"""The reader of audio: every codec, spans, channels, rates, and every way a file can be broken."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr import audio, containers
from asr.errors import AudioError

# ending, libsndfile format, subtype, sample rate, largest mean error of coding (0: lossless)
CODECS = [("wav", "WAV", "PCM_16", 16000, 0.0), ("wav", "WAV", "FLOAT", 44100, 0.0), ("wav", "WAV", "ULAW", 8000, 0.01),
          ("flac", "FLAC", "PCM_16", 16000, 0.0), ("flac", "FLAC", "PCM_24", 48000, 0.0),
          ("ogg", "OGG", "VORBIS", 22050, 0.02), ("opus", "OGG", "OPUS", 48000, 0.02),
          ("mp3", "MP3", "MPEG_LAYER_III", 44100, 0.02), ("sph", "NIST", "PCM_16", 16000, 0.0),
          ("aiff", "AIFF", "PCM_16", 16000, 0.0), ("au", "AU", "PCM_16", 16000, 0.0), ("w64", "W64", "PCM_16", 16000, 0.0)]
IDS = [f"{ending}-{subtype}" for ending, _, subtype, _, _ in CODECS]


def sweep(rate: int, seconds: float = 2.0) -> np.ndarray:
    """A gliding tone with a little noise: no two spans are alike. Steps of 16 bits."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(1).standard_normal(len(time))
    signal = 0.4 * np.sin(2 * np.pi * (200 * time + 150 * time**2)) + 0.01 * noise
    return (np.rint(signal * 32768) / 32768).astype(np.float32)


def written(folder: Path, codec: tuple, samples: np.ndarray | None = None) -> Path:
    ending, format, subtype, rate, _ = codec
    path = folder / f"a.{ending}"
    soundfile.write(path, sweep(rate) if samples is None else samples, rate, format=format, subtype=subtype)
    return path


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_every_codec_is_read_whole(tmp_path: Path, codec: tuple) -> None:
    rate, tolerance = codec[3:]
    path = written(tmp_path, codec)
    info = audio.verify(path)
    assert info == audio.probe(path)
    assert (info.sample_rate, info.channels, info.frames, info.duration) == (rate, 1, 2 * rate, 2.0)
    samples, found_rate = audio.read(path)
    assert found_rate == rate
    assert samples.dtype == np.float32
    assert samples.shape == (2 * rate,)
    difference = np.abs(samples - sweep(rate))
    assert difference.mean() <= tolerance
    assert difference[:-rate // 50].max() <= 8 * tolerance  # opus fades its last frame


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_a_span_equals_that_part_of_the_whole(tmp_path: Path, codec: tuple) -> None:
    rate = codec[3]
    path = written(tmp_path, codec)
    whole, _ = audio.read(path)
    part, _ = audio.read(path, 0.7, 1.3)
    assert len(part) == round(1.3 * rate) - round(0.7 * rate)
    # Lossy decoders start anew at a seek; from the first coded frame on they agree.
    np.testing.assert_allclose(part, whole[round(0.7 * rate):round(1.3 * rate)], atol=0.0 if codec[4] == 0.0 else 1e-3)


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
@pytest.mark.parametrize("keep", [0.97, 0.5, 0.02])
def test_a_cut_file_is_an_error_that_names_it(tmp_path: Path, codec: tuple, keep: float) -> None:
    path = written(tmp_path, codec)
    content = path.read_bytes()
    path.write_bytes(content[:int(keep * len(content))])
    for reader in (audio.verify, audio.read):
        with pytest.raises(AudioError, match=f"{path.name}: cannot read: "):
            reader(path)


def test_a_flac_is_readable_up_to_its_cut(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[3])
    path.write_bytes(path.read_bytes()[:-200])
    samples, rate = audio.read(path, 0.1, 0.6)
    np.testing.assert_array_equal(samples, sweep(rate)[1600:9600])
    with pytest.raises(AudioError, match="cut or corrupt"):
        audio.read(path, 1.5)


@pytest.mark.parametrize(("content", "why"), [
    (b"", r"the file is empty \(0 bytes\)"),
    (b"R", "not an audio file"),
    (b"this is text, not sound\n" * 100, "not an audio file"),
    (b"\xff\xfb" * 500, "not an audio file"),
    (b"OggS" + b"\0" * 500, "the last page"),
    (b"NIST_1A\n   oops\n", "bad header"),
    (b"RIFF\x24\0\0\0WAVEfmt ", "cannot read"),
])
def test_what_is_no_audio_is_an_error(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=why):
        audio.read(path)


def test_missing_folder_and_forbidden(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav: cannot read: No such file or directory"):
        audio.probe(tmp_path / "gone.wav")
    os.mkfifo(tmp_path / "pipe.wav")  # nobody writes to it
    with pytest.raises(AudioError, match="pipe.wav: cannot read: it is no ordinary file"):
        audio.probe(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="it is a folder"):
        audio.probe(tmp_path)


def test_a_file_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16000)
    with pytest.raises(AudioError, match="it holds no audio"):
        audio.read(tmp_path / "none.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers(tmp_path: Path, bad: float) -> None:
    samples = sweep(16000)
    samples[16000] = bad
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    assert len(audio.read(tmp_path / "nan.wav", 0.0, 0.9)[0]) == 14400
    with pytest.raises(AudioError, match="not finite"):
        audio.read(tmp_path / "nan.wav")


def test_a_wav_whose_header_was_left_open_by_a_pipe(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[0])
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.read(path)[0], sweep(16000))


def test_a_flac_stream_of_unknown_length(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[3])
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: the 36 bits of total samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="does not say its length"):
        audio.probe(path)


def test_an_mp3_with_a_tag_before_it(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[7])
    content = path.read_bytes()
    tag = b"ID3\x03\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    path.write_bytes(tag + content)
    assert audio.verify(path).frames == 2 * 44100
    path.write_bytes(tag + content[:len(content) // 2])
    with pytest.raises(AudioError, match="cut: its header promises"):
        audio.probe(path)


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
@pytest.mark.parametrize("lengths", [(1.0, 2.0), (2.0, 0.5)])
def test_joined_files_are_an_error(tmp_path: Path, codec: tuple, lengths: tuple[float, float]) -> None:
    parts = [written(tmp_path, codec, sweep(codec[3], seconds)).read_bytes() for seconds in lengths]
    path = tmp_path / f"both.{codec[0]}"
    path.write_bytes(b"".join(parts))
    with pytest.raises(AudioError, match=rf"{path.name}: cannot read: .*(one after another|marker)"):
        audio.read(path)  # of wav and aiff libsndfile says it
    with pytest.raises(AudioError, match="one after another|marker"):
        list(audio.blocks(path, codec[3], seconds=0.3))
    with pytest.raises(AudioError, match="one after another|marker"):
        audio.read_pipe(f"cat {path} |")


def test_an_mp3_with_tags_behind_it_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[7])
    mp3, name = path.read_bytes(), b"TAG" + bytes(125)
    ape = b"APETAGEX" + struct.pack("<III", 2000, 5032, 1) + bytes(12)
    ape += bytes(5000) + ape
    id3 = b"ID3\x03\0\0" + bytes([0, 0, 8, 0]) + bytes(1024)
    for tags in (name, ape, ape + name, mp3[-400:]):  # at the last a frame that the header did not count
        path.write_bytes(mp3 + tags)
        assert audio.verify(path).frames == 2 * 44100
    for tags in (b"", name, id3, ape + name + id3):
        path.write_bytes(mp3 + tags + mp3)
        with pytest.raises(AudioError, match="one after another"):
            audio.probe(path)


def test_a_header_without_data_and_zeros_is_not_walked(tmp_path: Path) -> None:
    asked = []

    def read_at(offset: int, count: int) -> bytes:
        asked.append(offset)
        return bytes(count)

    assert containers._riff_end(read_at, 30_000_000) == 0
    assert len(asked) == 1
    (tmp_path / "a.wav").write_bytes(b"RIFF\x24\0\0\0WAVE" + bytes(1000))
    with pytest.raises(AudioError, match="No 'data' chunk"):
        audio.read(tmp_path / "a.wav")


def test_a_rate_that_no_recording_has(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sweep(16000), 1_000_003)
    for reader in (audio.probe, audio.read):
        with pytest.raises(AudioError, match=r"a\.wav: cannot read: its header says 1000003 Hz"):
            reader(tmp_path / "a.wav")


# ---------------------------------------------------------------------------------------------- channels and spans


def stereo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    left = sweep(16000)
    right = left[::-1].copy()
    soundfile.write(path, np.stack([left, right], axis=1), 16000, subtype="PCM_16")
    return left, right


def test_channels_one_by_one_or_averaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left, right = stereo(tmp_path / "two.wav")
    audio._said.cache_clear()
    np.testing.assert_array_equal(audio.read(tmp_path / "two.wav", channel=0)[0], left)
    np.testing.assert_array_equal(audio.read(tmp_path / "two.wav", channel=1)[0], right)
    assert not caplog.messages
    for _ in range(3):
        np.testing.assert_allclose(audio.read(tmp_path / "two.wav")[0], (left + right) / 2, atol=1e-7)
    assert caplog.messages == ["audio of 2 channels is averaged to one (choose one by reco2file_and_channel or --channel)"]
    with pytest.raises(AudioError, match=r"no channel 2 \(channels 0 to 1\)"):
        audio.read(tmp_path / "two.wav", channel=2)


def test_a_mono_file_has_its_one_channel(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[0])
    np.testing.assert_array_equal(audio.read(path, channel=1)[0], sweep(16000))


@pytest.mark.parametrize(("start", "end", "why"), [(-0.1, 1.0, "before 0"), (1.0, 1.0, "empty"), (1.0, 0.5, "empty"),
                                                   (2.0, None, "empty|beyond"), (1.0, 2.6, "beyond its end at 2 s")])
def test_spans_that_are_not_there(tmp_path: Path, start: float, end: float | None, why: str) -> None:
    with pytest.raises(AudioError, match=why):
        audio.read(written(tmp_path, CODECS[0]), start, end)


def test_a_span_a_little_beyond_the_end_is_cut_to_it(tmp_path: Path) -> None:
    samples, _ = audio.read(written(tmp_path, CODECS[0]), 1.0, 2.5)
    assert len(samples) == 16000


# ------------------------------------------------------------------------------------------ resampling and writing


def test_resampling_is_torchaudio_s_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch
    import torchaudio

    audio._said.cache_clear()
    path = written(tmp_path, CODECS[1])
    loaded = [audio.load(path, 16000, 0.5, 1.5) for _ in range(2)]
    expected = torchaudio.functional.resample(torch.from_numpy(sweep(44100)[22050:66150]), 44100, 16000).numpy()
    assert loaded[0].dtype == np.float32
    np.testing.assert_allclose(loaded[0], expected, atol=5e-6)
    np.testing.assert_array_equal(loaded[0], loaded[1])
    assert caplog.messages == ["audio at 44100 Hz is resampled to 16000 Hz"]
    assert audio.load(path, 44100).shape == (88200,)


def test_resampling_keeps_a_tone(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    down = audio.resample(tone, 16000, 8000)
    np.testing.assert_allclose(down[200:-200], np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)[200:-200], atol=2e-3)


@pytest.mark.parametrize(("rate", "new_rate"), [(44100, 16000), (11025, 16000), (48000, 8000), (7, 3)])
def test_the_filter_point_by_point_is_torchaudio_s(rate: int, new_rate: int) -> None:
    import torch

    samples = torch.from_numpy(sweep(16000))
    expected, found = audio.resampler(rate, new_rate)(samples), audio._Pointwise(rate, new_rate)(samples)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("rate", [11127, 22254])
def test_rates_without_a_common_factor_need_no_kernel(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate).astype(np.float32)
    found = audio.resample(tone, rate, 16000)
    assert isinstance(audio.resampler(rate, 16000), audio._Pointwise)
    assert found.shape == (32000,)
    np.testing.assert_allclose(found[200:-200], np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)[200:-200], atol=2e-3)


@given(steps=st.lists(st.integers(-32768, 32767), min_size=1, max_size=200), ending=st.sampled_from(["wav", "flac"]))
def test_write_then_read_gives_the_same_bits(tmp_path: Path, steps: list[int], ending: str) -> None:
    samples = np.asarray(steps, np.float32) / 32768
    audio.write(tmp_path / f"a.{ending}", samples, 16000)
    back, rate = audio.read(tmp_path / f"a.{ending}")
    assert rate == 16000
    np.testing.assert_array_equal(back, samples)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_write_clips_and_refuses(tmp_path: Path) -> None:
    audio.write(tmp_path / "loud.wav", np.asarray([2.0, -2.0, 0.5]), 8000)
    np.testing.assert_array_equal(audio.read(tmp_path / "loud.wav")[0], np.asarray([32767 / 32768, -1, 0.5], np.float32))
    with pytest.raises(AudioError, match=r"must end in \.wav or \.flac"):
        audio.write(tmp_path / "a.mp3", np.zeros(10), 8000)
    with pytest.raises(AudioError, match="not finite"):
        audio.write(tmp_path / "a.wav", np.asarray([np.nan]), 8000)
    assert not (tmp_path / "a.wav").exists()


# -------------------------------------------------------------------------------------------------- pipes, folders


def test_a_pipe_gives_what_its_file_gives(tmp_path: Path) -> None:
    path = written(tmp_path, CODECS[3])
    for command in (f"cat {path} |", f"cat {path}"):
        samples, rate = audio.read_pipe(command, 0.5, 1.5)
        assert rate == 16000
        np.testing.assert_array_equal(samples, sweep(16000)[8000:24000])


@pytest.mark.parametrize(("command", "why"), [("false |", "ended with status 1"), ("cat gone.wav |", "status 1: .*gone.wav"),
                                              ("true |", "empty"), ("cat gone.wav | cat |", "status 1"),
                                              ("echo hello |", "not an audio file")])
def test_a_pipe_that_fails(command: str, why: str) -> None:
    with pytest.raises(AudioError, match=why):
        audio.read_pipe(command)


def test_what_another_program_reads_is_to_be_converted(tmp_path: Path, caplog) -> None:
    (tmp_path / "my call.m4a").write_bytes(b"\0\0\0\x18ftypM4A ")
    with pytest.raises(AudioError, match=r"libsndfile knows; convert it: ffmpeg -i 'my call\.m4a' 'my call\.flac'"):
        audio.probe(tmp_path / "my call.m4a")
    assert audio.find_audio([tmp_path]) == []
    assert "1 recordings are left out, of formats that libsndfile does not read (1 .m4a)" in caplog.text


def test_find_audio(tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac", "notes.txt", "deep/c.MP3", "deep/er/d.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert audio.find_audio([tmp_path]) == [tmp_path / "a.flac", tmp_path / "b.wav"]
    assert audio.find_audio([tmp_path / "notes.txt", tmp_path, tmp_path / "b.wav"]) == [
        tmp_path / "notes.txt", tmp_path / "a.flac", tmp_path / "b.wav"]
    assert [path.name for path in audio.find_audio([tmp_path], recursive=True)] == ["a.flac", "b.wav", "c.MP3", "d.ogg"]
    with pytest.raises(AudioError, match="no such file or folder"):
        audio.find_audio([tmp_path / "gone"])
