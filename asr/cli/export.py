"""``asr export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_model


def command(
    model: Annotated[Path, typer.Option(help="model.safetensors of a recogniser.")],
    out: Annotated[Path, typer.Option(help="The file to write, as in model.onnx.")],
    input: Annotated[str, typer.Option(help="What the graph is given: waveforms, or features as `asr features` makes "
                                            "them.")] = "waveforms",
    int8: Annotated[bool, typer.Option("--int8", help="Keep the weights of linear and recurrent layers in eight bits; the file is "
                                                      "smaller.")] = False,
) -> None:
    """Write a recogniser as ONNX, for runtimes without torch; compared with the recogniser before it is written.

    \b
    Example:
      asr export --model exp/commands/crnn_seed1/model.safetensors --out exp/commands/crnn_seed1/model.onnx
    """
    need_model(model)
    from asr.export import export_onnx

    made = export_onnx(model, out, input, int8)
    print(f"{made.path}: {made.megabytes:.1f} MB; log-probabilities within {made.difference:.0e} of the recogniser's"
          + (" with its weights in eight bits" if int8 else "") + f", an utterance alone and in a batch within {made.alone:.0e}; "
          f"the best token is the recogniser's at {made.agreement:.2%} of frames")
