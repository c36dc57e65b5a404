"""What comes before a PyTorch program, as a SavedModel beside it: raw examples → its features, and the label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.encoders import Encoder
from polytrainer.executors.data.example_parsing import parse_examples
from polytrainer.executors.export.signatures import TRANSFORM, transforming

if TYPE_CHECKING:
    from polytrainer.executors.export.program_features import ProgramFeatures

FOLDER = ("Format-Torch", "preprocessing")  # in a model artifact
PROGRAM_FEATURES = "program_features"


def write(path: str, features: ProgramFeatures, label_encoders: Mapping[str, Encoder] | None = None) -> None:
    """Writes a SavedModel with two functions, to be called by name, as `tf.saved_model.load(path).program_features(…)`.

    They are no signatures: names of a signature's outputs may have no dot.

    * `program_features`: `examples`, serialized raw tf.Examples, [batch] string, the label not needed → the arguments
      of the program by name, e.g. `words.values` and `words.row_lengths`.
    * `transform_features`: `examples` → what Transform makes of them, and the label as the model learned it, for TFMA
      to compare with and to slice by. Without Transform only the label: TFMA reads raw features itself, and sees which
      are missing, while a dense tensor would have zeros there.

    Args:
        path: The folder to write, with all assets.
        features: From a raw example to the program's arguments.
        label_encoders: For a label of words, by its name.
    """
    import tensorflow as tf

    module, between = tf.Module(), features.between
    module.resources = features.resources
    model_features, with_label = transforming(module, between, label_encoders)
    serving_spec = between.serving_spec

    def of_program(examples: Any) -> dict[str, Any]:
        return features.of_served(model_features(parse_examples(examples, serving_spec)))

    def of_tfma(examples: Any) -> dict[str, Any]:
        made = with_label(examples)
        if between.transform is not None:
            return made
        return {name: value for name, value in made.items() if name not in between.feature_names}

    examples = [tf.TensorSpec([None], tf.string, name="examples")]
    for name, function in ((PROGRAM_FEATURES, of_program), (TRANSFORM, of_tfma)):
        setattr(module, name, tf.function(function, input_signature=examples, autograph=False))
    tf.saved_model.save(module, path)
