"""`asr decode`: a data directory to a decode folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_dir, need_model
from asr.errors import AsrError


def command(
    model: Annotated[Path, typer.Option(help="The model file, model.safetensors.")],
    data: Annotated[Path, typer.Option(help="A Kaldi data directory.")],
    out: Annotated[Path, typer.Option(help="The decode folder to write.")],
    method: Annotated[str, typer.Option(help="greedy: the most probable token of every frame.")] = "greedy",
    batch_seconds: Annotated[float, typer.Option(help="Padded audio seconds in a batch; the transcripts do not depend "
                                                      "on it.")] = 120.0,
    nbest: Annotated[int, typer.Option(help="Write nbest.jsonl with at most this many transcripts an utterance (greedy "
                                            "knows one).")] = 0,
    archived: Annotated[bool, typer.Option("--archived", help="Read the features that `asr features` wrote (feats.scp) "
                                                              "in place of the audio.")] = False,
    allow_pipes: Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp (entries that "
                                                                    "end in `|`).")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu or cuda.")] = "auto",
) -> None:
    """Transcribe a data directory: text, words.ctm and decode.json in one folder.

    Utterances are batched by length. One whose audio cannot be read is named, the others are decoded, and the exit
    status is 1.

    \b
    Example:
      asr decode --model exp/commands/crnn/model.safetensors \\
                 --data data/commands/test \\
                 --out exp/commands/crnn/decode_test_greedy
      asr score --ref data/commands/test/text \\
                --hyp exp/commands/crnn/decode_test_greedy/text
    """
    need_model(model)
    need_dir(data)
    import torch

    from asr.cli.progress import progress
    from asr.corpus import DataDir
    from asr.system import choose_threads
    from asr.transcription.decode import decode_dir

    torch.set_num_threads(choose_threads())
    report = decode_dir(model, DataDir.load(data, allow_pipes=allow_pipes), out, method, batch_seconds, device, archived,
                        nbest, watch=lambda batches: progress(batches, "decoding, batches"))
    factor = "" if report.real_time_factor is None else f", real-time factor {report.real_time_factor:.4f}"
    print(f"{len(report.results)} utterances, {report.audio_seconds:.1f} s of audio in {report.wall_seconds:.1f} s{factor}: "
          f"{out / 'text'}")
    if report.failed:
        raise AsrError(f"{len(report.failed)} of {len(report.failed) + len(report.results)} utterances were not decoded; "
                       f"they are listed above and in {out / 'decode.json'}")
