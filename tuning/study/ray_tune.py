"""What both forms of a study need of Ray Tune: a desk for answers, a Tuner that leaves no trace.

Results travel through the desk, an actor beside the driver, because Tune keeps every result that
it sees in memory and on disk, and returns are long.

The desk also tells whose fault a death was. What was lost with its worker is tried again by
another, whatever the cause; but a worker notes at the desk what it begins, and its node. So whoever
begins the same again sees how many died of it:

- counted: the process ended in mid-evaluation (a signal, exit, out of memory), on a node that lives
- not counted: a worker that died before it began or after it answered, and one whose node is gone

Tune itself tries nothing again. It gives a trial up at once whose worker had died before it got it,
and counts by Tune trials, of which one may have several configurations.

Not told apart: a worker that something else killed, for instance a neighbour's hunger for memory,
from one that its own configuration killed; a node that its configuration took along from one that
the cloud took away; an answer that the desk did not take within PUT_S from a death.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.tune import Callback, CheckpointConfig, RunConfig, TuneConfig, Tuner
from ray.tune.execution import tune_controller
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm, Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuning.study.contract import Evaluator
from tuning.study.engine import WorkItem
from tuning.study.executors import timed
from tuning.study.failures import ClusterLost
from tuning.study.ray_pulse import Pulse, listens

PUT_S = 60.0
TAKE_S = 60.0
DEATH = "a worker died: what it was at is evaluated again"
ENDED_EARLY = "Ray Tune ended before the study did: see the workers' logs"


class Desk:
    """Beside the driver: answers on their way to it, and the bell that rings for new work."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._begun: dict[str, list[str]] = {}
        self._turn = 0
        self._bell = asyncio.Condition()

    async def begin(self, who: str, node: str) -> list[str]:
        """Notes that a worker on ``node`` begins something of ``who``; gives the nodes where others
        did that never answered."""
        nodes = self._begun.setdefault(who, [])
        nodes.append(node)
        return nodes[:-1]

    async def put(self, who: str, key: str, answer: bytes) -> None:
        """Keeps what came of the last that was begun of ``who``, until it is taken."""
        self._answers[key] = answer
        self._begun[who].pop()
        if not self._begun[who]:
            del self._begun[who]

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


def beside_driver() -> Any:
    """A desk on the driver's node, so that no other node's death takes answers along."""
    here = ray.get_runtime_context().get_node_id()
    desk: Any = ray.remote(Desk)
    return desk.options(
        num_cpus=0,
        max_restarts=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    ).remote()


def begin(desk: Any, who: str) -> int:
    """Notes that this worker begins something of ``who``; how many died of it before, on nodes that
    live."""
    here = ray.get_runtime_context().get_node_id()
    before = ray.get(desk.begin.remote(who, here), timeout=PUT_S)
    if not before:
        return 0
    alive = {node["NodeID"] for node in ray.nodes() if node["NodeID"] in before and _there(node)}
    return sum(node in alive for node in before)


def _there(node: Mapping[str, Any]) -> bool:
    """Whether a node of ``ray.nodes`` is there: one that is gone counts as alive for some seconds
    in which its head has not noticed."""
    return node["Alive"] and listens(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")


def prepared(evaluator: Evaluator) -> Exception | None:
    """What its ``prepare`` raised, which is for the driver to raise."""
    try:
        evaluator.prepare()
    except Exception as broken:  # noqa: BLE001 - see above
        return _portable(broken)
    return None


def attempt(evaluator: Evaluator, item: WorkItem) -> Any:
    """What ``timed`` gives, or what the evaluator raised, which is for the driver to raise."""
    try:
        return timed(evaluator, item)
    except Exception as broken:  # noqa: BLE001 - see above
        return _portable(broken)


def _portable(broken: Exception) -> Exception:
    """The error, or a RuntimeError in its words where it would not survive the way there."""
    try:
        pickle.loads(pickle.dumps(broken))  # noqa: S301 - of this process
    except Exception:  # noqa: BLE001 - classes may refuse in any way
        return RuntimeError(f"{type(broken).__name__}: {broken}")
    return broken


class _ActorManager(RayActorManager):
    """Tune's own, for which a worker that Ray's memory monitor killed is one that died: Tune knows
    only one of the two errors, and would end the run at the other."""

    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        if isinstance(exception, OutOfMemoryError) and not isinstance(exception, RayTaskError):
            exception = RayActorError(error_msg=str(exception).splitlines()[0])
        super()._actor_task_failed(tracked_actor_task, exception)


@contextlib.contextmanager
def deaths_by_memory() -> Iterator[None]:
    """Tune's loop with the manager above: it takes no other."""
    own = tune_controller.RayActorManager
    tune_controller.RayActorManager = _ActorManager
    try:
        yield
    finally:
        tune_controller.RayActorManager = own


def shortened(record: logging.LogRecord) -> bool:
    """A death in one line: Tune gives a page. What an evaluator raised stays as it is."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        record.msg, record.args, record.exc_info = DEATH, (), None
    return True


def wanted(record: logging.LogRecord) -> bool:
    """All but Tune's list of trials that were lost: others have done their work."""
    return not str(record.msg).startswith("Trials did not complete")


def run_tuner(
    worker: Any,
    *,
    search: Searcher | SearchAlgorithm,
    broken: Callable[[], BaseException | None],
    max_concurrent_trials: int | None = None,
    scheduler: TrialScheduler | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Runs ``worker``, one CPU each, until ``search`` has no more; leaves nothing on disk.

    ``broken`` gives what broke in the driver's own hooks: it is raised here. ClusterLost for all
    that is Ray's.
    """
    logging.getLogger(tune_controller.__name__).addFilter(shortened)
    logging.getLogger("ray.tune.tune").addFilter(wanted)
    # It looks for the result files of every trial at the end, and misses each of them aloud.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="sapphire-tune-"))
    pulse = Pulse(ray.get_runtime_context().gcs_address)
    try:
        tuner = Tuner(
            tune.with_resources(worker, {"cpu": 1}),
            tune_config=TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=max_concurrent_trials,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=RunConfig(
                name="study",
                stop=pulse,
                storage_path=str(folder),
                verbose=0,
                callbacks=list(callbacks),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            ),
        )
        with pulse, deaths_by_memory():
            tuner.fit()
    except Exception as failure:
        raise _plain(broken() or failure) from failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    error = broken()
    if error is not None:
        raise _plain(error)


def _plain(error: BaseException) -> BaseException:
    """What is Ray's own as a cluster that was lost, in one line; anything else as it is."""
    if isinstance(error, RayError):
        lost = ClusterLost(str(error).splitlines()[0])
        lost.__cause__ = error
        return lost
    return error
