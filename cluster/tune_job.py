"""What a study on a cluster is called there, and the command that it runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from data.errors import InputError

# Ray's job ids, metadata and file names take these without quoting.
_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# KubeRay appends "-" and five characters to the name of a RayJob for its cluster, and "-serve-svc"
# to that for a service, which may have 63: it refuses longer names.
LONGEST_JOB = 47
# A scheduled job's name gets "-" and a time of ten digits, as CronJob's do.
LONGEST_SCHEDULE = LONGEST_JOB - 11
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_study(name: str) -> str:
    """The name itself; InputError when it is none that a cluster can carry."""
    if not _STUDY.fullmatch(name):
        raise InputError(
            f"study name {name!r}: write letters, digits, '.', '_' and '-', at most 63 of them,"
            " beginning with a letter or digit"
        )
    return name


def resource_name(study: str, prefix: str = "tune", longest: int = LONGEST_JOB) -> str:
    """A name by RFC 1123 (a label: lower case, digits, '-'), different for different studies."""
    plain = f"{prefix}-{check_study(study)}"
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if slug == plain and len(slug) <= longest:
        return slug
    # Where something was changed or cut, two studies could come to the same words.
    mark = hashlib.sha256(study.encode()).hexdigest()[:6]
    return f"{slug[: longest - 7].rstrip('-')}-{mark}"


def study_command(study: str, arguments: Sequence[str], storage: str = "") -> list[str]:
    """``sapphire tune run`` in words: begins the study, or goes on where an earlier try stopped.

    ``arguments`` are further options of ``tune run``; InputError for one that no shell line holds.
    """
    where = ["--storage", storage] if storage else []
    words = [*_checked(arguments), *where]
    return ["sapphire", "tune", "run", check_study(study), "--resume-if-exists", *words]


def retune_command(arguments: Sequence[str], storage: str = "") -> list[str]:
    """``sapphire tune retune`` in words: tunes on new data and proposes."""
    where = ["--storage", storage] if storage else []
    return ["sapphire", "tune", "retune", *_checked(arguments), *where]


def _checked(words: Sequence[str]) -> list[str]:
    for word in words:
        if _CONTROL.search(word):
            raise InputError(f"argument {word!r}: control characters cannot be sent to a cluster")
    return list(words)
