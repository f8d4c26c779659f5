"""English as it is written into English as it is spoken: numbers, money, percentages, times, fractions, a few abbreviations.

A choice is made where a figure can be read in several ways (1900 is nineteen hundred, 2009 two thousand nine, "one hundred and
five" loses its "and"), and the same choice on both sides. What has to be guessed from the sense is left alone: `am`, `st`, units.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from asr.text.plain import plain

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
         "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
             "twelve": "twelfth"}
_PARTS = {2: "half", 4: "quarter"}
_MONEY = {"$": ("dollar", "cent"), "\u00a3": ("pound", "penny"), "\u20ac": ("euro", "cent"), "\u00a5": ("yen", "sen")}
_PLURALS = {"penny": "pence", "yen": "yen", "sen": "sen", "half": "halves"}
_SYMBOLS = {"%": " percent ", "&": " and ", "+": " plus ", "=": " equals ", "\u00b0": " degrees ", "$": " dollars ",
            "\u00a3": " pounds ", "\u20ac": " euros ", "\u00a5": " yen ", "\u00a2": " cents "}
_WORDS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "prof": "professor", "jr": "junior", "sr": "senior",
          "vs": "versus", "ok": "okay"}
_NUMBER_WORD = "|".join([*_ONES, *_TENS[2:]])
_LARGE = r"(thousand|million|billion|trillion)"
_D = "[0-9]"  # ASCII alone: other digits are not English figures


def english(text: str) -> str:
    """The text as spoken, without case and punctuation (`plain`)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\u2044", "/")
    for pattern, change in _RULES:
        folded = pattern.sub(change, folded)
    for symbol, spoken in _SYMBOLS.items():
        folded = folded.replace(symbol, spoken)
    spoken = " ".join(_WORDS.get(word, word) for word in plain(folded).split())
    return re.sub(rf"\b(hundred|thousand|million|billion) and (?=({_NUMBER_WORD})\b)", r"\1 ", spoken)


def cardinal(number: int) -> str:
    """A number from 0 on, in words; from 10^18 on, digit by digit."""
    if number >= 10**18:
        return _digits(str(number))
    if number == 0:
        return "zero"
    groups = []
    for scale in _SCALES:
        number, group = divmod(number, 1000)
        if group:
            groups.append(f"{_below_thousand(group)} {scale}".strip())
    return " ".join(reversed(groups))


def ordinal(number: int) -> str:
    """The same as an ordinal: twenty first."""
    rest, _, last = cardinal(number).rpartition(" ")
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return f"{rest} {last}".strip()


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest:
        words.append(_ONES[rest] if rest < 20 else f"{_TENS[rest // 10]} {_ONES[rest % 10] if rest % 10 else ''}".strip())
    return " ".join(words)


def _digits(text: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in text if digit.isdigit())


def _whole(text: str) -> str:
    """Figures without a point: a year, a code, or a number."""
    bare = text.replace(",", "")
    if len(bare) > 1 and bare.startswith("0"):
        return _digits(bare)
    if "," not in text and len(bare) >= 7:
        return _digits(bare)
    number = int(bare)
    if "," not in text and len(bare) == 4 and (1100 <= number <= 1999 or 2010 <= number <= 2099):
        return _year(number)
    return cardinal(number)


def _year(number: int) -> str:
    century, rest = divmod(number, 100)
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def _figures(text: str) -> str:
    """Figures with or without a decimal point."""
    whole, point, decimals = text.partition(".")
    spoken = _whole(whole) if whole else ""
    return f"{spoken} point {_digits(decimals)}".strip() if point and decimals else spoken


def _plural(name: str, one: bool) -> str:
    return name if one else _PLURALS.get(name, f"{name}s")


def _money(match: re.Match[str]) -> str:
    unit, part = _MONEY[match["sign"]]
    amount, scale = match["amount"], match["scale"]
    whole, _, decimals = amount.partition(".")
    if scale:
        return f" {_figures(amount)} {scale} {_plural(unit, False)} "
    if len(decimals) != 2:
        return f" {_figures(amount)} {_plural(unit, amount == '1')} "
    spoken = [f"{cardinal(int(whole.replace(',', '')))} {_plural(unit, whole == '1')}"] if int(whole.replace(",", "")) else []
    if int(decimals):
        spoken.append(f"{cardinal(int(decimals))} {_plural(part, int(decimals) == 1)}")
    return f" {' '.join(spoken) or f'zero {_plural(unit, False)}'} "


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), int(match["minute"])
    if minute == 0:
        return f" {cardinal(hour)} " if match["half"] is not None else f" {cardinal(hour)} o'clock "
    return f" {cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)} "


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match["above"]), int(match["below"])
    if above >= below:  # 24/7 is no fraction
        return match[0]
    part = _PARTS.get(below) or ordinal(below)
    return f" {cardinal(above)} {_plural(part, above == 1)} "


def _decade(match: re.Match[str]) -> str:
    words = _year(int(match["figures"])).split() if len(match["figures"]) == 4 else [cardinal(int(match["figures"]))]
    last = words.pop()
    return f" {' '.join([*words, f'{last[:-1]}ies' if last.endswith('y') else f'{last}s'])} "


_NUMBER = rf"(?:{_D}{{1,3}}(?:,{_D}{{3}})+(?!{_D})|{_D}+)"
_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(rf"(?P<sign>[$\u00a3\u20ac\u00a5]) ?(?P<amount>{_NUMBER}(?:\.{_D}+)?)(?: (?P<scale>{_LARGE}))?(?!{_D})"), _money),
    (re.compile(rf"(?<![\w.:])(?P<hour>[01]?{_D}|2[0-3]):(?P<minute>[0-5]{_D})(?![\w:])(?P<half>(?= ?[ap]\.? ?m\b))?"), _clock),
    (re.compile(rf"(?<![\w/.,])(?P<above>[1-9])/(?P<below>[2-9]|10)(?![\w/]|[.,]{_D})"), _fraction),
    (re.compile(rf"(?<![\w])(?:{_D}{{3}}-)?{_D}{{3}}-{_D}{{4}}(?!\w)"), lambda match: f" {_digits(match[0])} "),
    (re.compile(rf"(?<!\w)'?(?P<figures>[12]{_D}{_D}0|[2-9]0)'?s\b"), _decade),
    (re.compile(rf"(?<!{_D})({_NUMBER})(?:st|nd|rd|th)\b"), lambda match: f" {ordinal(int(match[1].replace(',', '')))} "
     if int(match[1].replace(",", "")) < 10**18 else f" {_digits(match[1])} th "),
    (re.compile(rf"(?<![\w)])[-\u2212](?=\.?{_D})"), lambda match: " minus "),
    (re.compile(rf"{_NUMBER}(?:\.{_D}+)?|(?<!{_D})\.{_D}+"), lambda match: f" {_figures(match[0])} "),
]
