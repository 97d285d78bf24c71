"""The executor on Ray Tune: one Tune trial evaluates one work item, in an actor that is kept.

Tune schedules, places and retries; what is evaluated next is the engine's to say, through Tune's
Searcher interface. The evaluator goes into the object store once. Results travel through a
desk beside the driver, because Tune keeps every result that it sees in memory and on
disk, and returns are long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuning.study.contract import Evaluator
from tuning.study.engine import Engine, WorkItem
from tuning.study.executors import Watch, timed
from tuning.study.failures import ClusterLost

PUT_S = 60.0
TAKE_S = 60.0
IDLE_S = 20.0  # a worker without work looks again
RETRIES = 5  # of an item whose worker died
# Without an answer from the cluster's head. After 60 s Ray would end this process itself.
LOST_S = 15.0
LOOK_S = 2.0
CONNECT_S = 3.0
GRACE_S = 10.0  # for Tune, or Ray, to come back from a call into a cluster that is gone
NAMESPACE = "sapphire-tune"
# One thread for each trial; every library that could take more is told so before it starts.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)

_ADDRESS = re.compile(r"[^/]+:\d{1,5}")


class Desk:
    """Beside the driver: answers on their way to it, and the bell that rings for new work."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._turn = 0
        self._bell = asyncio.Condition()

    async def put(self, key: str, answer: bytes) -> None:
        """Keeps an answer until it is taken."""
        self._answers[key] = answer

    async def take(self, key: str) -> bytes:
        """Hands an answer out once; KeyError when it did not come."""
        return self._answers.pop(key)

    async def ring(self, turn: int) -> None:
        """There is work of this turn: whoever waits for it may go."""
        async with self._bell:
            self._turn = max(self._turn, turn)
            self._bell.notify_all()

    async def wait(self, turn: int, seconds: float) -> None:
        """Returns when a later turn has come, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._bell:
                await self._bell.wait_for(lambda: self._turn > turn)


class _Worker(tune.Trainable):
    """Evaluates one item for each Tune trial; the evaluator outlives them.

    While the last results of a generation are awaited there is nothing to evaluate. Tune would end
    an actor that has no next trial, and take seconds to start it anew: so it gets a trial that
    waits for the bell.
    """

    _evaluator: Evaluator
    _desk: Any
    _item: WorkItem | None
    _turn: int

    def setup(
        self, config: dict[str, Any], evaluator: Evaluator | None = None, desk: Any = None
    ) -> None:
        if evaluator is None:
            raise TypeError("a worker needs an evaluator")
        self._evaluator = evaluator
        self._desk = desk
        evaluator.prepare()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # Made by this study's driver.
        self._item, self._turn = pickle.loads(new_config["work"])  # noqa: S301
        return True

    def step(self) -> dict[str, Any]:
        if self._item is None:
            ray.get(self._desk.wait.remote(self._turn, IDLE_S), timeout=IDLE_S + PUT_S)
        else:
            try:
                answer = pickle.dumps(timed(self._evaluator, self._item))
            except Exception as broken:  # noqa: BLE001 - the driver raises it, as run_here would
                answer = pickle.dumps(broken)
            ray.get(self._desk.put.remote(str(self._item.number), answer), timeout=PUT_S)
        return {"done": True, "items": 1}


class _EngineSearch(Searcher):
    """The engine behind Tune's Searcher interface. What breaks here ends the run and is kept."""

    def __init__(self, engine: Engine, desk: Any, watch: Watch) -> None:
        super().__init__(metric="items", mode="max")
        self._engine = engine
        self._desk = desk
        self._watch = watch
        self._items: dict[str, WorkItem] = {}
        self._turn = 0
        self.error: BaseException | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.error is not None or self._engine.finished:
            return Searcher.FINISHED
        item = self._engine.next()
        if item is not None:
            self._items[trial_id] = item
        return {"work": pickle.dumps((item, self._turn))}

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,  # noqa: ARG002 - Tune's signature
        error: bool = False,
    ) -> None:
        item = self._items.pop(trial_id, None)
        if item is None or self.error is not None:
            return
        try:
            if error:
                raise ClusterLost(f"an item was lost {RETRIES + 1} times: see the workers' logs")
            blob = ray.get(self._desk.take.remote(str(item.number)), timeout=TAKE_S)
            found = pickle.loads(blob)  # noqa: S301 - made by this study's worker
            if isinstance(found, Exception):
                raise found
            answer, seconds = found
            self._engine.done(item, answer, seconds)
            self._watch(self._engine)
        except BaseException as broken:  # noqa: BLE001 - Tune would log it and go on
            self.error = broken
        self._turn += 1
        if self._engine.has_work or self._engine.finished or self.error is not None:
            self._desk.ring.remote(self._turn)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its searcher to disk for a resume of its own, which nobody uses."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's store is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see save."""


