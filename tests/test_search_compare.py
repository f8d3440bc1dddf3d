"""The comparison of a searched policy with what costs nothing."""

import json
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from made_outcomes import finished
from scipy import stats
from training import made_task

from augengine.policies import Policy
from augengine.search.arms import arms
from augengine.search.child import Child, child_recipe
from augengine.search.compare import Comparison, compare, rows_of
from augengine.search.methods import Found
from augengine.search.settings import Settings
from augengine.search.trial import Outcome, Trial
from augengine.train.augment import train_pipeline

SETTINGS = Settings("cifar10", seed=7)
DIGITS = Settings("digits", seed=7)
FOUND = Found(SETTINGS.space.random(Random(1), 25))
TASK = made_task(size=32)
NAMES = (
    *("none", "crop and flip", "Cutout", "RandAugment", "TrivialAugment", "random policy", "AutoAugment"),
    "searched",
)


def outcome(score, seconds=2.0):
    return Outcome(score, 1.0, seconds, "cpu")


def comparison(seeds, score):
    """The comparison in which an arm's trainings give `score(name, seed number)`; None fails."""

    def gives(i):
        found = score(NAMES[i % len(NAMES)], i // len(NAMES))
        return None if found is None else outcome(found)

    return finished(compare(SETTINGS, FOUND, TASK, seeds, 12), gives)[1]


def rows(found):
    return {row.name: row for row in found.arms}


# --- what is trained


def test_all_arms_are_trained_seed_by_seed_with_seeds_that_are_not_the_searchs():
    trials, found = finished(compare(SETTINGS, FOUND, TASK, 3, 12), lambda i: outcome(0.5))
    assert [trial.seed for trial in trials] == [8] * 8 + [9] * 8 + [10] * 8
    assert {(trial.split, trial.epochs, trial.start, trial.until) for trial in trials} == {("test", 12, None, None)}
    assert tuple(row.name for row in found.arms) == NAMES
    assert len({trial.key for trial in trials}) == 24
    assert (found.seeds, found.epochs, found.train_images, found.test_images) == (3, 12, 40, 40)


def test_the_same_comparison_is_of_the_same_trials():
    first, again = (next(compare(SETTINGS, FOUND, TASK, 2, 12)) for _ in range(2))
    assert [trial.key for trial in first] == [trial.key for trial in again]


def test_arms_differ_in_what_is_added_to_the_recipes_own_transforms():
    found = arms(SETTINGS, FOUND, TASK, 8)
    assert found.pop("none") == ((),)
    own = found["crop and flip"][0]
    assert [data["name"] for data in own] == ["RandomCrop", "RandomHorizontalFlip"]
    added = {name: augment[len(own) :] for name, (augment,) in found.items() if augment[: len(own)] == own}
    names = {name: [data["name"] for data in of_arm] for name, of_arm in added.items()}
    assert names == {
        "crop and flip": [],
        "Cutout": ["Cutout"],
        "RandAugment": ["RandAugment"],
        "TrivialAugment": ["TrivialAugmentWide"],
        "random policy": ["AutoAugment"],
        "AutoAugment": ["AutoAugment"],
        "searched": ["AutoAugment"],
    }
    assert Policy.from_data(added["searched"][0]["policy"]) == FOUND.policy


def test_cutout_is_half_of_the_side_as_in_its_paper():
    assert arms(SETTINGS, FOUND, TASK, 8)["Cutout"][0][-1]["length"] == 16
    larger = replace(SETTINGS, changes={"image_size": 48})
    assert arms(larger, FOUND, TASK, 8)["Cutout"][0][-1]["length"] == 24


def test_the_random_policy_is_another_one_for_each_seed_and_as_long_as_the_found_one():
    def drawn(found, seed):
        return Policy.from_data(arms(SETTINGS, found, TASK, seed)["random policy"][0][-1]["policy"])

    policies = [drawn(FOUND, seed) for seed in range(5)]
    assert len(set(policies)) == 5
    assert policies[0] == drawn(FOUND, 0)
    assert {len(policy.sub_policies) for policy in policies} == {25}
    assert {name for policy in policies for sub in policy.sub_policies for name, _, _ in sub} <= {*SETTINGS.space.ops}
    assert len(drawn(Found(SETTINGS.space.random(Random(0), 5)), 0).sub_policies) == 5
    assert len(drawn(Found(SETTINGS.space.random(Random(0), 300)), 0).sub_policies) == 25


@pytest.mark.parametrize(
    ("channels", "size", "published"), [(3, 32, "cifar10"), (3, 64, "cifar10"), (3, 224, "imagenet"), (1, 28, "svhn")]
)
def test_the_published_policy_is_that_of_the_nearest_images(channels, size, published):
    task = made_task(count=8, size=size, channels=channels)
    assert arms(SETTINGS, FOUND, task, 0)["AutoAugment"][0][-1]["policy"] == published


def test_a_schedules_parts_are_the_searched_arm():
    schedule = tuple(SETTINGS.space.random(Random(i)) for i in range(3))
    searched = arms(SETTINGS, replace(FOUND, schedule=schedule), TASK, 8)["searched"]
    assert [Policy.from_data(part[-1]["policy"]) for part in searched] == list(schedule)


def test_transforms_of_a_recipe_that_does_not_flip_have_another_name():
    assert list(arms(DIGITS, FOUND, made_task(size=8, channels=1), 0))[:2] == ["none", "the recipe's own"]


def test_a_recipe_without_transforms_has_no_arm_of_its_own():
    bare = replace(SETTINGS, changes={"augment": ()})
    trials = next(compare(bare, FOUND, TASK, 2, 12))
    assert len({trial.key for trial in trials}) == len(trials) == 14


@pytest.mark.parametrize("settings", [SETTINGS, DIGITS])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_arm_augments_images_in_colour_and_gray(settings, channels):
    task = made_task(count=8, size=16, channels=channels)
    recipe = child_recipe(settings.whole_recipe, 2)
    for name, augments in arms(settings, FOUND, task, 3).items():
        pipeline = train_pipeline(replace(recipe, augment=augments[0]), task, 0, 0)
        images = pipeline(task.train.tensors[0])
        assert images.shape == (8, channels, 16, 16), name
        assert images.isfinite().all(), name


@pytest.mark.usefixtures("one_thread")
def test_children_carry_the_arms_out():
    child = Child("digits", "small", DIGITS.whole_recipe.to_toml(), subset=64, held_out=16)
    task = made_task(size=16, channels=1)
    for trial in next(compare(DIGITS, FOUND, task, 1, 1)):
        assert 0 <= child.carry_out(Trial.from_data(json.loads(json.dumps(trial.to_data())))).score <= 1


# --- what is said


def test_differences_are_of_equal_seeds_and_what_failed_has_no_pair():
    scores = np.random.default_rng(0).uniform(0.4, 0.6, (6, 8))
    failed = {("none", 1), ("searched", 4), ("Cutout", 0), ("Cutout", 5)}
    found = rows(comparison(6, lambda name, i: None if (name, i) in failed else float(scores[i, NAMES.index(name)])))
    kept = {"none": [0, 2, 3, 5], "Cutout": [1, 2, 3], "RandAugment": [0, 1, 2, 3, 5]}
    for name, seeds in kept.items():
        pairs = scores[seeds, 7] - scores[seeds, NAMES.index(name)]
        theirs = stats.permutation_test(
            (pairs, 0 * pairs), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
        )
        row, own = found[name], [i for i in range(6) if (name, i) not in failed]
        assert row.difference == pytest.approx(pairs.mean())
        assert row.p == pytest.approx(theirs.pvalue)
        assert row.difference_interval[0] <= row.difference <= row.difference_interval[1]
        assert row.mean == pytest.approx(scores[own, NAMES.index(name)].mean())
        assert row.failed == 6 - len(own)
        assert [accuracy is None for accuracy in row.accuracies] == [i not in own for i in range(6)]


def test_the_searched_arm_is_not_compared_with_itself():
    row = rows(comparison(4, lambda name, i: 0.5 + i / 100))["searched"]
    assert (row.difference, row.difference_interval, row.p, row.p_holm) == (None, None, None, None)
    assert row.interval[0] < row.mean < row.interval[1]


def test_one_pair_says_nothing_of_chance():
    found = comparison(1, lambda name, i: 0.5)
    assert {(row.interval, row.difference, row.p) for row in found.arms} == {(None, None, None)}
    assert found.verdict().startswith("Too few trainings ended")


def test_ps_are_adjusted_for_all_arms():
    by_arm = {"a": [outcome(0.1)] * 6, "b": [outcome(0.5)] * 5 + [outcome(0.7)], "searched": [outcome(0.6)] * 6}
    a, b, _ = rows_of(by_arm, dict.fromkeys(by_arm, ""))
    assert (a.p, b.p) == (2 / 64, 14 / 64)
    assert (a.p_holm, b.p_holm) == (4 / 64, 14 / 64)


def better(name, i):
    """Of a searched policy that is better than all arms by 5 points, give or take the seed's luck."""
    return 0.6 + 0.05 * (name == "searched") + np.random.default_rng((i, NAMES.index(name))).normal(0, 0.002)


def test_a_policy_that_is_better_with_many_seeds_beats_what_costs_nothing():
    said = comparison(12, better).verdict()
    assert said.startswith("The searched policy beats what costs nothing: it is ahead of no augmentation (+")
    assert "no adjusted p below" not in said
    assert "failed" not in said


@pytest.mark.parametrize("rival", ["none", "crop and flip", "RandAugment", "TrivialAugment", "random policy"])
def test_a_policy_that_one_free_arm_is_as_good_as_is_not_said_to_beat_them(rival):
    said = comparison(12, lambda name, i: better("searched" if name == rival else name, i)).verdict()
    assert said.startswith("The searched policy is not shown to beat what costs nothing")
    assert said.count("not told apart from") == 1
    assert said.count("ahead of") == 4


def test_few_seeds_are_said_to_be_too_few_for_chance_to_be_excluded():
    found = comparison(5, lambda name, i: 0.6 + 0.05 * (name == "searched"))
    assert found.verdict() == (
        "The searched policy is not shown to beat what costs nothing: it is "
        "not told apart from no augmentation (+5.00 points, +5.00 to +5.00, p 0.062, adjusted 0.44), "
        "not told apart from crop and flip (+5.00 points, +5.00 to +5.00, p 0.062, adjusted 0.44), "
        "not told apart from RandAugment (+5.00 points, +5.00 to +5.00, p 0.062, adjusted 0.44), "
        "not told apart from TrivialAugment (+5.00 points, +5.00 to +5.00, p 0.062, adjusted 0.44), and "
        "not told apart from a random policy (+5.00 points, +5.00 to +5.00, p 0.062, adjusted 0.44); "
        "5 pairs among 7 comparisons allow no adjusted p below 0.44."
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_arms_whose_interval_alone_leaves_0_out_are_not_told_apart(sign):
    odd_one = {"RandAugment": lambda i: -sign * (0.01 if i else -0.01)}  # of 9 differences one has another sign
    found = comparison(9, lambda name, i: 0.6 + odd_one.get(name, lambda _: 0.0)(i))
    row = rows(found)["RandAugment"]
    low, high = row.difference_interval
    assert low > 0 or high < 0
    assert (row.p, row.p_holm) == pytest.approx((20 / 512, 7 * 20 / 512))  # 1 of 9 or none flipped, and all others
    assert "not told apart from RandAugment" in found.verdict()


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ({("RandAugment", 3)}, "1 of 12 trainings of RandAugment failed"),
        ({("none", 0), ("none", 9)}, "2 of 12 trainings of no augmentation failed"),
        ({("searched", 5)}, "1 of 12 trainings of the searched policy failed"),
        ({("random policy", 1), ("searched", 1)}, "1 of 12 trainings of a random policy failed; 1 of 12 trainings of "
         "the searched policy failed"),
    ],
)  # fmt: skip
def test_where_trainings_failed_that_is_said_and_nothing_is_beaten(failing, said):
    verdict = comparison(12, lambda name, i: None if (name, i) in failing else better(name, i)).verdict()
    assert verdict.startswith("The searched policy is not shown to beat what costs nothing: it is ahead of no aug")
    assert verdict.endswith(f"; {said}.")
    assert "not told apart" not in verdict


