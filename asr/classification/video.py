"""Moving pictures as inputs: video files, folders of pictures, and stacks of frames as arrays."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.classification.config import InputConfig, VideoConfig
from asr.classification.reader import Moments, Reader
from asr.classification.series import load_array
from asr.containers import check_whole_video
from asr.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("asr")

HELD_BYTES = 1 << 28
"""With `video.max_frames`, frames are kept in memory up to this much; a longer clip is read a second time for those wanted."""


class VideoReader(Reader):
    """A clip as (T, H, W, C), uint8 or float32, and frames of it: the same as float32, each channel normalised.

    Clips have the size that `video.size` says; without it, that of the first that was read in training, and another one is an
    error: what a deformed or cut frame means for the task is not ours to decide.
    """

    def __init__(self, config: InputConfig) -> None:
        super().__init__(config)
        self.size: tuple[int, int] | None = config.video.size
        self.like = ""
        self.channels = 1 if config.video.colour == "gray" else 3
        self.mean = self.deviation = np.zeros(0, np.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        if self.size is None:
            raise DataError("the size of a frame is known when a clip has been read")
        return (*self.size, self.channels)

    def read(self, source: str) -> np.ndarray:
        clip = read_clip(source, self.config.video)
        if self.size is None:
            self.size, self.like = clip.shape[1:3], f", as the first of them, {source}"
        if clip.shape[1:3] != self.size:
            raise DataError(f"{source}: frames of {clip.shape[1]} x {clip.shape[2]} pixels, the clips of training have "
                            f"{self.size[0]} x {self.size[1]}{self.like}; bring all to one size with video.size: [height, width]")
        return clip

    def fit(self, items: Iterable[np.ndarray]) -> None:
        moments = Moments()
        for item in items:
            moments.add(item.reshape(-1, self.channels))
        self.mean, self.deviation = moments.result()

    def make(self, item: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        config = self.config.video
        if rng is not None and config.shift:
            down, right = rng.integers(0, 2 * config.shift + 1, 2)
            around, (height, width) = (config.shift, config.shift), item.shape[1:3]
            item = np.pad(item, ((0, 0), around, around, (0, 0)), mode="edge")[:, down:down + height, right:right + width]
        if rng is not None and config.flip and rng.random() < config.flip:
            item = item[:, :, ::-1]
        item = (item.astype(np.float32) - self.mean) / self.deviation
        if rng is not None and config.noise:
            item = item + np.float32(config.noise) * rng.standard_normal(item.shape, np.float32)
        return np.ascontiguousarray(item, np.float32)

    def length(self, item: np.ndarray) -> int:
        return len(item)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"mean": self.mean, "deviation": self.deviation}, {"size": list(self.shape[:2])}

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.mean, self.deviation = arrays["mean"], arrays["deviation"]
        height, width = values["size"]
        self.size = (height, width)


def read_clip(path: str | Path, config: VideoConfig) -> np.ndarray:
    """(T, H, W, C) of a video file, a folder of pictures (in the order of their numbers), or a stack: a `.npy` or `.npz` of
    (T, H, W) or (T, H, W, C).

    uint8 as it comes from a file, upright as that says; float32 where frames were resized, or a stack has other numbers. Raises
    DataError for what cannot be read, is cut or damaged as far as it shows, has no frame, or has frames of several sizes that
    `video.size` does not bring to one.
    """
    kept, count = [], 0
    for frame in _frames(Path(path), config):
        count += 1
        if not config.max_frames or count <= config.max_frames or count * frame.nbytes <= HELD_BYTES:
            kept.append(frame)
    if not kept:
        raise DataError(f"{path}: cannot read: no frames in it")
    if config.max_frames and count > config.max_frames:
        wanted = {number * count // config.max_frames for number in range(config.max_frames)}
        again = kept if count == len(kept) else _frames(Path(path), config)
        kept = [frame for number, frame in enumerate(again) if number in wanted]
    return np.stack(kept)


def _frames(path: Path, config: VideoConfig) -> Iterator[np.ndarray]:
    """Every ``frame_step``-th frame, in the size wanted; all of one size."""
    if path.is_dir():
        frames = _pictures(path, config.colour)
    elif path.suffix.lower() in (".npy", ".npz"):
        frames = _stack(path, config.colour)
    else:
        frames = _video(path, config.colour)
    size = None
    for number, frame in enumerate(frames):
        if number % config.frame_step:
            continue
        if config.size is not None and frame.shape[:2] != config.size:
            frame = resize(frame, config.size, config.fit, config.resample)
        size = size or frame.shape
        if frame.shape != size:
            raise DataError(f"{path}: frame {number} has {frame.shape[0]} x {frame.shape[1]} pixels, those before {size[0]} x "
                            f"{size[1]}; bring all to one size with video.size: [height, width]")
        yield frame


def resize(frame: np.ndarray, size: tuple[int, int], fit: str, resample: str) -> np.ndarray:
    """(H, W, C) of any real type -> (*size, C) float32."""
    from PIL import Image

    height, width = frame.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":  # the largest part in the middle that has the shape wanted
        scale = min(height / size[0], width / size[1])
        left, top = (width - size[1] * scale) / 2, (height - size[0] * scale) / 2
        box = (left, top, left + size[1] * scale, top + size[0] * scale)
    kind = Image.Resampling.BOX if resample == "area" else Image.Resampling.BILINEAR
    planes = [np.asarray(Image.fromarray(np.ascontiguousarray(frame[..., channel], np.float32)).resize(size[::-1], kind, box))
              for channel in range(frame.shape[2])]
    return np.stack(planes, axis=-1)


def _stack(path: Path, colour: str) -> Iterator[np.ndarray]:
    frames = load_array(path)
    frames = frames[..., None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[3] not in (1, 3):
        raise DataError(f"{path}: an array of shape {frames.shape}; expected (frames, height, width) or (frames, height, width, "
                        "1 or 3)")
    if 0 in frames.shape[1:3]:
        raise DataError(f"{path}: cannot read: its frames have no pixels")
    if frames.dtype.kind == "f" and not np.isfinite(frames).all():
        raise DataError(f"{path}: cannot read: numbers in it are not finite")
    if frames.dtype != np.uint8:
        frames = frames.astype(np.float32)
    if colour == "rgb" and frames.shape[3] == 1:
        frames = np.repeat(frames, 3, axis=3)
    elif colour == "gray" and frames.shape[3] == 3:  # luma of ITU-R BT.601, as Pillow and ffmpeg have it
        frames = (frames @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    yield from frames


def _pictures(folder: Path, colour: str) -> Iterator[np.ndarray]:
    from PIL import Image

    known = Image.registered_extensions()
    for path in sorted((path for path in folder.iterdir() if path.suffix.lower() in known), key=_by_number):
        try:
            with Image.open(path) as picture:
                pixels = _pixels(picture, "L" if colour == "gray" else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: cannot read: {error}") from None
        yield pixels[..., None] if pixels.ndim == 2 else pixels


def _pixels(picture: Image.Image, mode: str) -> np.ndarray:
    """A picture as it is shown, in 8 bits; Pillow itself would make every value above 255 white."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"nothing says which of its numbers (mode {picture.mode}) is white; save it with 8 or 16 bits, or as .npy")
    return np.asarray(picture.convert(mode))


