"""A study as a job of a real Ray head with tokens on: sent, followed, refused, stopped."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.home import Home
from cluster.processes import ServiceError, marker, wait_until
from cluster.ray_head import RayHead
from cluster.ray_jobs import Jobs
from cluster.tune_package import pack
from cluster.tune_submit import (
    JOB_ENVIRONMENT,
    SubmitOptions,
    follow,
    request_headers,
    start,
    submit,
)
from data.errors import InputError
from tuning.study.ray_executor import ONE_THREAD

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    # Of Ray's own client.
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "t" + secrets.token_hex(20)
ENTRY = """
import os, sys
import cluster.tune_job
print("sources of", os.path.relpath(cluster.tune_job.__file__))
print("unbuffered", os.environ["PYTHONUNBUFFERED"], "words", sys.argv[1:])
for number in range(200):
    print("trial", number)
if "fail" in sys.argv:
    sys.exit("the disk is full")
"""


class TokenHead(RayHead):
    """A Ray head whose dashboard answers only those who have the token."""

    def _ready(self) -> bool:
        headers = {"authorization": f"Bearer {TOKEN}"}
        try:
            url = f"{self.dashboard_url}/api/version"
            return httpx.get(url, headers=headers, timeout=2.0).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """A Ray head of its own that wants a token."""
    home = Home(tmp_path_factory.mktemp("ray")).create()
    kept = {name: os.environ[name] for name in ("HOME", "NUMBA_CACHE_DIR") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    marks = marker(home.hash, secrets.token_hex(4))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    ray = TokenHead(home, {**marks, **token}, {**kept, "PATH": path}, cpus=1)
    ray.start(60.0)
    try:
        yield ray
    finally:
        ray.stop()
        shutil.rmtree(home.runtime_dir())


@pytest.fixture(scope="module")
def jobs(head: RayHead) -> Jobs:
    """Its jobs, with the token."""
    return Jobs(head.dashboard_url, request_headers((), {"RAY_AUTH_TOKEN": TOKEN}))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our sources and a small entry."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "entry.py").write_text(ENTRY)
    pack(ROOT, [folder / "entry.py"], folder / "sources.zip")
    return folder / "sources.zip"


def test_a_job_runs_our_sources_and_its_whole_log_is_shown_once(jobs: Jobs, archive: Path) -> None:
    shown: list[str] = []
    job = start(jobs, "ema", "python entry.py --trials 200", archive, secrets.token_hex(3))
    assert follow(jobs, job, shown.append) == 0
    log = "".join(shown)
    assert "sources of cluster/tune_job.py" in log
    assert "unbuffered 1 words ['--trials', '200']" in log
    assert re.findall(r"^trial (\d+)$", log, re.MULTILINE) == [str(n) for n in range(200)]
    assert jobs.running("ema") is None


def test_no_variable_of_a_job_is_one_that_the_study_sets_for_its_workers() -> None:
    # Ray refuses the driver's ray.init otherwise.
    assert not set(JOB_ENVIRONMENT) & set(ONE_THREAD)


def test_a_job_that_fails_says_so(
    jobs: Jobs, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = start(jobs, "ema", "python entry.py fail", archive, secrets.token_hex(3))
    shown: list[str] = []
    assert follow(jobs, job, shown.append) == 1
    assert "the disk is full" in "".join(shown)
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"sapphire: {job} FAILED: Job entrypoint command failed with exit code 1"
    )


def test_one_job_at_a_time_works_on_a_study(jobs: Jobs, archive: Path) -> None:
    job = start(jobs, "long", "python -c 'import time; time.sleep(60)'", archive, "a")
    with pytest.raises(InputError, match=f"already being run .* by {job}"):
        start(jobs, "long", "python entry.py", archive, "b")
    jobs.stop(job)
    wait_until(lambda: jobs.running("long") is None, 30.0, "the job's end")


def test_a_wrong_token_and_none_are_refused_in_one_line(head: RayHead) -> None:
    for token in ({"RAY_AUTH_TOKEN": "wrong" * 8}, {}):
        options = SubmitOptions(address=head.dashboard_url, study="ema", wait=False)
        with pytest.raises(InputError, match="RAY_AUTH_TOKEN") as caught:
            submit(options, token, "x")
        assert "\n" not in str(caught.value)


def test_a_cluster_that_goes_away_is_one_line(head: RayHead, jobs: Jobs, archive: Path) -> None:
    job = start(jobs, "gone", "python -c 'import time; time.sleep(60)'", archive, "a")
    head.stop()
    with pytest.raises(ServiceError, match="does not answer") as caught:
        follow(jobs, job, lambda _: None)
    assert "\n" not in str(caught.value)
