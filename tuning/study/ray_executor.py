"""The executor on Ray Tune: one Tune trial evaluates one work item, in an actor that is kept.

Tune schedules, places and retries; what is evaluated next is the engine's to say, through Tune's
Searcher interface. The evaluator goes into the object store once. Results travel through a
desk beside the driver, because Tune keeps every result that it sees in memory and on
disk, and returns are long.

An item whose worker is lost goes back to the engine, which gives it out again; whoever begins it
sees how many died of it (``ray_tune`` says what counts). After the first death nobody evaluates it:
the engine cuts it up or has it evaluated alone. Alone a configuration may see ALONE workers die,
and has failed then.
"""

from __future__ import annotations

import os
import pickle
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.search import Searcher

from tuning.study.contract import Evaluator
from tuning.study.engine import Engine, WorkItem
from tuning.study.executors import Watch
from tuning.study.failures import ClusterLost, Losses, Streak
from tuning.study.ray_pulse import leave_unless, listens
from tuning.study.ray_tune import (
    ENDED_EARLY,
    PUT_S,
    TAKE_S,
    attempt,
    begin,
    beside_driver,
    prepared,
    run_tuner,
)

ALONE = 2  # deaths of a configuration that is evaluated alone
LOST = "lost"  # instead of an answer: too many workers died of it
IDLE_S = 20.0  # a worker without work looks again
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
    _unfit: Exception | None

    def setup(
        self, config: dict[str, Any], evaluator: Evaluator | None = None, desk: Any = None
    ) -> None:
        if evaluator is None:
            raise TypeError("a worker needs an evaluator")
        self._evaluator = evaluator
        self._desk = desk
        self._unfit = prepared(evaluator)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # Made by this study's driver.
        self._item, self._turn = pickle.loads(new_config["work"])  # noqa: S301
        return True

    def step(self) -> dict[str, Any]:
        if self._item is None:
            ray.get(self._desk.wait.remote(self._turn, IDLE_S), timeout=IDLE_S + PUT_S)
        else:
            key = str(self._item.number)
            died = begin(self._desk, key)
            enough = died >= _lives(self._item)
            answer = self._unfit or (LOST if enough else attempt(self._evaluator, self._item))
            ray.get(self._desk.put.remote(key, key, pickle.dumps(answer)), timeout=PUT_S)
        return {"done": True, "items": 1}


def _lives(item: WorkItem) -> int:
    return ALONE if item.alone else 1


class _EngineSearch(Searcher):
    """The engine behind Tune's Searcher interface. What breaks here ends the run and is kept."""

    def __init__(self, engine: Engine, desk: Any, watch: Watch) -> None:
        super().__init__(metric="items", mode="max")
        self._engine = engine
        self._desk = desk
        self._watch = watch
        self._items: dict[str, WorkItem] = {}
        self._turn = 0
        self._losses = Losses("an item")
        self._streak = Streak(engine.spec.generation)
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
                self._losses.note(item.number)
                self._engine.give_back(item)
            else:
                self._take(item)
        except BaseException as broken:  # noqa: BLE001 - Tune would log it and go on
            self.error = broken
        self._turn += 1
        if self._engine.has_work or self._engine.finished or self.error is not None:
            self._desk.ring.remote(self._turn)

    def _take(self, item: WorkItem) -> None:
        blob = ray.get(self._desk.take.remote(str(item.number)), timeout=TAKE_S)
        found = pickle.loads(blob)  # noqa: S301 - made by this study's worker
        if isinstance(found, Exception):
            raise found
        if found == LOST:
            self._engine.lost(item)
        else:
            self._engine.done(item, *found)
        self._watch(self._engine)
        if found != LOST or item.alone:
            self._streak.note(died=found == LOST)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its searcher to disk for a resume of its own, which nobody uses."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's store is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see save."""


def run_on_ray(engine: Engine, evaluator: Evaluator, watch: Watch, workers: int) -> None:
    """Runs the study to its end on the Ray that is connected to.

    ClusterLost when Ray goes away, KeyboardInterrupt at Ctrl-C: what was durable stays.
    """
    if engine.finished:
        return
    desk = beside_driver()
    search = _EngineSearch(engine, desk, watch)
    run_tuner(
        tune.with_parameters(_Worker, evaluator=evaluator, desk=desk),
        search=search,
        broken=lambda: search.error,
        max_concurrent_trials=workers,
    )
    if not engine.finished:
        raise ClusterLost(ENDED_EARLY)


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
    if address and _ADDRESS.fullmatch(address) and not listens(address):
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
        threading.Thread(target=leave_unless, args=(gone, error), daemon=True).start()
        raise
    finally:
        ray.shutdown()
        gone.set()