def test_trainings_that_failed_of_what_is_no_free_arm_take_nothing_away():
    failing = {("Cutout", 3), ("AutoAugment", 5)}
    said = comparison(12, lambda name, i: None if (name, i) in failing else better(name, i)).verdict()
    assert said.startswith("The searched policy beats what costs nothing")
    assert "failed" not in said


def test_too_few_trainings_are_said_to_have_failed():
    found = comparison(4, lambda name, i: None if name == "searched" and i else 0.5)
    assert found.verdict() == (
        "Too few trainings ended to say whether the searched policy beats what costs nothing; "
        "3 of 4 trainings of the searched policy failed."
    )


@pytest.mark.parametrize(
    ("failing", "fewest", "floor"),
    [("searched", 5, "0.44"), ("RandAugment", 5, "0.062"), ("Cutout", 8, None), ("searched", 9, None)],
)
def test_the_least_p_is_that_of_the_arm_with_the_fewest_pairs(failing, fewest, floor):
    """All differences are alike, so that each p is as low as its pairs allow."""
    found = comparison(9, lambda name, i: None if name == failing and i >= fewest else 0.5 + (name == "searched") / 9)
    highest = max(row.p_holm for row in found.arms if row.p_holm is not None)
    said = f"{fewest} pairs among 7 comparisons allow no adjusted p below {highest:.2g}"
    assert (said in found.verdict()) == (highest >= 0.05) == (floor is not None)
    assert ("allow no adjusted p" in found.verdict()) == (floor is not None)
    assert floor in (None, f"{highest:.2g}")


