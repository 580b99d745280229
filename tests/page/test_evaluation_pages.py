"""The pages of an evaluation in a real browser, from the disk: videos in step, votes saved, and only our script run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.evaluating import add_line, failing_on, folder_of, noisy, run
from harness.page import FLAGS
from playwright.sync_api import Browser, Page, Playwright

from vivid_core.evaluate.pages import comparison_page
from vivid_core.evaluate.study import Study, blind_study, key_text, read_key
from vivid_core.evaluate.votes import read_votes

ATTACK = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
# Videos of clips that are far below aren't loaded yet, so only the first clip's count.
READY = (
    "() => [...document.querySelectorAll('article:first-of-type video, .three video')].every(v => v.readyState >= 2)"
)


@dataclass
class Written:
    """What a run wrote, and what the browser complained about."""

    folder: Path
    study: Study


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    base = tmp_path_factory.mktemp("evaluation pages")
    folder, out = folder_of(base / "clips", 2), base / "out"
    line = {"name": ATTACK, "clip": "samples/dot 0.safetensors", "mask": "samples/dot 0.safetensors", "caption": ATTACK}
    add_line(folder, line)
    engines = (f"mean:label={ATTACK[:36]}", noisy(), failing_on("dot 1", ValueError(f"No <b>{ATTACK}")))
    found = run(folder, out, *engines)
    study, page = blind_study(found)
    (out / "index.html").write_text(comparison_page(found), encoding="utf-8")
    (out / "blind.html").write_text(page, encoding="utf-8")
    (out / "blind_key.json").write_text(key_text(study), encoding="utf-8")
    return Written(out, study)


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    if not os.environ.get("VIVID_CHROMIUM"):
        pytest.skip("no Chromium: apt-get install chromium")
    started = playwright.chromium.launch(executable_path=os.environ["VIVID_CHROMIUM"], headless=True, args=FLAGS)
    yield started
    started.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Page]:
    """A page that must not complain, and must ask for nothing but files."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    page, said, asked = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert said == [] and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    assert page.evaluate("window.hurt") is None
    context.close()


def test_videos_of_a_clip_stand_at_the_frame_that_is_chosen_and_play_together(
    opened: Page, written: Written, shots: Path
) -> None:
    opened.goto((written.folder / "index.html").as_uri())
    opened.wait_for_function(READY)
    assert opened.locator("article").count() == 3 and ATTACK in opened.locator("article h3").last.inner_text()
    assert ATTACK in opened.locator(".caption").last.inner_text() and opened.locator("img").count() == 0
    assert "No <b>" in opened.locator(".fault").first.inner_text()
    first = opened.locator("article").first
    first.locator("input").fill("2")
    times = first.evaluate("one => [...one.querySelectorAll('video')].map(video => video.currentTime / video.duration)")
    assert len(times) == 4 and all(2 / 3 < time < 1 for time in times)
    assert first.locator("output").inner_text() == "2 / 2"
    first.get_by_role("button", name="Play").click()
    assert first.get_by_role("button", name="Pause").count() == 1
    apart = """one => new Promise(done => setTimeout(() => {
        const times = [...one.querySelectorAll('video')].map(video => video.currentTime)
        done(Math.max(...times) - Math.min(...times))
    }, 700))"""
    assert first.evaluate(apart) <= 2 / 24 + 0.02
    opened.screenshot(path=shots / "evaluation.png")


def test_the_composite_is_switched_for_all_videos_and_numbers(opened: Page, written: Written) -> None:
    opened.goto((written.folder / "index.html").as_uri())
    assert opened.locator("table:visible").count() == 1
    sources = "[...document.querySelectorAll('video[data-on]')].map(video => video.getAttribute('src'))"
    assert all(name.endswith("_on.mp4") for name in opened.evaluate(sources))
    opened.get_by_role("button", name="without composite").click()
    assert all(name.endswith("_off.mp4") for name in opened.evaluate(sources))
    opened.wait_for_function(READY)
    assert opened.locator(".when-off:visible").count() > 0 and opened.locator(".when-on:visible").count() == 0


def test_votes_on_the_blind_page_are_saved_as_the_command_reads_them(
    opened: Page, written: Written, shots: Path, tmp_path: Path
) -> None:
    opened.goto((written.folder / "blind.html").as_uri())
    opened.get_by_role("button", name="Begin").click()
    opened.wait_for_function(READY)
    opened.screenshot(path=shots / "blind.png")
    wanted = {}
    for pair in written.study.pairs:
        next_button = opened.get_by_role("button", name="Next")
        assert next_button.is_disabled()
        for question in pair.questions:
            side = "same" if question == "BP" else "left" if pair.left == "noisy" else "right"
            if side != "same" and "noisy" not in (pair.left, pair.right):
                side = "same"
            opened.locator(f"[data-vote='{question} {side}']").click()
            wanted[pair.id, question] = "noisy" if side != "same" else ""
        next_button.click()
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Save answers").click()
    download.value.save_as(tmp_path / "votes.json")
    votes = read_votes([tmp_path / "votes.json"], read_key(written.folder / "blind_key.json"))
    assert {(vote.pair, vote.question): vote.winner for vote in votes} == wanted


def test_answers_are_still_there_when_the_page_is_opened_again(opened: Page, written: Written, tmp_path: Path) -> None:
    opened.goto((written.folder / "blind.html").as_uri())
    opened.get_by_role("button", name="Begin").click()
    opened.locator("[data-vote='VQ left']").click()
    opened.reload()
    opened.get_by_role("button", name="Begin").click()
    assert opened.locator("[data-vote='VQ left']").get_attribute("aria-pressed") == "true"
    opened.get_by_role("button", name="Save and stop").click()
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Save answers").click()
    told = json.loads(Path(download.value.path()).read_text())
    assert [vote["answers"] for vote in told["votes"] if vote["answers"]] == [{"VQ": "left"}]
