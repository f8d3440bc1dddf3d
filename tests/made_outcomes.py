"""Driving a search's method with outcomes made up, in place of children."""

import pytest

from augengine.policies import Policy
from augengine.search.settings import Settings
from augengine.search.trial import Outcome


def settings(method, **options):
    return Settings("digits", method, **{"budget": 12, **options})


def outcome(score):
    """One of that score; None of None."""
    return None if score is None else Outcome(score, 1.0 - score, 0.5, "cpu")


def policy_of(trial, part=-1):
    """The policy in a part of the trial's transforms; None where there is none."""
    found = [data["policy"] for data in trial.augments[part] if data["name"] == "AutoAugment"]
    return Policy.from_data(found[0]) if found else None


def steps_of(policy):
    return [step for sub in policy.sub_policies for step in sub]


def share_of(op, policy):
    """The share of its steps that are of that op: a score with a known optimum."""
    return sum(step[0] == op for step in steps_of(policy)) / len(steps_of(policy))


def drive(method, score):
    """(its generations of trials, what it found) where `score` gives each trial's score, or None."""
    generations, told = [], None
    while True:
        try:
            generations.append(list(method.send(told)))
        except StopIteration as stop:
            return generations, stop.value
        told = [outcome(score(trial)) for trial in generations[-1]]


def finished(generator, gives):
    """The trials of a generator's one generation, and what it returns for `gives(trial number)`."""
    trials = next(generator)
    with pytest.raises(StopIteration) as ended:
        generator.send([gives(i) for i in range(len(trials))])
    return trials, ended.value.value
