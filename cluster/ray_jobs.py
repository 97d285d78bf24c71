"""Ray's Jobs API with a time-out on every request and one line for every error.

Importing this module imports ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from cluster.processes import WALL, Clock, ServiceError
from data.errors import InputError

CONNECT_S, ANSWER_S = 5.0, 60.0  # per request; an upload may take the latter per piece
QUIET_S = 15.0  # without a line of the log, then the job is asked how it is
LOST_TRIES = 5  # connections in a row that bring nothing new
END_S = 30.0  # from the log's end to a final status
STUDY = "sapphire_study"  # the metadata that names a job's study
# Its client tells of each upload and each closed connection, on top of what the job says.
_TALKERS = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")


class _Client(JobSubmissionClient):
    """Ray's client; its own requests would wait for ever."""

    def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
        return super()._do_request(method, endpoint, **{"timeout": (CONNECT_S, ANSWER_S), **more})


@dataclass(frozen=True)
class JobEnd:
    """How a job ended. ``message`` is Ray's, its first line."""

    succeeded: bool
    status: str
    message: str


class Jobs:
    """The jobs of one Ray cluster, by the address of its dashboard.

    Every method raises ServiceError where the cluster does not answer or refuses, and InputError
    where it refuses the token.
    """

    def __init__(self, address: str, headers: Mapping[str, str], clock: Clock = WALL) -> None:
        for name in _TALKERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        self.address = address
        self._clock = clock
        with self._plainly():
            try:
                self._client = _Client(address, headers=dict(headers))
            except (KeyError, ValueError) as error:
                raise InputError(
                    f"{address} answers, but not as a Ray dashboard: give the address of its port"
                    " 8265"
                ) from error

    def running(self, study: str) -> str | None:
        """The job that works on this study now."""
        with self._plainly():
            for job in self._client.list_jobs():
                if (job.metadata or {}).get(STUDY) == study and not job.status.is_terminal():
                    return str(job.submission_id)
        return None

    def start(
        self,
        command: str,
        study: str,
        archive: Path,
        job: str,
        environment: Mapping[str, str],
    ) -> None:
        """Begin ``command``, a shell line, in the unpacked archive; its id will be ``job``."""
        with self._plainly():
            self._client.submit_job(
                entrypoint=command,
                submission_id=job,
                runtime_env={"working_dir": str(archive), "env_vars": dict(environment)},
                metadata={STUDY: study},
            )

    def stop(self, job: str) -> None:
        """Ask the job to end."""
        with self._plainly():
            self._client.stop_job(job)

    def follow(self, job: str, show: Callable[[str], None]) -> JobEnd:
        """Pass the job's log on as it grows, until the job ends, over lost connections."""
        with self._plainly():
            asyncio.run(self._follow(job, show))
            return self._end(job)

    async def _follow(self, job: str, show: Callable[[str], None]) -> None:
        shown, tries = 0, 0
        while True:
            before = shown
            trouble = ""
            try:
                async for position, text in self._log(job):
                    fresh = text[max(0, shown - position) :]
                    shown = max(shown, position + len(text))
                    if fresh:
                        show(fresh)
            except (RuntimeError, aiohttp.ClientError) as error:
                trouble = _first_line(error)
            if (await asyncio.to_thread(self._info, job)).status.is_terminal():
                return
            tries = tries + 1 if shown == before else 0
            if tries >= LOST_TRIES:
                raise ServiceError(
                    f"Ray at {self.address}: the log of {job} cannot be followed"
                    f" ({trouble or 'it ends too early'}); the job goes on"
                )
            await asyncio.sleep(min(2.0**tries, 10.0))

    async def _log(self, job: str) -> AsyncIterator[tuple[int, str]]:
        """Pieces of the log from its beginning, each with its place in it."""
        position = 0
        stream = self._client.tail_job_logs(job)
        piece = asyncio.ensure_future(anext(stream, None))
        try:
            while True:
                done, _ = await asyncio.wait({piece}, timeout=QUIET_S)
                if not done:
                    if (await asyncio.to_thread(self._info, job)).status.is_terminal():
                        return
                    continue
                text = piece.result()
                if text is None:
                    return
                yield position, text
                position += len(text)
                piece = asyncio.ensure_future(anext(stream, None))
        finally:
            piece.cancel()
            await asyncio.wait({piece}, timeout=CONNECT_S)

    def _end(self, job: str) -> JobEnd:
        deadline = self._clock.now() + END_S
        while not (info := self._info(job)).status.is_terminal():
            if self._clock.now() > deadline:
                raise ServiceError(f"Ray at {self.address}: {job} does not end ({info.status})")
            self._clock.sleep(0.2)
        message = (info.message or "").strip().partition("\n")[0]
        message = message.partition(", last available logs")[0]  # They were shown already.
        return JobEnd(info.status == JobStatus.SUCCEEDED, str(info.status), message)

    def _info(self, job: str) -> JobDetails:
        return self._client.get_job_info(job)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except ServiceError:
            raise
        except AuthenticationError as error:
            raise InputError(
                f"Ray at {self.address} wants another token: set RAY_AUTH_TOKEN, or"
                " RAY_AUTH_TOKEN_PATH to its file"
            ) from error
        except OSError as error:  # requests' errors are all of this kind
            raise ServiceError(
                f"Ray at {self.address} does not answer ({type(error).__name__}): is the cluster"
                " up, and is this the address of its dashboard (port 8265)?"
            ) from error
        except RuntimeError as error:
            raise ServiceError(f"Ray at {self.address}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
