"""The parts of a page, and the HTML that they become."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest
from pages import HOSTILE

from polytrainer.executors.report.cells import Badge, Gain, Heat, Noted, Range
from polytrainer.executors.report.page import (
    Beside,
    Callout,
    Card,
    Cards,
    Facts,
    Figure,
    Figures,
    Legend,
    Page,
    Section,
    Table,
    Text,
    shown,
)


class Seen(HTMLParser):
    """Tags, attributes and text of a page; `void` ones have no end."""

    VOID = {"meta", "link", "img", "br"}

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def everything(word):
    """A page that has a word wherever there can be one."""
    blocks = [
        Text(word),
        Facts([(word, word), (word, word.encode())], word),
        Table([word, word], [[word, Heat(word, 0.5)]], word, word),
        Figures([Figure(word, "<svg></svg>", [Legend(word, "s1")], word)]),
        Cards([Card(word, word, [(word, word)], Badge(word))], word, word),
        Beside([Table([word], [[word, Noted(word, word), Badge(word), bar(note=word)]], word, word)], word, word),
    ]
    sections = [Section(word, blocks), Section("empty", [])]
    return Page(word, word, [(word, word)], sections, Callout(word, [word])).html()


def bar(**told):
    return Range((0.2, 0.4), 0.3, (0.0, 1.0), **told)


def test_whatever_is_put_into_a_page_is_text():
    html = everything(HOSTILE)
    seen = Seen(html)
    assert {tag for tag, _ in seen.tags} == {tag for tag, _ in Seen(everything("word")).tags}
    assert not {"script", "img"} & {tag for tag, _ in seen.tags}
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert seen.text.count(HOSTILE) == 41  # once for each place; the title of the window is one
    assert "empty" not in seen.text


def test_a_page_needs_nothing_from_anywhere():
    html = everything("word")
    assert html.startswith("<!doctype html>")
    outside = [attrs[name] for _, attrs in Seen(html).tags for name in ("src", "href") if name in attrs]
    assert [each for each in outside if not each.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(|https?:", html)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (True, "yes"),
        (1234567, "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"),
        (0.123456, "0.1235"),
        (1.2e-7, "1.2e-07"),
        (math.nan, "NaN"),
        (-math.inf, "-inf"),
        (Gain(0.25), "+0.25"),
        (Gain(math.nan), "+NaN"),
        (Heat(3, 1.0), "3"),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        ("x" * 500, "x" * 400 + "… (500 characters)"),
    ],
)
def test_values_are_shown_as_people_read_them(value, text):
    assert shown(value) == text


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    assert [shown(np.float32(0.5)), shown(np.int64(7))] == ["0.5", "7"]
    assert Table(["a", "b"], [["x", np.float64(1)], ["y", None]]).numeric == [False, True]


@pytest.mark.parametrize(("strength", "percent"), [(0.256, 26), (-1, 0), (7, 100), (math.nan, 0)])
def test_the_strength_of_a_cell_is_a_share(strength, percent):
    assert Heat(1, strength).percent == percent


def test_a_range_is_drawn_where_its_numbers_are():
    assert bar(color="good").places == "--low:20.00%;--high:40.00%;--at:30.00%;--tone:var(--good)"
    assert bar(zero=0.5).places.count("--zero:50.00%") == 1
    assert bar().said == "0.3, from 0.2 to 0.4"
    assert Range((-5.0, 5.0), 9.0, (0.0, 1.0)).places.startswith("--low:0.00%;--high:100.00%;--at:100.00%")
    assert Range((1.0, 1.0), 1.0, (1.0, 1.0)).places.startswith("--low:50.00%")  # no scale: in the middle
    assert Range(None, 0.3, (0.0, 1.0)).places == ""
    assert Range((0.2, 0.4), None, (0.0, 1.0)).places == ""


def test_figures_are_svg_elements_in_the_colours_of_the_page():
    from polytrainer.executors.report import figures

    def draw(axes):
        figures.line(axes, [1, 2, 3], [0.1, float("nan"), 0.3], "s2")
        axes.set_xlabel("step")

    first, second = (figures.figure(title, draw, [Legend("a", "s2")]) for title in ("One", 'Two "<x>"'))
    assert first.svg.startswith('<svg viewBox="0 0 ')
    assert "var(--s2)" in first.svg
    assert "var(--muted)" in first.svg
    assert not set(re.findall(r"#[0-9a-f]{6}\b", first.svg)) & set(figures.COLORS.values())
    assert "http" not in re.sub(r' xmlns(:\w+)?="[^"]*"', "", first.svg)
    assert ">step</text>" in first.svg  # text, and no outline of it
    ids = [set(re.findall(r'\sid="([^"]*)"', each.svg)) for each in (first, second)]
    assert all(ids)
    assert not ids[0] & ids[1]
    for each, known in zip((first, second), ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', each.svg)) <= known
    assert Seen(second.svg).tags[0][1]["aria-label"] == 'Two "<x>"'
    assert figures.figure("One", draw).svg == first.svg


def test_a_figure_knows_nothing_of_pyplot():
    import matplotlib

    from polytrainer.executors.report import figures

    before = matplotlib.rcParams["font.size"]
    with matplotlib.rc_context({"font.size": 33}):
        drawn = figures.figure("One", lambda axes: axes.plot([1, 2]))
        assert matplotlib.rcParams["font.size"] == 33
    assert drawn.svg == figures.figure("One", lambda axes: axes.plot([1, 2])).svg
    assert matplotlib.rcParams["font.size"] == before


@pytest.mark.parametrize(("count", "most", "places"), [(0, 5, []), (3, 5, [0, 1, 2]), (9, 3, [0, 4, 8])])
def test_points_are_thinned_from_the_first_to_the_last(count, most, places):
    from polytrainer.executors.report import figures

    assert figures.thinned(count, most).tolist() == places
