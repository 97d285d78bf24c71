"""The cached loop runs what the sources say: an edit of a step function in another file reaches it.

numba's own cache looks at the file of the loop alone (``tests/unit/test_jit_cache.py`` shows the
defect on a small loop); here it is the loop of a plain signal, compiled twice from nothing, and the
committee's whole one in ``make chaos``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edit_support import Edit, check_edit_is_seen

SIGNAL = Edit(
    "data/features.py",
    "value + (2.0 / (period + 1.0)) * (x - value)",
    "value + (3.0 / (period + 2.0)) * (x - value)",
    """
from tuning.signal_backtest import EmaCross, ema_cross_backtest
from tuning.signal_loop import run_signal

cross = EmaCross(fast=5, slow=20)
result = ema_cross_backtest(made_bars(5, 330, 1), cross, LIMITS["shorts"], COSTS)
print(json.dumps({
    "digest": hashlib.sha256(result.fills.tobytes()).hexdigest(),
    "equity": result.final_equity_micro,
    "fills": result.counts["fills"],
    "hits": sum(run_signal.stats.cache_hits.values()),
}))
""",
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_edited_step_reaches_the_compiled_signal_loop(repository: Path, tmp_path: Path) -> None:
    check_edit_is_seen(SIGNAL, repository, tmp_path)
