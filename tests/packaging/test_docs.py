"""The documentation: its links lead somewhere, its Python is Python, and its recipe for padding pads."""

from __future__ import annotations

import ast
import re

import pytest


def pages(checkout):
    return [*sorted((checkout / "docs").glob("*.md")), checkout / "README.md", checkout / "CONTRIBUTING.md"]


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.unit
def test_links_lead_to_a_file_and_a_heading_that_are_there(checkout):
    broken = []
    for page in pages(checkout):
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
                broken.append(f"{page.name}: {link}")
    assert not broken


@pytest.mark.unit
def test_python_in_docs_can_be_parsed(checkout):
    """`…` stands for what is left out."""
    broken = []
    for page in sorted((checkout / "docs").glob("*.md")):
        for block in code_blocks(page):
            try:
                ast.parse(block.replace("…", "..."))
            except SyntaxError as error:
                broken.append(f"{page.name}: {error.text!r}: {error.msg}")
    assert not broken


@pytest.fixture(scope="module")
def padded(checkout):
    import torch

    [recipe] = [block for block in code_blocks(checkout / "docs" / "pytorch.md") if "def padded" in block]
    namespace = {"torch": torch}
    exec(recipe, namespace)
    return namespace["padded"]


@pytest.mark.parametrize(
    ("rows", "values", "mask"),
    [
        ([[5, 6], [], [7, 8, 9, 4]], [[5, 6, 0], [0, 0, 0], [7, 8, 9]], [[1, 1, 0], [0, 0, 0], [1, 1, 1]]),
        ([[], []], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]),
    ],
    ids=["rows of varying length", "no values at all"],
)
def test_the_recipe_for_a_ragged_pads_and_cuts(padded, rows, values, mask):
    import torch

    from polytrainer.executors.data.columns import Ragged

    lengths = torch.tensor([0, *map(len, rows)])
    ragged = Ragged(torch.tensor([value for row in rows for value in row], dtype=torch.int64), lengths.cumsum(0))
    found, is_there = padded(ragged, 3)
    assert (found.tolist(), is_there.int().tolist()) == (values, mask)


def test_the_recipe_pads_values_that_have_dimensions_of_their_own(padded):
    import torch

    from polytrainer.executors.data.columns import Ragged

    found, _ = padded(Ragged(torch.ones(3, 2), torch.tensor([0, 1, 3])), 2, value=-1)
    assert found.tolist() == [[[1, 1], [-1, -1]], [[1, 1], [1, 1]]]
