"""Inputs: files as arrays, what cannot be read, and what augmentation may change."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from classification.made import clip, write_pictures, write_video
from PIL import Image
from tones import RATE

from asr import audio
from asr.classification import video
from asr.classification.config import InputConfig, VideoConfig
from asr.classification.reader import Moments, build_reader
from asr.classification.series import read_series
from asr.classification.video import read_clip, resize
from asr.errors import DataError

FRAMES = clip(1)


def reader(kind: str, **section: object):
    return build_reader(InputConfig(kind=kind, **{kind: section} if section else {}), training=True)


# ------------------------------------------------------------------------------------------------------- moments


def test_moments_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    parts = [rng.normal(1e4, 3, (n, 4)) * [1, 10, 0, 1] + [0, 0, 7, 0] for n in (1, 30, 500)]
    moments = Moments()
    for part in parts:
        moments.add(part)
    mean, deviation = moments.result()
    everything = np.concatenate(parts)
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(deviation, np.where(everything.std(axis=0) > 0, everything.std(axis=0), 1), rtol=1e-5)
    with pytest.raises(DataError):
        Moments().result()


# --------------------------------------------------------------------------------------------------------- video


def test_a_video_a_folder_and_a_stack_are_the_same_clip(tmp_path):
    np.save(tmp_path / "c.npy", FRAMES)
    np.savez_compressed(tmp_path / "c.npz", frames=FRAMES[..., None])
    for path in (write_video(tmp_path / "c.mkv", FRAMES), write_pictures(tmp_path / "c", FRAMES), tmp_path / "c.npy",
                 tmp_path / "c.npz"):
        found = read_clip(path, VideoConfig())
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[..., 0], FRAMES)


def test_pictures_come_in_the_order_of_their_numbers(tmp_path):
    frames = np.stack([np.full((2, 2), number, np.uint8) for number in range(1, 12)])
    write_pictures(tmp_path / "c", frames)
    (tmp_path / "c/notes.txt").write_text("no picture")
    (tmp_path / "c/frame11.png").rename(tmp_path / "c/frame10²0.png")
    np.testing.assert_array_equal(read_clip(tmp_path / "c", VideoConfig())[:, 0, 0, 0], np.arange(1, 12))


@pytest.mark.parametrize("name", ["12:30.mkv", "a b.mkv", "50%d.mkv", "http:.mkv"])
def test_a_file_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "c.mkv", FRAMES).rename(tmp_path / name)
    np.testing.assert_array_equal(read_clip(name, VideoConfig())[..., 0], FRAMES)


def test_pictures_of_sixteen_bits(tmp_path):
    write_pictures(tmp_path / "c", FRAMES[:1].astype(np.uint16) * 256)
    np.testing.assert_array_equal(read_clip(tmp_path / "c", VideoConfig())[..., 0], FRAMES[:1])
    Image.fromarray(FRAMES[0].astype(np.float32)).save(tmp_path / "c/frame2.tiff")
    with pytest.raises(DataError, match=r"frame2.tiff: cannot read: nothing says which of its numbers \(mode F\) is white"):
        read_clip(tmp_path / "c", VideoConfig())


def test_a_long_clip_is_thinned_without_being_held(tmp_path, monkeypatch):
    frames = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    path = write_video(tmp_path / "c.mkv", frames)
    wanted = [read_clip(path, VideoConfig(max_frames=7, frame_step=step)) for step in (1, 3)]
    monkeypatch.setattr(video, "HELD_BYTES", 3 * 64)
    seen, stack = [], np.stack
    monkeypatch.setattr(np, "stack", lambda kept: seen.append(len(kept)) or stack(kept))
    for step, clip_before in zip((1, 3), wanted):
        np.testing.assert_array_equal(read_clip(path, VideoConfig(max_frames=7, frame_step=step)), clip_before)
    assert wanted[0][:, 0, 0, 0].tolist() == [0, 5, 11, 17, 22, 28, 34] and seen == [7, 7]


def test_steps_and_thinning(tmp_path):
    np.save(tmp_path / "c.npy", np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8))
    kept = lambda **keys: read_clip(tmp_path / "c.npy", VideoConfig(**keys))[:, 0, 0, 0].tolist()  # noqa: E731
    assert kept(frame_step=3) == [0, 3, 6, 9]
    assert kept(max_frames=4) == [0, 2, 5, 7]
    assert kept(max_frames=10) == kept() == list(range(10))


def test_resizing_by_area_is_the_mean_of_what_is_covered():
    frame = np.random.default_rng(0).uniform(0, 255, (24, 12, 3)).astype(np.float32)
    means = frame.reshape(4, 6, 4, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(frame, (4, 4), "stretch", "area"), means, rtol=1e-5)
    # Cropped to a square, the middle 12 rows are left.
    np.testing.assert_allclose(resize(frame, (4, 4), "crop", "area"), resize(frame[6:18], (4, 4), "stretch", "area"), rtol=1e-5)
    assert resize(frame, (30, 20), "stretch", "bilinear").shape == (30, 20, 3)


def test_colours(tmp_path):
    stack = np.zeros((2, 4, 4, 3), np.uint8)
    stack[..., 0] = 200
    np.save(tmp_path / "red.npy", stack)
    assert read_clip(tmp_path / "red.npy", VideoConfig(colour="rgb")).shape == (2, 4, 4, 3)
    np.testing.assert_allclose(read_clip(tmp_path / "red.npy", VideoConfig()), 0.299 * 200, rtol=1e-6)
    assert read_clip(write_video(tmp_path / "g.mkv", FRAMES), VideoConfig(colour="rgb")).shape == (*FRAMES.shape, 3)


def test_clips_of_different_sizes_are_named_and_resized_only_where_that_is_said(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    np.save(tmp_path / "b.npy", FRAMES[:, :8])
    as_they_are = reader("video")
    as_they_are.read(str(tmp_path / "a.npy"))
    with pytest.raises(DataError, match=r"b.npy: frames of 8 x 10 pixels, the clips of training have 12 x 10, "
                                        r"as the first of them, .*a\.npy; .* video.size"):
        as_they_are.read(str(tmp_path / "b.npy"))
    assert reader("video", size=[6, 6]).read(str(tmp_path / "b.npy")).shape == (5, 6, 6, 1)
    folder = write_pictures(tmp_path / "mixed", FRAMES)
    (folder / "frame3.png").unlink()
    write_pictures(tmp_path / "other", FRAMES[:1, :6])
    (tmp_path / "other/frame1.png").rename(folder / "frame3.png")
    with pytest.raises(DataError, match="mixed: frame 2 has 6 x 10 pixels, those before 12 x 10"):
        read_clip(folder, VideoConfig())


def _music(path: Path) -> None:
    """Sound with a picture on its cover."""
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        sound, cover = container.add_stream("mp3", rate=16000), container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 8, 8, "rgb24", Disposition.attached_pic.value
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8))))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.float32), format="fltp", layout="mono")
        samples.rate = 16000
        container.mux([*sound.encode(samples), *sound.encode()])


def _broken(tmp_path):
    (tmp_path / "notes.txt").write_text("FFmpeg paints this\n" * 100)
    _music(tmp_path / "cover.mp3")
    whole = write_video(tmp_path / "whole.mkv", FRAMES).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[:200])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no video")
    audio.write(tmp_path / "sound.wav", np.zeros(800, np.float32), RATE)
    (tmp_path / "nothing").mkdir()
    write_pictures(tmp_path / "torn", FRAMES)
    (tmp_path / "torn/frame2.png").write_bytes((tmp_path / "torn/frame2.png").read_bytes()[:60])
    np.save(tmp_path / "flat.npy", np.zeros((3, 4)))
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 4)))
    np.save(tmp_path / "names.npy", np.array(["a"]))
    np.save(tmp_path / "nan.npy", np.full((1, 2, 2), np.nan))
    np.savez(tmp_path / "two.npz", a=FRAMES, b=FRAMES)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:300])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(("name", "why"), [
    ("cut.mkv", "cut.mkv: cannot read"), ("notes.txt", "no video in it"),
    ("cover.mp3", "no video in it"), ("empty.mp4", "empty.mp4: cannot read"), ("text.mp4", "text.mp4: cannot read"),
    ("sound.wav", "no video in it"), ("nothing", "no frames in it"), ("torn", "frame2.png: cannot read"),
    ("flat.npy", r"expected \(frames, height, width\)"), ("none.npy", "no frames in it"), ("names.npy", "not real numbers"),
    ("nan.npy", "not finite"), ("two.npz", "2 arrays in it"), ("cut.npz", "cut.npz: cannot read"),
    ("objects.npy", "objects.npy: cannot read"),
])
def test_what_is_no_clip(tmp_path, name, why):
    _broken(tmp_path)
    with pytest.raises(DataError, match=why):
        read_clip(tmp_path / name, VideoConfig())


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("c.mp4", "mpeg4", {}), ("c.mov", "mpeg4", {"movflags": "faststart"}),
    ("c.mp4", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}), ("c.mkv", "ffv1", {}),
    ("c.avi", "mpeg4", {}), ("c.gif", "gif", {})])
def test_a_cut_video_is_an_error_wherever_it_is_cut(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, clip(1, 30, (48, 64)), codec, options)
    content = path.read_bytes()
    assert len(read_clip(path, VideoConfig())) == 30
    for size in np.linspace(0, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=f"{name}: cannot read"):
            read_clip(path, VideoConfig())


def test_a_video_that_was_written_live_does_not_say_its_size(tmp_path):
    path = write_video(tmp_path / "c.mkv", FRAMES, "ffv1", {"live": "1"})
    np.testing.assert_array_equal(read_clip(path, VideoConfig())[..., 0], FRAMES)


def test_a_frame_that_the_decoder_finds_damaged_is_an_error(tmp_path):
    """What is damaged so that it can be decoded all the same cannot be told."""
    noise = np.random.default_rng(0).integers(0, 256, (10, 48, 64), np.uint8)
    path, said = write_video(tmp_path / "c.mp4", noise, "libx264", {"movflags": "faststart"}), []
    content = path.read_bytes()
    for at in range(content.index(b"mdat") + 1000, len(content) - 40, 1000):
        path.write_bytes(content[:at] + bytes(byte ^ 0x5A for byte in content[at:at + 40]) + content[at + 40:])
        try:
            read_clip(path, VideoConfig())
        except DataError as error:
            said.append(str(error))
    assert any(re.search(r"c.mp4: cannot read: damaged or cut at \d", line) for line in said), said


@pytest.mark.parametrize(("matrix", "shown"), [
    ((0, 1, -1, 0), lambda clip: np.rot90(clip, -1, (1, 2))), ((0, -1, 1, 0), lambda clip: np.rot90(clip, 1, (1, 2))),
    ((-1, 0, 0, -1), lambda clip: np.rot90(clip, 2, (1, 2))), ((-1, 0, 0, 1), lambda clip: clip[:, :, ::-1]),
    ((0, 1, 1, 0), lambda clip: clip.swapaxes(1, 2))])
def test_a_turned_video_is_read_upright(tmp_path, matrix, shown):
    """The matrix of a track's header (ISO/IEC 14496-12, 8.3.2), as telephones write it."""
    path = write_video(tmp_path / "c.mp4", clip(1, 3, (48, 64)), "mpeg4")
    plain = read_clip(path, VideoConfig())
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[at:at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_clip(path, VideoConfig()), shown(plain))


