"""Trials: canonical form, keys, matrices."""

from __future__ import annotations

import pytest

from slt_bench.errors import UsageError
from slt_bench.trial import Trial, key_of, matrix, parse_value, shard


@pytest.fixture
def create(toy_task, toy_layer):
    def create(**given) -> Trial:
        return Trial.create(toy_task, given.pop("baseline", toy_layer), **given)

    return create


def test_the_key_of_an_identity_never_changes():
    # Weeks of records are found by this digest: a changed value here orphans all of them.
    identity = {
        "schema": 1,
        "kind": "train",
        "task": "adding",
        "task_version": 1,
        "baseline": "low_rank",
        "settings": {"rank": 16, "gain": None, "modes": (4, 2)},
        "slots": ["reset", "state"],
        "options": {"learning_rate": 0.003},
        "budget": "quick",
        "dataset": "generated",
        "seed": 3,
        "dtype": "float32",
    }
    assert key_of(identity) == "42ec1c6cf53b56e83cf2841bfad3f2e2b9c288a22d03ba081f4f19bd442cda32"
    assert key_of(dict(reversed(identity.items()))) == key_of(identity)


def test_defaults_stay_out_of_the_key(create):
    plain = create()
    assert create(settings={"rank": 2}).key == plain.key
    assert create(options={"width": 6, "dataset": "generated"}).key == plain.key
    assert create(slots=["second"]).key == plain.key
    assert (plain.settings, plain.options) == ({}, {})


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"rank": 3}},
        {"options": {"width": 7}},
        {"slots": ["first"]},
        {"slots": ["all"]},
        {"budget": "smoke"},
        {"seed": 1},
        {"dtype": "float64"},
        {"baseline": "torch.nn:Linear"},
    ],
)
def test_whatever_changes_the_result_changes_the_key(create, change):
    assert create(**change).key != create().key


def test_dense_is_one_trial_whichever_slots_are_named(create):
    keys = {create(baseline="dense", slots=s).key for s in (None, ["first"], ["all"])}
    assert len(keys) == 1


def test_slots_take_the_order_of_the_task(create):
    assert create(slots=["second", "first"]).slots == ("first", "second")


def test_values_take_the_type_of_the_field(create):
    assert create(options={"learning_rate": 1}).options == {"learning_rate": 1.0}
    assert create(options={"width": 7.0}).key == create(options={"width": 7}).key
    assert create(settings={"rank": "none"}).settings == {"rank": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"rnak": 3}}, "did you mean 'rank'"),
        ({"options": {"widht": 3}}, "did you mean 'width'"),
        ({"options": {"width": "wide"}}, "wrong type"),
        ({"options": {"width": True}}, "wrong type"),
        ({"slots": ["frist"]}, "did you mean 'first'"),
        ({"budget": "quik"}, "did you mean 'quick'"),
        ({"dtype": "float23"}, "did you mean 'float32'"),
        ({"baseline": "no_such_layer"}, "no baseline 'no_such_layer'"),
    ],
)
def test_a_wrong_name_or_value_is_one_clear_line(create, change, message):
    with pytest.raises(UsageError, match=message) as caught:
        create(**change)
    assert "\n" not in str(caught.value)


def test_a_matrix_has_every_combination_once(toy_task, toy_layer):
    trials = matrix(
        [toy_task],
        ["dense", toy_layer],
        seeds=[0, 2],
        settings={"ToyLayer": {"rank": [1, 2, 2]}},
        options={"ToyTask": {"width": [4, 6]}},
    )
    assert len(trials) == 2 * 2 + 2 * 2 * 2
    assert len({t.key for t in trials}) == len(trials)


def test_a_grid_sweeps_what_the_user_leaves_open(toy_task, tmp_path):
    path = tmp_path / "gridded.py"
    path.write_text(
        "from torch import nn\n"
        "class Gridded(nn.Linear):\n"
        "    grid = {'rank': [1, 2, 3], 'shape': ['a', 'b']}\n"
        "    def __init__(self, in_features, out_features, bias=True, *, rank=1, shape='a'):\n"
        "        super().__init__(in_features, out_features, bias)\n"
    )
    sweep = {"settings": {"Gridded": {"rank": [5]}}, "sweep_grids": True}
    assert len(matrix([toy_task], [str(path)], sweep_grids=True)) == 6
    assert {t.settings.get("rank") for t in matrix([toy_task], [str(path)], **sweep)} == {5}
    assert len(matrix([toy_task], [str(path)], **sweep)) == 2
    assert len(matrix([toy_task], [str(path)])) == 1


def test_shards_are_a_partition_that_later_trials_leave_alone(toy_task, toy_layer):
    few = matrix([toy_task], [toy_layer], seeds=range(10))
    many = matrix([toy_task], [toy_layer], seeds=range(30))
    parts = [shard(many, i, 3) for i in (1, 2, 3)]
    assert sorted(t.key for part in parts for t in part) == sorted(t.key for t in many)
    for i, part in enumerate(parts, start=1):
        assert {t.key for t in shard(few, i, 3)} <= {t.key for t in part}
    with pytest.raises(UsageError, match="does not exist"):
        shard(many, 4, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("none", None), ("True", True), ("8", 8), ("0.5", 0.5), ("[8,4]", [8, 4]), ("db6", "db6")],
)
def test_words_of_the_command_line_become_values(text, value):
    assert parse_value(text) == value


def test_a_trial_is_rebuilt_from_its_identity(create):
    trial = create(settings={"rank": 3}, seed=4)
    assert Trial.from_identity(trial.identity) == trial
    assert Trial.from_identity(trial.identity).key == trial.key
