"""The page in a real browser, headless Chromium: it renders, sorts, filters, plays, asks no network, and logs no error."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scored import Scored, scored_folder

from asr.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SWITCHES = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A Chromium of the machine (``ASR_CHROMIUM``, or by name), or playwright's own."""
    path = os.environ.get("ASR_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as started:
        try:
            found = started.chromium.launch(executable_path=path, args=SWITCHES)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def opened(browser) -> Iterator:
    """Open a file; at the end of the test, nothing may have been logged, thrown or asked of a network."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: said.append(f"request: {request.url[:80]}")
            if not request.url.startswith(("file:", "data:", "blob:")) else None)

    def go(path: Path):
        page.goto(path.as_uri())
        return page

    yield go
    page.close()
    assert said == []


@pytest.fixture(scope="module")
def page_file(made: Scored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "r.html"
    write_report([made.one, made.other], path)
    return path


def rows(page) -> list[list[str]]:
    return page.evaluate("[...document.querySelectorAll('.row')].map(row => [...row.children].map(cell => cell.textContent))")


def column(page, name: str) -> list[str]:
    place = page.evaluate("[...document.querySelectorAll('#head button')].map(button => button.dataset.column)").index(name)
    return [row[place] for row in rows(page)]


def search(page, text: str) -> str:
    page.fill("#search", text)
    page.wait_for_timeout(150)
    return page.inner_text("#count")


def test_it_renders(opened, page_file: Path, made: Scored) -> None:
    page = opened(page_file)
    assert len(rows(page)) == 12 and page.inner_text("#count") == "12 of 12"
    assert page.locator("table.summary tbody tr").count() == 2 and page.locator(".verdict").count() == 1
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert page.locator("#set-label").is_hidden()


def test_it_sorts_by_every_column(opened, page_file: Path) -> None:
    page = opened(page_file)
    names = page.evaluate("[...document.querySelectorAll('#head button')].map(button => button.dataset.column)")
    assert names == ["id", "speaker", "words", "errors1", "wer1", "errors2", "wer2", "difference", "ref", "hyp1", "hyp2"]
    for name in names:
        button = page.locator(f"#head button[data-column={name}]")
        for _ in range(2):
            button.click()
            order = button.get_attribute("aria-sort")
            found = column(page, name)
            values = [float(value) for value in found] if name not in ("id", "speaker", "ref", "hyp1", "hyp2") else found
            assert values == sorted(values, reverse=order == "descending"), name
    assert page.locator("#head button[aria-sort]").count() == 1


def test_it_searches_any_column(opened, page_file: Path, made: Scored) -> None:
    page = opened(page_file)
    assert search(page, made.ids[4]) == "1 of 12"
    assert search(page, "speaker:s1") == "4 of 12" and set(column(page, "speaker")) == {"s1"}
    assert search(page, "errors1>0") == "2 of 12"
    assert search(page, f"errors>0 -id={made.ids[0]}") == "1 of 12"
    assert search(page, 'hyp1:"hi hi <b>lo"') == "1 of 12"
    assert search(page, "no-such-word") == "0 of 12" and rows(page) == []
    assert search(page, "room:x").startswith("no column room; there are id, speaker")
    assert search(page, "") == "12 of 12"
    page.check("#wrong")
    assert page.inner_text("#count") == "3 of 12"
    page.check("#differ")
    assert page.inner_text("#count") == "3 of 12"


def test_it_shows_the_alignment_and_plays(opened, page_file: Path, made: Scored) -> None:
    page = opened(page_file)
    search(page, made.ids[2])
    page.locator(".row").click()
    assert page.inner_text("#detail h3") == made.ids[2]
    assert page.locator(".alignment").count() == 2 and page.locator(".alignment").nth(0).locator(".step.C").count() > 0
    missed = page.locator(".alignment").nth(1).locator(".step")
    assert {missed.nth(index).get_attribute("class") for index in range(missed.count())} == {"step D"}
    heard = page.evaluate("""async () => { const audio = document.querySelector('audio'); audio.muted = true; await audio.play();
        await new Promise(done => setTimeout(done, 250)); return [audio.currentTime, audio.duration, audio.error] }""")
    samples = made.data.audio(made.data.utterances[2], 16000)
    assert 0 < heard[0] <= heard[1] == pytest.approx(len(samples) / 16000, abs=0.01) and heard[2] is None
    colours = page.evaluate("""() => { const canvas = document.querySelector('canvas'), pen = canvas.getContext('2d');
        const data = pen.getImageData(0, 0, canvas.width, 160).data, seen = new Set();
        for (let i = 0; i < data.length; i += 4) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]); return seen.size }""")
    assert colours > 100  # the spectrogram
    page.evaluate("document.querySelector('audio').pause()")
    page.locator("canvas").click(position={"x": page.locator("canvas").bounding_box()["width"] / 2, "y": 20})
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(heard[1] / 2, abs=0.02)


def test_one_system_alone_and_the_keyboard(opened, page_file: Path, made: Scored) -> None:
    page = opened(page_file)
    page.select_option("#second", "-1")
    assert column(page, "errors") and page.locator("#head button[data-column=hyp2]").count() == 0
    page.focus("#table")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert page.inner_text("#detail h3") == column(page, "id")[2]
    assert page.locator(".alignment").count() == 1
    page.select_option("#first", "1")
    assert page.locator(".alignment").count() == 1 and "other/decode_test" in page.inner_text(".alignment")


def test_several_sets(opened, made: Scored, tmp_path: Path) -> None:
    scored_folder(tmp_path / "x", {"u": "a b", "v": "c"}, {"u": "a", "v": "c"})
    write_report([made.one, tmp_path / "x"], tmp_path / "r.html", max_mb=1)
    page = opened(tmp_path / "r.html")
    assert len(rows(page)) == 12
    page.select_option("#set", "1")
    assert len(rows(page)) == 2 and page.locator("#second-label").is_hidden()
    page.locator(".row").first.click()
    assert "No sound of this utterance" in page.inner_text("#detail")


def test_ten_thousand_utterances_open_fast(opened, tmp_path: Path) -> None:
    rnd = random.Random(1)
    words = [f"word{number}" for number in range(500)]
    references = {f"speaker{number % 50:02d}-{number:05d}": " ".join(rnd.choices(words, k=12)) for number in range(10_000)}
    folders = []
    for system in ("a", "b"):
        heard = {name: text.replace("word1", "word2", 1) if rnd.random() < 0.3 else text for name, text in references.items()}
        folders.append(scored_folder(tmp_path / system, references, heard,
                                     utt2spk={name: name.partition("-")[0] for name in references}))
    report = write_report(folders, tmp_path / "r.html")
    assert report.megabytes < 6
    start = time.perf_counter()
    page = opened(tmp_path / "r.html")
    shown = time.perf_counter() - start
    assert page.inner_text("#count") == "10,000 of 10,000" and len(rows(page)) < 100  # those that are seen
    start = time.perf_counter()
    page.locator("#head button[data-column=hyp1]").click()
    page.evaluate("document.getElementById('table').scrollTop = 200000")
    while not page.evaluate("document.querySelector('.row').style.top > '1'"):  # the page's own policy forbids to wait in it
        assert time.perf_counter() - start < 10
    sorted_and_moved = time.perf_counter() - start
    assert search(page, "word123 errors1>0").endswith("of 10,000")
    assert shown < 5 and sorted_and_moved < 3, (shown, sorted_and_moved)  # seconds; below 1 on an idle machine
