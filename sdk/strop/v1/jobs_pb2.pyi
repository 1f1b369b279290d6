import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_PAUSING: _ClassVar[JobState]
    JOB_STATE_PAUSED: _ClassVar[JobState]
    JOB_STATE_CANCELLING: _ClassVar[JobState]
    JOB_STATE_FINALIZING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_PAUSING: JobState
JOB_STATE_PAUSED: JobState
JOB_STATE_CANCELLING: JobState
JOB_STATE_FINALIZING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState

class JobsCreateRequest(_message.Message):
    __slots__ = ("base_model", "prompts", "prompts_file", "reward", "method", "lora", "steps", "seed", "dtype", "samples", "checkpoint_every", "adapter_name", "priority", "metadata", "idempotency_key", "max_seconds", "max_nfe", "needs", "validation", "images_file", "start_adapter", "gradient_checkpointing")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FILE_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_EVERY_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_NFE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FILE_FIELD_NUMBER: _ClassVar[int]
    START_ADAPTER_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    base_model: str
    prompts: _containers.RepeatedScalarFieldContainer[str]
    prompts_file: str
    reward: _struct_pb2.Struct
    method: _struct_pb2.Struct
    lora: Lora
    steps: int
    seed: int
    dtype: str
    samples: Samples
    checkpoint_every: int
    adapter_name: str
    priority: int
    metadata: _containers.ScalarMap[str, str]
    idempotency_key: str
    max_seconds: float
    max_nfe: int
    needs: Needs
    validation: Validation
    images_file: str
    start_adapter: str
    gradient_checkpointing: bool
    def __init__(self, base_model: _Optional[str] = ..., prompts: _Optional[_Iterable[str]] = ..., prompts_file: _Optional[str] = ..., reward: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., method: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., lora: _Optional[_Union[Lora, _Mapping]] = ..., steps: _Optional[int] = ..., seed: _Optional[int] = ..., dtype: _Optional[str] = ..., samples: _Optional[_Union[Samples, _Mapping]] = ..., checkpoint_every: _Optional[int] = ..., adapter_name: _Optional[str] = ..., priority: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ..., idempotency_key: _Optional[str] = ..., max_seconds: _Optional[float] = ..., max_nfe: _Optional[int] = ..., needs: _Optional[_Union[Needs, _Mapping]] = ..., validation: _Optional[_Union[Validation, _Mapping]] = ..., images_file: _Optional[str] = ..., start_adapter: _Optional[str] = ..., gradient_checkpointing: _Optional[bool] = ...) -> None: ...

class JobsCreateResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsGetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class JobsGetResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class JobsListRequest(_message.Message):
    __slots__ = ("state", "cursor", "limit", "kind")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    state: JobState
    cursor: str
    limit: int
    kind: str
    def __init__(self, state: _Optional[_Union[JobState, str]] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ..., kind: _Optional[str] = ...) -> None: ...

