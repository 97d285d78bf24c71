"""``sapphire tune``: the command line of studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster import tune_job_commands
from cluster.tune_options import Address, Executor, Storage, Workers
from data.errors import InputError

if TYPE_CHECKING:
    from cluster.tune import TuneOptions

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Search parameters, judge what was found, put a proven winner in force.",
)

Name = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", metavar="DIR", help="Write TensorBoard files too.")
]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write the HTML report.")]


@app.command("run")
def run_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Its name; numbered when absent.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="An agent, pool, sizing, committee or ema_cross.")
    ] = "strategy_optimization",
    objective: Annotated[
        str | None, typer.Option("--objective", help="One, or several with commas between.")
    ] = None,
    searcher: Annotated[str, typer.Option("--searcher", help="random, grid, tpe or pbt.")] = "tpe",
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            help="none, or halving: stop weak trials early. asha and pbt_async decide as trials"
            " come, and are not exactly repeatable; both are slower where a trial takes ms.",
        ),
    ] = "none",
    trials: Annotated[int, typer.Option("--trials", help="How many.")] = 200,
    generation: Annotated[
        int, typer.Option("--generation", help="Trials suggested together; 0: the searcher's own.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of searcher, fits and bootstrap.")] = 0,
    data: Annotated[
        str | None,
        typer.Option("--data", help="File, gs:// object or table of the lake; else the sample."),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; all of the data when absent.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First date, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last date, YYYY-MM-DD.")] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Out-of-sample stretches.")] = None,
    scheme: Annotated[
        str | None, typer.Option("--scheme", help="anchored, rolling, kfold or cpcv.")
    ] = None,
    scope: Annotated[
        str | None, typer.Option("--scope", help="Of an agent: solo, or in the committee.")
    ] = None,
    locked: Annotated[
        float | None, typer.Option("--locked-share", help="Of the data, locked away at the end.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE of searcher or scheduler, as points=5, eta=3."),
    ] = None,
    storage: Storage = "",
    executor: Executor = "ray",
    workers: Workers = 0,
    address: Address = None,
    resume_if_exists: Annotated[
        bool, typer.Option("--resume-if-exists", help="Go on when the study exists already.")
    ] = False,
    tensorboard: TensorBoard = None,
    report: Report = True,
    as_json: Json = False,
) -> None:
    """Run a study to its end; stopped anywhere, 'resume' goes on with it."""
    from cluster.tune import run

    asked = run_options(
        name=name,
        target=target,
        objective=objective,
        searcher=searcher,
        scheduler=scheduler,
        trials=trials,
        generation=generation,
        seed=seed,
        data=data,
        symbols=symbols,
        first=first,
        last=last,
        folds=folds,
        scheme=scheme,
        scope=scope,
        locked=locked,
        option=option,
        storage=storage,
        executor=executor,
        workers=workers,
        address=address,
        resume_if_exists=resume_if_exists,
        tensorboard=tensorboard,
        report=report,
        as_json=as_json,
    )
    raise typer.Exit(run(asked))


def run_options(
    *,
    objective: str | None,
    scheduler: str,
    data: str | None,
    symbols: str | None,
    first: str | None,
    last: str | None,
    folds: int | None,
    scheme: str | None,
    scope: str | None,
    locked: float | None,
    option: list[str] | None,
    **others: Any,
) -> TuneOptions:
    """The parameters of ``tune run`` as what it asks for; InputError for what contradicts itself.

    ``others`` are fields of TuneOptions as they are.
    """
    from data.times import day_ns

    since = day_ns(first, "--from") if first else None
    until = day_ns(last, "--to", after=True) if last else None
    if since is not None and until is not None and since >= until:
        raise InputError(f"--from {first} is after --to {last}: swap them")
    evaluation = {
        "data": data,
        "symbols": _names(symbols),
        "since": since,
        "until": until,
        "folds": folds,
        "scheme": scheme,
        "scope": scope,
        "locked_share": locked,
    }
    return _options(
        objectives=tuple(_names(objective) or ()),
        scheduler=scheduler,
        options=_pairs(option or [], scheduler),
        evaluation={key: value for key, value in evaluation.items() if value is not None},
        **others,
    )


@app.command("resume")
def resume_command(
    name: Name,
    storage: Storage = "",
    executor: Executor = "ray",
    workers: Workers = 0,
    address: Address = None,
    tensorboard: TensorBoard = None,
    report: Report = True,
    as_json: Json = False,
) -> None:
    """Go on with a study that was stopped or killed, as if it had not been."""
    from cluster.tune import resume

    options = _options(
        name=name,
        storage=storage,
        executor=executor,
        workers=workers,
        address=address,
        tensorboard=tensorboard,
        report=report,
        as_json=as_json,
    )
    raise typer.Exit(resume(options))


@app.command("list")
def list_command(storage: Storage = "", as_json: Json = False) -> None:
    """List the studies."""
    from cluster.tune import listing

    raise typer.Exit(listing(storage, as_json=as_json))


@app.command("show")
def show_command(
    name: Name,
    storage: Storage = "",
    tensorboard: TensorBoard = None,
    report: Report = True,
    as_json: Json = False,
) -> None:
    """Show what a study found, and write its report anew."""
    from cluster.tune import show

    options = _options(
        name=name, storage=storage, tensorboard=tensorboard, report=report, as_json=as_json
    )
    raise typer.Exit(show(options))


@app.command("compare")
def compare_command(
    names: Annotated[list[str], typer.Argument(metavar="STUDY STUDY…", help="Two or more.")],
    storage: Storage = "",
    as_json: Json = False,
) -> None:
    """Set studies side by side."""
    from cluster.tune import compare

    raise typer.Exit(compare(names, storage, as_json=as_json))


@app.command("promote")
def promote_command(
    name: Name,
    session: Annotated[
        str,
        typer.Option("--session", help="For this session alone ('last'); else all live ones."),
    ] = "",
    storage: Storage = "",
    as_json: Json = False,
) -> None:
    """Judge a study's winner by every rule and, if all pass, put it in force; exit 1 if not."""
    from cluster.tune_promote import promote

    raise typer.Exit(promote(name, storage, session, as_json=as_json))


