"""``asr compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_dir, need_file


def command(
    ref: Annotated[Path, typer.Option(help="References: Kaldi `text`, or by suffix trn, stm, ctm, tsv, json, jsonl.")],
    hyp_a: Annotated[Path, typer.Option(help="Hypotheses of the first system, A.")],
    hyp_b: Annotated[Path, typer.Option(help="Hypotheses of the second system, B.")],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json and utterances.tsv.")] = None,
    name_a: Annotated[str, typer.Option(help="What to call the first.")] = "A",
    name_b: Annotated[str, typer.Option(help="What to call the second.")] = "B",
    normalizer: Annotated[str, typer.Option(help="Applied to all sides first; see `asr score`.")] = "none",
    rules: Annotated[str | None, typer.Option(help="How words are aligned: edit, sclite or sclite-cased; see "
                                                   "`asr score`.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Leave out references without a hypothesis (both must lack the "
                                                            "same).")] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Kaldi `utt2spk`: the bootstrap draws speakers.")] = None,
    data: Annotated[Path | None, typer.Option(help="Kaldi data directory, for its utt2spk.")] = None,
    ref_format: Annotated[str | None, typer.Option(help="text, trn, stm, ctm, tsv or json, where the suffix does not "
                                                        "tell.")] = None,
    hyp_format: Annotated[str | None, typer.Option(help="The same of both hypotheses.")] = None,
) -> None:
    """Which of two systems is better, and is it real: paired bootstrap, MAPSSWE, and what the test set could show.

    \b
    Example:
      asr compare --ref data/test/text --hyp-a exp/a/decode_test_greedy/text --hyp-b exp/b/decode_test_greedy/text \\
                  --utt2spk data/test/utt2spk
    """
    for path, what in ((ref, "file of references"), (hyp_a, "file of hypotheses"), (hyp_b, "file of hypotheses"),
                       (utt2spk, "utt2spk file")):
        need_file(path, what)
    if data is not None:
        need_dir(data)
    from asr.scoring import compare, score
    from asr.scoring.comparison import describe, write_comparison

    first, second = (score(ref, hyp, normalizer=normalizer, rules=rules, partial=partial, utt2spk=utt2spk, data=data,
                           ref_format=ref_format, hyp_format=hyp_format) for hyp in (hyp_a, hyp_b))
    comparison = compare(first, second, (name_a, name_b))
    if out is not None:
        write_comparison(comparison, out)
    print(describe(comparison), end="")
