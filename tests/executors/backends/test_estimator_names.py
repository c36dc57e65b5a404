"""EstimatorTrainer with features of any name, some of which the model has no use for."""

from __future__ import annotations

import pytest
from odd_names import ID, LABEL, UNREAD, check_served

pytestmark = pytest.mark.line

MODULE = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            names = sorted(set(self.feature_spec) - {self.label_key, %(id)r, %(unread)r, %(unread)r + " z"})
            columns = [tf.feature_column.numeric_column(name) for name in names]
            return %(estimator)s

    run_fn = Mine(label_key=%(label)r).run_fn
"""


@pytest.mark.parametrize(
    ("estimator", "transformed"),
    [("tf.estimator.DNNClassifier([4], columns)", True), ("tf.estimator.LinearClassifier(columns)", False)],
)
def test_features_of_any_name_are_served_and_those_that_nothing_needs_not_asked_for(
    odd_node, module_file, estimator, transformed
):
    odd_node.use(transformed=transformed)
    label = f"{LABEL} xf" if transformed else LABEL
    names = {"id": ID, "unread": UNREAD, "label": label, "estimator": estimator}
    odd_node.run(module_file=module_file(MODULE % names))
    check_served(odd_node, transformed=transformed, label=label, by_name="raw:predict", output="probabilities")
