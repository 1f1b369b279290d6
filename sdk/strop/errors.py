"""Every way in which a call can fail, as one tree: the same class whichever face answered. Decide by class or by `code`.

StropError                  also what has no class of its own (500: code internal_error)
├── InvalidRequest          a field does not fit; `errors` names each place and its remedy
├── NotFound                no such thing under this key
├── Conflict                the thing is not in a state that allows this
├── Unauthenticated         no key, or a wrong one
├── PermissionDenied        the key does not allow this
├── TooLarge                more bytes than the documented bound
├── Unavailable             not reached, no answer in time, or a part of it is away; `retry_after` where it said so
├── RateLimited             too much at once; `retry_after`
├── Damaged                 what was downloaded is not what was stored
├── InvalidReceipt          a receipt's file is not what a Strop signed; `code` says what is wrong
└── JobEnded                from `jobs.wait`: the job ended without an adapter; `job`
    ├── JobFailed           `code` and `message` are the job's own error
    └── JobCancelled
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strop.records import Job


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: where (dotted path), what, and what to do about it."""

    path: str
    message: str
    remedy: str


class StropError(Exception):
    """Something went wrong in Strop."""

    code = "error"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        self.message = message or (self.__doc__ or "").split("\n")[0]
        super().__init__(self.message)
        self.code = code or self.code
        self.errors = errors
        self.request_id = request_id
        """Name it when you ask the operator for help."""
        self.retry_after = retry_after
        """Seconds after which another try may go better, where the service said so."""
        self.status = status
        """The HTTP status; over gRPC the one that the REST face would have answered with. None: nobody answered."""


class InvalidRequest(StropError):
    """The request does not fit the documented shape or bounds."""

    code = "invalid_request"


class NotFound(StropError):
    """There is nothing of that name here."""

    code = "not_found"


class Conflict(StropError):
    """The thing is not in a state that allows this."""

    code = "conflict"


class Unauthenticated(StropError):
    """A valid key is needed."""

    code = "unauthenticated"


class PermissionDenied(StropError):
    """The key does not allow this."""

    code = "permission_denied"


class TooLarge(StropError):
    """The request is larger than the documented bound."""

    code = "too_large"


class Unavailable(StropError):
    """Strop, or a part of it that this needs, is away for the moment; try again."""

    code = "unavailable"


class RateLimited(StropError):
    """Too much at once; try again later."""

    code = "rate_limited"


class Damaged(StropError):
    """What was downloaded is not what was stored."""

    code = "damaged"


class InvalidReceipt(StropError):
    """The receipt is not what a Strop signed."""

    code = "invalid_receipt"


class JobEnded(StropError):
    """The job ended without an adapter."""

    def __init__(self, job: "Job", message: str, code: str) -> None:
        super().__init__(message, code=code)
        self.job = job


class JobFailed(JobEnded):
    """The job failed."""


class JobCancelled(JobEnded):
    """The job was cancelled."""
