"""What a submitted study takes to the cluster: our sources and the files it names, in one archive.

Only what is listed here goes: no environment, repository, home or forgotten secret beside it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import InputError

FLOORS = ("data", "actors", "serve_apps", "cloud_trader", "tuning", "cluster")
SUFFIXES = (".py", ".sql", ".typed")
MOST_BYTES = 64 * 1024 * 1024  # before compression; Ray keeps it in the head's memory
_EPOCH = (1980, 1, 1, 0, 0, 0)  # Equal files make an equal archive, which Ray stores once.


def pack(root: Path, files: Sequence[Path], target: Path) -> int:
    """Write the archive of the sources below ``root`` to ``target``; returns their bytes.

    ``files`` go beside the packages, by their names: the job names them so. InputError when one is
    missing, takes a name that is taken, or all are more than MOST_BYTES.
    """
    content = dict(_sources(root))
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file to send along")
        if path.name in content or path.name in FLOORS:
            raise InputError(f"{path}: something with this name goes already; rename it")
        content[path.name] = path
    total = sum(path.stat().st_size for path in content.values())
    if total > MOST_BYTES:
        raise InputError(
            f"{total / 1e6:,.0f} MB to send, at most {MOST_BYTES / 1e6:,.0f}:"
            " put large data into the bucket and name it by gs://"
        )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            about = zipfile.ZipInfo(name, _EPOCH)
            about.external_attr = 0o644 << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, content[name].read_bytes())
    return total


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    for floor in FLOORS:
        if not (root / floor / "__init__.py").is_file():
            raise InputError(f"{root}: has no package {floor}; run this from an installation")
        for path in sorted((root / floor).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path
