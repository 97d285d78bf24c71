"""``sapphire tune submit|manifest``: a study on a Ray cluster, by its Jobs API or by Kubernetes.

Options that these commands do not know are those of ``sapphire tune run`` (``retune`` with a
schedule) there; they are checked here, before anything is sent.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import InputError

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
# Where the trials of a job run is decided by the cluster, not by who sends it.
_NOT_PASSED = ("--address", "--executor", "--storage", "--resume-if-exists")

Study = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
Rest = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OPTIONS OF TUNE RUN]", help="What the study is, as for 'tune run'."),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to ``sapphire tune``."""
    app.command("submit", context_settings=_PASSED_ON)(submit_command)
    app.command("manifest", context_settings=_PASSED_ON)(manifest_command)


def submit_command(
    study: Study,
    address: Annotated[
        str, typer.Option("--address", metavar="URL", help="Ray's dashboard, http://HOST:8265.")
    ],
    arguments: Rest = None,
    storage: Annotated[
        str, typer.Option("--storage", help="gs://BUCKET/PREFIX or a directory of the cluster.")
    ] = "",
    send: Annotated[
        list[Path] | None,
        typer.Option("--send", metavar="FILE", help="Goes along; the study names it by its name."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="For a proxy before the dashboard."),
    ] = None,
    python: Annotated[
        str, typer.Option("--python", help="The interpreter on the cluster's nodes.")
    ] = "python",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the log to the end, or return at once.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout once it is submitted.")
    ] = False,
) -> None:
    """Run a study as a job of a Ray cluster; sent again, it goes on where it stopped."""
    from cluster.stopping import stoppable
    from cluster.tune_submit import SubmitOptions, submit

    options = SubmitOptions(
        address=address,
        study=study,
        arguments=_checked_run(study, arguments or [], [path.name for path in send or ()]),
        storage=storage,
        files=tuple(send or ()),
        headers=tuple(header or ()),
        python=python,
        wait=wait,
        as_json=as_json,
    )
    with stoppable():
        code = submit(options, os.environ, secrets.token_hex(4))
    raise typer.Exit(code)


def manifest_command(
    study: Study,
    bucket: Annotated[
        str, typer.Option("--bucket", help="Keeps the studies, at gs://BUCKET/studies.")
    ],
    arguments: Rest = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Of Kubernetes.")] = "default",
    image: Annotated[str, typer.Option("--image", help="Sapphire's.")] = "sapphire:0.1.0",
    service_account: Annotated[
        str, typer.Option("--service-account", help="May write to the bucket.")
    ] = "sapphire-tune",
    database_secret: Annotated[
        str, typer.Option("--database-secret", help="A secret with the key DATABASE_URL.")
    ] = "sapphire-database",  # noqa: S107 - the name of one
    token_secret: Annotated[
        str, typer.Option("--token-secret", help="Ray's, key auth_token; KubeRay's own if absent.")
    ] = "",
    workers: Annotated[int, typer.Option("--workers", help="Spot nodes at most.")] = 8,
    worker_cpus: Annotated[
        int, typer.Option("--worker-cpus", help="Trials at a time on each.")
    ] = 4,
    worker_memory: Annotated[str, typer.Option("--worker-memory", help="Of each.")] = "8Gi",
    head_cpu: Annotated[str, typer.Option("--head-cpu", help="Of the head.")] = "2",
    head_memory: Annotated[str, typer.Option("--head-memory", help="Of the head.")] = "8Gi",
    hours: Annotated[float, typer.Option("--hours", help="Then a try is ended.")] = 6.0,
    retries: Annotated[int, typer.Option("--retries", help="Further tries, which go on.")] = 2,
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="CRON", help="A retune at these times instead."),
    ] = None,
    zone: Annotated[str, typer.Option("--time-zone", help="Of the schedule.")] = "Etc/UTC",
) -> None:
    """Write the manifest of a study with a Ray cluster of its own, for 'kubectl apply -f -'."""
    from cluster.tune_manifest import ClusterShape, manifest, retune_manifest

    shape = ClusterShape(
        bucket=bucket,
        namespace=namespace,
        image=image,
        service_account=service_account,
        database_secret=database_secret,
        token_secret=token_secret,
        workers=workers,
        worker_cpus=worker_cpus,
        worker_memory=worker_memory,
        head_cpu=head_cpu,
        head_memory=head_memory,
        hours=hours,
        retries=retries,
    )
    if schedule is None:
        text = manifest(study, _checked_run(study, arguments or []), shape)
    else:
        words = _checked_retune(arguments or [])
        text = retune_manifest(study, schedule, words, shape, zone)
    sys.stdout.write(text)


def _checked_run(study: str, words: Sequence[str], sent: Sequence[str] = ()) -> tuple[str, ...]:
    """The words, if ``sapphire tune run`` takes them and their values; ``sent`` goes along."""
    from cluster.tune_commands import run_options

    found = _parsed("run", [study], words)
    run_options(**found).asked(study)
    _about_data(found["data"], sent)
    return tuple(words)


def _checked_retune(words: Sequence[str]) -> tuple[str, ...]:
    """The words, if ``sapphire tune retune`` takes them and their values."""
    from cluster.tune_retune import days
    from tuning.study.spec import make_spec
    from tuning.study.targets import TARGETS

    found = _parsed("retune", [], words)
    known = [name for name, target in TARGETS.items() if target.promotes]
    for name in found["targets"] or ():
        if name not in known:
            raise InputError(f"{name!r} is no target of a retune: there are {', '.join(known)}")
    if found["every"]:
        days(found["every"])
    make_spec("retune", known[0], trials=found["trials"])
    _about_data(found["data"])
    return tuple(words)


def _about_data(data: str | None, sent: Sequence[str] = ()) -> None:
    """A line on stderr where the data are a path: what is here is not there."""
    if data is None or data in sent or data.startswith("gs://"):
        return
    if Path(data).expanduser().exists() or "/" in data or "." in data:
        print(
            f"--data {data} is read on the cluster: it must be a table of the lake there, a file"
            " of the image or of a bucket (gs://BUCKET/OBJECT), or one that 'tune submit' sends"
            " with --send and that is named without its folder",
            file=sys.stderr,
        )


def _parsed(command: str, lead: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Their values; typer's own usage error when ``sapphire tune COMMAND`` would not take them."""
    for word in words:
        if word.partition("=")[0] in _NOT_PASSED:
            raise InputError(f"{word}: the cluster decides this; leave it out")
    from cluster import tune_commands

    group = typer.main.get_command(tune_commands.app)
    known = getattr(group, "commands", {}).get(command)
    if known is None:
        raise InputError(f"this version has no command 'sapphire tune {command}'")
    found = known.make_context(f"sapphire tune {command}", [*lead, *words])
    return dict(found.params)
