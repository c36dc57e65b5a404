"""A page in a real browser: narrow and wide, light and dark, and in print."""

from __future__ import annotations

from pathlib import Path

import browser
import pytest
from pages import CURVES, HOSTILE, classes, ended, values

from polytrainer.executors.report.write import write_report

STATE = {"timings": {"training": 6.0, "evaluation": 2.0}, "arguments": {"a" * 90: "b" * 200}, "num_examples": 10}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with every kind of figure, on data that would rather be code."""
    browser.found()
    long = b"/".join([b"a_rather_long_path"] * 20)
    named = {"city": HOSTILE.encode(), "path": long, "predicted_class_name": b"unbreakable" * 9}
    rows = {"classes": classes(200, 9, **named), "two": classes(200, 2), "values": values(200)}
    metrics = {"loss": 0.4, "accuracy": 0.8, "classes.loss": 0.5, f"classes.{'long_' * 12}name": 0.75}
    run = ended(
        tmp_path_factory.mktemp("browser"),
        state=STATE,
        csv=CURVES,
        rows=rows,
        metrics=metrics,
        steps=30,
        best_step=20,
        inputs={"examples": [long.decode()]},
    )
    return Path(write_report(run))


def test_the_console_stays_empty(page):
    text, console = browser.run(page, "--dump-dom")
    assert console == []
    assert text.count("<figure>") == 2 + 3 + 3 + 3
    assert "could not be made" not in text


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_and_can_be_read(page, width, dark):
    browser.check_readable(page, title="Training", figures=11, width=width, dark=dark)


def test_it_prints(page, tmp_path):
    _, console = browser.run(page, f"--print-to-pdf={tmp_path / 'page.pdf'}", dark=True)
    assert console == []
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


def test_a_screenshot_shows_something(page, tmp_path):
    from PIL import Image

    browser.run(page, f"--screenshot={tmp_path / 'page.png'}", width=360)
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == 360
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50