def _by_number(path: Path) -> list[tuple[int, int | str]]:
    """frame2 before frame10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", path.name)]


def _video(path: Path, colour: str) -> Iterator[np.ndarray]:
    import av
    from av.sidedata.sidedata import Type as SideData
    from av.stream import Disposition

    try:
        with open(path, "rb") as file:
            handle = file.fileno()
            check_whole_video(str(path), lambda offset, count: os.pread(handle, count, offset), os.fstat(handle).st_size)
        with av.open(f"file:{path}") as container:  # or a colon in the name were the end of a protocol
            stream = container.streams.best("video")
            # FFmpeg also paints text files, and finds the covers of music.
            if stream is None or container.format.name == "tty" or stream.disposition & Disposition.attached_pic:
                raise DataError(f"{path}: cannot read: no video in it")
            stream.codec_context.thread_count = 1  # each data worker has one core, and threads do not survive its fork
            for packet in container.demux(stream):
                for frame in packet.decode():
                    if packet.is_corrupt or frame.is_corrupt:
                        raise DataError(f"{path}: cannot read: damaged or cut at {frame.time} s")
                    pixels = frame.to_ndarray(format="gray" if colour == "gray" else "rgb24")
                    matrix = next((bytes(each) for each in frame.side_data if each.type == SideData.DISPLAYMATRIX), None)
                    yield _upright(pixels[..., None] if pixels.ndim == 2 else pixels, matrix)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from None


def _upright(frame: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """A frame (H, W, C) as it is to be shown: turned by quarters and mirrored as the display matrix of its file says (telephones
    write one; libavutil/display.h). A point (x, y) goes to (a x + c y, b x + d y)."""
    if matrix is None:
        return frame
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if abs(b) > abs(a):
        frame, a, d = frame.transpose(1, 0, 2), c, b  # (H, W, C) -> (W, H, C)
    return frame[::-1 if d < 0 else 1, ::-1 if a < 0 else 1]
