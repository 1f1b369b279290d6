"""The public names are frozen: a change here is a change for everybody who wrote `import strop`."""

import inspect
import subprocess
import sys

import strop


def test_the_names() -> None:
    assert sorted(strop.__all__) == strop.__all__ == [
        "Adapter", "Alias", "Artifact", "Attempt", "Certificate", "Choice", "Client", "Conflict", "Damaged", "Drawing", "Event", "FieldError", "File", "Image",
        "InvalidReceipt", "InvalidRequest", "Job", "JobCancelled", "JobEnded", "JobError", "JobFailed", "Model", "NotFound",
        "PermissionDenied", "Preview", "Progress", "RateLimited", "Receipt", "ReceiptStage", "State", "StropError", "TooLarge", "Unauthenticated",
        "Unavailable",
    ]  # fmt: skip
    assert all(hasattr(strop, name) for name in strop.__all__)


def test_the_verbs_of_a_client() -> None:
    client = strop.Client()
    verbs = {
        noun: sorted(name for name, _ in inspect.getmembers(type(each), inspect.isfunction) if name[0] != "_")
        for noun, each in vars(client).items()
        if noun[0] != "_"
    }
    assert verbs == {
        "jobs": [
            "cancel", "certificate", "clone", "create", "get", "list", "pause", "resume", "retry", "wait", "watch",
        ],
        "models": ["delete", "delete_alias", "get", "list", "set_alias"],
        "rewards": ["list"],
        "methods": ["list"],
        "files": ["upload"],
        "artifacts": ["download", "list"],
        "receipts": ["ask", "get", "keys", "verify"],
        "images": ["cancel", "generate", "get", "start", "stream", "wait"],
    }  # fmt: skip


def test_create_takes_the_fields_of_the_body() -> None:
    taken = set(inspect.signature(strop.Client().jobs.create).parameters) - {"unknown"}
    from strop.v1.jobs_pb2 import JobsCreateRequest

    assert taken == set(JobsCreateRequest.DESCRIPTOR.fields_by_name)


def test_a_wrong_name_is_refused_like_a_wrong_field() -> None:
    try:
        strop.Client().jobs.create(base_mdel="shapes")  # type: ignore[arg-type]
    except strop.InvalidRequest as error:
        assert error.errors[0].path == "base_mdel"


def test_the_generated_code_alone_loads_no_http_client() -> None:
    """The gateway imports strop.v1 only."""
    look = "import sys, strop.v1.jobs_pb2; sys.exit(bool({'httpx', 'rich'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
