"""What operations ask of a database, as Protocols; of the rest of the world in outside.py. The adapters fulfil them.

A unit is one transaction, committed when its block ends and rolled back when it raises. Read and write units are
different types: what only reads cannot write by mistake. Long work (uploads, hashing) happens outside of any unit.
Leases, back-off and time stamps use the database's clock, never this process's.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.adapters import AdapterVersion, Alias, Which
from service.domain.artifacts import Artifact, Kind
from service.domain.files import File
from service.domain.ids import Fence, FileId, JobId, TenantId
from service.domain.installation import Installation
from service.domain.jobs import Certificate, Event, Job, JobError, Progress, State
from service.domain.jobs import Kind as JobKind
from service.domain.offers import Offered, Offers
from service.domain.pages import Position
from service.domain.receipts import PublicKey, ReceiptRow, StoredReceipt
from service.domain.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Submission:
    """A job before it has a row."""

    id: JobId
    tenant: TenantId
    recipe: Recipe
    adapter_name: str


@dataclass(frozen=True, slots=True)
class Deed:
    """An event before it has a number."""

    type: str
    data: dict[str, Any]
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A job whose row this unit holds: just what a change of state needs."""

    id: JobId
    tenant: TenantId
    state: State
    fence: Fence
    failures: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A receipt that a steward has asked for. `tries` is its fence: what is written in its name needs it still to be so.

    `spent`: tries that count, this one among them, since it was first asked for or an operator had it asked for again.
    """

    tenant: TenantId
    name: str
    version: int
    tries: int
    spent: int

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job, what it needs, and what it says of why nobody takes it."""

    id: JobId
    needs: Mapping[str, float | None]
    reason: str | None


class JobReader(Protocol):
    def get(self, tenant: TenantId, job: JobId) -> Job | None:
        """To be shown: of its recipe's lists of prompts only the first (`Recipe.brief`), as in `page`."""

    def whole(self, tenant: TenantId, job: JobId) -> Job | None:
        """With all of its recipe: to be run, cloned or certified."""

    def version(self, tenant: TenantId, job: JobId) -> int | None:
        """The counter behind the ETag, without reading the job."""

    def page(
        self, tenant: TenantId, state: State | None, kind: JobKind | None, after: Position | None, limit: int
    ) -> list[Job]:
        """Of that state and kind; None: of any. Newest first, at most `limit`, after the position."""

    def owned(self, job: JobId, fence: Fence) -> Held:
        """The job as its attempt sees it, without holding it. Raises FenceLost unless the fence owns it."""

    def waiting(
        self, workers: Collection[Offered], due_seconds: float, after: JobId | None, limit: int
    ) -> list[Waiting]:
        """Queued jobs of all tenants, by id after `after`, that are due for so long and that none of the workers could take, and those
        that say a reason."""


class JobWriter(JobReader, Protocol):
    def add(self, submission: Submission) -> None: ...

    def lock(self, tenant: TenantId, job: JobId) -> Held | None:
        """Hold the job's row until the unit ends."""

    def own(self, job: JobId, fence: Fence) -> Held:
        """The same in the name of an attempt. Raises FenceLost unless the fence is the job's and its state owned."""

    def claim(self, worker: str, device: str | None, offers: Offers, lease_seconds: float) -> Held | None:
        """queued → running for the next fitting job, fence + 1, a new attempt, the event job.started. One conditional UPDATE."""

    def renew(self, job: JobId, fence: Fence, lease_seconds: float) -> State:
        """Let the lease end `lease_seconds` from now. Raises FenceLost."""

    def expired(self, limit: int) -> list[Held]:
        """Lock and return owned jobs whose lease is over, passing over those that somebody else holds."""

    def move(self, job: Held, to: State, *, error: JobError | None, failures: int, wait_seconds: float) -> None:
        """Write the new state of a job whose row is held; `wait_seconds` matter only on the way to `queued`."""

    def certify(self, job: Held, found: Certificate) -> None:
        """End a held certificate as succeeded, with what it found."""

    def place_attempt(self, job: Held, device: str) -> None:
        """Note the device that the attempt's child found itself on."""

    def explain(self, job: JobId, reason: str | None) -> bool:
        """Let a job say why nobody takes it; None: nothing. False: it is not queued any more."""

    def end_attempt(self, job: Held, cause: str) -> None: ...


