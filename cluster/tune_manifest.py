"""Kubernetes manifests of a study: a RayJob with a cluster of its own, or one on a schedule.

    kubectl apply -f - <<< "$(sapphire tune manifest NAME --bucket BUCKET)"

Ray knows no preemption between jobs, so that a study beside the trading cell would take its CPUs:
it gets a cluster for itself, which goes when it ends. Workers stand on spot nodes. A lost worker
costs its running trials, a lost head a new try, which resumes: the study lies in the bucket.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]

from cluster.tune_job import (
    LONGEST_SCHEDULE,
    resource_name,
    retune_command,
    study_command,
)
from data.errors import InputError

RAY_VERSION = "2.60.0"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_QUANTITY = re.compile(r"[1-9][0-9]*(m|Mi|Gi|Ti)?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
_CRON = re.compile(r"[0-9*/,A-Za-z?-]+( [0-9*/,A-Za-z?-]+){4}")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")
SPOT = "cloud.google.com/gke-spot"
# GKE gives pods of a spot node that is taken back 15 seconds.
_SPOT_GRACE = 15
_FEWEST_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ClusterShape:
    """Where and how large: everything of a manifest that is not the study.

    Quantities are Kubernetes' (``2``, ``500m``, ``8Gi``); secrets and the service account are
    looked up in ``namespace``, and the service account may write to the bucket.
    """

    bucket: str  # studies stand at gs://BUCKET/studies
    namespace: str = "default"
    image: str = "sapphire:0.1.0"
    service_account: str = "sapphire-tune"
    database_secret: str = "sapphire-database"  # noqa: S105 - the name of one; its key DATABASE_URL
    token_secret: str = ""  # Ray's, with key auth_token; KubeRay makes one when empty
    workers: int = 8  # at most; the autoscaler begins with none
    worker_cpus: int = 4
    worker_memory: str = "8Gi"
    head_cpu: str = "2"
    head_memory: str = "8Gi"
    hours: float = 6.0  # then the try is ended
    retries: int = 2  # further tries, each with a new cluster
    keep_seconds: int = 600  # of the finished cluster, to look at


def manifest(study: str, arguments: Sequence[str], shape: ClusterShape) -> str:
    """The RayJob that runs ``sapphire tune run STUDY arguments``, as YAML; equal for equal input.

    InputError names the part that Kubernetes would refuse.
    """
    name = resource_name(study)
    command = study_command(study, arguments, storage(shape))
    return _dump(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": _metadata(name, study, shape),
            "spec": _job(study, command, shape),
        },
        f"The study {study} on a Ray cluster of its own; kubectl replace --force goes on with it.",
    )


def retune_manifest(
    name: str, schedule: str, arguments: Sequence[str], shape: ClusterShape, zone: str = "Etc/UTC"
) -> str:
    """The RayCronJob that runs ``sapphire tune retune arguments`` on a schedule, as YAML.

    ``schedule`` has cron's five fields. InputError names the part that Kubernetes would refuse.
    """
    if not _CRON.fullmatch(schedule):
        raise InputError(
            f"schedule {schedule!r}: write cron's five fields, as '0 6 1 1 *' for each 1 January"
        )
    _must(_ZONE, zone, "time zone", "write one as Europe/Berlin")
    command = retune_command(arguments, storage(shape))
    return _dump(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCronJob",
            "metadata": _metadata(resource_name(name, "retune", LONGEST_SCHEDULE), name, shape),
            "spec": {
                "schedule": schedule,
                "timeZone": zone,
                "jobTemplate": _job(name, command, shape),
            },
        },
        "Tunes on the data of its day and proposes; promotes only where its arguments say so.",
    )


def storage(shape: ClusterShape) -> str:
    """Where the studies of this cluster stand."""
    if shape.bucket.startswith("gs://"):
        raise InputError(f"bucket {shape.bucket!r}: write its name without gs://")
    advice = "a name has 3 to 222 lower-case letters, digits, '-', '_' and '.', no folder behind it"
    _must(_BUCKET, shape.bucket, "bucket", advice)
    return f"gs://{shape.bucket}/studies"


def _job(study: str, command: Sequence[str], shape: ClusterShape) -> dict[str, Any]:
    _check(shape)
    auth = {"mode": "token"} | ({"secretName": shape.token_secret} if shape.token_secret else {})
    return {
        "entrypoint": shlex.join(command),
        "metadata": {"sapphire_study": study},
        "submissionMode": "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": shape.keep_seconds,
        "preRunningDeadlineSeconds": 900,  # Nodes that never come are no reason to wait for hours.
        "activeDeadlineSeconds": round(shape.hours * 3600),
        "backoffLimit": shape.retries,
        "submitterPodTemplate": _submitter(shape),
        "rayClusterSpec": {
            "rayVersion": RAY_VERSION,
            "authOptions": auth,
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {
                "version": "v2",
                "idleTimeoutSeconds": 60,
                "resources": _resources("500m", "512Mi"),
                "securityContext": _container_security(),
            },
            "headGroupSpec": _head(shape),
            "workerGroupSpecs": [_workers(shape)],
        },
    }


def _head(shape: ClusterShape) -> dict[str, Any]:
    return {
        "serviceType": "ClusterIP",
        # The driver and Ray's own services live here, trials do not.
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - a ClusterIP
        "template": {
            "metadata": {
                "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                "labels": {"app.kubernetes.io/name": "sapphire-tune"},
            },
            "spec": {
                **_pod(shape),
                "containers": [
                    _container("ray-head", shape, _resources(shape.head_cpu, shape.head_memory))
                ],
            },
        },
    }


def _workers(shape: ClusterShape) -> dict[str, Any]:
    return {
        "groupName": "spot",
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": shape.workers,
        "rayStartParams": {"num-cpus": str(shape.worker_cpus)},
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": "sapphire-tune"}},
            "spec": {
                **_pod(shape),
                "terminationGracePeriodSeconds": _SPOT_GRACE,
                "nodeSelector": {SPOT: "true"},
                "tolerations": [
                    {"key": SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
                ],
                "containers": [
                    _container(
                        "ray-worker",
                        shape,
                        _resources(str(shape.worker_cpus), shape.worker_memory),
                    )
                ],
            },
        },
    }


def _submitter(shape: ClusterShape) -> dict[str, Any]:
    container = {
        "name": "ray-job-submitter",
        "image": shape.image,
        "resources": _resources("500m", "512Mi"),
        "securityContext": _container_security(),
    }
    return {"spec": {**_pod(shape), "restartPolicy": "Never", "containers": [container]}}


def _pod(shape: ClusterShape) -> dict[str, Any]:
    return {
        "serviceAccountName": shape.service_account,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _container(name: str, shape: ClusterShape, resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": shape.image,
        "env": [
            {"name": "OMP_NUM_THREADS", "value": "1"},  # One thread per trial.
            {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
            {
                "name": "DATABASE_URL",
                "valueFrom": {
                    "secretKeyRef": {"name": shape.database_secret, "key": "DATABASE_URL"}
                },
            },
        ],
        "resources": resources,
        "securityContext": _container_security(),
    }


def _container_security() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _resources(cpu: str, memory: str) -> dict[str, Any]:
    # No limit on CPU: a throttled raylet misses its heartbeats and is declared dead.
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _metadata(name: str, study: str, shape: ClusterShape) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": shape.namespace,
        "labels": {
            "app.kubernetes.io/name": "sapphire-tune",
            "app.kubernetes.io/managed-by": "sapphire",
        },
        "annotations": {"sapphire/study": study},
    }


def _check(shape: ClusterShape) -> None:
    _must(_LABEL, shape.namespace, "namespace", "write lower-case letters, digits and '-'")
    _must(_IMAGE, shape.image, "image", "write it as REGISTRY/NAME:TAG")
    for what, name in (
        ("service account", shape.service_account),
        ("database secret", shape.database_secret),
        *([("token secret", shape.token_secret)] if shape.token_secret else []),
    ):
        if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
            raise InputError(
                f"{what} {name!r} is no Kubernetes name: write lower-case letters, digits, '-', '.'"
            )
    for what, quantity in (
        ("worker memory", shape.worker_memory),
        ("head memory", shape.head_memory),
        ("head CPU", shape.head_cpu),
    ):
        _must(_QUANTITY, quantity, what, "write it as 2, 500m or 8Gi")
    for what, value, least in (
        ("workers", shape.workers, 1),
        ("CPUs of a worker", shape.worker_cpus, 1),
        ("retries", shape.retries, 0),
        ("seconds to keep the cluster", shape.keep_seconds, 0),
    ):
        if not least <= value <= 1_000_000:
            raise InputError(f"{what}: {value} is out of range, write {least} or more")
    if not _FEWEST_SECONDS <= shape.hours * 3600 <= 366 * 86400:
        raise InputError(f"hours {shape.hours}: write between a minute (0.017) and a year (8784)")


def _must(pattern: re.Pattern[str], text: str, what: str, advice: str) -> None:
    if not pattern.fullmatch(text):
        raise InputError(f"{what} {text!r}: {advice}")


class _Dumper(yaml.SafeDumper):
    """Writes every value out: people do not read YAML's anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - its signature
        return True


def _dump(document: dict[str, Any], about: str) -> str:
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return f"# {about}\n# Written by sapphire tune manifest for KubeRay 1.7.\n{body}"
