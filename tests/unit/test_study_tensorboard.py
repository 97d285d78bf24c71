"""The event files of a study, read back with the format's own checksums."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from study_views import spec, study_view, two_objectives
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from tuning.study import tensorboard
from tuning.study.contract import FAILED, PRUNED
from tuning.study.tensorboard import write_tensorboard
from tuning.study.view import best_so_far


def masked(data: bytes) -> int:
    found = crc32c(data)
    return (((found >> 15) | (found << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def events(run: Path) -> Iterator[Event]:
    (path,) = run.iterdir()
    assert "tfevents" in path.name
    data = path.read_bytes()
    at = 0
    while at < len(data):
        header = data[at : at + 8]
        (length,) = struct.unpack("<Q", header)
        body = data[at + 12 : at + 12 + length]
        assert struct.unpack("<I", data[at + 8 : at + 12])[0] == masked(header)
        end = at + 12 + length
        assert struct.unpack("<I", data[end : end + 4])[0] == masked(body)
        yield Event.FromString(body)
        at = end + 4


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(run):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def hyperparameters(run: Path) -> dict[str, object]:
    for event in events(run):
        for value in event.summary.value:
            if value.tag == "_hparams_/session_start_info":
                content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                return {
                    name: getattr(each, each.WhichOneof("kind"))
                    for name, each in content.session_start_info.hparams.items()
                }
    raise AssertionError("no hyperparameters")


def test_a_trial_has_its_folds_objectives_and_configuration(tmp_path: Path) -> None:
    view = two_objectives(study_view(30))
    assert write_tensorboard(view, tmp_path) == 31
    best = view.winning
    assert best is not None
    run = tmp_path / f"trial-{best.number:06d}"
    assert next(events(run)).file_version == "brain.Event:2"
    found = scalars(run)
    assert set(found) == {"fold/sharpe", "fold/brier", "objective/sharpe", "objective/brier"}
    assert [step for step, _ in found["fold/sharpe"]] == [0, 1, 2, 3, 4]
    assert [v for _, v in found["fold/brier"]] == pytest.approx([f[1] for f in best.folds])
    assert found["objective/sharpe"] == [(5, pytest.approx(best.values[0]))]
    read = hyperparameters(run)
    assert read.pop("status") == "complete"
    assert read == pytest.approx(best.config)


def test_pruned_and_failed_trials_have_what_there_is(tmp_path: Path) -> None:
    view = study_view(30)
    write_tensorboard(view, tmp_path)
    pruned = next(trial for trial in view.trials if trial.status == PRUNED)
    failed = next(trial for trial in view.trials if trial.status == FAILED)
    assert set(scalars(tmp_path / f"trial-{pruned.number:06d}")) == {"fold/sharpe"}
    assert scalars(tmp_path / f"trial-{failed.number:06d}") == {}
    assert hyperparameters(tmp_path / f"trial-{failed.number:06d}")["status"] == "failed"


def test_the_study_as_a_whole_shows_the_best_so_far(tmp_path: Path) -> None:
    view = study_view(30)
    write_tensorboard(view, tmp_path)
    found = scalars(tmp_path / "study")
    assert [v for _, v in found["best/sharpe"]] == pytest.approx(best_so_far(view).tolist())
    assert [step for step, _ in found["trial/sharpe"]] == [t.number for t in view.complete]


def test_the_files_depend_on_the_study_alone_and_replace_each_other(tmp_path: Path) -> None:
    view = study_view(12)
    for _ in range(2):
        write_tensorboard(view, tmp_path / "a")
    write_tensorboard(view, tmp_path / "b")
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("events*")}
    assert len(files) == 13
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_of_very_many_trials_the_best_get_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "MOST_RUNS", 5)
    view = study_view(30)
    assert write_tensorboard(view, tmp_path) == 6
    best = sorted(view.complete, key=lambda trial: -trial.values[0])[:5]
    names = {f"trial-{trial.number:06d}" for trial in best}
    assert {path.name for path in tmp_path.iterdir()} == names | {"study"}


def test_a_name_of_an_objective_cannot_become_a_path(tmp_path: Path) -> None:
    view = replace(study_view(3), spec=spec(objectives=["my goal: ü<"]))
    write_tensorboard(view, tmp_path)
    assert all("<" not in tag and " " not in tag for tag in scalars(tmp_path / "trial-000000"))
