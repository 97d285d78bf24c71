"""The ``sapphire`` command. Exit codes: 0 done, 1 it failed or is not healthy, 2 bad input."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster import agent_commands, data_commands, token_commands, tune_commands
from data.errors import InputError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Six agents vote, a coordinator pools, a gate decides, a paper account trades.",
)
app.add_typer(data_commands.app, name="data")
app.add_typer(token_commands.app, name="token")
app.add_typer(agent_commands.agents, name="agents")
app.add_typer(tune_commands.app, name="tune")
app.command("upgrade")(agent_commands.upgrade)


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise InputError(f"--speed {text!r}: give dates per second above 0, or max")
    return value


def _chosen(symbols: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (symbols or "").split(",") if name.strip())
    if symbols is not None and not names:
        raise InputError(f"--symbols {symbols!r} names no symbol: write for example AAPL,IBM")
    return names


@app.command("run")
def run_command(
    first: Annotated[
        str | None, typer.Option("--from", help="First traded date, YYYY-MM-DD.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last date, YYYY-MM-DD.")] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; all of the data when absent.")
    ] = None,
    speed: Annotated[
        str, typer.Option("--speed", help="Traded moments per second, or max.")
    ] = "max",
    seed: Annotated[int, typer.Option("--seed", help="Seed of model training.", min=0)] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object as the last line of stdout.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="PATH|NAME",
            help="File, gs:// object or table of the lake.",
        ),
    ] = None,
    retrain_months: Annotated[
        int | None,
        typer.Option(
            "--retrain-months",
            help="Between trainings of the predictor, 0 never; by the data's clock if absent.",
            min=0,
        ),
    ] = None,
) -> None:
    """Run a paper-trading session of the whole cluster on recorded bars."""
    from cluster.run import RunOptions, run

    raise typer.Exit(
        run(
            RunOptions(
                first,
                last,
                _chosen(symbols),
                _speed(speed),
                seed,
                as_json,
                data,
                retrain_months=retrain_months,
            )
        )
    )


@app.command()
def up(
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; the sample's when absent.")
    ] = None,
    symbols_file: Annotated[
        Path | None, typer.Option("--symbols-file", help="A file with one symbol a line.")
    ] = None,
    daemon: Annotated[
        bool, typer.Option("-d", "--daemon", help="Return when ready; 'sapphire down' stops it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout when ready.")
    ] = False,
) -> None:
    """Start everything with a session for the HTTP surface, until Ctrl-C."""
    from cluster.up import UpOptions
    from cluster.up import up as start

    raise typer.Exit(start(UpOptions(symbols, symbols_file, daemon, as_json)))


@app.command()
def down() -> None:
    """Stop what runs in this home."""
    from cluster.down import down as stop

    raise typer.Exit(stop())


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show each part and its last progress; exit 1 when something is not healthy."""
    from cluster.status import status as show

    raise typer.Exit(show(as_json=as_json))


@app.command()
def verify(
    session: Annotated[str, typer.Argument(help="Session id, or 'last'.")] = "last",
) -> None:
    """Recompute a session's hash chains and books from the journal; exit 1 at a violation."""
    from cluster.verify import verify as check

    raise typer.Exit(check(session))


@app.command()
def backtest(
    data: Annotated[
        str | None,
        typer.Option("--data", help="File, gs:// object or table of the lake; else the sample."),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="First traded date, YYYY-MM-DD.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last date, YYYY-MM-DD.")] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; all of the data when absent.")
    ] = None,
    warm_up: Annotated[
        int, typer.Option("--warm-up", help="Moments that only fit models.", min=2)
    ] = 500,
    latency: Annotated[
        str, typer.Option("--latency", help="From decision to fill: bars, as 1, or as 250ms.")
    ] = "1",
    without: Annotated[
        str | None, typer.Option("--without", help="Agents to leave out, comma-separated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of model training.", min=0)] = 0,
    retrain_months: Annotated[
        int | None,
        typer.Option(
            "--retrain-months",
            help="Between trainings of the predictor, 0 never; by the data's clock if absent.",
            min=0,
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="Write the HTML report, or keep nothing."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object as the last line of stdout.")
    ] = False,
) -> None:
    """Run the committee over recorded bars in one process: what 'run' would decide, fast."""
    from cluster.backtest import BacktestOptions, parse_without, run_backtest

    options = BacktestOptions(
        data=data,
        first=first,
        last=last,
        symbols=_chosen(symbols),
        warm_up=warm_up,
        latency=latency,
        without=parse_without(without),
        seed=seed,
        retrain_months=retrain_months,
        report=report,
        as_json=as_json,
    )
    raise typer.Exit(run_backtest(options))


@app.command()
def parity(
    session: Annotated[str, typer.Argument(help="Session id, or 'last'.")] = "last",
) -> None:
    """Backtest a session's bars and compare with what it recorded; exit 1 at a difference."""
    from cluster.parity import parity as check

    raise typer.Exit(check(session))


@app.command()
def replay(
    session: Annotated[str, typer.Argument(help="Session id, or 'last'.")] = "last",
) -> None:
    """Recompute a session from its journal and compare everything.

    Exit 0 identical, 1 with the first difference, 3 equal on another fingerprint.
    """
    from cluster.replay import replay as check

    raise typer.Exit(check(session))


@app.command("why")
def why_command(
    decision: Annotated[str, typer.Argument(help="SESSION:SYMBOL:TS, ts in UTC nanoseconds.")],
) -> None:
    """Tell one decision's story from the journal: bar, votes, verdict, what followed."""
    from cluster.why import why

    raise typer.Exit(why(decision))


@app.command()
def halt(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is journalled.")],
) -> None:
    """Stop all trading now. Holds through PostgreSQL, also when Ray is dead."""
    from cluster.operate import set_everywhere

    raise typer.Exit(set_everywhere("HALTED", reason))


@app.command()
def resume(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is journalled.")],
) -> None:
    """Take a halt back."""
    from cluster.operate import set_everywhere

    raise typer.Exit(set_everywhere("ACTIVE", reason))


@app.command()
def unlock(
    symbol: Annotated[str, typer.Argument(help="The symbol that a bad bar locked.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is journalled.")],
) -> None:
    """Let a symbol trade again after a look at its data."""
    from cluster.operate import unlock_symbol

    raise typer.Exit(unlock_symbol(symbol, reason))


def main() -> None:
    """Entry point: turns the errors that a person can mend into one line."""
    from cluster.processes import ServiceError
    from cluster.stopping import Stopped

    # A stop may interrupt a query; that its rollback then fails is no news for a person.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    try:
        app()
    except InputError as error:
        print(f"sapphire: {error}", file=sys.stderr)
        sys.exit(2)
    except ServiceError as error:
        print(f"sapphire: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        print("sapphire: stopped", file=sys.stderr)
        sys.exit(stopped.exit_code)


if __name__ == "__main__":
    main()
