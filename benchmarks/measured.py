"""Statistics and text of the benchmark tables: pure, so that they can be tested."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

Fills = Sequence[Sequence[float]]

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


@dataclass(frozen=True)
class Measured:
    """What repetitions of one thing took. Seconds; the warm-up is not among ``run``."""

    name: str
    kind: str  # vectorised or event-driven; one signal or the committee
    bars: int = 0
    run: tuple[float, ...] = ()
    load: tuple[float, ...] = ()
    jit: tuple[float, ...] = ()  # from a filled cache where there is one
    first_jit: float = 0.0  # from an empty one
    fills: int = 0
    digest: str = ""  # of the fills
    note: str = ""
    not_run: str = ""
    rates: list[float] = field(init=False)  # bars/s, sorted

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", sorted(self.bars / second for second in self.run))


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """``median [smallest .. largest]``."""
    middle = statistics.median(values)
    return f"{middle:{form}} [{min(values):{form}} .. {max(values):{form}}]"


def ratio(above: Measured, below: Measured) -> str:
    """Ratio of the medians of two rates, and the range that their ranges allow."""
    if above.not_run or below.not_run:
        return f"not known: {above.not_run or below.not_run}"
    middle = statistics.median(above.rates) / statistics.median(below.rates)
    low = above.rates[0] / below.rates[-1]
    high = above.rates[-1] / below.rates[0]
    return f"{middle:,.2f} [{low:,.2f} .. {high:,.2f}]"


def compared(rows: Sequence[Measured]) -> list[Measured]:
    """Says of each row over as many bars as the first whether it has the same fills."""
    first = rows[0]
    return [
        replace(row, note=", the same" if row.digest == first.digest else ", OTHERS")
        if row.bars == first.bars and row.name != first.name
        else row
        for row in rows
    ]


def table(rows: Sequence[Measured]) -> list[str]:
    """A Markdown table, one line a row."""
    head = "| what | compared | bars | bars/s, median [min .. max] | load s | compile s | fills |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row.not_run:
            lines.append(f"| {row.name} | {row.kind} | | not run: {row.not_run} | | | |")
            continue
        compiled = f"{statistics.median(row.jit):.2f}"
        if row.first_jit:
            compiled += f" ({row.first_jit:.1f} with an empty cache)"
        load = f"{statistics.median(row.load):.2f}"
        lines.append(
            f"| {row.name} | {row.kind} | {row.bars:,} | {spread(row.rates)} | {load} | "
            f"{compiled} | {row.fills:,}{row.note} |"
        )
    return lines


def first_difference(ours: Fills, theirs: Fills) -> str:
    """Empty when fills (row of the bar, side, price) are the same, else the first that is not."""
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if list(mine) != list(other):
            return f"fill {number}: ours {_fill(mine)}, theirs {_fill(other)}"
    if len(ours) != len(theirs):
        return f"{len(ours)} fills against {len(theirs)}"
    return ""


def _fill(fill: Sequence[float]) -> str:
    row, side, price = fill
    return f"{'buy' if side > 0 else 'sell'} at {price} in bar {int(row)}"


def replace_marked(text: str, lines: Sequence[str], begin: str = BEGIN, end: str = END) -> str:
    """``text`` with what stands between the markers replaced; ValueError without both of them."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the file needs one {begin} and one {end} after it")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return before + "\n".join([begin, *lines, end]) + after


def one_line(text: str, root: str) -> str:
    """The last line of a tool's complaint, without addresses and without this machine's paths."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    telling = [line for line in lines if "error" in line.lower()] or lines
    line = re.sub(r"\w+://\S+", "(address)", telling[-1]).replace(root, ".").replace("|", "/")
    return line[:160]
