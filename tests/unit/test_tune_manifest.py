"""The manifests of a study on a cluster: what `kubectl apply` would take, and nothing else."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.tune_job import LONGEST_JOB, LONGEST_SCHEDULE, resource_name, study_command
from cluster.tune_manifest import SPOT, ClusterShape, manifest, retune_manifest
from data.errors import InputError

SCHEMAS = Path(__file__).resolve().parents[2].parent / "shared" / "kuberay"
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SHAPE = ClusterShape(bucket="quant-studies")
WORDS = ("--target", "ema_cross", "--trials", "2000")


def validate(document: dict[str, Any], schema: str) -> None:
    path = SCHEMAS / schema
    if not path.exists():
        pytest.skip("../shared/kuberay is absent: the schema of KubeRay's kinds lies there")
    jsonschema = pytest.importorskip("jsonschema")
    # Without a check of the schema itself, which takes seconds.
    jsonschema.Draft202012Validator(json.loads(path.read_text())).validate(document)


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [job["submitterPodTemplate"]["spec"], *(g["template"]["spec"] for g in groups)]


def test_the_job_fits_kuberays_schema() -> None:
    for shape in (SHAPE, replace(SHAPE, token_secret="ray-token")):
        validate(yaml.safe_load(manifest("ema", WORDS, shape)), "rayjob_v1.strict.json")


def test_the_scheduled_retune_fits_kuberays_schema() -> None:
    text = retune_manifest("champions-2026", "0 6 1 1 *", ("--target", "pool"), SHAPE)
    document = yaml.safe_load(text)
    validate(document, "raycronjob_v1.strict.json")
    assert document["kind"] == "RayCronJob"
    assert document["spec"]["schedule"] == "0 6 1 1 *"
    command = shlex.split(document["spec"]["jobTemplate"]["entrypoint"])
    assert command[:3] == ["sapphire", "tune", "retune"]
    assert len(document["metadata"]["name"]) <= LONGEST_SCHEDULE


def test_the_schema_would_see_a_field_that_kuberay_does_not_know() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = yaml.safe_load(manifest("ema", WORDS, SHAPE))
    document["spec"]["rayClusterConfig"] = document["spec"].pop("rayClusterSpec")
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "rayjob_v1.strict.json")


def test_the_cluster_is_its_own_and_ends_with_the_study() -> None:
    job = yaml.safe_load(manifest("ema", WORDS, replace(SHAPE, hours=1.5, retries=3)))["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert "clusterSelector" not in job
    assert (job["activeDeadlineSeconds"], job["backoffLimit"]) == (5400, 3)
    assert job["ttlSecondsAfterFinished"] == 600
    cluster = job["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_only_workers_stand_on_spot_nodes() -> None:
    job = yaml.safe_load(manifest("ema", WORDS, replace(SHAPE, workers=32)))["spec"]
    submitter, head, worker = pods(job)
    assert worker["nodeSelector"] == {SPOT: "true"}
    assert worker["tolerations"][0]["key"] == SPOT
    assert all("nodeSelector" not in pod for pod in (submitter, head))
    assert job["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"] == 32


def test_every_pod_is_restricted_and_no_secret_stands_in_the_text() -> None:
    text = manifest("ema", WORDS, replace(SHAPE, image="eu.example/sapphire:7"))
    for pod in pods(yaml.safe_load(text)["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["serviceAccountName"] == "sapphire-tune"
        for container in pod["containers"]:
            assert container["image"] == "eu.example/sapphire:7"
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
    for pod in pods(yaml.safe_load(text)["spec"])[1:]:
        env = {each["name"]: each for each in pod["containers"][0]["env"]}
        assert env["OMP_NUM_THREADS"]["value"] == "1"
        secret = env["DATABASE_URL"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "sapphire-database", "key": "DATABASE_URL"}
    assert "postgres://" not in text


def test_the_entrypoint_goes_on_with_a_study_that_exists_and_keeps_it_in_the_bucket() -> None:
    hostile = ("--objectives", "sharpe; rm -rf /", "--symbols", "$(id)")
    job = yaml.safe_load(manifest("ema", hostile, SHAPE))["spec"]
    words = shlex.split(job["entrypoint"])
    assert words == [
        *("sapphire", "tune", "run", "ema", "--resume-if-exists", "--address", "auto"),
        *hostile,
        *("--storage", "gs://quant-studies/studies"),
    ]


def test_the_text_is_the_same_every_time_and_has_no_anchors() -> None:
    text = manifest("ema", WORDS, SHAPE)
    assert text == manifest("ema", list(WORDS), ClusterShape(bucket="quant-studies"))
    assert not re.search(r"[&*]id\d", text)
    assert text.startswith("# ")


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?", fullmatch=True))
def test_every_study_name_gives_a_name_by_rfc_1123(study: str) -> None:
    for longest in (LONGEST_JOB, LONGEST_SCHEDULE):
        name = resource_name(study, "tune", longest)
        assert LABEL.fullmatch(name)
        assert len(name) <= longest


def test_different_studies_have_different_names() -> None:
    studies = ["a-b", "a--b", "x" * 42, "x" * 43, "x" * 47 + "y", "x" * 48]
    assert len({resource_name(study) for study in studies}) == len(studies)
    assert resource_name("ema-2026") == "tune-ema-2026"


@pytest.mark.parametrize(
    "study", ["", "a b", "../etc", "-x", "x-", "ü", "A", "a_b", "a\nb", "x" * 49]
)
def test_a_study_name_that_no_cluster_carries_is_refused(study: str) -> None:
    with pytest.raises(InputError, match="study name"):
        manifest(study, WORDS, SHAPE)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bucket": "gs://x"}, "bucket"),
        ({"namespace": "No_Such"}, "namespace"),
        ({"image": "a b"}, "image"),
        ({"service_account": "UPPER"}, "service account"),
        ({"database_secret": ""}, "database secret"),
        ({"token_secret": "a/b"}, "token secret"),
        ({"worker_memory": "8GB"}, "worker memory"),
        ({"head_cpu": "0"}, "head CPU"),
        ({"workers": 0}, "workers"),
        ({"worker_cpus": 0}, "CPUs of a worker"),
        ({"retries": -1}, "retries"),
        ({"hours": 0.0}, "hours"),
        ({"hours": float("nan")}, "hours"),
    ],
)
def test_each_part_that_kubernetes_would_refuse_is_named(
    change: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        manifest("ema", WORDS, replace(SHAPE, **change))


@pytest.mark.parametrize("schedule", ["", "daily", "* * * *", "* * * * * *", "0 6 1 1 *\nx: y"])
def test_a_schedule_that_is_none_is_refused(schedule: str) -> None:
    with pytest.raises(InputError, match="schedule"):
        retune_manifest("ema", schedule, (), SHAPE)


def test_an_argument_with_a_line_break_is_refused() -> None:
    with pytest.raises(InputError, match="control characters"):
        study_command("ema", ["--from\n2000"])