class _Pulse(Stopper):
    """Looks from a thread whether the cluster's head can be reached; ends Tune's loop if not.

    Tune itself waits for results that cannot come. Where it stands in a call of Ray's that nothing
    can interrupt, the process ends, as Ray would have it end some time later without a word.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-pulse", daemon=True)

    def __enter__(self) -> _Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(CONNECT_S + LOOK_S)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            if _listens(self._address):
                self._seen = time.monotonic()
            elif error := self.lost():
                _leave_unless(self._ended, error)
                return

    def lost(self) -> ClusterLost | None:
        """What to say when the head has been away for too long; None while it is there."""
        silent = time.monotonic() - self._seen
        if silent < LOST_S:
            return None
        return ClusterLost(f"Ray at {self._address} has not answered for {silent:.0f} s")

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """No trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Asked by Tune at each turn of its loop; raises ClusterLost."""
        if error := self.lost():
            raise error
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, see _EngineSearch."""
        return {}


def _leave_unless(ended: threading.Event, error: ClusterLost) -> None:
    """Ends this process after GRACE_S without ``ended``: what is durable stays, as at a kill."""
    if not ended.wait(GRACE_S):
        os.write(2, f"sapphire: {error}; the study is intact: resume it\n".encode())
        os._exit(1)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError:
        return False
    return True


def run_on_ray(engine: Engine, evaluator: Evaluator, watch: Watch, workers: int) -> None:
    """Runs the study to its end on the Ray that is connected to.

    ClusterLost when Ray goes away, KeyboardInterrupt at Ctrl-C: what was durable stays.
    """
    if engine.finished:
        return
    # It looks for the result files of every trial at the end, and misses each of them aloud.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="sapphire-tune-"))
    pulse = _Pulse(ray.get_runtime_context().gcs_address)
    try:
        desk = _desk()
        search = _EngineSearch(engine, desk, watch)
        tuner = Tuner(
            tune.with_resources(
                tune.with_parameters(_Worker, evaluator=evaluator, desk=desk), {"cpu": 1}
            ),
            tune_config=TuneConfig(
                search_alg=search,
                num_samples=-1,
                max_concurrent_trials=workers,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=RunConfig(
                name="study",
                stop=pulse,
                storage_path=str(folder),
                verbose=0,
                callbacks=[],
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
                failure_config=FailureConfig(max_failures=RETRIES),
            ),
        )
        with pulse:
            tuner.fit()
    except RayError as error:
        raise ClusterLost(str(error).splitlines()[0]) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if search.error is not None:
        if isinstance(search.error, RayError):
            raise ClusterLost(str(search.error).splitlines()[0]) from search.error
        raise search.error
    if not engine.finished:
        raise ClusterLost("Ray Tune ended before the study did: see the workers' logs")


def _desk() -> Any:
    """Beside the driver, so that no other node's death takes answers along."""
    here = ray.get_runtime_context().get_node_id()
    desk: Any = ray.remote(Desk)
    return desk.options(
        num_cpus=0,
        max_restarts=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    ).remote()


@contextmanager
def ray_session(
    address: str | None, workers: int, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A Ray to work on: the one at ``address``, or one of this machine's, ended afterwards.

    Yields the number of workers that it can take. ClusterLost when it cannot be reached. A Ray that
    this process is connected to already is used as it is, and stays.
    """
    if ray.is_initialized():
        yield min(workers, int(ray.cluster_resources().get("CPU", 1)))
        return
    worker_environment = {**ONE_THREAD, **(environment or {})}
    if "NUMBA_CACHE_DIR" in os.environ and address is None:
        worker_environment["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    own["_node_ip_address"] = "127.0.0.1"
    began = time.monotonic()
    if address and _ADDRESS.fullmatch(address) and not _listens(address):
        raise ClusterLost(f"no Ray at {address}: nothing answers there")
    try:
        ray.init(
            address=address or "local",
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": worker_environment},
            **({} if address else own),
        )
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        waited = time.monotonic() - began
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ClusterLost(f"no Ray at {address or 'this machine'} after {waited:.0f} s: {first}") \
            from error  # fmt: skip
    gone = threading.Event()
    try:
        yield min(workers, int(ray.cluster_resources().get("CPU", 1))) if address else workers
    except ClusterLost as error:
        threading.Thread(target=_leave_unless, args=(gone, error), daemon=True).start()
        raise
    finally:
        ray.shutdown()
        gone.set()
