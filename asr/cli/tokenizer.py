"""``asr tokenizer``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_file
from asr.errors import UsageError


class Kind(str, Enum):
    """What a token is."""

    char = "char"
    bpe = "bpe"
    phone = "phone"


def command(
    text: Annotated[Path, typer.Option(help="Transcripts: a Kaldi `text` file (id, then words).")],
    out: Annotated[Path, typer.Option(help="Folder for tokens.txt, tokenizer.json and bpe.model or lexicon.txt.")],
    kind: Annotated[Kind, typer.Option(help="Characters, SentencePiece's byte-pair encoding, or phones.")] = Kind.char,
    vocab_size: Annotated[int | None, typer.Option(min=4, help="bpe: number of tokens, the blank counted.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="phone: pronunciations, `word phone phone ...` a line (Kaldi's "
                                                      "lexicon.txt), or a dictionary in the CMU form.")] = None,
    normalizer: Annotated[str, typer.Option(help="Applied to every text first: none, nfc, basic, english, or another that "
                                                 "docs/tokens.md has.")] = "none",
    unk: Annotated[bool, typer.Option("--unk", help="Add a token for characters that the text does not hold, or words "
                                                      "that the lexicon does not.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="The file holds text alone, without ids.")] = False,
) -> None:
    """Make a tokenizer from transcripts, and check that every one survives encoding and decoding.

    \b
    Example:
      asr tokenizer --text data/commands/train/text --kind bpe --vocab-size 200 --out exp/commands/tokens
      asr tokenizer --text data/an4/train/text --kind phone --lexicon lexicon.txt --out exp/an4/tokens
    """
    need_file(text, "text file")
    from asr.text import BpeTokenizer, CharTokenizer, PhoneTokenizer, Tokenizer, check_round_trip, read_transcripts
    from asr.text.phones import read_pronunciations
    from asr.text.tables import read_lines

    if kind is Kind.bpe and vocab_size is None:
        raise UsageError("--kind bpe needs --vocab-size N, for example --vocab-size 200")
    if kind is not Kind.bpe and vocab_size is not None:
        raise UsageError("--vocab-size is for --kind bpe; characters are as many as the text holds, phones as the lexicon does")
    if (kind is Kind.phone) != (lexicon is not None):
        raise UsageError("--kind phone needs --lexicon FILE, and no other kind does")
    if plain:
        texts = {f"line {number}": line.removesuffix("\r") for number, line in read_lines(text)}
    else:
        texts = read_transcripts(text)
    tokenizer: Tokenizer
    if lexicon is not None:
        tokenizer = PhoneTokenizer.train(texts.values(), read_pronunciations(lexicon), unk, normalizer)
    elif vocab_size is not None:
        tokenizer = BpeTokenizer.train(texts.values(), vocab_size, unk, normalizer)
    else:
        tokenizer = CharTokenizer.train(texts.values(), unk, normalizer)
    check_round_trip(tokenizer, texts)
    tokenizer.save(out)
    first = " ".join(tokenizer.tokens[:20])
    print(f"{tokenizer.vocab_size} tokens: {first}{' ...' if tokenizer.vocab_size > 20 else ''}")
    back = "as they are, but for words that sound alike" if tokenizer.alike else "as they are"
    print(f"{len(texts)} transcripts come back {back}; written to {out}")
