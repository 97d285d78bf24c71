"""``sapphire data import|list|check``: the market data that sessions and backtests read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Import market data into the lake, list its tables, check their quality.",
)


@app.command("import")
def import_command(
    paths: Annotated[list[Path], typer.Argument(help="Files that belong to one table.")],
    name: Annotated[str | None, typer.Option("--name", help="The table's name.")] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="binance-wire, binance-dump, lean, parquet, arrow or csv; guessed when absent.",
        ),
    ] = None,
    clock: Annotated[
        str | None,
        typer.Option("--clock", help="100ms to 1d, tick:N, volume:N, dollar:N: what ends a bar."),
    ] = None,
    stamp: Annotated[
        str | None, typer.Option("--stamp", help="Where ts of a bar stands: open or close.")
    ] = None,
    mapping: Annotated[
        str | None, typer.Option("--map", help="Columns by our names: open=o,ts=time.")
    ] = None,
    tick: Annotated[str | None, typer.Option("--tick", help="Price of one tick.")] = None,
    lot: Annotated[str | None, typer.Option("--lot", help="Quantity of one lot.")] = None,
    symbol: Annotated[
        str | None, typer.Option("--symbol", help="When the file has no symbol column.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="Comma-separated; all when absent.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="Of times that name none.")
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option("--calendar", help="The exchange's, as XNYS; none: it never closes."),
    ] = None,
    currency: Annotated[str | None, typer.Option("--currency", help="Of the prices.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="The symbols' group.")] = None,
    adjust: Annotated[
        Path | None, typer.Option("--adjust", help="CSV of splits and reused tickers.")
    ] = None,
    bars_per_year: Annotated[
        float | None, typer.Option("--bars-per-year", help="When neither clock nor calendar tells.")
    ] = None,
    keep_ticks: Annotated[
        bool, typer.Option("--keep-ticks", help="Store trades and quotes beside their bars.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write the table anew instead of adding to it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Import files into a table of the lake."""
    from cluster.data_view import show_import
    from data.formats import Reading
    from data.import_job import ImportOptions
    from data.importing import import_files
    from data.tabular import parse_mapping
    from data.units import parse_unit

    options = ImportOptions(
        name=name,
        reading=Reading(file_format, tuple(parse_mapping(mapping).items()), symbol, timezone),
        clock=clock,
        stamp=stamp,
        tick=parse_unit(tick, "--tick"),
        lot=parse_unit(lot, "--lot"),
        calendar=calendar,
        currency=currency,
        group=group,
        bars_per_year=_positive(bars_per_year),
        symbols=tuple(word.strip() for word in (symbols or "").split(",") if word.strip()),
        adjust=adjust,
        keep_ticks=keep_ticks,
        replace=replace,
    )
    show_import(lambda: import_files(lake_directory(), paths, options), as_json)


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """List the lake's tables."""
    from cluster.data_view import show_tables

    show_tables(lake_directory(), as_json)


@app.command("check")
def check_command(
    source: Annotated[str, typer.Argument(metavar="PATH|NAME", help="A file or a table.")],
    stamp: Annotated[
        str | None, typer.Option("--stamp", help="For a file of bars: open or close.")
    ] = None,
    clock: Annotated[str | None, typer.Option("--clock", help="For a file of bars.")] = None,
    calendar: Annotated[str | None, typer.Option("--calendar", help="For a file: XNYS.")] = None,
    mapping: Annotated[str | None, typer.Option("--map", help="As for import.")] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="As for import.")] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="As for import.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Report the quality of a table or file; exit 1 when something is wrong with it."""
    from cluster.data_view import show_check
    from data.formats import Reading
    from data.quality import CheckOptions, check
    from data.tabular import parse_mapping

    reading = Reading(None, tuple(parse_mapping(mapping).items()), symbol, timezone)
    report = check(lake_directory(), source, CheckOptions(reading, stamp, clock, calendar))
    raise typer.Exit(show_check(report, as_json))


def lake_directory() -> Path:
    """The lake of this installation."""
    from cluster.home import Home
    from cluster.settings import load_cluster

    return Home(load_cluster().home).path / "lake"


def _positive(value: float | None) -> float | None:
    if value is not None and not 0.0 < value < float("inf"):
        raise InputError(f"--bars-per-year {value}: give a number above 0")
    return value