class EventReader(Protocol):
    def after(self, tenant: TenantId, job: JobId, number: int, limit: int) -> list[Event]: ...

    def trained(self, tenant: TenantId, job: JobId) -> set[Fence]:
        """The attempts that told of a step or a checkpoint, by what has not been trimmed."""


class EventWriter(EventReader, Protocol):
    def append(self, job: JobId, fence: Fence, deed: Deed) -> Event:
        """Number and write an event; the job's row is held from here to the unit's end."""

    def report(self, job: JobId, fence: Fence, deed: Deed, progress: Progress | None) -> Event:
        """The same for an attempt: fence, state, number and progress in one UPDATE. Raises FenceLost."""


class ArtifactReader(Protocol):
    def of(self, tenant: TenantId, job: JobId, kind: Kind | None = None) -> list[Artifact]:
        """Every row of a job, by step, then fence, oldest first."""

    def find(self, tenant: TenantId, job: JobId, fence: Fence, name: str) -> Artifact | None: ...


class ArtifactWriter(ArtifactReader, Protocol):
    def add(self, job: Held, *, name: str, kind: Kind, step: int, key: str, bytes: int, sha256: str) -> Artifact:
        """Write the row that makes a file exist, for the attempt that holds the job by `own`."""

    def remove(self, job: Held, gone: Sequence[Artifact]) -> None:
        """Delete rows of a held job: from the commit on those files do not exist, whatever the store still has."""


class FileReader(Protocol):
    def get(self, tenant: TenantId, file: FileId) -> File | None: ...


class FileWriter(FileReader, Protocol):
    def add(self, file: File) -> File: ...


class AdapterReader(Protocol):
    def find(self, tenant: TenantId, name: str, which: Which) -> AdapterVersion | None:
        """One version, by its number or by what an alias points to now; None asks for the newest. One snapshot."""

    def all(self, tenant: TenantId, limit: int) -> list[AdapterVersion]:
        """Newest first; after the limit only those that an alias points to."""

    def versions(self, tenant: TenantId, name: str) -> list[int]:
        """Newest first."""

    def aliases(self, tenant: TenantId, name: str) -> list[Alias]:
        """By their names."""

    def living(self, digests: Collection[str]) -> set[tuple[TenantId, str]]:
        """Whose adapters' files these digests are, of all tenants: a digest without a version is not among them."""


class AdapterWriter(AdapterReader, Protocol):
    def hold(self, tenant: TenantId, name: str) -> bool:
        """Hold the name until the unit ends, against whoever moves its aliases, adds or deletes versions. False: no such."""

    def hold_version(self, tenant: TenantId, name: str, version: int) -> bool:
        """Keep a version from being deleted until the unit ends; whoever deletes it now is waited for. False: it is gone."""

    def point(self, tenant: TenantId, name: str, alias: str, version: int, *, needs_receipt: bool) -> None:
        """Write where a held name's alias points, whether it is there already or not."""

    def unpoint(self, tenant: TenantId, name: str, alias: str) -> bool:
        """Take an alias of a held name away. False: no such."""

    def seize(self, tenant: TenantId, name: str, version: int | None) -> list[AdapterVersion]:
        """This version of a held name, or all, held against whoever holds one by `hold_version`; oldest first."""

    def beginning(self, tenant: TenantId, references: Collection[str]) -> tuple[JobId, str] | None:
        """A job that has not ended and begins with one of these versions, and which."""

    def remove(self, tenant: TenantId, name: str, versions: Collection[int]) -> list[Artifact]:
        """Delete seized versions that no alias points to, with the rows of their files; returns those. Jobs stay."""

    def publish(self, job: Held, base_model: str, file: Artifact, manifest: Artifact, reason: str) -> AdapterVersion:
        """Take the adapter's next version and end the held job as succeeded, with its manifest: job first, then adapter."""


class ReceiptReader(Protocol):
    def find(self, tenant: TenantId, name: str, version: int) -> ReceiptRow | None: ...

    def keys(self, tenant: TenantId) -> list[PublicKey]:
        """Every key that ever signed, the newest first."""


