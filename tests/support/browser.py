"""Chromium without a window: what it makes of a page, and what it says about it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
_DARK = "--blink-settings=preferredColorScheme=0"
_LIGHT = "--blink-settings=preferredColorScheme=1"
_PROBE = """<script>
const wide = [...document.querySelectorAll("body *")].filter(
  each => each.getBoundingClientRect().right > innerWidth + 0.5 && !each.closest(".scroll") && !each.closest("svg"));
const paper = getComputedStyle(document.body).backgroundColor;
parent.document.body.dataset.seen = JSON.stringify({
  width: innerWidth, scrolls: document.documentElement.scrollWidth, title: document.title, paper: paper,
  dark: matchMedia("(prefers-color-scheme: dark)").matches, wide: wide.map(each => each.outerHTML.slice(0, 80)),
  figures: [...document.querySelectorAll("figure svg")].map(each => [each.clientWidth, each.clientHeight,
    Math.min(...[...each.querySelectorAll("text")].map(text => text.getBoundingClientRect().height))]),
  colors: [...new Set([...document.querySelectorAll("svg path")].map(each => getComputedStyle(each).stroke))],
  unresolved: [...document.querySelectorAll("use")].filter(
    each => !document.getElementById(each.getAttribute("xlink:href").slice(1))).length,
});
</script>"""


def found() -> str:
    """The browser; without one the test is skipped."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed (Debian: apt-get install chromium)")
    return path


def run(file: Path, *flags: str, width: int = 1200, dark: bool = False) -> tuple[str, list[str]]:
    """Opens a file; returns what goes to stdout, and the lines of the page's console."""
    with tempfile.TemporaryDirectory() as profile:
        size = f"--window-size={width},2000"
        command = [
            found(),
            *_FLAGS,
            size,
            _DARK if dark else _LIGHT,
            f"--user-data-dir={profile}",
            *flags,
            file.as_uri(),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def seen(file: Path, *, width: int, dark: bool = False) -> dict[str, Any]:
    """What a script sees that is added to a copy of a page, which allows none itself."""
    page = file.read_text()
    page, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert policies == 1
    probed = html.escape(page.replace("</body>", f"{_PROBE}</body>"))
    frame = file.with_name(f"framed-{file.name}")  # a window is never narrower than 500 px, a frame may be
    frame.write_text(
        f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><body style="margin:0">'
        f'<iframe style="width:{width}px;height:9000px;border:0;color-scheme:light dark" srcdoc="{probed}"></iframe>'
    )
    text, _ = run(frame, "--dump-dom", width=max(width, 500), dark=dark)
    [told] = re.findall(r'data-seen="([^"]*)"', text)
    return dict(json.loads(html.unescape(told)))


def check_readable(file: Path, *, title: str, figures: int, width: int, dark: bool) -> None:
    """A page of ours fits a window, in its colours, with figures that can be read."""
    told = seen(file, width=width, dark=dark)
    assert (told["width"], told["dark"]) == (width, dark)
    assert told["scrolls"] <= width
    assert told["wide"] == []
    assert told["title"] == title  # which no data has changed
    assert told["paper"] == ("rgb(18, 22, 28)" if dark else "rgb(255, 255, 255)")
    assert len(told["figures"]) == figures
    for drawn_width, height, text_height in told["figures"]:
        assert 280 <= drawn_width <= 460
        assert 150 <= height <= 400
        assert text_height >= 9  # px
    assert ("rgb(108, 171, 255)" if dark else "rgb(31, 111, 235)") in told["colors"]
    assert told["unresolved"] == 0
