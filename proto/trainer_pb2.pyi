from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainArgs(_message.Message):
    __slots__ = ("splits", "num_steps", "num_epochs", "batch_size", "seed", "log_every_n_steps", "early_stopping", "precision", "strategy", "checkpoint_every_n_steps", "num_processes", "grad_accumulation", "micro_batch_size", "max_grad_norm", "compile", "matmul_precision", "deterministic", "eval_every_n_steps", "eval_every_n_epochs", "keep_checkpoints", "reset_optimizer", "data_cache_mb", "data_mode", "find_unused_parameters", "sync_batch_norm", "stall_timeout_seconds", "drop_last", "max_steps_per_epoch")
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LOG_EVERY_N_STEPS_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_EVERY_N_STEPS_FIELD_NUMBER: _ClassVar[int]
    NUM_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    GRAD_ACCUMULATION_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    COMPILE_FIELD_NUMBER: _ClassVar[int]
    MATMUL_PRECISION_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    EVAL_EVERY_N_STEPS_FIELD_NUMBER: _ClassVar[int]
    EVAL_EVERY_N_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    KEEP_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    RESET_OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    DATA_CACHE_MB_FIELD_NUMBER: _ClassVar[int]
    DATA_MODE_FIELD_NUMBER: _ClassVar[int]
    FIND_UNUSED_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SYNC_BATCH_NORM_FIELD_NUMBER: _ClassVar[int]
    STALL_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DROP_LAST_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    splits: _containers.RepeatedScalarFieldContainer[str]
    num_steps: int
    num_epochs: int
    batch_size: int
    seed: int
    log_every_n_steps: int
    early_stopping: EarlyStopping
    precision: str
    strategy: str
    checkpoint_every_n_steps: int
    num_processes: int
    grad_accumulation: int
    micro_batch_size: int
    max_grad_norm: float
    compile: bool
    matmul_precision: str
    deterministic: bool
    eval_every_n_steps: int
    eval_every_n_epochs: int
    keep_checkpoints: KeepCheckpoints
    reset_optimizer: bool
    data_cache_mb: int
    data_mode: str
    find_unused_parameters: bool
    sync_batch_norm: bool
    stall_timeout_seconds: int
    drop_last: bool
    max_steps_per_epoch: int
    def __init__(self, splits: _Optional[_Iterable[str]] = ..., num_steps: _Optional[int] = ..., num_epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., seed: _Optional[int] = ..., log_every_n_steps: _Optional[int] = ..., early_stopping: _Optional[_Union[EarlyStopping, _Mapping]] = ..., precision: _Optional[str] = ..., strategy: _Optional[str] = ..., checkpoint_every_n_steps: _Optional[int] = ..., num_processes: _Optional[int] = ..., grad_accumulation: _Optional[int] = ..., micro_batch_size: _Optional[int] = ..., max_grad_norm: _Optional[float] = ..., compile: bool = ..., matmul_precision: _Optional[str] = ..., deterministic: bool = ..., eval_every_n_steps: _Optional[int] = ..., eval_every_n_epochs: _Optional[int] = ..., keep_checkpoints: _Optional[_Union[KeepCheckpoints, _Mapping]] = ..., reset_optimizer: bool = ..., data_cache_mb: _Optional[int] = ..., data_mode: _Optional[str] = ..., find_unused_parameters: bool = ..., sync_batch_norm: bool = ..., stall_timeout_seconds: _Optional[int] = ..., drop_last: bool = ..., max_steps_per_epoch: _Optional[int] = ...) -> None: ...

class KeepCheckpoints(_message.Message):
    __slots__ = ("last", "best", "metric", "mode")
    LAST_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    last: int
    best: int
    metric: str
    mode: str
    def __init__(self, last: _Optional[int] = ..., best: _Optional[int] = ..., metric: _Optional[str] = ..., mode: _Optional[str] = ...) -> None: ...

class EarlyStopping(_message.Message):
    __slots__ = ("metric", "mode", "patience", "min_delta")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    MIN_DELTA_FIELD_NUMBER: _ClassVar[int]
    metric: str
    mode: str
    patience: int
    min_delta: float
    def __init__(self, metric: _Optional[str] = ..., mode: _Optional[str] = ..., patience: _Optional[int] = ..., min_delta: _Optional[float] = ...) -> None: ...

class EvalArgs(_message.Message):
    __slots__ = ("splits", "num_steps", "test_splits", "batch_size")
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    TEST_SPLITS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    splits: _containers.RepeatedScalarFieldContainer[str]
    num_steps: int
    test_splits: _containers.RepeatedScalarFieldContainer[str]
    batch_size: int
    def __init__(self, splits: _Optional[_Iterable[str]] = ..., num_steps: _Optional[int] = ..., test_splits: _Optional[_Iterable[str]] = ..., batch_size: _Optional[int] = ...) -> None: ...

class ExportArgs(_message.Message):
    __slots__ = ("formats", "tolerance", "onnx", "tflite")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[ExportArgs.Format]
        SAVED_MODEL: _ClassVar[ExportArgs.Format]
        TORCH: _ClassVar[ExportArgs.Format]
        ONNX: _ClassVar[ExportArgs.Format]
        TFLITE: _ClassVar[ExportArgs.Format]
        TFJS: _ClassVar[ExportArgs.Format]
    FORMAT_UNSPECIFIED: ExportArgs.Format
    SAVED_MODEL: ExportArgs.Format
    TORCH: ExportArgs.Format
    ONNX: ExportArgs.Format
    TFLITE: ExportArgs.Format
    TFJS: ExportArgs.Format
    FORMATS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    ONNX_FIELD_NUMBER: _ClassVar[int]
    TFLITE_FIELD_NUMBER: _ClassVar[int]
    formats: _containers.RepeatedScalarFieldContainer[ExportArgs.Format]
    tolerance: float
    onnx: OnnxArgs
    tflite: TfliteArgs
    def __init__(self, formats: _Optional[_Iterable[_Union[ExportArgs.Format, str]]] = ..., tolerance: _Optional[float] = ..., onnx: _Optional[_Union[OnnxArgs, _Mapping]] = ..., tflite: _Optional[_Union[TfliteArgs, _Mapping]] = ...) -> None: ...

class OnnxArgs(_message.Message):
    __slots__ = ("opset", "tolerance")
    OPSET_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    opset: int
    tolerance: float
    def __init__(self, opset: _Optional[int] = ..., tolerance: _Optional[float] = ...) -> None: ...

class TfliteArgs(_message.Message):
    __slots__ = ("quantization", "calibration_examples", "tolerance")
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    quantization: str
    calibration_examples: int
    tolerance: float
    def __init__(self, quantization: _Optional[str] = ..., calibration_examples: _Optional[int] = ..., tolerance: _Optional[float] = ...) -> None: ...
