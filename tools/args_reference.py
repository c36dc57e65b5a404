#!/usr/bin/env python3
"""Writes docs/args.md, the fields of the args, from the comments of proto/*.proto: tools/args_reference.py [FILE]."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ("trainer.proto", "comparator.proto")
PAGE = ROOT / "docs" / "args.md"
INTRODUCTION = """\
# Arguments

<!-- Written by `make reference` from the comments of proto/*.proto; change these. -->

```python
polytrainer.Trainer(
    ...,
    train_args=polytrainer.TrainArgs(num_epochs=20, batch_size=32, early_stopping={"metric": "accuracy"}),
    eval_args={"splits": ["eval"], "test_splits": ["test"]},
    export_args={"formats": ["SAVED_MODEL", "ONNX"]},
)
polytrainer.ModelComparator(..., args=polytrainer.ComparatorArgs(task="MULTICLASS", label_key="species_xf"))
```

Each of them is given as the proto, as a dict or as JSON, the value of an enum by its name; `train_args` and `eval_args`
also as TFX's own. An unknown field, a value that is none of those below, and fields that contradict each other are
refused when the pipeline is defined; what depends on the framework or the data, before training.

The last column says what holds where a field is not set. "0" and "Empty" are that, too, unless the column says "Unset"
besides.
"""
TYPES = {"string": "str", "bool": "bool", "double": "float", "int32": "int", "int64": "int"}

_DECLARATION = re.compile(r"(message|enum) (\w+) \{")
_FIELD = re.compile(r"(repeated |optional )?(\w+) (\w+) = \d+;")
_VALUE = re.compile(r"(\w+) = \d+;")
# a sentence that says what holds without a value
_DEFAULT = re.compile(r"(Unset|Empty( or \"\w+\")?|0): .*|Must be set.*")
_CASE = re.compile(r"[A-Z]\w+: ")  # a line of a list: "Keras: …"
_SENTENCE_END = re.compile(r"(?<=[.)])\s+(?=[A-Z0])")


@dataclass
class Entry:
    """A field of a message, or a value of an enum.

    Attributes:
        name: Its name.
        comment: The lines of its comment.
        kind: A field's type, as in the proto.
        label: "repeated", "optional" or "".
        heading: A comment that stands before it on its own: of it and those that follow.
    """

    name: str
    comment: list[str]
    kind: str = ""
    label: str = ""
    heading: str = ""


@dataclass
class Declaration:
    """A message or an enum.

    Attributes:
        name: Its name, behind that of the message that it is declared in.
        comment: The lines of its comment.
        is_enum: Whether it is an enum.
        entries: Its fields or values.
    """

    name: str
    comment: list[str]
    is_enum: bool
    entries: list[Entry] = field(default_factory=list)


def declarations(proto: str) -> list[Declaration]:
    """The messages and enums of a .proto file, in their order, with their comments.

    Raises:
        ValueError: If a line is none that is known here, or a field or value has no comment.
    """
    found: list[Declaration] = []
    open_ones: list[Declaration] = []
    comment: list[str] = []
    heading = ""
    for number, line in enumerate(map(str.strip, proto.splitlines()), 1):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
        elif not line:
            heading, comment = (" ".join(comment) if comment and open_ones else heading), []
        elif match := _DECLARATION.fullmatch(line):
            name = ".".join([*(each.name for each in open_ones), match[2]])
            open_ones.append(Declaration(name, comment, match[1] == "enum"))
            found.append(open_ones[-1])
            comment = []
        elif line == "}":
            open_ones.pop()
            comment = []
        elif match := (_VALUE if open_ones and open_ones[-1].is_enum else _FIELD).fullmatch(line):
            label, kind, name = ("", "", match[1]) if open_ones[-1].is_enum else match.groups("")
            open_ones[-1].entries.append(Entry(name, comment, kind, label.strip(), heading))
            heading, comment = "", []
        elif line.startswith(("syntax", "package", "reserved")):
            comment = []
        else:
            raise ValueError(f"line {number}: got {line!r}; expected a message, an enum, a field or a comment.")
    check_comments(found)
    return found


def check_comments(found: list[Declaration]) -> None:
    """Refuses fields that no comment explains, or that do not say what holds where they are not set.

    Raises:
        ValueError: Names them.
    """
    entries = [(f"{each.name}.{entry.name}", each, entry) for each in found for entry in each.entries]
    silent = [where for where, _, entry in entries if not entry.comment and not _is_unspecified(entry)]
    if silent:
        raise ValueError(f"got no comment for {', '.join(silent)}; expected one, with the unit and the default.")
    vague = [where for where, each, entry in entries if not each.is_enum and not default(entry)]
    if vague:
        expected = "a sentence `0: …`, `Empty: …`, `Unset: …` or `Must be set.`"
        raise ValueError(f"got no default in the comment of {', '.join(vague)}; expected {expected}.")


def page(found: list[Declaration]) -> str:
    """The page: a section for each message and enum."""
    names = {each.name.rpartition(".")[2]: each.name for each in found}
    return "\n".join([INTRODUCTION, *(section(each, names) for each in found)])


def section(of: Declaration, names: Mapping[str, str]) -> str:
    """A message or an enum as a heading, its comment, and tables."""
    lines = [f"## {of.name}", "", *_paragraphs(of.comment)]
    if of.is_enum:
        lines += ["| value | what it is |", "|---|---|"]
        lines += [f"| `{entry.name}` | {_cell(entry.comment)} |" for entry in of.entries if not _is_unspecified(entry)]
        return "\n".join([*lines, ""])
    for number, entry in enumerate(of.entries):
        if entry.heading:
            lines += ["", entry.heading, ""]
        if entry.heading or number == 0:
            lines += ["| field | type | what it is | not set |", "|---|---|---|---|"]
        comment = _without_default(entry)
        lines.append(f"| `{entry.name}` | {_type(entry, names)} | {_cell(comment)} | {default(entry)} |")
    return "\n".join([*lines, ""])


def default(entry: Entry) -> str:
    """What holds where a field is not set, in the words of its comment."""
    sentences = [sentence for sentence in _sentences(entry.comment) if _DEFAULT.fullmatch(sentence)]
    if not sentences and entry.kind == "bool" and entry.label != "optional":
        return "False"
    return _escaped(" ".join(sentences))


def _without_default(entry: Entry) -> list[str]:
    """The comment without the sentences that say the default."""
    return [
        " ".join(sentence for sentence in _SENTENCE_END.split(line) if not _DEFAULT.fullmatch(sentence))
        for line in _joined(entry.comment)
    ]


def _sentences(comment: list[str]) -> Iterator[str]:
    for line in _joined(comment):
        yield from _SENTENCE_END.split(line)


def _joined(comment: list[str]) -> list[str]:
    """Lines of a comment put together, but for those that begin a case of their own."""
    joined: list[str] = []
    for line in comment:
        if joined and not _CASE.match(line):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined


def _paragraphs(comment: list[str]) -> Iterator[str]:
    """The comment of a message, with an empty line after each paragraph."""
    for paragraph in "\n".join(comment).split("\n\n"):
        if paragraph:
            yield from (paragraph, "")


def _type(entry: Entry, names: Mapping[str, str]) -> str:
    """A field's type as Python has it, or a link to its section."""
    kind = TYPES.get(entry.kind) or f"[{names[entry.kind]}](#{names[entry.kind].replace('.', '').lower()})"
    return f"list of {kind}" if entry.label == "repeated" else kind


def _cell(comment: list[str]) -> str:
    return _escaped("<br>".join(line for line in _joined(comment) if line))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _is_unspecified(entry: Entry) -> bool:
    return entry.name.endswith("_UNSPECIFIED")


def main(path: Path) -> None:
    """Writes the page."""
    found = [each for name in PROTOS for each in declarations((ROOT / "proto" / name).read_text())]
    path.write_text(page(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE)
