"""``sapphire agents list|upgrade`` and ``sapphire upgrade coordinator``: new code into what runs.

An agent's actor carries the hash of its code in its name. Its successor is started beside it; the
coordinator lets it catch up aside from the log, journals the change and calls it from one round
on; then the old actor is killed. No round waits and none is lost.

The work is done by a short-lived process (``python -m cluster.upgrade FILE``), so that the
command's own process holds no Ray driver. FILE is private: it holds addresses with passwords.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from actors.agent import code_hash
from actors.ray_actors import agent_actor_name
from actors.registry import AGENTS
from cluster.coordinator_call import Refusal, post
from cluster.deploy import DeployRequest, run_coordinator
from cluster.home import Home, Instance, write_private
from cluster.processes import ServiceError, last_lines, marker
from cluster.ray_head import RAY_ENVIRONMENT
from cluster.settings import load_cluster
from cluster.status_parts import cell_actors
from data.errors import InputError

CELL = 0
COORDINATOR = "coordinator"
CHILD_S = 180.0
CHANGE_S = 150.0  # more than the coordinator gives a newcomer to catch up
FAILED = 3  # the child's exit code for an error that it has told in one line


class UpgradeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to bring to the present code: agents by name, or the coordinator."""

    home: str
    deploy: DeployRequest
    coordinator_url: str
    agents: list[str]
    coordinator: bool = False


def running(home: Home) -> Instance:
    """The cluster that runs in this home; InputError when there is none."""
    instance = home.read_instance() if home.is_locked() else None
    if instance is None or "coordinator" not in instance.addresses:
        raise InputError(f"no sapphire runs in {home.path}: start one with 'sapphire up'")
    return instance


def list_agents(*, as_json: bool = False) -> int:
    """Shows each agent's actors, and whether they run the code as it is on disk now."""
    instance = running(Home(load_cluster().home))
    actors = cell_actors(instance.addresses["dashboard"])
    rows: list[dict[str, Any]] = []
    for spec in AGENTS:
        wanted = agent_actor_name(spec, CELL)
        mine = [a for a in actors if str(a["name"]).partition("@")[0] == wanted.partition("@")[0]]
        rows += [
            {
                "agent": spec.name,
                "actor": str(actor["name"]),
                "state": str(actor["state"]).lower(),
                "pid": actor["pid"],
                "current": actor["name"] == wanted,
            }
            for actor in mine
        ]
        if not mine:
            rows.append({"agent": spec.name, "actor": "", "state": "absent", "pid": 0})
    if as_json:
        sys.stdout.write(json.dumps({"agents": rows}) + "\n")
    else:
        table = Table("agent", "actor", "state", "pid", "code", box=None, pad_edge=False)
        for row in rows:
            code = "as on disk" if row.get("current") else "older: 'sapphire agents upgrade'"
            table.add_row(row["agent"], row["actor"], row["state"], str(row["pid"]), code)
        Console().print(table)
    return 0 if all(row["state"] == "alive" for row in rows) else 1


def upgrade_agents(names: list[str]) -> int:
    """Brings these agents (all when empty) to the code on disk; 0 when each of them runs it."""
    known = [spec.name for spec in AGENTS]
    for name in names:
        if name not in known:
            raise InputError(f"no agent is called {name!r}: the agents are {', '.join(known)}")
    return _child(agents=names or known)


def upgrade_coordinator() -> int:
    """Replaces the coordinator's replica by one of the code on disk."""
    return _child(agents=[], coordinator=True)


def _child(*, agents: list[str], coordinator: bool = False) -> int:
    home = Home(load_cluster().home)
    instance = running(home)
    try:
        blob = (home.path / "deploy.json").read_bytes()
    except FileNotFoundError:
        raise InputError(f"the cluster in {home.path} is not deployed yet: try again") from None
    request = UpgradeRequest(
        home=str(home.path),
        deploy=msgspec.json.decode(blob, type=DeployRequest),
        coordinator_url=instance.addresses["coordinator"],
        agents=agents,
        coordinator=coordinator,
    )
    path = home.path / "upgrade.json"
    write_private(path, msgspec.json.encode(request))
    log = home.logs / "upgrade.log"
    try:
        with log.open("ab") as errors:
            done = subprocess.run(
                [sys.executable, "-m", "cluster.upgrade", path],
                env=_environment(home, instance, request.deploy),
                stderr=errors,
                timeout=CHILD_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"not done after {CHILD_S:.0f} s (see {log})") from error
    finally:
        path.unlink()
    if done.returncode not in {0, FAILED}:
        raise ServiceError(f"it failed: {last_lines(log)} (see {log})")
    return 1 if done.returncode else 0


def _environment(home: Home, instance: Instance, deploy: DeployRequest) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TZ", "NUMBA_CACHE_DIR", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **RAY_ENVIRONMENT,
        **marker(home.hash, instance.instance_id),
        "RAY_ADDRESS": deploy.ray_address,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "PYTHONUNBUFFERED": "1",
    }


# -- in the child --------------------------------------------------------------------------------


def run(request: UpgradeRequest) -> int:
    """Does it; prints a line for each agent. FAILED when one could not be changed over."""
    import ray

    from actors.ray_actors import NAMESPACE

    ray.init(
        address=request.deploy.ray_address,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
    )
    if request.coordinator:
        run_coordinator(request.deploy)
        print("the coordinator runs the code as it is now")
        return 0
    failed = False
    for name in request.agents:
        try:
            print(_upgrade(request, name))
        except ServiceError as error:
            print(f"{name}: not changed: {error}")
            failed = True
    return FAILED if failed else 0


def _upgrade(request: UpgradeRequest, name: str) -> str:
    import ray
    from ray.exceptions import RayError

    from actors.ray_actors import NAMESPACE, spec_of, start_agent

    spec, cell = spec_of(name), request.deploy.cell
    wanted = agent_actor_name(spec, cell)
    prefix = wanted.partition("@")[0] + "@"
    known = [
        str(actor["name"])
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["namespace"] == NAMESPACE and str(actor["name"]).startswith(prefix)
    ]
    old = [actor for actor in known if actor != wanted]
    if wanted in known and not old:
        return f"{name}: its code did not change ({wanted})"
    actor = start_agent(spec, cell, request.deploy.agents_database_url)
    try:
        said = ray.get(actor.health.remote(), timeout=request.deploy.start_timeout_s)
        answer = post(
            Home(request.home),
            request.coordinator_url,
            f"/v1/agents/{name}/version",
            {"actor": wanted, "code": code_hash(spec), "step": str(said["step"])},
            CHANGE_S,
        )
    except (RayError, Refusal) as error:
        if wanted not in known:
            ray.kill(actor)
        text = str(error).splitlines()
        raise ServiceError(text[0] if text else type(error).__name__) from error
    except ServiceError as error:
        # No answer: it may be the agent by now, so neither of the two is killed.
        raise ServiceError(f"{error}; both actors stay: see 'sapphire agents list'") from error
    for each in old:
        ray.kill(ray.get_actor(each, namespace=NAMESPACE))
    return f"{name}: {wanted} votes from round {answer.get('round')} on; {', '.join(old)} ended"


def main() -> int:
    """Entry point of the process."""
    return run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=UpgradeRequest))


if __name__ == "__main__":
    sys.exit(main())
