"""What a person sees while a session runs: a live view in a terminal, plain lines elsewhere.

``render`` is a pure function of a ``LiveState``; ``LiveView`` shows states as they come. The clock
is passed in. Plain lines go to stderr, so that the last line of stdout can stay a program's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WIDE = 110  # columns from which two panels stand side by side
_VERDICT_STYLES = {"approved": "green", "reduced": "cyan", "denied": "yellow", "no_trade": "dim"}
_STATE_STYLES = {"ACTIVE": "bold green", "REDUCING": "bold yellow", "HALTED": "bold red"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class AgentView:
    """One agent's last vote. ``p`` is None unless it voted; ``note`` says why it did not."""

    name: str
    weight: float
    symbol: str = ""
    p: tuple[float, float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class VerdictView:
    """One verdict of the gate."""

    date: str
    symbol: str
    verdict: str
    code: str = ""
    text: str = ""  # e.g. "buy 120"


@dataclass(frozen=True)
class LiveState:
    """Everything the view shows. Money in micro-units; None where it is not known yet."""

    phase: str
    elapsed: float
    done: int = 0
    total: int = 0
    left: float | None = None
    event_date: str = ""
    equity_micro: int | None = None
    buy_and_hold_micro: int | None = None
    drawdown: float | None = None  # negative fraction
    gate_state: str = ""
    epoch: int | None = None
    agents: tuple[AgentView, ...] = ()
    verdicts: tuple[VerdictView, ...] = ()  # latest first
    dashboard: str = ""
    coordinator: str = ""
    trader: str = ""


def clock_text(seconds: float) -> str:
    """83 -> 1:23."""
    whole = max(int(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _money(micro: int | None) -> str:
    if micro is None:
        return "–"
    sign, whole = ("-" if micro < 0 else ""), (abs(micro) + 500_000) // 1_000_000
    return f"{sign}{whole:,}"


def _bar(share: float, width: int) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def _name(name: str) -> str:
    return name.replace("_", " ")


def vote_text(agent: AgentView) -> Text:
    """'AAPL ↑ .52' with the direction of the likeliest outcome, or why there is no vote."""
    if agent.p is None:
        return Text(agent.note or "no vote yet", style="dim italic")
    best = max(range(3), key=lambda k: agent.p[k] if agent.p else 0.0)
    arrow, style = (("↓", "red"), ("→", "white"), ("↑", "green"))[best]
    down, flat, up = (f"{x:.2f}".removeprefix("0") for x in agent.p)
    text = Text(f"{agent.symbol:<5.5} " if agent.symbol else "")
    text.append(f"{arrow} ", style=f"bold {style}")
    text.append(f"↓{down} ", style="red" if best == 0 else "dim")
    text.append(f"→{flat} ", style="white" if best == 1 else "dim")
    text.append(f"↑{up}", style="green" if best == 2 else "dim")
    return text


def _agents(state: LiveState) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, min_width=12, overflow="ellipsis", ratio=3)
    grid.add_column(no_wrap=True, min_width=26, overflow="ellipsis", ratio=4)
    grid.add_column(no_wrap=True, width=8)
    grid.add_column(no_wrap=True, justify="right", width=4)
    top = max((agent.weight for agent in state.agents), default=0.0) or 1.0
    for agent in state.agents:
        grid.add_row(
            Text(_name(agent.name)),
            vote_text(agent),
            Text(_bar(agent.weight / top, 8), style="blue"),
            f"{agent.weight:.0%}",
        )
    return Panel(
        grid, title="last votes · weight", title_align="left", border_style="dim", padding=(0, 1)
    )


def _verdicts(state: LiveState, rows: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    for width in (10, 5, 8):
        grid.add_column(no_wrap=True, width=width, overflow="ellipsis")
    grid.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    for row in state.verdicts[:rows]:
        code = "" if row.code in ("", "NONE") else row.code.replace("_", " ").lower()
        grid.add_row(
            Text(row.date),
            Text(row.symbol),
            Text(_name(row.verdict), style=_VERDICT_STYLES.get(row.verdict, "")),
            Text(" · ".join(part for part in (code, row.text) if part)),
        )
    for _ in range(rows - len(state.verdicts[:rows])):
        grid.add_row("", "", "", "")
    return Panel(grid, title="gate", title_align="left", border_style="dim", padding=(0, 1))


def _progress(state: LiveState) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    times = f"{clock_text(state.elapsed)} elapsed"
    if state.left is not None:
        times += f" · {clock_text(state.left)} left"
    if state.total > 0:
        share = f"{state.done:,}/{state.total:,}"
        bar = ProgressBar(total=state.total, completed=min(state.done, state.total))
    else:
        share, bar = "", ProgressBar(total=1, completed=0)
    grid.add_row(share or "…", bar, times)
    return grid


def _account(state: LiveState) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{state.event_date or 'no date yet'}  ", style="bold")
    equity, held = state.equity_micro, state.buy_and_hold_micro
    ahead = "" if equity is None or held is None else "green" if equity >= held else "yellow"
    text.append("equity ").append(_money(equity), style=f"bold {ahead}".strip())
    text.append("  buy-and-hold ").append(_money(held), style="bold")
    if state.drawdown is not None:
        text.append(f"  drawdown {state.drawdown:.1%}")
    return text


def _gate(state: LiveState) -> Text:
    if not state.gate_state:
        return Text("gate –", style="dim")
    text = Text("gate ", no_wrap=True)
    text.append(state.gate_state, style=_STATE_STYLES.get(state.gate_state, "bold"))
    if state.epoch is not None:
        text.append(f"  epoch {state.epoch}", style="dim")
    return text


def _addresses(state: LiveState) -> list[RenderableType]:
    pairs = (
        ("dashboard", state.dashboard),
        ("coordinator", state.coordinator),
        ("trader", state.trader),
    )
    return [
        Text.assemble(f"{name} ", (address, "underline"), style="dim")
        for name, address in pairs
        if address
    ]


def render(state: LiveState, width: int = 80) -> RenderableType:
    """The view for a terminal of ``width`` columns: at most 22 lines at 80 columns."""
    head = Table.grid(expand=True)
    head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    head.add_column(justify="right", no_wrap=True)
    head.add_row(Text.assemble(("Sapphire ", "bold blue"), state.phase), _gate(state))
    parts: list[RenderableType] = [head, _progress(state)]
    if state.agents:
        parts += [_account(state)]
        if width >= WIDE:
            side = Table.grid(expand=True)
            side.add_column(ratio=5)
            side.add_column(ratio=4)
            side.add_row(_agents(state), _verdicts(state, max(len(state.agents), 4)))
            parts.append(side)
        else:
            parts += [_agents(state), _verdicts(state, 4)]
    addresses = _addresses(state)
    if addresses:
        parts.append(Columns(addresses, padding=(0, 2)))
    return Group(*parts)


def plain_line(state: LiveState) -> str:
    """The state in one line of plain text, for logs and pipes."""
    parts = [f"sapphire {clock_text(state.elapsed)}", state.phase]
    if state.total > 0:
        parts.append(f"{state.done}/{state.total} ({state.done / state.total:.0%})")
    if state.event_date:
        parts.append(state.event_date)
    if state.equity_micro is not None:
        parts.append(f"equity {_money(state.equity_micro)}")
    if state.buy_and_hold_micro is not None:
        parts.append(f"buy-and-hold {_money(state.buy_and_hold_micro)}")
    if state.gate_state:
        epoch = "" if state.epoch is None else f" epoch {state.epoch}"
        parts.append(f"gate {state.gate_state}{epoch}")
    if state.left is not None:
        parts.append(f"{clock_text(state.left)} left")
    return " · ".join(parts)


class LiveView:
    """Context manager: ``show(state)`` as often as wished; ``message(text)`` for a lasting line.

    On a terminal it redraws at most ``redraws`` times a second. Elsewhere it prints one line when
    the phase changes and then every ``interval`` seconds of ``clock`` (a monotonic clock, seconds).
    ``machine`` (the --json mode) sends all of it to stderr and leaves stdout alone.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        machine: bool = False,
        interval: float = 10.0,
        redraws: float = 8.0,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        out, err = stdout or sys.stdout, stderr or sys.stderr
        self._clock = clock
        self._screen = err if machine else out
        self._interactive = self._screen.isatty()
        self._console = Console(file=self._screen if self._interactive else err)
        self._period = 1.0 / redraws if self._interactive else interval
        self._shown_at: float | None = None
        self._phase = ""
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        if self._interactive:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            self._live = None

    def show(self, state: LiveState) -> None:
        """Shows ``state`` unless another was shown a moment ago; a new phase is always shown."""
        now = self._clock()
        due = self._shown_at is None or now - self._shown_at >= self._period
        if not due and state.phase == self._phase:
            return
        self._shown_at, self._phase = now, state.phase
        if self._live is not None:
            self._live.update(render(state, self._console.width), refresh=True)
        else:
            self._console.file.write(plain_line(state) + "\n")
            self._console.file.flush()

    def message(self, text: str) -> None:
        """Prints a line that stays, above the view."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
