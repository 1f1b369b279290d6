"""The chart: every rendering is valid, whole, and keeps its secrets. Run by `make test-helm`, which sets HELM."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.domain.files import MAX_FILE_BYTES
from service.rest.face import MULTIPART
from service.rpc.face import GRACE_SECONDS
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "strop"
DOCKERFILE = ROOT / "Dockerfile"
BODY = "nginx.ingress.kubernetes.io/proxy-body-size"
VALUES = Path(__file__).parent / "values"
SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))
KUBERNETES = ("1.25.0", "1.31.0", "1.37.0")
GIVEN = {
    "apiKey": "a-key-for-rendering",
    "database.url": "postgresql://strop:word-of-database@db/strop",
    "broker.url": "redis://:word-of-broker@redis/0",
    "store.url": "s3://strop",
}

THE_CHARTS = {
    "state_dir", "database_url", "broker_url", "store_url", "s3_endpoint_url", "s3_public_url", "catalogue",
    "api_key", "link_key", "host", "port", "gateway_url", "grpc_port", "grpc_url", "inference_port", "inference_url",
    "worker_name", "worker_labels", "worker_health_port", "worker_stop_seconds", "steward_health_port",
    "scratch_dir", "cache_dir", "signing_key_file",
}  # fmt: skip
"""Settings that have values of their own, or that pods are given by their templates or extraEnv."""

Manifest = dict[str, Any]


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([os.environ["HELM"], *words], capture_output=True, text=True, check=False)


def rendered(values: str) -> list[Manifest]:
    made = helm("template", "demo", str(CHART), "--values", str(VALUES / f"{values}.yaml"))
    assert made.returncode == 0, made.stderr
    return [manifest for manifest in yaml.safe_load_all(made.stdout) if manifest]


@pytest.fixture(scope="module", params=SETS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(request.param)


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["labels"]["app.kubernetes.io/component"], manifest["spec"]["template"]["spec"]


def refused(*words: str, leave_out: str = "") -> str:
    given = [word for name, value in GIVEN.items() if name != leave_out for word in ("--set", f"{name}={value}")]
    made = helm("template", "demo", str(CHART), *given, *words)
    assert made.returncode != 0
    return made.stderr


class TestRendering:
    @pytest.mark.parametrize("values", SETS)
    def test_lint_finds_nothing(self, values: str) -> None:
        made = helm("lint", "--strict", str(CHART), "--values", str(VALUES / f"{values}.yaml"))
        assert made.returncode == 0, made.stdout + made.stderr

    @pytest.mark.parametrize("version", KUBERNETES)
    def test_every_manifest_fits_the_schemas_of_kubernetes(self, manifests: list[Manifest], version: str) -> None:
        for manifest in manifests:
            kubernetes_validate.validate(manifest, version, strict=True)

    def test_names_are_unique_within_a_kind(self, manifests: list[Manifest]) -> None:
        names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
        assert len(names) == len(set(names))

    def test_every_process_is_there(self, manifests: list[Manifest]) -> None:
        assert {part for part, _ in pods(manifests)} == {"gateway", "steward", "worker", "inference", "migrate"}

    def test_the_full_values_render_every_kind(self) -> None:
        templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
        written = set(re.findall(r"^kind: (\w+)$", templates, re.MULTILINE))
        assert {manifest["kind"] for manifest in rendered("full")} == written

    def test_what_a_pod_mounts_is_a_volume_of_it(self, manifests: list[Manifest]) -> None:
        for part, pod in pods(manifests):
            mounts = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
            assert mounts == {volume["name"] for volume in pod["volumes"]}, part

    def test_secrets_and_config_maps_that_pods_name_are_rendered(self, manifests: list[Manifest]) -> None:
        made = {(m["kind"], m["metadata"]["name"]) for m in manifests} | {("Secret", "strop-credentials")}
        for _, pod in pods(manifests):
            for volume in pod["volumes"]:
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in made
            for variable in environment(pod):
                if "valueFrom" in variable:
                    assert ("Secret", variable["valueFrom"]["secretKeyRef"]["name"]) in made


def environment(pod: Manifest) -> list[Manifest]:
    return [variable for container in pod["containers"] for variable in container.get("env", ())]


class TestEnvironment:
    def test_every_variable_is_a_setting(self, manifests: list[Manifest]) -> None:
        known = {f"STROP_{name.upper()}" for name in Settings.model_fields}
        for part, pod in pods(manifests):
            names = {variable["name"] for variable in environment(pod) if variable["name"].startswith("STROP_")}
            assert names <= known, part

    def test_values_may_name_every_setting_that_the_chart_does_not_set_itself(self) -> None:
        schema = yaml.safe_load((CHART / "values.schema.json").read_text())
        assert set(schema["properties"]["settings"]["properties"]) == set(Settings.model_fields) - THE_CHARTS

    def test_what_values_name_is_told_to_every_process(self) -> None:
        for part, pod in pods(rendered("full")):
            told = {variable["name"]: variable.get("value") for variable in environment(pod)}
            assert (told["STROP_KEEP_CHECKPOINTS_DAYS"], told["STROP_RECEIPTS"]) == ("0.5", "false"), part

    def test_no_variable_is_said_twice(self, manifests: list[Manifest]) -> None:
        for part, pod in pods(manifests):
            names = [variable["name"] for variable in environment(pod)]
            assert len(names) == len(set(names)), part

    def test_a_process_gets_only_the_credentials_that_it_uses(self) -> None:
        def asked(pod: Manifest) -> set[str]:
            return {v["valueFrom"]["secretKeyRef"]["key"] for v in environment(pod) if "valueFrom" in v}

        s3 = {"s3-access-key-id", "s3-secret-access-key"}
        assert {part: asked(pod) for part, pod in pods(rendered("minimal"))} == {
            "migrate": {"database-url"},
            "steward": {"database-url"} | s3,
            "worker": {"database-url", "broker-url"} | s3,
            "inference": {"database-url", "api-key", "link-key"} | s3,
            "gateway": {"database-url", "broker-url", "api-key", "link-key"} | s3,
        }

    def test_a_steward_that_signs_has_the_endpoints_key_and_its_own(self) -> None:
        steward = dict(pods(rendered("full")))["steward"]
        told = {variable["name"]: variable.get("value") for variable in environment(steward)}
        assert told["STROP_INFERENCE_URL"] == "http://demo-strop-inference:8001"
        assert "STROP_API_KEY" in told
        (container,) = steward["containers"]
        (mounted,) = (mount for mount in container["volumeMounts"] if mount["name"] == "signing-key")
        assert told["STROP_SIGNING_KEY_FILE"] == f"{mounted['mountPath']}/signing-key.pem"
        (volume,) = (volume for volume in steward["volumes"] if volume["name"] == "signing-key")
        assert volume["secret"]["defaultMode"] == 0o440, "its owner and group only, or the steward refuses it"

    def test_clients_are_told_the_address_of_the_ingress(self) -> None:
        told = {
            variable["name"]: variable.get("value") for variable in environment(dict(pods(rendered("full")))["gateway"])
        }
        assert told["STROP_GRPC_URL"] == "https://grpc.example.com"
        assert told["STROP_GATEWAY_URL"] == "https://strop.example.com"


class TestSecrets:
    def test_credentials_stand_in_secrets_only(self, manifests: list[Manifest]) -> None:
        for manifest in manifests:
            if manifest["kind"] != "Secret":
                assert "word-of-" not in yaml.safe_dump(manifest), manifest["metadata"]["name"]

    def test_an_existing_secret_takes_the_place_of_the_charts(self) -> None:
        assert "Secret" not in {manifest["kind"] for manifest in rendered("existing-secret")}


class TestPods:
    def test_none_may_become_root_or_write_outside_its_volumes(self, manifests: list[Manifest]) -> None:
        for part, pod in pods(manifests):
            assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, part
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"]:
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}

    def test_every_process_that_stays_is_probed_and_bounded(self, manifests: list[Manifest]) -> None:
        for part, pod in pods(manifests):
            for container in pod["containers"]:
                assert part == "migrate" or "readinessProbe" in container, part
                assert "memory" in container["resources"]["limits"], part

    def test_worker_and_steward_are_asked_on_the_port_that_they_were_given(self, manifests: list[Manifest]) -> None:
        for part in ("worker", "steward"):
            (container,) = dict(pods(manifests))[part]["containers"]
            ports = [each["value"] for each in container["env"] if each["name"] == f"STROP_{part.upper()}_HEALTH_PORT"]
            asked = container["readinessProbe"]["exec"]["command"]
            assert asked == ["python", "-m", "deploy.health", "ready", *ports], part
            assert "livenessProbe" not in container, "a restart brings no database back, and would end a training"

    def test_the_worker_has_time_to_hand_its_job_back(self, manifests: list[Manifest]) -> None:
        patience = {part: pod.get("terminationGracePeriodSeconds", 30) for part, pod in pods(manifests)}
        assert patience["worker"] >= 40
        told = {each["name"]: each.get("value") for each in environment(dict(pods(manifests))["worker"])}
        assert 20 <= float(told["STROP_WORKER_STOP_SECONDS"] or 0) <= patience["worker"] - 10
        assert patience["inference"] >= 5 + 5 + 90 + 10  # its preStop, its draining, uvicorn's patience, the engine's

    def test_the_gateway_has_time_to_send_what_it_began(self, manifests: list[Manifest]) -> None:
        (patience,) = re.findall(r"--timeout-graceful-shutdown (\d+) service.app", DOCKERFILE.read_text())
        gateway = dict(pods(manifests))["gateway"]
        command, seconds = gateway["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "sleep"
        grace = gateway.get("terminationGracePeriodSeconds", 30)
        assert int(seconds) + int(patience) + GRACE_SECONDS < grace

    def test_gpus_are_limits_of_worker_and_inference(self) -> None:
        bound = {part: pod["containers"][0]["resources"]["limits"] for part, pod in pods(rendered("gpu"))}
        assert {part for part, limits in bound.items() if limits.get("nvidia.com/gpu")} == {"worker", "inference"}

    @pytest.mark.parametrize(("values", "device"), [("gpu", "cuda"), ("minimal", None)])
    def test_a_part_with_gpus_computes_on_them_or_says_why_not(self, values: str, device: str | None) -> None:
        """Never quietly on the CPU, where a GPU was lost."""
        for part, pod in pods(rendered(values)):
            told = [each.get("value") for each in environment(pod) if each["name"] == "STROP_DEVICE"]
            assert told == ([device] if device and part in ("worker", "inference") else [])

    def test_there_is_never_a_second_steward(self, manifests: list[Manifest]) -> None:
        (steward,) = (m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"].endswith("steward"))
        assert steward["spec"]["replicas"] == 1 and steward["spec"]["strategy"] == {"type": "Recreate"}

    def test_migrations_run_before_install_and_upgrade(self, manifests: list[Manifest]) -> None:
        (job,) = (manifest for manifest in manifests if manifest["kind"] == "Job")
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"

    def test_migrations_run_where_their_values_say(self) -> None:
        migrate = dict(pods(rendered("full")))["migrate"]
        assert migrate["serviceAccountName"] == "migrations"
        assert migrate["nodeSelector"] == {"pool": "control"} and migrate["tolerations"][0]["key"] == "control"
        assert migrate["affinity"]["podAntiAffinity"], "the gateway's, where they say nothing"
        assert {"name": "PGSSLMODE", "value": "require"} in environment(migrate)
        (job,) = (manifest for manifest in rendered("full") if manifest["kind"] == "Job")
        assert job["spec"]["template"]["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}

    def test_migrations_run_where_the_gateway_does_unless_told_otherwise(self) -> None:
        found = dict(pods(rendered("placed")))
        for where in ("nodeSelector", "tolerations"):
            assert found["migrate"][where] == found["gateway"][where]
        assert "serviceAccountName" not in found["migrate"], "the chart's is not there before the install"


class TestNotes:
    def test_of_an_address_without_grpc_and_pictures_it_says_that_nobody_is_told(self) -> None:
        assert "ingress.grpc.host" not in notes() and "ingress.inference.host" not in notes()
        alone = notes("--set", "ingress.gateway.host=strop.example.com")
        assert "ingress.grpc.host" in alone and "ingress.inference.host" in alone
        told = notes("--values", str(VALUES / "full.yaml"))
        assert "ingress.grpc.host" not in told and "ingress.inference.host" not in told

    def test_the_docs_example_leaves_no_face_out(self, tmp_path: Path) -> None:
        (example,) = re.findall(r"```yaml\n(# mine.yaml\n.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
        (tmp_path / "mine.yaml").write_text(example)
        made = helm("template", "demo", str(CHART), "--values", str(tmp_path / "mine.yaml"))
        assert made.returncode == 0, made.stderr
        found = [manifest for manifest in yaml.safe_load_all(made.stdout) if manifest]
        told = {each["name"]: each.get("value") for each in environment(dict(pods(found))["gateway"])}
        hosts = {f"https://{each['spec']['rules'][0]['host']}" for each in found if each["kind"] == "Ingress"}
        assert {told[f"STROP_{face}_URL"] for face in ("GATEWAY", "GRPC", "INFERENCE")} == hosts
        bodies = [each["metadata"]["annotations"].get(BODY) for each in found if each["kind"] == "Ingress"]
        assert f"{(MAX_FILE_BYTES + MULTIPART) // 2**20 + 1}m" in bodies


def notes(*words: str) -> str:
    """What an install would say; nothing is asked of a cluster."""
    given = [word for name, value in GIVEN.items() for word in ("--set", f"{name}={value}")]
    made = helm("install", "demo", str(CHART), "--dry-run=client", *given, *words)
    assert made.returncode == 0, made.stderr
    return made.stdout.split("NOTES:")[1]


class TestRefusals:
    @pytest.mark.parametrize("missing", GIVEN)
    def test_a_missing_value_is_refused_with_its_name(self, missing: str) -> None:
        assert f"strop: {missing} is missing" in refused(leave_out=missing)

    def test_half_a_pair_of_keys_is_refused(self) -> None:
        assert "go together" in refused("--set", "store.accessKeyId=half")

    def test_credentials_beside_an_existing_secret_are_refused(self) -> None:
        assert "would be ignored" in refused("--set", "existingSecret=mine")

    @pytest.mark.parametrize(
        "wrong",
        [
            "worker.replica=3",
            "database.url=mysql://db",
            "worker.gpus=-1",
            "settings.lease=3",
            "stor.url=x",
            "worker.terminationGracePeriodSeconds=3613",
        ],
    )
    def test_a_misspelt_or_wrong_value_is_refused(self, wrong: str) -> None:
        refused("--set", wrong)