@app.command("rollback")
def rollback_command(
    agent: Annotated[str, typer.Argument(help="Whose model is taken back.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is journalled.")],
    session: Annotated[str, typer.Option("--session", help="In this session alone.")] = "",
    group: Annotated[
        str | None, typer.Option("--group", help="Of symbols, where the agent has several.")
    ] = None,
) -> None:
    """Take the model in force back; the one before it, or the session's own, is in force again."""
    from actors.registry import AGENTS
    from cluster.tune_promote import rollback

    known = [each.name for each in AGENTS]
    if agent not in known:
        raise InputError(f"no agent is called {agent!r}: choose {', '.join(known)}")
    raise typer.Exit(rollback(agent, reason, session, group))


@app.command("history")
def history_command(
    agent: Annotated[str | None, typer.Argument(help="One agent; all when absent.")] = None,
    as_json: Json = False,
) -> None:
    """Show every promotion, rollback, demotion and retraining, and where each came from."""
    from cluster.tune_promote import history

    raise typer.Exit(history(agent, as_json=as_json))


def _options(**fields: Any) -> TuneOptions:
    from cluster.tune import TuneOptions

    return TuneOptions(**fields)


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{text!r} names nothing: write names with commas between")
    return names


# Of the scheduler; every other option is the searcher's.
_OF_SCHEDULER = {"pbt_async": ("quantile", "resample", "scale")}


def _pairs(texts: list[str], scheduler: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise InputError(f"--option {text!r}: write KEY=VALUE")
        try:
            number: float | int = int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError:
            raise InputError(f"--option {text!r}: the value must be a number") from None
        own = _OF_SCHEDULER.get(scheduler, ("eta",))
        place = options if key in own else options.setdefault("searcher", {})
        place[key] = number
    return options


tune_job_commands.register(app)
