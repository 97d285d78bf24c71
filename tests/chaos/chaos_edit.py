"""An edited constant reaches the committee's whole compiled loop, and its cache is not confused.

Twice it is compiled from nothing, which is most of the time that this takes. The short form, of a
plain signal's loop, stands in tests/integration/test_edit_is_seen.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edit_support import Edit, check_edit_is_seen

COMMITTEE = Edit(
    "actors/link.py",
    "CLIP = 4.0",
    "CLIP = 0.25",
    """
from tuning.backtesting import BacktestParams, backtest
from tuning.loop import run_segment

params = BacktestParams(symbols=("A", "B"), models=loud_models(), keep=EVERYTHING)
result = backtest(made_bars(5, 330, 2), params, LIMITS["shorts"], COSTS)
print(json.dumps({
    "digest": hashlib.sha256(result.kept.votes.tobytes()).hexdigest(),
    "equity": result.final_equity_micro,
    "fills": result.counts["fills"],
    "hits": sum(run_segment.stats.cache_hits.values()),
}))
""",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_edited_constant_reaches_the_compiled_loop(repository: Path, tmp_path: Path) -> None:
    check_edit_is_seen(COMMITTEE, repository, tmp_path)
