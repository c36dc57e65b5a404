"""Components that are quickly run, for pipelines that an emulated launcher runs; each is a function of TFX."""

import json
import os
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, OutputDict, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model

METADATA = {"name": "Adélie", "count": 3.0, "list": [1.0, "two", [3.0]], "mapping": {"list": [4.0]}, "empty": []}


@component
def Producer(examples: OutputArtifact[Examples], model: OutputArtifact[Model]):
    """Writes a file into the folder of its output, which is to be there, and says much of it."""
    Path(examples.uri, "told.txt").write_text("by the producer")
    examples.split_names = json.dumps(["train"])
    for name, value in METADATA.items():
        examples.set_json_value_custom_property(name, value)
    examples.set_string_custom_property("where", os.path.join(examples.uri, "told.txt"))
    examples.set_string_custom_property("elsewhere", "/data/told.txt")


@component
def Consumer(examples: InputArtifact[Examples], model: InputArtifact[Model], report: Parameter[str]):
    """Reports what it got."""
    told = {name: examples.get_json_value_custom_property(name) for name in (*METADATA, "where", "elsewhere")}
    seen = {
        "told": Path(examples.uri, "told.txt").read_text(),
        "kinds": [type(examples).__name__, type(model).__name__],
        "splits": examples.split_names,
        "uri": examples.uri,
        "metadata": told,
    }
    Path(report).write_text(json.dumps(seen))


@component
def Counter(words: Parameter[str]) -> OutputDict(count=int):
    """A value of its own."""
    return {"count": len(words.split())}


@component
def Failing(words: Parameter[str]):
    """Code of a user that fails."""
    raise ValueError(words)


@component
def Reader(examples: InputArtifact[Examples], report: Parameter[str]):
    """Reports which files of examples there are."""
    Path(report).write_text("\n".join(sorted(path.name for path in Path(examples.uri).rglob("*.gz"))))
