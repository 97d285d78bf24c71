"""What Ray reads from the environment when it is imported: set it before the first import."""

from __future__ import annotations

import os

# A Ray of this process's own is for this machine alone. The values are those of the local cluster.
LOCAL = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# Tune's own files and loggers are of no use here: the study's store is the record.
TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Else Tune itself tries again what was lost with a node that was taken away, without an end.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
}


def prepare(address: str | None) -> None:
    """Names what Ray would ask or guess otherwise; a remote cluster's own settings win."""
    os.environ.update(TUNE)
    if address is None:
        os.environ.update(LOCAL)
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
