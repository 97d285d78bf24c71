"""Evaluators that break on purpose, in their worker; what they leave in a folder tells of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from actors.space import Config
from tests.study_support import ToyEvaluator
from tuning.study.contract import Failure, FoldResult
from tuning.study.failures import WORKER_DIED


class LoggedEvaluator(ToyEvaluator):
    """Appends a line for each configuration that it began, and its process."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def prepare(self) -> None:
        (self.folder / f"pid-{os.getpid()}").touch()

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        self.begin(configs)
        return super().evaluate(configs, folds)

    def begin(self, configs: Sequence[Config]) -> None:
        with (self.folder / "begun").open("a") as log:
            log.writelines(f"{sorted(config.items())}\n" for config in configs)


class KilledOnce(LoggedEvaluator):
    """The first worker that gets to its second item dies of SIGKILL in the middle of it."""

    items = 0

    def begin(self, configs: Sequence[Config]) -> None:
        super().begin(configs)
        self.items += 1
        if self.items == 2:
            try:
                (self.folder / "killed").open("x").write(str(len(configs)))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class Deadly(LoggedEvaluator):
    """No worker survives a configuration with ``x`` in [low, high); ``died`` tells in what company
    each died."""

    def __init__(self, folder: Path, low: float = 0.0, high: float = 1.1) -> None:
        super().__init__(folder)
        self.low, self.high = low, high

    def begin(self, configs: Sequence[Config]) -> None:
        super().begin(configs)
        if any(self.low <= float(config["x"]) < self.high for config in configs):
            with (self.folder / "died").open("a") as log:
                log.write(f"{len(configs)}\n")
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyFolds(LoggedEvaluator):
    """In each fold one worker dies of the configuration with this ``x``, and the next does not."""

    def __init__(self, folder: Path, x: float) -> None:
        super().__init__(folder)
        self.x = x

    def evaluate(
        self, configs: Sequence[Config], folds: Sequence[int]
    ) -> list[list[FoldResult] | Failure]:
        if any(float(config["x"]) == self.x for config in configs):
            for fold in folds:
                with contextlib.suppress(FileExistsError):
                    (self.folder / f"died-{fold}").touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(configs, folds)


class Stillborn(LoggedEvaluator):
    """No worker lives to see its first item."""

    def prepare(self) -> None:
        super().prepare()
        os.kill(os.getpid(), signal.SIGKILL)


class Refuses(ToyEvaluator):
    """What becomes of a study whose workers die of ``x`` in [low, high): those fail."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def _one(self, config: Config, folds: Sequence[int]) -> list[FoldResult] | Failure:
        if self.low <= float(config["x"]) < self.high:
            return Failure(WORKER_DIED)
        return super()._one(config, folds)


class Raises(LoggedEvaluator):
    """Has a defect."""

    def begin(self, configs: Sequence[Config]) -> None:
        raise ZeroDivisionError("a defect of the evaluator")


class Unfit(LoggedEvaluator):
    """Has a defect that shows before anything is evaluated."""

    def prepare(self) -> None:
        raise ZeroDivisionError("a defect of the evaluator")


class Slow(LoggedEvaluator):
    """Takes a while for each item, and says on which node it is at work.

    Longer on a node with a file ``slow-ID``: it is in mid-item when the others hand theirs in.
    """

    def begin(self, configs: Sequence[Config]) -> None:
        node = ray.get_runtime_context().get_node_id()
        busy = self.folder / f"busy-{node}"
        busy.touch()
        time.sleep((0.5 if (self.folder / f"slow-{node}").exists() else 0.2) * len(configs))
        busy.unlink()
