"""Everything that Strop refuses, as one tree. Faces map classes to status codes; the domain knows no HTTP.

StropError
├── InvalidRequest      the caller's words do not fit; carries one FieldError per place
├── NotFound            no such thing for this principal
├── Conflict            the thing exists, but not in a state that allows this
│   └── InvalidTransition
├── Unauthenticated     no key, or a wrong one
├── PermissionDenied    the key lacks the scope
├── TooLarge            more bytes than the documented bound
├── Unavailable         a part that we need is away; try again after `retry_after`
├── FenceLost           an attempt that no longer owns its job tried to write
├── Damaged             a stored file is missing, or its bytes do not match their digest
└── JobFailure          a running job ends failed; `code` and a sentence that a person can act on
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: where (dotted path), what, and what to do about it."""

    path: str
    message: str
    remedy: str


class StropError(Exception):
    """Something went wrong in Strop."""

    code = "internal_error"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n")[0])
        if code:
            self.code = code

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidRequest(StropError):
    """The request does not fit the documented shape or bounds."""

    code = "invalid_request"

    def __init__(
        self, message: str | None = None, *, errors: tuple[FieldError, ...] = (), more: int = 0, code: str | None = None
    ) -> None:
        """more: errors beside those that are told."""
        super().__init__(message, code=code)
        self.errors, self.more = errors, more


class NotFound(StropError):
    """There is nothing of that name here."""

    code = "not_found"


class Conflict(StropError):
    """The thing is not in a state that allows this."""

    code = "conflict"


class InvalidTransition(Conflict):
    """A job in this state cannot go to that one."""

    code = "invalid_transition"


class Unauthenticated(StropError):
    """A valid key is needed: send it as `Authorization: Bearer KEY`."""

    code = "unauthenticated"


class PermissionDenied(StropError):
    """The key does not carry the scope that this needs."""

    code = "permission_denied"


class TooLarge(StropError):
    """The body is larger than the documented bound."""

    code = "too_large"


class Unavailable(StropError):
    """A part that this needs is away for the moment; try again."""

    code = "unavailable"

    def __init__(self, message: str | None = None, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class FenceLost(StropError):
    """This attempt no longer owns its job; nothing was written."""

    code = "fence_lost"


class Damaged(StropError):
    """A stored file is missing or does not match its digest."""

    code = "damaged"


class JobFailure(StropError):
    """A running job cannot go on."""

    code = "job_failed"
