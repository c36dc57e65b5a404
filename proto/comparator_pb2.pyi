from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComparatorArgs(_message.Message):
    __slots__ = ("task", "label_key", "metrics", "primary_metric", "key_features", "splits", "slices", "thresholds", "confidence", "example_weight_key", "bootstrap_samples", "rule", "seed", "query_key")
    class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TASK_UNSPECIFIED: _ClassVar[ComparatorArgs.Task]
        BINARY: _ClassVar[ComparatorArgs.Task]
        MULTICLASS: _ClassVar[ComparatorArgs.Task]
        MULTILABEL: _ClassVar[ComparatorArgs.Task]
        REGRESSION: _ClassVar[ComparatorArgs.Task]
        RANKING: _ClassVar[ComparatorArgs.Task]
    TASK_UNSPECIFIED: ComparatorArgs.Task
    BINARY: ComparatorArgs.Task
    MULTICLASS: ComparatorArgs.Task
    MULTILABEL: ComparatorArgs.Task
    REGRESSION: ComparatorArgs.Task
    RANKING: ComparatorArgs.Task
    class Rule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RULE_UNSPECIFIED: _ClassVar[ComparatorArgs.Rule]
        BETTER: _ClassVar[ComparatorArgs.Rule]
        NOT_WORSE: _ClassVar[ComparatorArgs.Rule]
        THRESHOLDS: _ClassVar[ComparatorArgs.Rule]
    RULE_UNSPECIFIED: ComparatorArgs.Rule
    BETTER: ComparatorArgs.Rule
    NOT_WORSE: ComparatorArgs.Rule
    THRESHOLDS: ComparatorArgs.Rule
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABEL_KEY_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_METRIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FEATURES_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_WEIGHT_KEY_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    QUERY_KEY_FIELD_NUMBER: _ClassVar[int]
    task: ComparatorArgs.Task
    label_key: str
    metrics: _containers.RepeatedScalarFieldContainer[str]
    primary_metric: str
    key_features: _containers.RepeatedScalarFieldContainer[str]
    splits: _containers.RepeatedScalarFieldContainer[str]
    slices: _containers.RepeatedCompositeFieldContainer[ComparedSlices]
    thresholds: _containers.RepeatedCompositeFieldContainer[MetricThreshold]
    confidence: float
    example_weight_key: str
    bootstrap_samples: int
    rule: ComparatorArgs.Rule
    seed: int
    query_key: str
    def __init__(self, task: _Optional[_Union[ComparatorArgs.Task, str]] = ..., label_key: _Optional[str] = ..., metrics: _Optional[_Iterable[str]] = ..., primary_metric: _Optional[str] = ..., key_features: _Optional[_Iterable[str]] = ..., splits: _Optional[_Iterable[str]] = ..., slices: _Optional[_Iterable[_Union[ComparedSlices, _Mapping]]] = ..., thresholds: _Optional[_Iterable[_Union[MetricThreshold, _Mapping]]] = ..., confidence: _Optional[float] = ..., example_weight_key: _Optional[str] = ..., bootstrap_samples: _Optional[int] = ..., rule: _Optional[_Union[ComparatorArgs.Rule, str]] = ..., seed: _Optional[int] = ..., query_key: _Optional[str] = ...) -> None: ...

class ComparedSlices(_message.Message):
    __slots__ = ("features",)
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, features: _Optional[_Iterable[str]] = ...) -> None: ...

class MetricThreshold(_message.Message):
    __slots__ = ("metric", "lower", "upper", "min_gain", "slice_features")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    MIN_GAIN_FIELD_NUMBER: _ClassVar[int]
    SLICE_FEATURES_FIELD_NUMBER: _ClassVar[int]
    metric: str
    lower: float
    upper: float
    min_gain: float
    slice_features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, metric: _Optional[str] = ..., lower: _Optional[float] = ..., upper: _Optional[float] = ..., min_gain: _Optional[float] = ..., slice_features: _Optional[_Iterable[str]] = ...) -> None: ...
