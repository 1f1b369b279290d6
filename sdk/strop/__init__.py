"""Client of Strop, a service that sharpens text-to-image diffusion models.

    with strop.Client(url, api_key) as client:
        job = client.jobs.create(base_model="shapes", prompts=["a red circle"], reward={"type": "scene"})
        client.jobs.wait(job.id)

client.py      the address, the key, and the nouns: jobs models rewards methods (gRPC), files artifacts images receipts (HTTP)
records.py     what is answered        errors.py   what is raised
rpc.py web.py retrying.py refusals.py finding.py   how it travels
messages.py reading.py                             how it is translated
cli/           the command `strop`     v1/         generated from proto/strop/v1
"""

from typing import TYPE_CHECKING, Any

from strop.errors import (
    Conflict,
    Damaged,
    FieldError,
    InvalidReceipt,
    InvalidRequest,
    JobCancelled,
    JobEnded,
    JobFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    StropError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from strop.records import (
    Adapter,
    Alias,
    Artifact,
    Attempt,
    Certificate,
    Choice,
    Drawing,
    Event,
    File,
    Image,
    Job,
    JobError,
    Model,
    Preview,
    Progress,
    Receipt,
    ReceiptStage,
    State,
)

if TYPE_CHECKING:
    from strop.client import Client

__all__ = [
    "Adapter",
    "Alias",
    "Artifact",
    "Attempt",
    "Certificate",
    "Choice",
    "Client",
    "Conflict",
    "Damaged",
    "Drawing",
    "Event",
    "FieldError",
    "File",
    "Image",
    "InvalidReceipt",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobEnded",
    "JobError",
    "JobFailed",
    "Model",
    "NotFound",
    "PermissionDenied",
    "Preview",
    "Progress",
    "RateLimited",
    "Receipt",
    "ReceiptStage",
    "State",
    "StropError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
]


def __getattr__(name: str) -> Any:
    """`Client` is loaded when first asked for: who wants only strop.v1, as the gateway does, needs no HTTP client."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from strop.client import Client

    return Client
