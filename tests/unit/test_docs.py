"""What the documents promise exists: variables, make targets, commands, links, the manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from actors.limits import PREFIX, RiskLimits
from cluster import tune_commands
from cluster.cli import app
from cluster.settings import ClusterSettings, TradingMode
from data.jit_cache import BASE_VARIABLE
from tuning.retune import RetuneSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCHEMA = ROOT.parent / "shared" / "kuberay" / "raycluster_v1.strict.json"


def variables() -> set[str]:
    names = {BASE_VARIABLE}
    for settings in (ClusterSettings, TradingMode, RiskLimits, RetuneSettings):
        for name, field in settings.model_fields.items():
            alias = field.validation_alias
            names.add(str(alias) if alias else f"{PREFIX}{name.upper()}")
    return names


def test_every_variable_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert named == variables()


def test_every_default_limit_is_the_one_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    limits = RiskLimits()
    for name, field in RiskLimits.model_fields.items():
        variable = str(field.validation_alias or f"{PREFIX}{name.upper()}")
        row = re.search(rf"^\| `{variable}` \| ([^|]+) \|", page, re.MULTILINE)
        assert row is not None, variable
        value = getattr(limits, name)
        if isinstance(value, bool):
            assert row[1].strip() == str(value).lower(), variable
        else:
            assert float(row[1]) == float(value), variable


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_targets_commands_and_links_exist(page: Path) -> None:
    text = page.read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    for command in set(re.findall(r"`(?:\.venv/bin/)?sapphire ([a-z]+)", text)):
        assert command in commands, command
    words = {each.name for each in tune_commands.app.registered_commands}
    for word in set(re.findall(r"sapphire tune ([a-z]+)", text)):
        assert word in words, word
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link


def test_the_manifest_fits_kuberays_schema() -> None:
    if not SCHEMA.exists():
        pytest.skip("../shared/kuberay is absent: the schema of KubeRay's kinds lies there")
    jsonschema = pytest.importorskip("jsonschema")
    manifest = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    jsonschema.validate(manifest, json.loads(SCHEMA.read_text()))
    assert manifest["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
