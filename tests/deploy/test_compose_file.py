"""The compose file, read as it stands: whole, watched, bounded, never root, reachable from this machine only."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.rpc.face import GRACE_SECONDS
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OURS = {"gateway", "steward", "worker", "inference", "migrate"}
SERVERS = {"postgres", "redis", "s3"}
KEY = {"STROP_API_KEY": "a-key-for-reading"}

Service = dict[str, Any]


def config(environment: Mapping[str, str], *files: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config`, by the binary of the wheel; no engine, no .env file."""
    words = [word for file in files or ("docker-compose.yml",) for word in ("--file", str(ROOT / file))]
    compose = Path(sys.executable).parent / "docker-compose"
    return subprocess.run(
        [compose, *words, "--env-file", os.devnull, "config"],
        env={"PATH": os.defpath, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def services(environment: Mapping[str, str], *files: str) -> dict[str, Service]:
    read = config(environment, *files)
    assert read.returncode == 0, read.stderr
    found: dict[str, Service] = yaml.safe_load(read.stdout)["services"]
    return found


@pytest.fixture(scope="module")
def written() -> dict[str, Service]:
    return services(KEY)


def test_every_process_and_server_is_there(written: dict[str, Service]) -> None:
    assert set(written) == OURS | SERVERS


def test_every_variable_is_a_setting(written: dict[str, Service]) -> None:
    known = {f"STROP_{name.upper()}" for name in Settings.model_fields}
    for name in OURS:
        assert {variable for variable in written[name]["environment"] if variable.startswith("STROP_")} <= known, name


def test_what_the_example_of_env_names_is_read() -> None:
    example = set(re.findall(r"^#?([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert example <= set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))


def test_the_example_of_env_names_every_setting_that_is_read(written: dict[str, Service]) -> None:
    read = set(re.findall(r"\$\{((?:STROP|HF)_[A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert read <= set(re.findall(r"^#?([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


READERS = {
    "HF_TOKEN": {"worker", "inference"},
    "STROP_CATALOGUE": {"gateway", "worker", "inference"},
    "STROP_DRAIN_SECONDS": {"inference"},
    "STROP_GATEWAY_URL": {"gateway"},
    "STROP_GRPC_URL": {"gateway"},
    "STROP_INFERENCE_URL": {"gateway", "inference"},
    "STROP_KEEP_CHECKPOINTS_DAYS": {"steward"},
    "STROP_KEEP_DRAWN_SECONDS": {"steward", "inference"},
    "STROP_KEEP_EVENTS_DAYS": {"steward"},
    "STROP_KEEP_LAST_CHECKPOINTS": {"worker"},
    "STROP_KEEP_UPLOADS_DAYS": {"steward"},
    "STROP_LINK_KEY": {"gateway", "inference"},
    "STROP_S3_PUBLIC_URL": {"gateway", "steward", "worker", "inference"},
    "STROP_WARM_BASES": {"inference"},
    "STROP_WORKER_LABELS": {"worker"},
    "STROP_WORKER_MEMORY_GIB": {"worker"},
}
"""What an operator may set in .env, and who must be told."""


def test_what_env_sets_reaches_those_who_read_it(written: dict[str, Service]) -> None:
    found = services(KEY | {name: f"value of {name}" for name in READERS})
    for setting, readers in READERS.items():
        told = {name for name in OURS if found[name]["environment"].get(setting) == f"value of {setting}"}
        assert told == readers, setting
        assert all(written[name]["environment"][setting] == "" for name in readers), "left out, it is the default"


def test_everything_that_stays_is_watched_and_comes_back(written: dict[str, Service]) -> None:
    for name, service in written.items():
        if name != "migrate":
            assert service["healthcheck"]["test"] and not service["healthcheck"].get("disable"), name
            assert service["restart"] == "unless-stopped", name


def test_processes_are_asked_whether_they_are_ready_on_the_port_that_they_were_given(
    written: dict[str, Service],
) -> None:
    ports = {
        "gateway": "STROP_PORT", "inference": "STROP_INFERENCE_PORT",
        "worker": "STROP_WORKER_HEALTH_PORT", "steward": "STROP_STEWARD_HEALTH_PORT",
    }  # fmt: skip
    for name, port in ports.items():
        asked = written[name]["healthcheck"]["test"]
        assert asked == ["CMD", "python", "-m", "deploy.health", "ready", written[name]["environment"][port]], name


def test_everything_has_a_bound_of_memory(written: dict[str, Service]) -> None:
    assert all(int(service["mem_limit"]) > 0 for service in written.values())


def test_nothing_runs_as_root(written: dict[str, Service]) -> None:
    for name in SERVERS:
        assert written[name]["user"] in ("postgres", "redis", "1000:1000")
    users = re.findall(r"^USER (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["10001:10001"]
    assert all("user" not in written[name] for name in OURS)


def test_ours_write_only_into_volumes_and_gain_no_rights(written: dict[str, Service]) -> None:
    for name in OURS:
        assert written[name]["read_only"] and written[name]["cap_drop"] == ["ALL"], name
        assert written[name]["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_this_machines_alone_unless_asked_otherwise(written: dict[str, Service]) -> None:
    def published(found: dict[str, Service]) -> dict[str, list[tuple[str, str]]]:
        return {
            name: [(port["host_ip"], port["published"]) for port in service["ports"]]
            for name, service in found.items()
            if "ports" in service
        }

    assert published(written) == {
        "gateway": [("127.0.0.1", "8000"), ("127.0.0.1", "8002")],
        "inference": [("127.0.0.1", "8001")],
    }
    assert published(services(KEY | {"BIND": "0.0.0.0", "GRPC_PORT": "9002"}))["gateway"][1] == ("0.0.0.0", "9002")


def test_clients_are_told_the_ports_that_are_published() -> None:
    told = services(KEY | {"GRPC_PORT": "9002", "INFERENCE_PORT": "9001"})["gateway"]["environment"]
    assert (told["STROP_GRPC_PORT"], told["STROP_INFERENCE_PORT"]) == ("9002", "9001")


def test_servers_are_on_a_network_without_a_way_out(written: dict[str, Service]) -> None:
    assert all(set(written[name]["networks"]) == {"inside"} for name in SERVERS)
    assert yaml.safe_load(config(KEY).stdout)["networks"]["inside"]["internal"] is True


def test_processes_wait_for_the_migrations_and_the_bucket(written: dict[str, Service]) -> None:
    for name in OURS - {"migrate"}:
        after = {other: how["condition"] for other, how in written[name]["depends_on"].items()}
        assert after["migrate"] == "service_completed_successfully" and after["s3"] == "service_healthy", name


def test_the_worker_has_time_to_hand_its_job_back(written: dict[str, Service]) -> None:
    assert written["worker"]["stop_grace_period"] == "40s"


def test_the_gateway_has_time_to_send_what_it_began(written: dict[str, Service]) -> None:
    (patience,) = re.findall(r"--timeout-graceful-shutdown (\d+) service.app", (ROOT / "Dockerfile").read_text())
    assert int(patience) + GRACE_SECONDS < int(written["gateway"]["stop_grace_period"].removesuffix("s"))


def test_the_key_goes_to_those_that_check_it(written: dict[str, Service]) -> None:
    assert {name for name in OURS if "STROP_API_KEY" in written[name]["environment"]} == {"gateway", "inference"}


def test_without_a_key_it_says_what_to_do() -> None:
    refused = config({})
    assert refused.returncode != 0
    assert "STROP_API_KEY" in refused.stderr and "Write a key of 16 characters or more into .env" in refused.stderr


def test_the_second_file_gives_gpus_to_worker_and_inference() -> None:
    found = services(KEY, "docker-compose.yml", "docker-compose.gpu.yml")
    reserved = {
        name for name, service in found.items() if service.get("deploy", {}).get("resources", {}).get("reservations")
    }
    assert reserved == {"worker", "inference"}
    assert {found[name]["environment"]["STROP_DEVICE"] for name in reserved} == {"cuda"}, "no CPU in its place, unsaid"
