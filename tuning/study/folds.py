"""Folds by scheme, over the moments that may be searched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from data.errors import InputError
from tuning.study.contract import Fold, Ints

SCHEMES = ("anchored", "rolling")


def make_folds(
    moments: Ints, scheme: str, folds: int, *, first_test_share: float = 0.5, gap: int = 0
) -> list[Fold]:
    """Folds over ``moments`` (m,) ns; InputError for an unknown scheme or too little data.

    ``gap``: moments that are left out between the last training label and the test.
    """
    if scheme not in SCHEMES:
        raise InputError(f"scheme {scheme!r}: give one of {', '.join(SCHEMES)}")
    first = round(first_test_share * len(moments))
    edges = np.linspace(first, len(moments), folds + 1).round().astype(int)
    if folds < 1 or min(np.diff(edges)) < 2 or first <= gap:
        raise InputError(f"too little data: {len(moments)} moments for {folds} folds")
    ends = np.append(moments, moments[-1] + 1)
    found = []
    for number, (start, stop) in enumerate(pairwise(edges.tolist())):
        since = 0 if scheme == "anchored" else start - first
        train = ((int(moments[since]), int(moments[start - gap])),)
        found.append(Fold(number, train, int(ends[start]), int(ends[stop])))
    return found
