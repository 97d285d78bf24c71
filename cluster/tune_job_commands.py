"""``sapphire tune retune|retrain|review``, and those of ``tune_cluster_commands``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster import tune_cluster_commands
from cluster.tune_options import Address, Executor, Storage, Workers
from data.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``sapphire tune``."""
    app.command("retune")(retune_command)
    app.command("retrain")(retrain_command)
    app.command("review")(review_command)
    tune_cluster_commands.register(app)


def retune_command(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET…]", help="Agents; those of SAPPHIRE_RETUNE_TARGETS when absent."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One run, now (the default).")] = False,
    every: Annotated[
        str, typer.Option("--every", metavar="1d", help="Whenever one is due: 1d, 12h, 30m.")
    ] = "",
    trials: Annotated[int, typer.Option("--trials", help="Of each study.")] = 200,
    data: Annotated[
        str | None,
        typer.Option("--data", help="File, gs:// object or table of the lake; else the sample."),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; all of the data when absent.")
    ] = None,
    storage: Storage = "",
    executor: Executor = "ray",
    workers: Workers = 0,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Review champions, retrain predictors, tune on new data and propose what was found.

    Promotes by itself only the targets of SAPPHIRE_RETUNE_PROMOTE_BY_ITSELF, if every rule passes.
    """
    from cluster.tune_retune import RetuneOptions, run_retune

    if once and every:
        raise InputError("--once and --every contradict each other: give one of them")
    evaluation: dict[str, Any] = {"data": data} if data else {}
    if symbols is not None:
        names = [name.strip() for name in symbols.split(",") if name.strip()]
        if not names:
            raise InputError(f"--symbols {symbols!r} names no symbol: write for example AAPL,IBM")
        evaluation["symbols"] = names
    options = RetuneOptions(
        targets=tuple(targets or ()),
        every=every,
        trials=trials,
        evaluation=evaluation,
        storage=storage,
        executor=executor,
        workers=workers,
        address=address,
        as_json=as_json,
    )
    raise typer.Exit(run_retune(options))


def retrain_command(
    session: Annotated[str, typer.Argument(help="Session id, or 'last'.")] = "last",
    as_json: Json = False,
) -> None:
    """Train the predictor of a live session again on the bars that the session has seen."""
    from cluster.tune_upkeep import retrain

    raise typer.Exit(retrain(session, as_json=as_json))


def review_command(
    confidence: Annotated[
        float, typer.Option("--confidence", help="Of a demotion, over the champion's whole life.")
    ] = 0.95,
    as_json: Json = False,
) -> None:
    """Judge the champions in force by live evidence, and demote those that have decayed."""
    from cluster.tune_upkeep import review

    raise typer.Exit(review(confidence, as_json=as_json))
