"""Clips of a shape that moves, as tables of items: sixteen classes, four shapes times four directions.

    python recipes/shape_motion/local/make.py --out data/shape_motion

A clip is 12 frames of 24 x 24 pixels, a uint8 array in a .npy file: one shape of 16 pixels within a square of 8, at a random place,
moving at a random speed, in white noise. All shapes have the same mass, row by row and column by column, so that little is seen of
them in 4 x 4 means; left is right played backwards and up is down, so that nothing is seen of these in frames without their order.
Every clip is a function of (seed, part, number).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from asr.system import write_text

FRAMES, SIZE, EXTENT = 12, 24, 8
NOISE = 0.35
SPEED = (0.8, 1.4)  # pixels a frame; at 1.4 the shape crosses the whole picture
GREY, CONTRAST = 96, 64  # pixel = grey + contrast * (shape + noise): noise of four deviations stays within 0 to 255
PARTS = {"train": 3200, "dev": 400, "test": 1600}
DIRECTIONS = ("left", "right", "up", "down")


def shapes() -> dict[str, np.ndarray]:
    """Masks (8, 8) of 16 pixels each, two in every row and column, four in every quarter: by what is seen of them in means over
    large squares, they are one."""
    row, column = np.abs(np.indices((EXTENT, EXTENT)) - (EXTENT - 1) / 2).astype(int)  # distance from the middle: 0 to 3
    pairs = {"cross": (0, 1, 2, 3), "diamond": (3, 2, 1, 0), "ring": (1, 0, 3, 2), "flower": (2, 3, 0, 1)}
    return {name: (np.array(order)[row] == column).astype(float) for name, order in pairs.items()}


def clip(mask: np.ndarray, direction: str, rng: np.random.Generator) -> np.ndarray:
    """(12, 24, 24) uint8."""
    room = SIZE - EXTENT
    path = np.arange(FRAMES) * rng.uniform(*SPEED)
    along = np.rint(path + rng.uniform(0, room - path[-1])).astype(int)
    across = int(rng.integers(room + 1))
    if direction in ("left", "up"):
        along = along[::-1]
    picture = NOISE * rng.standard_normal((FRAMES, SIZE, SIZE))
    for frame, place in zip(picture, along):
        top, left = (across, place) if direction in ("left", "right") else (place, across)
        frame[top:top + EXTENT, left:left + EXTENT] += mask
    return np.clip(np.rint(GREY + CONTRAST * picture), 0, 255).astype(np.uint8)


def make(out: Path, counts: dict[str, int], seed: int = 0) -> None:
    """Write `<out>/<part>.tsv` and its clips. The table comes last: where there is one, its clips are whole."""
    masks = shapes()
    classes = [(shape, direction) for shape in masks for direction in DIRECTIONS]
    for number, (part, count) in enumerate(counts.items()):
        (out / "clips").mkdir(parents=True, exist_ok=True)
        rows = []
        for index in range(count):
            shape, direction = classes[index % len(classes)]
            item = f"{part}-{index:04d}"
            np.save(out / "clips" / f"{item}.npy", clip(masks[shape], direction, np.random.default_rng([seed, number, index])))
            rows.append(f"{item}\tclips/{item}.npy\t{shape}-{direction}\n")
        write_text(out / f"{part}.tsv", "id\tpath\tlabel\n" + "".join(rows))
        print(f"{out / part}.tsv: {count} clips of {len(classes)} classes")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    for part, count in PARTS.items():
        parser.add_argument(f"--{part}", type=int, default=count, metavar="N", help=f"clips of {part}")
    options = parser.parse_args()
    make(options.out, {part: getattr(options, part) for part in PARTS}, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