class JobsListResponse(_message.Message):
    __slots__ = ("data", "has_more", "next_cursor")
    DATA_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    data: _containers.RepeatedCompositeFieldContainer[Job]
    has_more: bool
    next_cursor: str
    def __init__(self, data: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., has_more: _Optional[bool] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class JobsCancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class JobsCancelResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsPauseRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class JobsPauseResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsResumeRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class JobsResumeResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsRetryRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class JobsRetryResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsCloneRequest(_message.Message):
    __slots__ = ("id", "overrides")
    ID_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    id: str
    overrides: _struct_pb2.Struct
    def __init__(self, id: _Optional[str] = ..., overrides: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class JobsCloneResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsCertificateRequest(_message.Message):
    __slots__ = ("id", "from_step", "steps", "priority")
    ID_FIELD_NUMBER: _ClassVar[int]
    FROM_STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    id: str
    from_step: int
    steps: int
    priority: int
    def __init__(self, id: _Optional[str] = ..., from_step: _Optional[int] = ..., steps: _Optional[int] = ..., priority: _Optional[int] = ...) -> None: ...

class JobsCertificateResponse(_message.Message):
    __slots__ = ("job", "replayed")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    replayed: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class JobsWatchRequest(_message.Message):
    __slots__ = ("id", "after")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: int
    def __init__(self, id: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class JobsWatchResponse(_message.Message):
    __slots__ = ("job", "event")
    JOB_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    job: Job
    event: Event
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class Lora(_message.Message):
    __slots__ = ("rank", "targets")
    RANK_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    rank: int
    targets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rank: _Optional[int] = ..., targets: _Optional[_Iterable[str]] = ...) -> None: ...

class Needs(_message.Message):
    __slots__ = ("memory_gib", "labels")
    MEMORY_GIB_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    memory_gib: float
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, memory_gib: _Optional[float] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class Validation(_message.Message):
    __slots__ = ("every", "prompts", "guidance", "num_inference_steps", "keep_best", "patience")
    EVERY_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    NUM_INFERENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    KEEP_BEST_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    every: int
    prompts: _containers.RepeatedScalarFieldContainer[str]
    guidance: float
    num_inference_steps: int
    keep_best: bool
    patience: int
    def __init__(self, every: _Optional[int] = ..., prompts: _Optional[_Iterable[str]] = ..., guidance: _Optional[float] = ..., num_inference_steps: _Optional[int] = ..., keep_best: _Optional[bool] = ..., patience: _Optional[int] = ...) -> None: ...

class Samples(_message.Message):
    __slots__ = ("every", "prompts", "guidance", "num_inference_steps")
    EVERY_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    NUM_INFERENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    every: int
    prompts: _containers.RepeatedScalarFieldContainer[str]
    guidance: float
    num_inference_steps: int
    def __init__(self, every: _Optional[int] = ..., prompts: _Optional[_Iterable[str]] = ..., guidance: _Optional[float] = ..., num_inference_steps: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "state", "created_at", "recipe", "adapter", "error", "progress", "attempts", "metadata", "kind", "parent_id", "stop_reason", "certificate", "certificates", "wait_reason")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: JobState
    created_at: _timestamp_pb2.Timestamp
    recipe: Recipe
    adapter: str
    error: JobError
    progress: Progress
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    metadata: _containers.ScalarMap[str, str]
    kind: str
    parent_id: str
    stop_reason: str
    certificate: Certificate
    certificates: _containers.RepeatedCompositeFieldContainer[Certificate]
    wait_reason: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., adapter: _Optional[str] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., kind: _Optional[str] = ..., parent_id: _Optional[str] = ..., stop_reason: _Optional[str] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ..., certificates: _Optional[_Iterable[_Union[Certificate, _Mapping]]] = ..., wait_reason: _Optional[str] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("job", "from_step", "to_step", "expected_sha256", "found_sha256", "holds")
    JOB_FIELD_NUMBER: _ClassVar[int]
    FROM_STEP_FIELD_NUMBER: _ClassVar[int]
    TO_STEP_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SHA256_FIELD_NUMBER: _ClassVar[int]
    FOUND_SHA256_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    job: str
    from_step: int
    to_step: int
    expected_sha256: str
    found_sha256: str
    holds: bool
    def __init__(self, job: _Optional[str] = ..., from_step: _Optional[int] = ..., to_step: _Optional[int] = ..., expected_sha256: _Optional[str] = ..., found_sha256: _Optional[str] = ..., holds: _Optional[bool] = ...) -> None: ...

class Recipe(_message.Message):
    __slots__ = ("base_model", "prompts", "prompts_file", "reward", "method", "lora", "steps", "seed", "dtype", "samples", "checkpoint_every", "adapter_name", "priority", "metadata", "base", "reward_model", "prompts_sha256", "prompt_count", "max_seconds", "max_nfe", "needs", "validation", "images_file", "images_sha256", "image_count", "start_adapter", "start_adapter_sha256", "gradient_checkpointing", "validation_prompt_count")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FILE_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_EVERY_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    REWARD_MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    PROMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_NFE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FILE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_SHA256_FIELD_NUMBER: _ClassVar[int]
    IMAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    START_ADAPTER_FIELD_NUMBER: _ClassVar[int]
    START_ADAPTER_SHA256_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_PROMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    base_model: str
    prompts: _containers.RepeatedScalarFieldContainer[str]
    prompts_file: str
    reward: _struct_pb2.Struct
    method: _struct_pb2.Struct
    lora: Lora
    steps: int
    seed: int
    dtype: str
    samples: Samples
    checkpoint_every: int
    adapter_name: str
    priority: int
    metadata: _containers.ScalarMap[str, str]
    base: _struct_pb2.Struct
    reward_model: _struct_pb2.Struct
    prompts_sha256: str
    prompt_count: int
    max_seconds: float
    max_nfe: int
    needs: Needs
    validation: Validation
    images_file: str
    images_sha256: str
    image_count: int
    start_adapter: str
    start_adapter_sha256: str
    gradient_checkpointing: bool
    validation_prompt_count: int
    def __init__(self, base_model: _Optional[str] = ..., prompts: _Optional[_Iterable[str]] = ..., prompts_file: _Optional[str] = ..., reward: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., method: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., lora: _Optional[_Union[Lora, _Mapping]] = ..., steps: _Optional[int] = ..., seed: _Optional[int] = ..., dtype: _Optional[str] = ..., samples: _Optional[_Union[Samples, _Mapping]] = ..., checkpoint_every: _Optional[int] = ..., adapter_name: _Optional[str] = ..., priority: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ..., base: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., reward_model: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., prompts_sha256: _Optional[str] = ..., prompt_count: _Optional[int] = ..., max_seconds: _Optional[float] = ..., max_nfe: _Optional[int] = ..., needs: _Optional[_Union[Needs, _Mapping]] = ..., validation: _Optional[_Union[Validation, _Mapping]] = ..., images_file: _Optional[str] = ..., images_sha256: _Optional[str] = ..., image_count: _Optional[int] = ..., start_adapter: _Optional[str] = ..., start_adapter_sha256: _Optional[str] = ..., gradient_checkpointing: _Optional[bool] = ..., validation_prompt_count: _Optional[int] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "steps", "reward", "training_nfe", "training_fe", "seconds_left", "training_seconds")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    TRAINING_NFE_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    TRAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    steps: int
    reward: float
    training_nfe: int
    training_fe: float
    seconds_left: float
    training_seconds: float
    def __init__(self, step: _Optional[int] = ..., steps: _Optional[int] = ..., reward: _Optional[float] = ..., training_nfe: _Optional[int] = ..., training_fe: _Optional[float] = ..., seconds_left: _Optional[float] = ..., training_seconds: _Optional[float] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("fence", "worker", "device", "started_at", "ended_at", "cause")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    fence: int
    worker: str
    device: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    cause: str
    def __init__(self, fence: _Optional[int] = ..., worker: _Optional[str] = ..., device: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("number", "fence", "step", "type", "data", "created_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    fence: int
    step: int
    type: str
    data: _struct_pb2.Struct
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., fence: _Optional[int] = ..., step: _Optional[int] = ..., type: _Optional[str] = ..., data: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
