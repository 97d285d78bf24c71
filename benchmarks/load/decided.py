"""What the journal says of a stretch of rounds: who voted, what was pooled, what was judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import psycopg

from actors.checks import Code, Verdict
from actors.contract import Status
from data.journal import cell_chain
from data.records import output_decoder
from data.round_output import OutputArrays

ENOUGH_VOTERS = 5
# With one of these the gate did not come to the account: no size and no limit was looked at.
NOT_JUDGED = frozenset(
    {
        Code.INVALID,
        Code.WARMING_UP,
        Code.NO_QUORUM,
        Code.STALE_DATA,
        Code.NO_LEASE,
        Code.HALTED,
        Code.EPOCH_VOID,
    }
)

_OUTPUTS = """
SELECT j.payload
FROM round_output o JOIN journal j ON j.chain = %(chain)s AND j.seq = o.seq
WHERE o.cell = %(cell)s AND o.session_id = %(session_id)s AND o.kind = 'output'
  AND o.round > %(after)s AND o.round <= %(upto)s
"""


@dataclass
class Decided:
    """Counts of decisions."""

    rounds: int = 0
    decisions: int = 0
    enough_voters: int = 0
    pooled: int = 0
    judged: int = 0
    approved: int = 0  # in full or reduced
    full: int = 0  # enough voters, a pooled forecast, and judged in the account's view
    codes: Counter[str] = field(default_factory=Counter)

    def share(self, count: int) -> float:
        """Of all decisions; 0 without any."""
        return count / self.decisions if self.decisions else 0.0


def last_round(connection: psycopg.Connection, cell: int) -> int:
    """The number of the cell's last closed round; 0 before the first."""
    row = connection.execute(
        "SELECT coalesce(max(round), 0) FROM round_output WHERE cell = %s", (cell,)
    ).fetchone()
    return int(row[0]) if row else 0


def outputs(
    connection: psycopg.Connection, cell: int, session_id: str, after: int, upto: int
) -> Iterator[OutputArrays]:
    """The outputs of the session's rounds after < round <= upto, streamed."""
    values = {
        "chain": cell_chain(cell),
        "cell": cell,
        "session_id": session_id,
        "after": after,
        "upto": upto,
    }
    with connection.transaction(), connection.cursor(name="load_outputs") as cursor:
        cursor.itersize = 500
        cursor.execute(_OUTPUTS, values)
        for (payload,) in cursor:
            yield output_decoder.decode(bytes(payload)).arrays()


def count(rounds: Iterable[OutputArrays]) -> Decided:
    """Counts the decisions of these rounds."""
    found = Decided()
    for arrays in rounds:
        table = arrays.table
        voters = (arrays.status == Status.VOTED).sum(axis=1) >= ENOUGH_VOTERS
        pooled = np.abs(table["p"].sum(axis=1) - 1.0) < 1e-6
        judged = ~np.isin(table["code"], [int(code) for code in NOT_JUDGED])
        found.rounds += 1
        found.decisions += len(table)
        found.enough_voters += int(voters.sum())
        found.pooled += int(pooled.sum())
        found.judged += int(judged.sum())
        found.full += int((voters & pooled & judged).sum())
        found.approved += int((table["verdict"] <= Verdict.REDUCED).sum())
        numbers, counts = np.unique(table["code"], return_counts=True)
        for number, times in zip(numbers.tolist(), counts.tolist(), strict=True):
            found.codes[Code(number).name.lower()] += times
    return found
