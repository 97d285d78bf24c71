"""Executors without Ray: this process, or plain worker processes. Ray's is ray_executor."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context

from ray import cloudpickle

from tuning.study.contract import Evaluator, Failure, FoldResult, StudyRun
from tuning.study.engine import Engine, WorkItem

Watch = Callable[[StudyRun], None]
WAIT_S = 600.0  # for one item of a pool
_state: list[Evaluator] = []  # of a pool's worker process


def run_here(engine: Engine, evaluator: Evaluator, watch: Watch) -> None:
    """Evaluates everything in this process, item by item.

    A configuration that ends its process ends this one, and a resumed study meets it again.
    """
    evaluator.prepare()
    while not engine.finished:
        item = engine.next()
        if item is None:
            raise RuntimeError("the study has neither work nor an end")
        results, seconds = timed(evaluator, item)
        engine.done(item, results, seconds)
        watch(engine)


def timed(evaluator: Evaluator, item: WorkItem) -> tuple[list[list[FoldResult] | Failure], float]:
    """An item's results and the seconds that they took."""
    began = time.perf_counter()
    results = evaluator.evaluate(item.configs, item.folds)
    return results, time.perf_counter() - began


def run_in_pool(engine: Engine, evaluator: Evaluator, watch: Watch, workers: int) -> None:
    """Evaluates in worker processes on this machine: what Ray Tune is measured against.

    BrokenProcessPool when one of them dies.
    """
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_start, initargs=(cloudpickle.dumps(evaluator),)
    ) as pool:
        flying: dict[Future, WorkItem] = {}
        while not engine.finished:
            while len(flying) < workers and (item := engine.next()) is not None:
                flying[pool.submit(_work, item)] = item
            ended, _ = wait(flying, timeout=WAIT_S, return_when=FIRST_COMPLETED)
            if not ended:
                raise TimeoutError(f"no trial ended within {WAIT_S:.0f} s")
            for future in ended:
                results, seconds = future.result()
                engine.done(flying.pop(future), results, seconds)
            watch(engine)


def _start(blob: bytes) -> None:
    evaluator: Evaluator = cloudpickle.loads(blob)
    evaluator.prepare()
    _state[:] = [evaluator]


def _work(item: WorkItem) -> tuple[list[list[FoldResult] | Failure], float]:
    return timed(_state[0], item)
