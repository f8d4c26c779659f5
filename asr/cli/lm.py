"""``asr lm``: build n-gram language models, and measure them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.paths import need_file
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.text import Tokenizer

app = typer.Typer(no_args_is_help=True, help="n-gram language models: build, perplexity.")

Text = Annotated[Path, typer.Option(help="Text: one sentence a line, words with spaces between them.")]
Kaldi = Annotated[bool, typer.Option("--kaldi", help="The text is a Kaldi `text` file: an id stands before each sentence.")]
Normalizer = Annotated[str, typer.Option(help="Applied to every sentence first: none, nfc, basic, english, or another that "
                                              "docs/tokens.md has.")]
Tokens = Annotated[Path | None, typer.Option("--tokenizer", help="Folder of a tokenizer (`asr tokenizer`): a model of its "
                                                                 "tokens, not of words.")]


@app.command()
def build(
    text: Text,
    out: Annotated[Path, typer.Option(help="The ARPA file to write; gzipped if its name ends in .gz.")],
    order: Annotated[int, typer.Option(min=1, max=5, help="Words in the longest n-gram.")] = 3,
    prune: Annotated[str, typer.Option(help="Leave out n-grams that occur so often or less: a number for each order, with "
                                            "commas, the last for all that follow. 0,0,1 drops 3-grams that occur "
                                            "once.")] = "0",
    vocab: Annotated[Path | None, typer.Option(help="File with the model's words, one a line (or first on its line). Others "
                                                    "in the text are read as <unk>.")] = None,
    kaldi: Kaldi = False,
    normalizer: Normalizer = "none",
    tokenizer: Tokens = None,
) -> None:
    """Build a model with interpolated modified Kneser-Ney smoothing, as KenLM's lmplz does.

    \b
    Example:
      asr lm build --text data/commands/train/text --kaldi --order 3 --out exp/commands/lm/3gram.arpa.gz
      asr lm build --text news.txt --normalizer basic --order 4 --prune 0,0,1 --vocab words.txt --out news.arpa.gz
      asr lm build --text news.txt --tokenizer exp/tokens --order 5 --out exp/tokens5.arpa.gz
    """
    need_file(vocab, "file of words")
    need_file(text, "text file")
    thresholds = _thresholds(prune)
    tokens = _tokenizer(tokenizer, normalizer)
    if tokens is not None and vocab is not None:
        raise UsageError("--vocab is for models of words; with --tokenizer, the words are its tokens")
    from asr.text import build_ngram
    from asr.text.ngram_text import read_vocabulary

    words = tokens.tokens[1:] if tokens is not None else read_vocabulary(vocab) if vocab is not None else None
    lm = build_ngram(_sentences(text, kaldi, normalizer, tokens), order, thresholds, words)
    lm.save(out)
    sizes = ", ".join(f"{len(table.word):,} {n}-grams" for n, table in enumerate(lm.tables, start=1))
    print(f"{out}: order {lm.order}, {sizes}")


@app.command()
def perplexity(
    lm: Annotated[Path, typer.Option(help="An ARPA file, gzipped or not.")],
    text: Text,
    kaldi: Kaldi = False,
    normalizer: Normalizer = "none",
    tokenizer: Tokens = None,
) -> None:
    """Measure how well a model foretells a text: the lower, the better.

    \b
    Example:
      asr lm perplexity --lm exp/commands/lm/3gram.arpa.gz --text data/commands/dev/text --kaldi
    """
    need_file(lm, "ARPA file", "`asr lm build` writes one")
    need_file(text, "text file")
    tokens = _tokenizer(tokenizer, normalizer)
    from asr.text import NgramLM

    model = NgramLM.load(lm)
    found = model.perplexity(_sentences(text, kaldi, normalizer, tokens))
    print(f"perplexity {found.perplexity:.2f} over {found.words:,} words and sentence ends of {found.sentences:,} sentences")
    if found.unknown:
        print(f"perplexity {found.perplexity_known:.2f} without the {found.unknown:,} unknown words "
              f"({100 * found.unknown / (found.words - found.sentences):.2f} %)"
              + ("" if model.unk >= 0 else "; the model has no <unk>, so each of them counts as 10^-100"))
    else:
        print("no unknown words")
    print(f"log10 probability {found.log10_prob:.4f}")


def _thresholds(prune: str) -> list[int]:
    try:
        return [int(part) for part in prune.split(",")]
    except ValueError:
        raise UsageError(f"--prune {prune}: whole numbers with commas are needed, for example 0,0,1") from None


def _tokenizer(folder: Path | None, normalizer: str) -> Tokenizer | None:
    if folder is None:
        return None
    need_file(folder / "tokenizer.json", "tokenizer", "`asr tokenizer` makes one")
    if normalizer != "none":
        raise UsageError("--normalizer is for models of words; a tokenizer has its own, and applies it")
    from asr.text import load_tokenizer

    return load_tokenizer(folder)


def _sentences(path: Path, kaldi: bool, normalizer: str, tokenizer: Tokenizer | None) -> Iterator[str]:
    from asr.text.ngram_text import read_sentences, token_sentences

    sentences = read_sentences(path, kaldi, normalizer)
    return token_sentences(tokenizer, sentences) if tokenizer is not None else sentences
