"""A unit: the repositories over one connection, inside one transaction. Reading has no method that writes."""

from sqlalchemy import Connection

from service.adapters.db.adapters import AdapterRows, AdapterWrites
from service.adapters.db.artifacts import ArtifactRows, ArtifactWrites
from service.adapters.db.events import EventRows, EventWrites
from service.adapters.db.files import FileRows, FileWrites
from service.adapters.db.idempotency import IdempotencyRows, IdempotencyWrites
from service.adapters.db.job_writes import JobWrites
from service.adapters.db.jobs import JobRows
from service.adapters.db.receipts import ReceiptRows, ReceiptWrites
from service.adapters.db.upkeep import UpkeepRows, UpkeepWrites
from service.adapters.db.workers import WorkerRows, WorkerWrites


class Reading:
    def __init__(self, connection: Connection) -> None:
        self.jobs = JobRows(connection)
        self.events = EventRows(connection)
        self.artifacts = ArtifactRows(connection)
        self.files = FileRows(connection)
        self.adapters = AdapterRows(connection)
        self.receipts = ReceiptRows(connection)
        self.idempotency = IdempotencyRows(connection)
        self.upkeep = UpkeepRows(connection)
        self.workers = WorkerRows(connection)


class Writing:
    def __init__(self, connection: Connection) -> None:
        self.jobs = JobWrites(connection)
        self.events = EventWrites(connection)
        self.artifacts = ArtifactWrites(connection)
        self.files = FileWrites(connection)
        self.adapters = AdapterWrites(connection)
        self.receipts = ReceiptWrites(connection)
        self.idempotency = IdempotencyWrites(connection)
        self.upkeep = UpkeepWrites(connection)
        self.workers = WorkerWrites(connection)
