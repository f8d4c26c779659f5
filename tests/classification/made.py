"""Made items: series, clips and texts that a small network tells apart in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asr.classification.config import ClassifyConfig
from asr.classification.training import train
from asr.config import load_config

SMALL = ["model.rnn={hidden: 8, layers: 1}", "training.epochs=3", "training.optimizer.lr=0.02", "training.batch_size=8",
         "training.schedule.warmup_steps=1", "training.average_best=1", "training.workers=0", "training.threads=1"]
TIME = ["model.conv={over: time, layers: [{channels: 8, kernel: [3, 1]}]}"]
IMAGE = ["model.conv={over: image, layers: [{channels: 4, stride: [2, 2]}]}"]
SERIES = ["inputs=[{kind: series}]", *TIME, *SMALL]
TEXT = ["inputs=[{kind: text, text: {dim: 12, char_ngrams: [3, 3], word_ngrams: 2, buckets: 50}}]", *TIME, *SMALL]
VIDEO = ["inputs=[{kind: video}]", *IMAGE, *SMALL]


def settings(*overrides: str) -> ClassifyConfig:
    return load_config(None, overrides, ClassifyConfig)


def write_rows(path: Path, header: str, rows: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(row) for row in [header.split(), *rows]) + "\n", encoding="utf-8")
    return path


def make_series(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """`series.tsv`: two channels, rising or falling, 6 to 11 rows; four groups."""
    rng = np.random.default_rng(seed)
    rows = []
    (folder / "items").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        label = ("falls", "rises")[number % 2]
        size = int(rng.integers(6, 12))
        line = np.linspace(-1, 1, size)[:, None] * (1 if label == "rises" else -1)
        np.save(folder / f"items/{number}.npy", (line + 0.1 * rng.standard_normal((size, 2))).astype(np.float32))
        rows.append([f"s{number}", f"items/{number}.npy", label, f"g{number // 2 % 4}"])
    return write_rows(folder / "series.tsv", "id path label group", rows)


def make_texts(folder: Path, count: int = 24) -> Path:
    """`texts.tsv`: praise and blame."""
    good, bad = ("fine", "good", "lovely"), ("awful", "bad", "dull")
    rows = [[f"t{n}", f"a {(bad, good)[n % 2][n // 2 % 3]} film , {'really ' * (n % 4)}so", ("blame", "praise")[n % 2]]
            for n in range(count)]
    return write_rows(folder / "texts.tsv", "id text label", rows)


def clip(direction: int, frames: int = 5, size: tuple[int, int] = (12, 10), start: int = 0) -> np.ndarray:
    """(T, H, W) uint8: a bright square that moves right (1) or left (-1)."""
    made = np.full((frames, *size), 20, np.uint8)
    for number in range(frames):
        left = start + number if direction > 0 else start + frames - 1 - number
        made[number, 3:8, left:left + 5] = 230
    return made


def write_video(path: Path, frames: np.ndarray, codec: str = "ffv1", options: dict[str, str] | None = None) -> Path:
    """(T, H, W) uint8 as a video file, lossless as it is (FFV1); ``options`` are those of libavformat for the container."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], {"ffv1": "gray", "gif": "gray"}.get(codec, "yuv420p")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    return path


def write_pictures(folder: Path, frames: np.ndarray) -> Path:
    """frame1.png, frame2.png, ... of (T, H, W) uint8."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / f"frame{number}.png")
    return folder


def make_clips(folder: Path, count: int = 16) -> Path:
    """`clips.tsv`: clips going left and right, as video files, folders of pictures and stacks in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        frames = clip(1 if number % 2 else -1, 4 + number % 2)
        if number % 3 == 0:
            path = write_video(folder / f"{number}.mkv", frames)
        elif number % 3 == 1:
            path = write_pictures(folder / str(number), frames)
        else:
            path = folder / f"{number}.npy"
            np.save(path, frames)
        rows.append([f"v{number}", path.name, ("left", "right")[number % 2]])
    return write_rows(folder / "clips.tsv", "id path label", rows)


def run(table: Path, exp: Path, *overrides: str, dev: Path | None = None, skip_bad: bool = False) -> Path:
    return train(settings(*overrides), table, dev, exp, device="cpu", skip_bad=skip_bad)
