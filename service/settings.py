"""Settings, all from the environment with the prefix STROP_, validated at start: a wrong one stops the process with a sentence.

Composition roots read them once and hand values on; nothing below `settings` imports this.
"""

import re
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.domain.adapters import SERVED_RANK
from service.domain.recipes import LABEL

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
DEFAULT_STATE = Path(".strop")


class Settings(BaseSettings):
    """Every process reads the same set and uses what it needs."""

    model_config = SettingsConfigDict(env_prefix="STROP_", env_ignore_empty=True, extra="ignore", frozen=True)

    state_dir: Path = Field(
        default=DEFAULT_STATE, description="Where the embedded stack keeps its database, store, broker and logs."
    )
    database_url: str = Field(
        default="", description="postgresql://… or sqlite:///path; empty: SQLite in the state folder."
    )
    broker_url: str = Field(
        default="", description="redis://… or redis+socket:///path; empty: a socket in the state folder."
    )
    store_url: str = Field(
        default="", description="s3://bucket[/prefix] or file:///folder; empty: a folder in the state folder."
    )
    s3_endpoint_url: str | None = Field(default=None, description="Endpoint of an S3-compatible store; empty: AWS.")
    s3_public_url: str | None = Field(default=None, description="Set to hand out presigned links under this address.")
    catalogue: Path = Field(default=Path("catalogue.toml"), description="TOML list of base and reward models.")

    api_key: SecretStr | None = Field(
        default=None, min_length=16, description="The key of tenant `local`. Without it processes bind loopback only."
    )
    link_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Signs expiring links; default: derived from the key, or made at start.",
    )
    host: str = Field(default="127.0.0.1", description="Address that gateway and inference bind.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the gateway.")
    gateway_url: str | None = Field(
        default=None,
        description="Where callers reach the gateway (https://… where a proxy ends TLS): links to files begin with it; empty: as each request names it.",
    )
    grpc_port: int = Field(
        default=8002, ge=0, le=65535, description="Port of the gateway's gRPC face; 0: any free one."
    )
    grpc_url: str | None = Field(
        default=None, description="Where callers reach gRPC (https://… where a proxy ends TLS); empty: this host."
    )
    inference_port: int = Field(default=8001, ge=1, le=65535, description="Port of the inference endpoint.")
    inference_url: str | None = Field(
        default=None,
        description="Where callers, and the steward for receipts, reach the inference endpoint; empty: this host, and no receipts.",
    )

    lease_seconds: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="Lease of an attempt; heartbeat = lease / 3, control poll = lease / 15.",
    )
    step_timeout: float = Field(
        default=900.0,
        ge=1,
        le=86_400,
        description="Seconds without a sign of life from the child that end an attempt as stuck; of the inference endpoint, without "
        "a step while requests wait or run, after which /healthz asks for a new process.",
    )
    poll_seconds: float = Field(
        default=5.0, gt=0, le=300, description="How often an idle worker looks for work without being rung (jittered)."
    )
    attempt_limit: int = Field(default=3, ge=1, le=100, description="Counted attempts after which a job fails.")
    backoff_seconds: float = Field(
        default=5.0, ge=0, le=3600, description="Wait before the second attempt; doubles with each."
    )
    worker_name: str = Field(
        default="", description="How this worker signs its attempts; default: host and process id."
    )
    worker_labels: str = Field(
        default="", description="Labels of this worker, separated by commas: jobs that need them are run here."
    )
    worker_memory_gib: float | None = Field(
        default=None, gt=0, description="Memory that jobs find here, in GiB; default: the GPU's, else the machine's."
    )
    worker_health_port: int | None = Field(
        default=None, ge=1, le=65535, description="Loopback port on which the worker answers /readyz; empty: none."
    )
    steward_health_port: int | None = Field(
        default=None, ge=1, le=65535, description="Loopback port on which the steward answers /readyz; empty: none."
    )
    worker_stop_seconds: float = Field(
        default=28.0,
        ge=5,
        le=3600,
        description="Seconds after SIGTERM in which the worker hands its job back and is gone: a little less than its supervisor gives. "
        "Half of it is for the child's last checkpoint, to 70 % of it files may be on their way.",
    )
    scratch_dir: Path | None = Field(
        default=None, description="Attempts' scratch folders; default: in the state folder."
    )
    cache_dir: Path | None = Field(
        default=None, description="The read-only cache of models; default: in the state folder."
    )

    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="Where children and the engine compute."
    )
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads of each child and of the engine.")

    warm_bases: str = Field(
        default="",
        description="Base models that the inference endpoint loads and tries before it is ready, separated by commas.",
    )
    loaded_bases: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Base models on the inference endpoint's device at once; default: 2, or as many as are warm. The least "
        "recently used makes room.",
    )
    max_waiting: int = Field(
        default=16,
        ge=1,
        le=10_000,
        description="Requests of one tenant that may wait at the inference endpoint before their first step; more are refused.",
    )
    slots: int = Field(
        default=16,
        ge=1,
        le=1024,
        description="Adapters on the inference endpoint's device at once, of each base model.",
    )
    slot_rank: int = Field(
        default=SERVED_RANK,
        ge=1,
        le=1024,
        description="Rank of a slot: adapters of a request whose ranks exceed it are refused.",
    )
    slot_conv: bool = Field(
        default=True,
        description="Serve adapters of convolutions, which our recipes train by default on a U-Net; off: linear layers only.",
    )
    batch_invariant: bool = Field(
        default=False,
        description="Pictures drawn alone and among others are the same bits: one CPU thread, fp32, slower.",
    )
    adapter_memory_mib: int = Field(
        default=2048,
        ge=0,
        le=2**24,
        description="Host memory for adapters of the inference endpoint; those in use may exceed it.",
    )
    adapter_disk_mib: int = Field(
        default=20_480,
        ge=0,
        le=2**24,
        description="Disk for adapters in the cache folder, of all processes that share it.",
    )
    stuck_seconds: float = Field(
        default=120.0,
        ge=0.01,
        le=3600,
        description="Seconds without a step, while requests wait or run, after which the inference endpoint is not ready.",
    )
    drain_seconds: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="Seconds after SIGTERM for which the inference endpoint still answers, and takes nothing new, before its port "
        "closes: as long as a load balancer needs to see /readyz fail.",
    )
    safety_checker: str = Field(
        default="",
        pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$",
        description="module:function that looks at each drawn picture before it is given out; empty: none does.",
    )

    receipts: bool = Field(
        default=True, description="Whether the steward asks for receipts of adapters, where it can sign them."
    )
    signing_key_file: Path | None = Field(
        default=None,
        description="The steward's Ed25519 key for receipts, made by `manage keygen`; empty, or no STROP_INFERENCE_URL: none are asked for.",
    )

    keep_last_checkpoints: int = Field(
        default=3,
        ge=2,
        le=1000,
        description="Checkpoints that a running job keeps, beside its best one; older ones go.",
    )
    keep_checkpoints_days: float = Field(
        default=7.0, ge=0, description="Checkpoints of finished jobs are removed after so many days."
    )
    keep_events_days: float = Field(
        default=90.0, ge=0, description="What finished jobs said of each step is removed after so many days."
    )
    keep_uploads_days: float = Field(
        default=2.0, ge=1, description="Stored files that no row names are removed after so many days; one at least."
    )
    keep_drawn_seconds: int = Field(
        default=3600,
        ge=60,
        le=7 * 86_400,
        description="Drawn pictures behind links, and answers of asynchronous requests, are kept for so many seconds.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Level of the logs.")

    @model_validator(mode="after")
    def _fill_and_check(self) -> "Settings":
        state = self.state_dir.absolute()
        fill = {
            "database_url": f"sqlite:///{state / 'strop.db'}",
            "broker_url": f"redis+socket://{state / 'broker.sock'}?virtual_host=0",
            "store_url": f"file://{state / 'store'}",
            "scratch_dir": state / "scratch",
            "cache_dir": state / "cache",
        }
        for name, value in fill.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        _check_scheme("STROP_DATABASE_URL", self.database_url, ("postgresql", "postgresql+psycopg", "sqlite"))
        _check_scheme("STROP_BROKER_URL", self.broker_url, ("redis", "rediss", "redis+socket"))
        _check_scheme("STROP_STORE_URL", self.store_url, ("s3", "file"))
        for face in ("gateway_url", "grpc_url", "inference_url"):
            if (url := getattr(self, face)) is not None:
                _check_scheme(f"STROP_{face.upper()}", url, ("http", "https"))
        for label in self.labels():
            if not re.fullmatch(LABEL, label):
                raise ValueError(f"STROP_WORKER_LABELS: {label!r} is no label: letters, digits and . _ = / - only")
        if self.loaded_bases is not None and len(self.warm()) > self.loaded_bases:
            raise ValueError(
                f"STROP_WARM_BASES names {len(self.warm())} base models, and STROP_LOADED_BASES lets {self.loaded_bases} be "
                "loaded: they would take each other's place; warm fewer, or raise it"
            )
        if self.api_key is None and self.host not in LOOPBACK:
            raise ValueError(
                f"STROP_HOST is {self.host}, which others can reach, but STROP_API_KEY is not set: "
                "set a key of 16 characters or more, or bind 127.0.0.1"
            )
        return self

    def warm(self) -> tuple[str, ...]:
        """The base models to warm, each once."""
        return tuple(dict.fromkeys(name for word in self.warm_bases.split(",") if (name := word.strip())))

    def places(self) -> int:
        """Base models that may be loaded at once."""
        return self.loaded_bases or max(2, len(self.warm()))

    def labels(self) -> frozenset[str]:
        """The worker's labels, one by one."""
        return frozenset(label for word in self.worker_labels.split(",") if (label := word.strip()))


def _check_scheme(name: str, url: str, allowed: tuple[str, ...]) -> None:
    scheme = urlsplit(url).scheme
    if scheme not in allowed:
        raise ValueError(
            f"{name} begins with {scheme or 'nothing'!r}; it must be one of {', '.join(s + '://' for s in allowed)}"
        )


def load() -> Settings:
    """Read the environment, or end the process with one sentence per wrong setting."""
    try:
        return Settings()
    except ValidationError as error:
        for wrong in error.errors():
            place = "STROP_" + "_".join(str(part) for part in wrong["loc"]).upper() if wrong["loc"] else "settings"
            print(f"strop: {place}: {wrong['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        raise SystemExit(2) from None
