"""Flattened trees against xgboost's own predictions."""

import json

import numpy as np
import pytest
import xgboost as xgb

from actors.trees import CLASSES, HEADER, pack_trees, softmax, tree_margins


def _train(x, y, **settings):
    given = {"objective": "multi:softprob", "num_class": 3, "nthread": 1, "seed": 3, "eta": 0.3}
    return xgb.train({**given, **settings}, xgb.DMatrix(x, label=y), num_boost_round=20)


def _sample(seed, rows=400, features=6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features)).astype(np.float32)
    y = np.digitize(x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=rows), [-0.4, 0.9])
    return x, y


def _both(block, x):
    margins, p = np.empty((len(x), 3)), np.empty((len(x), 3))
    for i, row in enumerate(x.astype(np.float64)):
        tree_margins(block, 0, row, margins[i])
        softmax(margins[i], p[i])
    return margins, p


@pytest.mark.parametrize("method", ["exact", "hist"])
@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_equals_xgboost_on_random_data(depth, method):
    x, y = _sample(depth)
    booster = _train(x, y, max_depth=depth, tree_method=method)
    block = pack_trees(bytes(booster.save_raw("json")))
    fresh = np.random.default_rng(99).normal(0.0, 3.0, (500, 6)).astype(np.float32)
    for rows in (x, fresh):
        margins, p = _both(block, rows)
        data = xgb.DMatrix(rows)
        assert np.max(np.abs(p - booster.predict(data))) <= 1e-6
        assert np.array_equal(margins.astype(np.float32), booster.predict(data, output_margin=True))
    assert np.ptp(p) > 0.2, "a model that says nothing would prove nothing"


def test_values_on_a_threshold_go_the_way_of_xgboost():
    x, y = _sample(5)
    booster = _train(np.round(x), y, max_depth=3, tree_method="exact")
    block = pack_trees(bytes(booster.save_raw("json")))
    trees = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]
    tree = next(tree for tree in trees["trees"] if tree["left_children"][0] >= 0)
    feature, threshold = tree["split_indices"][0], np.float32(tree["split_conditions"][0])
    rows = np.zeros((3, 6), np.float32)
    rows[:, feature] = np.nextafter(threshold, np.float32(-9)), threshold, threshold + 1
    _, p = _both(block, rows)
    assert np.max(np.abs(p - booster.predict(xgb.DMatrix(rows)))) <= 1e-6
    assert not np.array_equal(p[0], p[1])


def test_a_float64_value_is_compared_as_float32():
    # 0.1 + 1e-12 is 0.1 in float32; the tree must not see a difference.
    block = np.zeros(HEADER + 3 * 4)
    block[:2] = 1.0, 1.0
    for k in range(CLASSES):
        block[HEADER + 4 * k : HEADER + 4 * k + 4] = 0.0, np.float32(0.1), 1.0, 2.0
    out = np.empty(3)
    tree_margins(block, 0, np.array([0.1 - 1e-12]), out)
    assert list(out) == [2.0, 2.0, 2.0]
    tree_margins(block, 0, np.array([0.0999]), out)
    assert list(out) == [1.0, 1.0, 1.0]


def test_the_block_may_stand_anywhere():
    x, y = _sample(8)
    block = pack_trees(bytes(_train(x, y, max_depth=2).save_raw("json")))
    here, there = np.empty(3), np.empty(3)
    tree_margins(block, 0, x[0].astype(float), here)
    tree_margins(np.concatenate([np.full(7, 9.0), block]), 7, x[0].astype(float), there)
    assert np.array_equal(here, there)


def test_a_booster_without_splits_gives_base_rates():
    x, y = _sample(9)
    booster = _train(x, y, max_depth=2, gamma=1e9)
    _, p = _both(pack_trees(bytes(booster.save_raw("json"))), x[:5])
    assert np.allclose(p, np.bincount(y) / len(y), atol=2e-3)


def test_softmax_of_large_margins():
    out = np.empty(3)
    softmax(np.array([900.0, 900.0, -900.0]), out)
    assert list(out) == [0.5, 0.5, 0.0]


def test_other_models_are_refused():
    x, y = _sample(1)
    two = xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(x, label=y > 0), 2)
    with pytest.raises(ValueError, match="3 classes"):
        pack_trees(bytes(two.save_raw("json")))
    deep = _train(x, y, max_depth=12, min_child_weight=0.0)
    with pytest.raises(ValueError, match="depth"):
        pack_trees(bytes(deep.save_raw("json")))
    forest = _train(x, y, num_parallel_tree=2)
    with pytest.raises(ValueError, match="class order"):
        pack_trees(bytes(forest.save_raw("json")))
