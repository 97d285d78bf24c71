"""Two kills of a study's driver; ``make chaos`` has twenty, on Ray too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.study_kill import Kill, killed, undisturbed

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]
TRIALS = 200  # Enough that the second kill, too, finds the driver at work.


@pytest.mark.parametrize(("searcher", "at"), [("tpe", 20), ("pbt", 37)])
def test_a_killed_driver_changes_nothing(tmp_path: Path, searcher: str, at: int) -> None:
    whole = undisturbed(tmp_path / "whole", searcher, TRIALS)
    assert len(whole) == TRIALS
    row = killed(tmp_path / "killed", searcher, "here", Kill(trials=at), whole, set())
    assert at <= row.durable < TRIALS
    assert row.equal
