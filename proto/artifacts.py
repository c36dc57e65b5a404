"""The artifact type of a Trainer's test results."""

from __future__ import annotations

from collections.abc import Sequence

from tfx.types import standard_artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.system_artifacts import Dataset


class TestResults(Artifact):  # type: ignore[misc]
    """What a model says of each held-out example: gzipped TFRecords of tf.Examples, in a folder for each split.

    It is laid out like TFX's Examples and has the same attributes, but it is a type of its own: a Resolver of Examples,
    as rolling windows have it, must find the data that came in, and not what a Trainer makes of them.

    Attributes:
        span: As in Examples.
        version: As in Examples.
        split_names: The splits that were written, as JSON; `splits` has them as a list.
    """

    __test__ = False  # pytest collects classes by this name
    # Kubeflow Pipelines imports the class of an artifact by its type's name: `polytrainer` has to export it. Types that
    # TFX does not know have no properties there: ours are custom properties in ML Metadata.
    TYPE_NAME = "polytrainer.TestResults"
    TYPE_ANNOTATION = Dataset

    @property
    def span(self) -> int:
        """Number of the group of examples."""
        return int(self.get_int_custom_property("span"))

    @span.setter
    def span(self, value: int) -> None:
        self.set_int_custom_property("span", value)

    @property
    def version(self) -> int:
        """Number of the update of this group."""
        return int(self.get_int_custom_property("version"))

    @version.setter
    def version(self, value: int) -> None:
        self.set_int_custom_property("version", value)

    @property
    def split_names(self) -> str:
        """Names of the splits, as JSON."""
        return str(self.get_string_custom_property("split_names"))

    @split_names.setter
    def split_names(self, names: str) -> None:
        self.set_string_custom_property("split_names", names)

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return standard_artifact_utils.decode_split_names(self.split_names)  # type: ignore[no-any-return]

    @splits.setter
    def splits(self, splits: Sequence[str]) -> None:
        self.split_names = standard_artifact_utils.encode_split_names(list(splits))

    def path(self, *, split: str) -> str:
        """The folder of a split.

        Raises:
            ValueError: If there is no such split.
        """
        return str(standard_artifact_utils.get_split_uris([self], split)[0])