def test_a_turned_picture_is_read_upright(tmp_path):
    folder = write_pictures(tmp_path / "c", FRAMES)
    for path in folder.iterdir():
        with Image.open(path) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6  # Orientation: to be turned a quarter clockwise
            picture.save(path, exif=exif)
    np.testing.assert_array_equal(read_clip(folder, VideoConfig())[..., 0], np.rot90(FRAMES, -1, (1, 2)))


def test_frames_are_normalised_by_training_and_augmented_in_training_alone(tmp_path):
    np.save(tmp_path / "c.npy", FRAMES)
    video = reader("video", shift=2, flip=0.5, noise=0.1)
    item = video.read(str(tmp_path / "c.npy"))
    video.fit([item])
    plain = video.make(item)
    assert plain.dtype == np.float32 and plain.shape == item.shape and video.shape == (12, 10, 1)
    np.testing.assert_allclose([plain.mean(), plain.std()], [0, 1], atol=1e-5)
    np.testing.assert_array_equal(plain, video.make(item))
    drawn = [video.make(item, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 0.5 and drawn[0].shape == plain.shape
    mirrored = reader("video", flip=1.0)
    mirrored.fit([item])
    np.testing.assert_allclose(mirrored.make(item, np.random.default_rng(0)), plain[:, :, ::-1], rtol=1e-6)


# -------------------------------------------------------------------------------------------------------- series


@pytest.mark.parametrize("content", ["a,b\n1,2\n3,4.5\n", "1,2\n3,4.5\n", "\ufeff1 , 2\n\n3,4.5"])
def test_numbers_with_and_without_a_header(tmp_path, content):
    (tmp_path / "s.csv").write_text(content, encoding="utf-8")
    np.testing.assert_array_equal(read_series(tmp_path / "s.csv"), np.array([[1, 2], [3, 4.5]], np.float32))


def test_a_single_channel(tmp_path):
    np.save(tmp_path / "s.npy", np.arange(3))
    assert read_series(tmp_path / "s.npy").shape == (3, 1)


@pytest.mark.parametrize(("name", "content", "why"), [
    ("a.csv", "x,y\n1,2\n3,?\n", "a.csv:3: could not convert"),
    ("b.tsv", "1\t2\n3\n", "b.tsv:2: 1 numbers, the rows before have 2"),
    ("h.csv", ",2\n3,4\n", "h.csv:1: could not convert.*a header has no number in it"), ("i.csv", "x,y\n,\n3,4\n", "i.csv:2: "),
    ("j.csv", ",\n3,4\n", "j.csv:1: could not convert"),
    ("c.csv", "x,y\n", "no rows in it"), ("d.csv", "1,nan\n", "not a finite number at time 0, channel 1"),
    ("e.txt", "1", r"a series is a \.npy, \.csv or \.tsv"), ("f.csv", b"\xff\xfe", "f.csv: cannot read"),
    ("g.npy", b"", "g.npy: cannot read"),
])
def test_what_is_no_series(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=why):
        read_series(tmp_path / name)


def test_another_number_of_channels(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 2)))
    np.save(tmp_path / "b.npy", np.zeros((4, 3)))
    series = reader("series")
    series.read(str(tmp_path / "a.npy"))
    with pytest.raises(DataError, match=r"b.npy: 3 channels, the training items have 2, as the first of them, .*a\.npy"):
        series.read(str(tmp_path / "b.npy"))


