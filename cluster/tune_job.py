"""What a study on a cluster is called there, and the command that it runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from data.errors import InputError
from tuning.study.store import check_name

# KubeRay appends "-" and five characters to the name of a RayJob for its cluster, and "-serve-svc"
# to that for a service, which may have 63: it refuses longer names.
LONGEST_JOB = 47
# A scheduled job's name gets "-" and a time of ten digits, as CronJob's do.
LONGEST_SCHEDULE = LONGEST_JOB - 11
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def resource_name(study: str, prefix: str = "tune", longest: int = LONGEST_JOB) -> str:
    """A name by RFC 1123 (a label: lower case, digits, '-'), different for different studies."""
    plain = f"{prefix}-{check_name(study)}"
    if len(plain) <= longest:
        return plain
    # Cut, two studies could come to the same words.
    mark = hashlib.sha256(study.encode()).hexdigest()[:6]
    return f"{plain[: longest - 7].rstrip('-')}-{mark}"


def study_command(study: str, arguments: Sequence[str], storage: str = "") -> list[str]:
    """``sapphire tune run`` in words: begins the study, or goes on where an earlier try stopped.

    It runs inside a Ray job, where ``auto`` is the cluster of the job. ``arguments`` are further
    options of ``tune run``; InputError for one that no shell line holds.
    """
    where = ["--storage", storage] if storage else []
    words = [*_checked(arguments), *where]
    lead = ["sapphire", "tune", "run", check_name(study), "--resume-if-exists"]
    return [*lead, "--address", "auto", *words]


def retune_command(arguments: Sequence[str], storage: str = "") -> list[str]:
    """``sapphire tune retune`` in words: tunes on new data and proposes."""
    where = ["--storage", storage] if storage else []
    return ["sapphire", "tune", "retune", "--address", "auto", *_checked(arguments), *where]


def _checked(words: Sequence[str]) -> list[str]:
    for word in words:
        if _CONTROL.search(word):
            raise InputError(f"argument {word!r}: control characters cannot be sent to a cluster")
    return list(words)
