"""Whether rows can be compared, by what was found while they were aligned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from polytrainer.executors.comparison import facts as kinds
from polytrainer.executors.comparison.errors import ComparisonError
from polytrainer.executors.comparison.facts import Fact, Found
from polytrainer.proto import comparator_args, comparator_keys
from polytrainer.proto.comparator_pb2 import ComparatorArgs
from polytrainer.proto.problems import Problem


@dataclass(frozen=True)
class Checked:
    """What is known of rows that can be compared.

    Attributes:
        rows: How many they are.
        outputs: How many numbers a prediction has, in its task's form.
        class_names: Names of classes by their numbers, as far as test results say them.
        usable: Names of the models that can be compared.
        broken: Why the others cannot, by name.
    """

    rows: int
    outputs: int
    class_names: Mapping[int, str]
    usable: Sequence[str]
    broken: Mapping[str, str]


def read(path: str) -> dict[Fact, Found]:
    """Facts as `lines` wrote them; none where there is no file."""
    from tensorflow.io import gfile

    found: dict[Fact, Found] = {}
    if gfile.exists(path):
        with gfile.GFile(path) as file:
            for line in file.read().splitlines():
                kind, name, count, cases = json.loads(line)
                found[kind, name] = (count, cases)
    return found


def line(element: tuple[Fact, Found]) -> str:
    """A fact as a line of text."""
    (kind, name), (count, cases) = element
    return json.dumps([kind, name, count, cases])


def checked(found: Mapping[Fact, Found], names: Sequence[str], args: ComparatorArgs) -> Checked:
    """What is known of the rows.

    A candidate with predictions that are not finite is left out, as long as another one is there; a baseline with such
    is an error.

    Args:
        found: All facts.
        names: Of the models, in their order.
        args: What is compared.

    Raises:
        ComparisonError: If they cannot be compared: says how many rows are wrong in what way, and shows some.
    """
    problems = list(_problems(found, names, args))
    rows, _ = found.get((kinds.ROW, ""), (0, []))
    if not rows and not problems:
        remedy = "Are the splits empty?"
        problems.append(Problem("the test results", "no rows", "one at least", remedy))
    queries, _ = found.get((kinds.QUERY, ""), (0, []))
    if queries and (kinds.RELEVANT, "") not in found:
        got, expected = f"{queries} queries without a relevant document", "one document with a label above 0 at least"
        problems.append(Problem("the labels", got, expected, "Which document to rank first, none of them says."))
    sizes = _details(found, kinds.OUTPUTS)
    if len({size for _, size in sizes}) > 1:
        got = ", ".join(sorted(f"{size} of {name}" for name, size in sizes))
        remedy = "Were the models trained on the same classes?"
        problems.append(Problem("the predictions", f"different numbers of outputs: {got}", "the same", remedy))
    classes = _class_names(found)
    for number, by_name in classes.items():
        if len(set(by_name.values())) > 1:
            got, expected = str(dict(sorted(by_name.items()))), "the same name"
            problems.append(Problem(f"the name of class {number}", got, expected, "Do the models count alike?"))
    broken = {
        name: f"{found[kinds.NOT_FINITE, name][0]} of {rows} predictions are not finite numbers, e.g. of the row "
        f"{found[kinds.NOT_FINITE, name][1][0]}"
        for name in names
        if (kinds.NOT_FINITE, name) in found
    }
    usable = [name for name in names if name not in broken]
    if comparator_keys.BASELINE in broken or not set(usable) - {comparator_keys.BASELINE}:
        problems += [
            Problem(f"predictions of {name}", why, "finite numbers", "Look at its training.")
            for name, why in broken.items()
        ]
    if problems:
        raise ComparisonError(*problems)
    names_of = {number: next(iter(by_name.values())) for number, by_name in sorted(classes.items())}
    return Checked(rows, int(sizes[0][1]), names_of, usable, broken)


def _problems(found: Mapping[Fact, Found], names: Sequence[str], args: ComparatorArgs) -> Iterator[Problem]:
    for name in names:
        where = f"test results of {name}"
        for kind, expected, remedy in _EXPECTED:
            count, cases = found.get((kind, name), (0, []))
            if count:
                yield Problem(where, f"{count} {_GOT[kind]}, e.g. {'; '.join(cases)}", expected, remedy)
    weights, cases = found.get((kinds.WEIGHT, names[0]), (0, []))
    if weights:
        got = f"none, or a negative one, in {weights} rows, e.g. {'; '.join(cases)}"
        yield Problem(f"the weight {args.example_weight_key!r}", got, "a number, 0 or more, in each row")
    count, cases = found.get((kinds.NO_QUERY, names[0]), (0, []))
    if count:
        got, expected = f"none, or several values, in {count} rows, e.g. {'; '.join(cases)}", "one value in each row"
        yield Problem(f"the query {args.query_key!r} in test results of {names[0]}", got, expected)
    count, cases = found.get((kinds.QUERY_WEIGHT, ""), (0, []))
    if count:
        got = f"different ones in {count} queries, e.g. {'; '.join(cases)}"
        yield Problem(f"the weight {args.example_weight_key!r}", got, "the same in all rows of a query")
    seen = {detail for _, detail in _details(found, kinds.SLICE)}
    for feature in sorted({name for each in comparator_args.slices(args) for name in each} - seen):
        if (kinds.ROW, "") in found:
            yield Problem("comparator_args.slices", repr(feature), "a feature that some row has")


_KEY = "Name in comparator_args.key_features the features that tell rows apart, such as an id."
_GOT = {
    kinds.MISSING: "rows missing that others have",
    kinds.DUPLICATE: "keys that stand for several rows",
    kinds.PREDICTION: "predictions that do not fit",
    kinds.LABEL: "labels that do not fit",
    kinds.DIFFERING_QUERY: "rows in other queries than those of another model",
    kinds.DIFFERING_LABEL: "labels that differ from those of another model",
}
_EXPECTED = (
    (kinds.MISSING, "the same rows for all models", f"Were all tested on the same data? {_KEY}"),
    (kinds.DUPLICATE, "a row for each key", _KEY),
    (kinds.PREDICTION, "a prediction that fits comparator_args.task in each row", ""),
    (kinds.LABEL, "a label that fits comparator_args.task and the predictions in each row", ""),
    (kinds.DIFFERING_QUERY, "the same query for the same row", _KEY),
    (kinds.DIFFERING_LABEL, "the same label for the same row", "Do all models number the classes alike?"),
)


def _details(found: Mapping[Fact, Found], kind: str) -> list[tuple[str, str]]:
    """Model and detail of the facts of a kind."""
    return [(name, each.partition(":")[2]) for each, name in found if each.partition(":")[0] == kind]


def _class_names(found: Mapping[Fact, Found]) -> dict[int, dict[str, str]]:
    """Number of a class → name of a model → what it calls the class."""
    result: dict[int, dict[str, str]] = {}
    for name, detail in _details(found, kinds.CLASS):
        number, _, word = detail.partition("=")
        result.setdefault(int(number), {})[name] = word
    return result
