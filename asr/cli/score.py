"""``asr score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_file


def command(
    ref: Annotated[Path, typer.Option(help="References: a Kaldi `text` file.")],
    hyp: Annotated[Path, typer.Option(help="Hypotheses: a Kaldi `text` file with a line for every reference.")],
    out: Annotated[Path | None, typer.Option(help="Folder for scores.json, per_utt.jsonl, per_speaker.tsv, "
                                                  "confusions.tsv and alignments.txt.")] = None,
    normalizer: Annotated[str, typer.Option(help="Applied to both sides first: none, nfc or basic. The score without "
                                                 "it is shown too.")] = "none",
    cer: Annotated[bool, typer.Option("--cer", help="Count characters as well (spaces between words included).")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Leave out references without a hypothesis, and say "
                                                            "PARTIAL.")] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Kaldi `utt2spk`, for counts of each speaker.")] = None,
) -> None:
    """Count word errors, paired by utterance id, with a 95 % interval.

    \b
    Example:
      asr score --ref data/fsdd/test/text --hyp exp/fsdd/crnn/decode_test_greedy/text \\
                --utt2spk data/fsdd/test/utt2spk --out exp/fsdd/crnn/decode_test_greedy
    """
    for path, what in ((ref, "text file of references"), (hyp, "text file of hypotheses"), (utt2spk, "utt2spk file")):
        need_file(path, what)
    from asr.scoring import score, summary, write_scores

    scores = score(ref, hyp, cer=cer, normalizer=normalizer, partial=partial, utt2spk=utt2spk)
    if out is not None:
        write_scores(scores, out)
    print(summary(scores), end="")