class ReceiptWriter(ReceiptReader, Protocol):
    def await_one(self, version: AdapterVersion) -> None:
        """A new version is to get a receipt."""

    def ask(self, tenant: TenantId, lease_seconds: float) -> Asked | None:
        """Take the newest version whose receipt is due: its tries and what is spent + 1, and nobody else takes it before
        the lease ends."""

    def renew(self, asked: Asked, lease_seconds: float) -> None:
        """Raises FenceLost."""

    def put_off(self, asked: Asked, error: str, wait_seconds: float | None, *, counts: bool = True) -> None:
        """Note what went wrong, and when to try again; None: give it up. `counts`: this try is spent. Raises FenceLost."""

    def sign(self, asked: Asked, stored: StoredReceipt) -> None:
        """Write the rows that make the signed receipt exist, once and for all. Raises FenceLost."""

    def ask_again(self, tenant: TenantId, name: str | None = None, version: int | None = None) -> int:
        """Let those that were given up be asked for as if none of their tries counted; returns how many."""

    def publish_key(self, tenant: TenantId, key_id: str, public: bytes) -> None:
        """Keep a public key for ever. Publishing it again changes nothing."""


class IdempotencyReader(Protocol):
    def find(self, tenant: TenantId, key: str) -> tuple[str, str] | None:
        """(digest of the request, id of what it made), while it is remembered."""


class IdempotencyWriter(IdempotencyReader, Protocol):
    def take(self, tenant: TenantId, key: str, digest: str, subject: str, keep_seconds: float) -> bool:
        """Write the key, or find it taken: then False. Waits for a rival that is about to commit the same key."""

    def forget_old(self) -> int: ...


class UpkeepReader(Protocol):
    def installation(self) -> Installation | None:
        """The mark that is on the store too; None before the first sweep."""

    def named(self, keys: Collection[str]) -> set[str]:
        """Those of the keys in the store that a row names."""

    def fences(self, of: Collection[JobId]) -> dict[JobId, tuple[Fence, bool]]:
        """Each job's fence, and whether an attempt owns it; jobs that are not there are left out."""

    def replayed(self, job: JobId) -> set[int]:
        """The steps whose checkpoints are needed by the job's certificates that have not ended: to begin with, to meet."""


class UpkeepWriter(UpkeepReader, Protocol):
    def see(self, *, anew: bool) -> Installation:
        """Write that the store is seen now, later than ever before; the first time, and where `anew`, under a new id."""

    def expire_checkpoints(self, keep_seconds: float, jobs_at_most: int) -> list[Artifact]:
        """Delete the rows of checkpoints of jobs that ended so long ago and have no certificate to run; returns them."""

    def trim_events(self, keep_seconds: float, jobs_at_most: int) -> int:
        """Delete what jobs that ended so long ago said of each step; returns of how many jobs."""


class WorkerReader(Protocol):
    def offered(self, absent_seconds: float) -> frozenset[Offered]:
        """What the workers offer that looked for work within so many seconds, or have a job."""


class WorkerWriter(WorkerReader, Protocol):
    def see(self, worker: str, offers: Offered) -> None:
        """A worker looks for work now."""

    def forget(self, absent_seconds: float) -> int:
        """Remove those that did not look for so long and have no job."""


class ReadUnit(Protocol):
    @property
    def jobs(self) -> JobReader: ...
    @property
    def events(self) -> EventReader: ...
    @property
    def artifacts(self) -> ArtifactReader: ...
    @property
    def files(self) -> FileReader: ...
    @property
    def adapters(self) -> AdapterReader: ...
    @property
    def receipts(self) -> ReceiptReader: ...
    @property
    def idempotency(self) -> IdempotencyReader: ...
    @property
    def upkeep(self) -> UpkeepReader: ...
    @property
    def workers(self) -> WorkerReader: ...


class WriteUnit(Protocol):
    @property
    def jobs(self) -> JobWriter: ...
    @property
    def events(self) -> EventWriter: ...
    @property
    def artifacts(self) -> ArtifactWriter: ...
    @property
    def files(self) -> FileWriter: ...
    @property
    def adapters(self) -> AdapterWriter: ...
    @property
    def receipts(self) -> ReceiptWriter: ...
    @property
    def idempotency(self) -> IdempotencyWriter: ...
    @property
    def upkeep(self) -> UpkeepWriter: ...
    @property
    def workers(self) -> WorkerWriter: ...


class Database(Protocol):
    """Raises Unavailable when the database is away, locked for too long, or out of connections."""

    def read(self) -> AbstractContextManager[ReadUnit]: ...

    def write(self) -> AbstractContextManager[WriteUnit]: ...