def test_series_are_standardised(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(5, [1, 100], (50, 2)))
    for how in ("train", "item"):
        series = reader("series", standardise=how, differences=True)
        item = series.read(str(tmp_path / "a.npy"))
        series.fit([item])
        made = series.make(item)
        assert made.shape == (50, 4) and series.shape == 4
        np.testing.assert_allclose(made[:, :2].mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(made[:, :2].std(axis=0), 1, rtol=1e-4)
        np.testing.assert_allclose(made[1:, 2:], np.diff(made[:, :2], axis=0), atol=1e-6)
        np.testing.assert_array_equal(made[0, 2:], 0)
    np.testing.assert_array_equal(reader("series", standardise="none").make(item), item)


@pytest.mark.parametrize("section", [{"jitter": 0.5}, {"scale": 0.5}, {"warp": 0.5}, {"crop": 0.5}, {"channel_dropout": 0.5}])
def test_augmentation_of_series_is_a_function_of_its_generator(section):
    series = reader("series", **section)
    item = np.cumsum(np.ones((40, 3), np.float32), axis=0)
    series.fit([item])
    made = [series.make(item, np.random.default_rng(seed)) for seed in (3, 3, *range(20))]
    np.testing.assert_array_equal(made[0], made[1])
    assert len({array.tobytes() for array in made}) > 5
    if "warp" in section:  # a straight line stays one, from end to end
        first, last = series.make(item)[[0, -1], 0]
        for array in made:
            np.testing.assert_allclose(array[:, 0], np.linspace(first, last, len(array)), atol=1e-5)
            assert 20 <= len(array) <= 60
    if "crop" in section:
        assert all(20 <= len(array) <= 40 for array in made)


# --------------------------------------------------------------------------------------------------------- audio


def test_sounds_are_made_as_the_recogniser_makes_them(tmp_path):
    import torch

    from asr.features import FrontEnd

    samples = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    audio.write(tmp_path / "a.wav", samples, RATE)
    config = InputConfig(kind="audio", features={"sample_rate": RATE, "num_mel_bins": 20, "cmvn": "utterance"},
                         augment={"volume_db": [-6, 6], "spec_augment": {"time_masks": 1}})
    sound = build_reader(config, training=True)
    item = sound.read(str(tmp_path / "a.wav"))
    sound.fit([item])
    frontend = FrontEnd(config.features).eval()
    expected, frames = frontend(torch.from_numpy(item)[None], torch.tensor([len(item)]))
    np.testing.assert_allclose(sound.make(item), expected[0].numpy(), atol=1e-5)
    assert sound.length(item) == int(frames) and sound.shape == 20
    drawn = [sound.make(item, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_sound_of_less_than_a_window(tmp_path):
    audio.write(tmp_path / "a.wav", np.zeros(50, np.float32), RATE)
    with pytest.raises(DataError, match=r"a.wav: 50 samples are less than one window"):
        build_reader(InputConfig(kind="audio", features={"sample_rate": RATE})).read(str(tmp_path / "a.wav"))
