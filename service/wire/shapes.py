"""What travels, by the names of DESIGN.md (Wire shapes), and the domain's records put into them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, Field, RootModel

from service.domain import adapters, artifacts, files, jobs
from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Kind
from service.domain.catalogue import BaseModelEntry
from service.domain.files import FileKind
from service.domain.jobs import State
from service.domain.pages import Page
from service.operations.models import Shown
from service.wire.moments import Moment
from service.wire.receipts import Receipt

Item = TypeVar("Item", bound=BaseModel)
Row = TypeVar("Row")


class List(BaseModel, Generic[Item]):
    """One page."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = Field(default=False, description="True: there is another page.")
    next_cursor: str | None = Field(default=None, description="Where the next page begins; null on the last.")


class Error(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable.")
    message: str = Field(description="A sentence that a person can act on.")


class Progress(BaseModel):
    """How far a job is."""

    step: int
    steps: int
    reward: float | None = Field(description="Mean over the candidates of the last step.")
    training_nfe: int = Field(description="Denoiser forwards so far, counted.")
    training_fe: float = Field(description="Forward-equivalents so far: NFE + b × gradient forwards.")
    training_seconds: float = Field(
        description="Of training over all attempts that led here; waiting and loading are not counted."
    )
    seconds_left: float | None


class Attempt(BaseModel):
    """One try at a job by one worker."""

    fence: int = Field(description="The attempt's number.")
    worker: str
    device: str | None
    started_at: Moment
    ended_at: Moment | None
    cause: str | None = Field(description="How it ended: succeeded, lease_lost, child_crashed, handed_back, …")


class Certificate(BaseModel):
    """What a replay from a stored checkpoint found."""

    job: str = Field(description="The certificate's own job.")
    from_step: int = Field(description="The stored checkpoint that the replay began with.")
    to_step: int = Field(description="The stored checkpoint whose digest it had to meet.")
    expected_sha256: str
    found_sha256: str
    holds: bool = Field(description="True: the digests are the same.")

    @classmethod
    def of(cls, found: jobs.Certificate) -> "Certificate":
        return cls(
            job=found.job,
            from_step=found.from_step,
            to_step=found.to_step,
            expected_sha256=found.expected_sha256,
            found_sha256=found.found_sha256,
            holds=found.holds,
        )


class Job(BaseModel):
    """A job: sharpening, or a certificate of one."""

    id: str
    object: Literal["job"] = "job"
    kind: jobs.Kind = Field(description="sharpening makes an adapter; certificate replays steps of its parent.")
    parent_id: str | None = Field(description="The job that this one was cloned from, or that it certifies.")
    state: State
    created_at: Moment
    recipe: dict[str, Any] = Field(
        description="What was posted, every default and name resolved; of each list of prompts the first 32, and their count."
    )
    adapter: str | None = Field(description="What it made: name@version; null until it has succeeded.")
    error: Error | None
    stop_reason: str | None = Field(
        description="Of a job that succeeded: completed, or what ended it early: max_seconds, max_nfe, guard, …"
    )
    wait_reason: str | None = Field(
        description="Of a queued job that no worker can take: what it needs that none offers. null: it waits for its turn."
    )
    certificate: Certificate | None = Field(description="Of a certificate that succeeded: what it found.")
    certificates: list[Certificate] = Field(description="What this job's own certificates found, the newest first.")
    progress: Progress
    attempts: list[Attempt]
    metadata: dict[str, str]

    @classmethod
    def of(cls, job: jobs.Job) -> "Job":
        done = job.progress
        return cls(
            id=job.id,
            kind=job.kind,
            parent_id=job.parent,
            state=job.state,
            created_at=job.created_at,
            recipe=job.posted.public(),
            adapter=job.adapter,
            error=Error(code=job.error.code, message=job.error.message) if job.error else None,
            stop_reason=job.stop_reason,
            wait_reason=job.wait_reason,
            certificate=Certificate.of(job.certificate) if job.certificate else None,
            certificates=[Certificate.of(each) for each in job.certificates],
            progress=Progress(
                step=done.step,
                steps=done.steps or job.posted.steps,
                reward=done.reward,
                training_nfe=done.training_nfe,
                training_fe=done.training_fe,
                training_seconds=done.training_seconds,
                seconds_left=done.seconds_left,
            ),
            attempts=[
                Attempt(
                    fence=each.fence,
                    worker=each.worker,
                    device=each.device,
                    started_at=each.started_at,
                    ended_at=each.ended_at,
                    cause=each.cause,
                )
                for each in job.attempts
            ],
            metadata=job.metadata,
        )


class Overrides(RootModel[dict[str, Any]]):
    """JSON Merge Patch (RFC 7396) over a job's request: null takes a field out, an object is merged, all else replaces."""


class Event(BaseModel):
    """Something that happened to a job."""

    object: Literal["event"] = "event"
    number: int = Field(description="From 1, without gaps.")
    fence: int = Field(description="The attempt that reported it; where a step was run twice, the highest counts.")
    step: int | None
    type: str
    data: dict[str, Any]
    created_at: Moment

    @classmethod
    def of(cls, event: jobs.Event) -> "Event":
        return cls(
            number=event.number,
            fence=event.fence,
            step=event.step,
            type=event.type,
            data=event.data,
            created_at=event.created_at,
        )


class Artifact(BaseModel):
    """A stored file of a job."""

    object: Literal["artifact"] = "artifact"
    kind: Kind
    name: str
    fence: int
    step: int
    bytes: int
    sha256: str
    media_type: str
    created_at: Moment
    url: str = Field(description="A link that works without the key until `url_expires_at`. Supports Range.")
    url_expires_at: Moment

    @classmethod
    def of(cls, artifact: artifacts.Artifact, url: str, expires: datetime) -> "Artifact":
        return cls(
            kind=artifact.kind,
            name=artifact.name,
            fence=artifact.fence,
            step=artifact.step,
            bytes=artifact.bytes,
            sha256=artifact.sha256,
            media_type=artifact.media_type,
            created_at=artifact.created_at,
            url=url,
            url_expires_at=expires,
        )


class File(BaseModel):
    """An uploaded file, checked whole."""

    id: str
    object: Literal["file"] = "file"
    filename: str
    kind: FileKind
    bytes: int
    sha256: str
    prompts: int = Field(description="Prompts or captions in it.")
    created_at: Moment

    @classmethod
    def of(cls, file: files.File) -> "File":
        return cls(
            id=file.id,
            filename=file.filename,
            kind=file.kind,
            bytes=file.bytes,
            sha256=file.sha256,
            prompts=file.prompts,
            created_at=file.created_at,
        )


class Choice(BaseModel):
    """A reward or a method that a job may name, with the JSON Schema of its parameters."""

    object: Literal["reward", "method"]
    type: str
    description: str
    json_schema: dict[str, Any] = Field(serialization_alias="schema", description="JSON Schema: bounds and defaults.")


class AdapterAlias(BaseModel):
    """Where an alias of an adapter points."""

    name: str = Field(description="adapter@alias, as `model` and `start_adapter` take it.")
    alias: str
    version: int
    needs_receipt: bool = Field(description="True: it moves only to versions whose receipt passed.")
    updated_at: Moment

    @classmethod
    def of(cls, alias: adapters.Alias) -> Self:
        return cls(
            name=alias.reference,
            alias=alias.alias,
            version=alias.version,
            needs_receipt=alias.needs_receipt,
            updated_at=alias.updated_at,
        )


class Alias(AdapterAlias):
    """An alias of an adapter."""

    object: Literal["alias"] = "alias"


class Adapter(BaseModel):
    """All that goes by one adapter's name."""

    name: str
    versions: list[int] = Field(description="The newest first. A deleted version's number is not used again.")
    aliases: list[AdapterAlias]


class Deleted(BaseModel):
    """What is not there any more."""

    object: Literal["model", "alias"]
    name: str
    deleted: Literal[True] = True


class Model(BaseModel):
    """Something that `base_model` may name (kind base), or an adapter's version, which inference draws with."""

    object: Literal["model"] = "model"
    name: str = Field(description="A base model's name, or adapter@version.")
    kind: Literal["base", "adapter"]
    base_model: str = Field(description="The base model; of an adapter: the one that it was trained on.")
    family: str | None = None
    resolution: int | None = None
    num_inference_steps: int | None = Field(default=None, description="Default steps of the inference endpoint.")
    guidance_scale: float | None = Field(default=None, description="Default guidance of the inference endpoint.")
    learning_rate: float | None = Field(
        default=None, description="Peak learning rate of a base model's jobs that name none; null: 1e-4."
    )
    revision: str | None = None
    licence: str | None = None
    description: str | None = None
    job: str | None = Field(default=None, description="The job that made the adapter.")
    sha256: str | None = Field(default=None, description="SHA-256 of the adapter's file.")
    start_adapter: str | None = Field(
        default=None, description="The adapter, name@version, that its training began with; null: with nothing."
    )
    aliases: list[str] = Field(default_factory=list, description="The aliases that point to this version.")
    adapter: Adapter | None = Field(
        default=None, description="Of an adapter asked for by its name: all its versions and aliases; null in lists."
    )
    receipt: Receipt | None = Field(
        default=None,
        description="How far this version's receipt is, of an adapter asked for by its name; null in lists.",
    )
    created_at: Moment | None = None

    @classmethod
    def shown(cls, shown: Shown) -> "Model":
        model = cls.of(shown.model)
        if isinstance(shown.model, BaseModelEntry):
            return model
        aliases = [AdapterAlias.of(each) for each in shown.aliases]
        whole = Adapter(name=shown.model.name, versions=list(shown.versions), aliases=aliases)
        receipt = Receipt.of(shown.receipt) if shown.receipt else None
        return model.model_copy(update={"adapter": whole, "receipt": receipt})

    @classmethod
    def of(cls, model: BaseModelEntry | AdapterVersion) -> "Model":
        if isinstance(model, BaseModelEntry):
            return cls(base_model=model.name, **model.model_dump(exclude={"source"}))
        return cls(
            name=model.reference,
            kind="adapter",
            base_model=model.base_model,
            job=model.job,
            sha256=model.file.sha256,
            start_adapter=model.start,
            aliases=list(model.aliases),
            created_at=model.created_at,
        )


class Status(BaseModel):
    """That a process is alive, or ready."""

    status: Literal["ok"] = "ok"


class Places(BaseModel):
    """One address is enough: the gateway's says where the others are."""

    version: str = Field(description="Of the service.")
    grpc_port: int
    inference_port: int
    grpc_url: str | None = Field(description="https://host:port or http://host:port, where the operator set one.")
    inference_url: str | None = Field(description="The inference endpoint's address, where the operator set one.")


def page(rows: Page[Row], of: Callable[[Row], Item]) -> List[Item]:
    return List(data=[of(each) for each in rows.items], has_more=rows.has_more, next_cursor=rows.next_cursor)


def whole(rows: Sequence[Row], of: Callable[[Row], Item]) -> List[Item]:
    """A list that always comes whole."""
    return List(data=[of(each) for each in rows])


def choice(kind: Literal["reward", "method"], model: type[BaseModel]) -> Choice:
    schema = model.model_json_schema()
    described = schema.get("description", "")
    return Choice(object=kind, type=schema["properties"]["type"]["const"], description=described, json_schema=schema)
