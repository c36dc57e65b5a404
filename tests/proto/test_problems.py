"""How a refusal reads."""

from __future__ import annotations

import pytest

from polytrainer.proto.problems import Problem, describe

pytestmark = pytest.mark.unit


def test_a_problem_says_where_what_was_got_what_was_expected_and_the_remedy():
    problem = Problem("train_args.num_steps", "-1", "a positive number", "Leave it out.")
    assert str(problem) == "train_args.num_steps: got -1; expected a positive number. Leave it out."


def test_one_problem_is_one_line():
    assert describe([Problem("a", "b", "c")]) == "a: got b; expected c."


def test_several_problems_are_a_numbered_list():
    text = describe([Problem("a", "b", "c"), Problem("d", "e", "f")])
    assert text == "2 problems:\n  1. a: got b; expected c.\n  2. d: got e; expected f."
