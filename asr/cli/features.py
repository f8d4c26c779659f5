"""``asr features``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.paths import need_dir

if TYPE_CHECKING:
    from asr.config import FeatureConfig


class Kind(str, Enum):
    """What a feature vector is."""

    fbank = "fbank"
    mfcc = "mfcc"
    spectrogram = "spectrogram"


def command(
    dir: Annotated[Path, typer.Argument(metavar="DIR", help="A data directory (wav.scp, utt2spk, ...).")],
    config: Annotated[Path | None, typer.Option(help="A configuration whose `features` section is used; "
                                                     "Kaldi's 80-bin log-mel filterbank without one.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="In place of the configuration's `features.kind`.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for the archives, in which each DIR has one of its own; "
                                                  "DIR/features if absent.")] = None,
    compress: Annotated[bool, typer.Option("--compress", help="Kaldi's compression: a quarter of the size, "
                                                              "8 bits a value.")] = False,
    allow_pipes: Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp "
                                                                    "(entries that end in |).")] = False,
) -> None:
    """Write the features of a data directory into Kaldi archives, with CMVN statistics.

    Writes feats.scp, cmvn.scp, utt2num_frames and utt2dur into DIR, and the archives, features.yaml and
    global_cmvn.ark into the folder of the archives. Utterances that give no features are named and left out (exit
    status 1); with more than 5 % of them no table is written. Run again, it goes on where it stopped.

    \b
    Example:
      asr features data/train --jobs 4
      asr features data/train --config recipes/commands/conf/crnn.yaml --out /scratch/commands
    """
    from asr.cli.progress import progress
    from asr.corpus import DataDir
    from asr.features.extract import extract, folder_of

    need_dir(dir)
    section = _section(config, kind)
    data = DataDir.load(dir, allow_pipes)
    found = extract(data, section, out, jobs, compress,
                    lambda parts, count: progress(parts, f"features of {dir} (archives)", count))
    hours = sum(found.durations.values()) / 3600
    print(f"{dir}: {len(found.positions)} utterances, {hours:.2f} hours, {sum(found.frames.values())} frames of "
          f"{section.kind} in {folder_of(dir, out)}")
    for key, why in sorted(found.failed.items()):
        print(f"{key}: {why}", file=sys.stderr)
    if found.failed:
        print(f"{len(found.failed)} of {len(data.utterances)} utterances gave no features and are not in the tables; "
              f"leave them out of the directory with `asr data fix {dir}`", file=sys.stderr)
        raise typer.Exit(1)


def _section(path: Path | None, kind: Kind | None) -> FeatureConfig:
    from asr.config import load_config

    return load_config(path, [f"features.kind={kind.value}"] if kind else []).features
