"""``sapphire tune submit``: a study as a job of a Ray cluster that runs already.

The sources of this installation go along, so that the job runs what was tried here. For a study
that should outlive the cluster give a storage that every node reaches (``gs://…``).
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

from cluster.stopping import Stopped
from cluster.tune_job import study_command
from cluster.tune_package import pack
from data.errors import InputError

if TYPE_CHECKING:
    from cluster.ray_jobs import Jobs

# Ray's client lets these win over the address it is given.
OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
# No variable that the study sets for its workers: Ray refuses a job whose driver names one again.
JOB_ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """``arguments`` are further options of ``sapphire tune run`` on the cluster."""

    address: str  # http(s)://HOST:PORT of the dashboard
    study: str
    arguments: tuple[str, ...] = ()
    storage: str = ""
    files: tuple[Path, ...] = ()  # sent along, named in ``arguments`` by their names alone
    headers: tuple[str, ...] = ()  # NAME=VALUE, for a proxy before the dashboard
    python: str = "python"  # of the cluster's nodes
    wait: bool = True
    as_json: bool = False


def submit(options: SubmitOptions, environment: Mapping[str, str], job_suffix: str) -> int:
    """Send the study, follow its log unless ``wait`` is off; the exit code.

    ``environment`` is this process's; the token comes from it. ``job_suffix`` makes the job's id
    unique. InputError for bad input, ServiceError when the cluster does not answer.
    """
    address = dashboard_address(options.address)
    for name in OVERRIDES:
        if environment.get(name):
            raise InputError(f"{name} is set, and Ray would take it for --address: unset it")
    words = study_command(options.study, options.arguments, options.storage)
    command = shlex.join([options.python, "-m", "cluster.cli", *words[1:]])
    # Errors of a person come before ray is imported, which takes seconds.
    with tempfile.TemporaryDirectory(prefix="sapphire-") as folder:
        archive = Path(folder) / "sources.zip"
        pack(Path(__file__).resolve().parent.parent, options.files, archive)
        headers = request_headers(options.headers, environment)
        from cluster.ray_jobs import Jobs

        jobs = Jobs(address, headers)
        job = start(jobs, options.study, command, archive, job_suffix)
    if options.as_json:
        print(json.dumps({"job": job, "study": options.study, "address": address}), flush=True)
    else:
        print(f"{options.study} runs as {job} at {address}", file=sys.stderr, flush=True)
    if not options.wait:
        return 0
    return follow(jobs, job, _show(sys.stderr if options.as_json else sys.stdout))


def start(jobs: Jobs, study: str, command: str, archive: Path, suffix: str) -> str:
    """Begin the shell line ``command`` for ``study``; the job's id.

    InputError when a job works on this study there already: two drivers would undo each other.
    """
    if running := jobs.running(study):
        raise InputError(f"study {study} is already being run at {jobs.address} by {running}")
    job = f"sapphire-{study}-{suffix}"
    jobs.start(command, study, archive, job, JOB_ENVIRONMENT)
    return job


def follow(jobs: Jobs, job: str, show: Callable[[str], None]) -> int:
    """Pass the log on until the job ends; 0 when it succeeded, else 1 with a line on stderr.

    Stopped here, the job goes on there: the line says how to end it.
    """
    try:
        end = jobs.follow(job, show)
    except (Stopped, KeyboardInterrupt):
        advice = f"ray job stop {job} --address {jobs.address}"
        print(f"\n{job} goes on; end it with: {advice}", file=sys.stderr)
        raise
    if end.succeeded:
        return 0
    print(f"sapphire: {job} {end.status}: {end.message}", file=sys.stderr)
    return 1


def dashboard_address(text: str) -> str:
    """``http(s)://HOST[:PORT]``; InputError for anything else, without repeating a password."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"--address: {error}") from error
    if parts.username or parts.password:
        raise InputError("--address: leave name and password out; set RAY_AUTH_TOKEN instead")
    if parts.scheme not in {"http", "https"} or not host or parts.path.strip("/") or parts.query:
        raise InputError(
            f"--address {text!r}: give Ray's dashboard, as http://HOST:8265"
            " (not ray:// and not the port of the cluster)"
        )
    if ":" in host:
        host = f"[{host}]"
    default = 443 if parts.scheme == "https" else 8265
    return f"{parts.scheme}://{host}:{port or default}"


def request_headers(pairs: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """The headers of every request; Ray's token as KubeRay and ``ray job`` take it.

    From RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH names.
    """
    headers: dict[str, str] = {}
    for text in pairs:
        name, sign, value = text.partition("=")
        if not sign or not name.strip() or not value or not text.isprintable():
            raise InputError("--header: write NAME=VALUE")  # Not repeated: it may be a secret.
        headers[name.strip()] = value
    token = environment.get("RAY_AUTH_TOKEN", "").strip()
    if not token and (path := environment.get("RAY_AUTH_TOKEN_PATH")):
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InputError(f"RAY_AUTH_TOKEN_PATH {path}: {error.strerror}") from error
    if token and not any(name.lower() == "authorization" for name in headers):
        headers["authorization"] = f"Bearer {token}"
    return headers


def _show(stream: TextIO) -> Callable[[str], None]:
    return lambda text: print(text, end="", file=stream, flush=True)
