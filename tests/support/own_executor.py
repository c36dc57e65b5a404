"""An executor of a user's own, in a module that the pods of a job import."""

from __future__ import annotations

from polytrainer.executors.generic_executor import GenericExecutor


class OwnExecutor(GenericExecutor):
    """Leaves a trace of itself in the model."""

    def Do(self, input_dict, output_dict, exec_properties):
        super().Do(input_dict, output_dict, exec_properties)
        output_dict["model"][0].set_string_custom_property("executor", type(self).__name__)