def test_a_policy_that_loses_or_differs_by_chance_is_said_to():
    losing = {"RandAugment": 0.7, "TrivialAugment": 0.5}
    found = comparison(
        12, lambda name, i: losing.get(name, 0.6 + (i % 2) / 50 * (name == "random policy") - i % 2 / 99)
    )
    said = found.verdict()
    assert "not shown to beat" in said
    assert "behind RandAugment (-10." in said
    assert "ahead of TrivialAugment (+9." in said
    assert "not told apart from crop and flip (+0.00 points" in said


def test_the_table_has_a_line_for_each_arm_in_percent():
    found = comparison(3, lambda name, i: None if name == "none" else 0.5)
    lines = found.table().splitlines()
    assert str(found).splitlines() == [*lines, found.verdict()]
    assert lines[0] == "3 seeds, 12 epochs of 40 images, measured on 40 test images"
    assert [line[:15].strip() for line in lines[2:]] == list(NAMES)
    assert lines[2].split() == ["none", "0.0", "3"]
    assert lines[3].split()[3:] == ["50.00", "50.00", "to", "50.00", "+0.00", "+0.00", "to", "+0.00", "1", "1", "2.0"]
    assert len({line.index(" 2.0") for line in lines[3:]}) == 1


@pytest.mark.parametrize("failing", [(), ("none", "searched"), NAMES])
def test_a_comparison_comes_back_from_json(failing):
    found = comparison(3, lambda name, i: None if name in failing else 0.1 * i)
    text = json.dumps(found.to_data(), allow_nan=False)
    again = Comparison.from_data(json.loads(text))
    assert json.dumps(again.to_data()) == text
    assert again.table() == found.table()
    assert math.isnan(again.arms[-1].mean) == ("searched" in failing)


@pytest.mark.parametrize("seeds", [0, 21])
def test_a_number_of_seeds_that_cannot_be_compared_names_its_option(seeds):
    with pytest.raises(ValueError, match=rf"--compare-seeds: got {seeds}; expected 1 to 20"):
        next(compare(SETTINGS, FOUND, TASK, seeds, 12))
