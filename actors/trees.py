"""Gradient-boosted trees as a flat array, walked in compiled code.

A block of float64 numbers holds the whole ensemble; each is a float32 of xgboost, stored exactly:

    [rounds, depth, base_0, base_1, base_2, tree, tree, ...]     trees by round, then by class
    tree = [feature, threshold] x (2^depth - 1), then 2^depth leaves

Every tree is padded to a perfect binary tree, so a walk is ``depth`` steps without a test for
leaves. Comparisons (x < threshold goes left) and sums (tree by tree) are float32, in xgboost's
order, so the margins equal those of ``Booster.predict(output_margin=True)``. Inputs are finite:
there is no branch for missing values. Boosting: Friedman (2001); xgboost: Chen and Guestrin (2016).
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.compiled import inline_njit, lean_njit

CLASSES = 3
HEADER = 2 + CLASSES
MAX_DEPTH = 8


@lean_njit
def tree_margins(params, offset, x, out):
    """Writes the margins of features ``x`` to ``out[:3]``; the block starts at ``offset``."""
    rounds = int(params[offset])
    depth = int(params[offset + 1])
    inner = (1 << depth) - 1
    size = 3 * inner + 1
    for k in range(CLASSES):
        total = np.float32(params[offset + 2 + k])
        for r in range(rounds):
            base = offset + HEADER + (r * CLASSES + k) * size
            node = 0
            for _ in range(depth):
                here = base + 2 * node
                value = np.float32(x[int(params[here])])
                left = value < np.float32(params[here + 1])
                node = 2 * node + (1 if left else 2)
            total = np.float32(total + np.float32(params[base + inner + node]))
        out[k] = total


@inline_njit
def softmax(margins, out):
    """exp(m_k) / sum exp(m_j) of three margins, in float64."""
    top = max(margins[0], margins[1], margins[2])
    total = 0.0
    for k in range(CLASSES):
        out[k] = math.exp(margins[k] - top)
        total += out[k]
    for k in range(CLASSES):
        out[k] /= total


def is_block(params: NDArray[np.float64], features: int) -> bool:
    """Whether ``params`` is one whole block over so many features: a walk stays inside of both."""
    if len(params) < HEADER or not (0 < params[0] < len(params) and 0 < params[1] <= MAX_DEPTH):
        return False
    inner = (1 << int(params[1])) - 1
    size = 3 * inner + 1
    if len(params) != HEADER + int(params[0]) * CLASSES * size:
        return False
    chosen = params[HEADER:].reshape(-1, size)[:, : 2 * inner : 2]
    return bool(((chosen >= 0) & (chosen < features)).all())


def pack_trees(model_json: str | bytes) -> NDArray[np.float64]:
    """The block of a three-class xgboost model, from ``booster.save_raw("json")``.

    Raises ValueError for a model of another kind: classes, booster, categorical splits, depth.
    """
    learner = json.loads(model_json)["learner"]
    booster = learner["gradient_booster"]
    classes = int(learner["learner_model_param"]["num_class"])
    if booster["name"] != "gbtree" or classes != CLASSES:
        raise ValueError(
            f"pack_trees: need a gbtree of {CLASSES} classes, got {booster['name']} of {classes}"
        )
    trees = booster["model"]["trees"]
    info = [int(k) for k in booster["model"]["tree_info"]]
    if not trees or info != [i % CLASSES for i in range(len(trees))]:
        raise ValueError("pack_trees: trees must come one per class and round, in class order")
    base = json.loads(learner["learner_model_param"]["base_score"])
    if not isinstance(base, list) or len(base) != CLASSES:
        raise ValueError(f"pack_trees: need one base score per class, got {base}")
    depth = max(1, *(_depth(tree, 0) for tree in trees))
    if depth > MAX_DEPTH:
        raise ValueError(f"pack_trees: depth {depth} exceeds {MAX_DEPTH}; train shallower trees")
    head = [float(len(trees) // CLASSES), float(depth), *(float(np.float32(b)) for b in base)]
    return np.concatenate([np.array(head), *(_pack(tree, depth) for tree in trees)])


def _depth(tree: dict[str, Any], node: int) -> int:
    left, right = tree["left_children"][node], tree["right_children"][node]
    if left < 0:
        return 0
    return 1 + max(_depth(tree, left), _depth(tree, right))


def _pack(tree: dict[str, Any], depth: int) -> NDArray[np.float64]:
    """One tree, padded: below a leaf every branch leads to that leaf's value."""
    if any(tree["split_type"]):
        raise ValueError("pack_trees: categorical splits are not supported")
    inner = (1 << depth) - 1
    row = np.zeros(3 * inner + 1)
    stack = [(0, 0)]
    while stack:
        source, target = stack.pop()
        leaf = tree["left_children"][source] < 0
        value = float(np.float32(tree["split_conditions"][source]))
        if target >= inner:
            row[inner + target] = value
            continue
        children = (source, source)
        if not leaf:
            row[2 * target] = tree["split_indices"][source]
            row[2 * target + 1] = value
            children = (tree["left_children"][source], tree["right_children"][source])
        stack.append((children[0], 2 * target + 1))
        stack.append((children[1], 2 * target + 2))
    return row
