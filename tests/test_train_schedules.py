import math
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler
from torch.optim import lr_scheduler as by_torch

from augengine.train.schedules import KINDS, Schedule

FRACTIONS = st.floats(0, 1)


def sgd(rate=1.0):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], rate)


def rates_by_torch(steps, make):
    """The rate of each step under the schedulers that `make` gives one after another, as (scheduler, steps) pairs."""
    optimizer = sgd()
    parts = [(make_part(optimizer), length) for make_part, length in make]
    ends = [sum(length for _, length in parts[: i + 1]) for i in range(len(parts) - 1)]
    scheduler = by_torch.SequentialLR(optimizer, [part for part, _ in parts], ends) if ends else parts[0][0]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@st.composite
def schedules(draw, kinds=KINDS):
    return Schedule(
        draw(st.sampled_from(kinds)),
        total_steps=draw(st.integers(1, 60)),
        warmup=draw(st.sampled_from(("gradual", "constant"))),
        warmup_steps=draw(st.integers(0, 70)),
        warmup_factor=draw(FRACTIONS),
        hold_steps=draw(st.integers(0, 70)),
        milestones=tuple(draw(st.lists(st.integers(0, 70), max_size=4))),
        gamma=draw(st.floats(0, 1, exclude_min=True)),
        decay_steps=draw(st.integers(1, 70)),
        final_factor=draw(FRACTIONS),
    )


# --- against torch's and timm's schedulers


@pytest.mark.parametrize("final", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_cosine_is_torchs(steps, final):
    expected = rates_by_torch(steps, [(lambda o: by_torch.CosineAnnealingLR(o, steps, final), steps)])
    assert Schedule("cosine", steps, final_factor=final).factors() == pytest.approx(expected)


@pytest.mark.parametrize("final", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_linear_is_torchs(steps, final):
    expected = rates_by_torch(steps, [(lambda o: by_torch.LinearLR(o, 1.0, final, steps), steps)])
    assert Schedule("linear", steps, final_factor=final).factors() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("milestones", [(), (1,), (30, 60, 80), (5, 5), (99, 100, 300)])
def test_step_is_torchs(milestones):
    expected = rates_by_torch(100, [(lambda o: by_torch.MultiStepLR(o, milestones, 0.2), 100)])
    assert Schedule("step", 100, milestones=milestones, gamma=0.2).factors() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [1.0, 0.94, 0.5])
def test_exponential_is_torchs(gamma):
    expected = rates_by_torch(50, [(lambda o: by_torch.ExponentialLR(o, gamma), 50)])
    assert Schedule("exponential", 50, gamma=gamma).factors() == pytest.approx(expected)


def test_exponential_reaches_gamma_every_decay_steps():
    schedule = Schedule("exponential", 1000, gamma=0.94, decay_steps=7)
    assert [schedule.factor(7 * n) for n in range(20)] == pytest.approx([0.94**n for n in range(20)])


def test_the_rate_of_an_exponential_that_underflows_is_0():
    assert Schedule("exponential", 10**6, gamma=1e-300).factor(10**6 - 1) == 0.0


@pytest.mark.parametrize(("warmup", "hold"), [(10, 0), (10, 20), (0, 5), (1, 1)])
@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_warmup_hold_and_decay_are_torchs_in_sequence(kind, warmup, hold):
    rest = 80 - warmup - hold
    decay = {
        "cosine": lambda o: by_torch.CosineAnnealingLR(o, rest, 0.1),
        "linear": lambda o: by_torch.LinearLR(o, 1.0, 0.1, rest),
    }[kind]
    # LambdaLR, because torch's LinearLR may not start at 0.
    parts = [
        (lambda o: by_torch.LambdaLR(o, lambda s: s / warmup), warmup),
        (lambda o: by_torch.ConstantLR(o, 1.0, 1), hold),
        (decay, rest),
    ]
    expected = rates_by_torch(80, [part for part in parts if part[1]])
    schedule = Schedule(kind, 80, "gradual", warmup, hold_steps=hold, final_factor=0.1)
    assert schedule.factors() == pytest.approx(expected)


@pytest.mark.parametrize(("warmup", "final"), [(0, 0.0), (5, 0.0), (5, 0.02)])
def test_cosine_behind_a_gradual_warmup_is_timms(warmup, final):
    optimizer = sgd(0.4)
    timms = CosineLRScheduler(optimizer, 90, lr_min=0.4 * final, warmup_t=warmup, warmup_prefix=True, t_in_epochs=False)
    expected = []
    for step in range(90 + warmup):
        timms.step_update(step)
        expected.append(optimizer.param_groups[0]["lr"])
    schedule = Schedule("cosine", 90 + warmup, "gradual", warmup, final_factor=final)
    assert [0.4 * factor for factor in schedule.factors()] == pytest.approx(expected)


# --- the papers' schedules


def test_resnet_on_cifar_warms_up_at_a_tenth_and_falls_at_32000_and_48000():
    schedule = Schedule("step", 64_000, "constant", 400, 0.1, milestones=(32_000, 48_000))
    at = {0: 0.1, 399: 0.1, 400: 1, 31_999: 1, 32_000: 0.1, 47_999: 0.1, 48_000: 0.01, 63_999: 0.01}
    assert {step: schedule.factor(step) for step in at} == pytest.approx(at)


def test_imagenet_in_an_hour_rises_over_5_epochs_and_falls_at_30_60_and_80():
    epoch = 156  # 1,281,167 images in batches of 8192
    falls = tuple(n * epoch for n in (30, 60, 80))
    schedule = Schedule("step", 90 * epoch, "gradual", 5 * epoch, milestones=falls)
    by_epoch = [schedule.factor(n * epoch) for n in range(90)]
    assert by_epoch == pytest.approx([0, 0.2, 0.4, 0.6, 0.8] + [1] * 25 + [0.1] * 30 + [0.01] * 20 + [0.001] * 10)


def test_bag_of_tricks_is_half_of_one_plus_the_cosine():
    schedule = Schedule("cosine", 120, "gradual", 5)
    expected = [i / 5 for i in range(5)] + [math.cos(math.pi * t / 115 / 2) ** 2 for t in range(115)]
    assert schedule.factors() == pytest.approx(expected)


def test_milestones_count_from_the_start_and_a_warmup_multiplies_what_they_leave():
    schedule = Schedule("step", 10, "gradual", 4, milestones=(0, 2, 6), gamma=0.5, hold_steps=3)
    expected = [0, 0.25 / 2, 0.5 / 4, 0.75 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8]
    assert schedule.factors() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_a_constant_rate_stays_behind_its_warmup(kind):
    assert Schedule(kind, 6, "gradual", 2).factors() == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert Schedule(kind, 4, "constant", 2, 0.01).factors() == [0.01, 0.01, 1.0, 1.0]


# --- what holds for every schedule


@given(schedules())
def test_factors_lie_between_0_and_1(schedule):
    factors = schedule.factors()
    assert len(factors) == schedule.total_steps
    assert all(0 <= factor <= 1 for factor in factors)


@given(schedules())
def test_the_rate_never_rises_behind_the_warmup(schedule):
    factors = schedule.factors()[schedule.warmup_steps :]
    assert all(after <= before for before, after in pairwise(factors))


@given(schedules(), st.permutations(range(60)))
def test_a_factor_depends_on_the_step_alone(schedule, steps):
    twin = replace(schedule)
    expected = schedule.factors()
    assert all(twin.factor(step) == expected[step] for step in steps if step < schedule.total_steps)
    assert twin == schedule
    assert hash(twin) == hash(schedule)


@given(schedules(("constant", "cosine", "linear", "exponential", "plateau")))
def test_phases_meet_without_a_jump(schedule):
    schedule = replace(schedule, warmup="gradual")
    factors = [schedule.factor(step) for step in range(schedule.total_steps + 1)]
    rest = schedule.total_steps - schedule.warmup_steps - schedule.hold_steps
    slopes = {
        "cosine": math.pi / 2 / max(1, rest),
        "linear": 1 / max(1, rest),
        "exponential": 1 - schedule.gamma ** (1 / schedule.decay_steps),
    }
    most = max(slopes.get(schedule.kind, 0), 1 / max(1, schedule.warmup_steps))
    assert all(abs(after - before) <= most + 1e-9 for before, after in pairwise(factors))


@given(schedules(("cosine", "linear")))
def test_decay_begins_at_the_base_rate_and_ends_at_its_final_factor(schedule):
    begin = schedule.warmup_steps + schedule.hold_steps
    assert schedule.factor(begin) == pytest.approx(1)
    if begin < schedule.total_steps:
        for behind in (0, 1, 1000):
            assert schedule.factor(schedule.total_steps + behind) == pytest.approx(schedule.final_factor)


@given(schedules(), st.integers(0, 70))
def test_a_warmup_that_ends_elsewhere_leaves_the_steps_before_its_end(schedule, ended):
    schedule = replace(schedule, warmup="constant", kind="cosine")
    shorter = replace(schedule, warmup_steps=min(ended, schedule.warmup_steps))
    assert shorter.factors()[: shorter.warmup_steps] == schedule.factors()[: shorter.warmup_steps]


@given(schedules())
def test_phases_share_the_run_out(schedule):
    phases = schedule.phases()
    assert [i for _, first, end in phases for i in range(first, end)] == list(range(schedule.total_steps))
    lengths = {name: end - first for name, first, end in phases}
    assert lengths.get("warmup", 0) == min(schedule.warmup_steps, schedule.total_steps)
    assert set(lengths) <= {"warmup", "hold", "decay", "constant", "plateau"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_warmup_longer_than_the_run_ends_with_it(kind):
    schedule = Schedule(kind, 4, "gradual", 8, hold_steps=3, milestones=(9,))
    assert schedule.factors() == [0, 1 / 8, 2 / 8, 3 / 8]
    assert schedule.phases() == [("warmup", 0, 4)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("warmup", "hold"), [(4, 0), (2, 2), (0, 4), (0, 9)])
def test_a_run_that_ends_as_its_decay_begins_does_not_decay(kind, warmup, hold):
    schedule = Schedule(kind, 4, "gradual", warmup, hold_steps=hold, milestones=(9,))
    assert schedule.factors() == [step / warmup for step in range(warmup)] + [1.0] * (4 - warmup)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_one_step_is_at_the_base_rate(kind):
    assert Schedule(kind, 1, milestones=(1,)).factors() == [1.0]


# --- what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "cosin"}, r"Schedule.kind: got 'cosin'; expected one of constant, cosine, linear, step, exp"),
        ({"kind": ["cosine"]}, r"Schedule.kind: got \['cosine'\]; expected one of"),
        ({"warmup": None}, r"Schedule.warmup: got None; expected one of none, gradual, constant"),
        ({"total_steps": 0}, r"Schedule.total_steps: got 0; expected a whole number of 1 or more"),
        ({"warmup_steps": -1}, r"Schedule.warmup_steps: got -1; expected a whole number of 0 or more"),
        ({"warmup": "none", "warmup_steps": 3}, r'Schedule.warmup_steps: got 3; expected warmup "gradual" or'),
        ({"hold_steps": -1}, r"Schedule.hold_steps: got -1; expected"),
        ({"decay_steps": 0}, r"Schedule.decay_steps: got 0; expected a whole number of 1 or more"),
        ({"milestones": (3, -1)}, r"Schedule.milestones\[1\]: got -1; expected a whole number of 0 or more"),
        ({"gamma": 0.0}, r"Schedule.gamma: got 0.0; expected a number in \(0, 1\]"),
        ({"gamma": 1.1}, r"Schedule.gamma: got 1.1; expected a number in \(0, 1\]"),
        ({"gamma": math.nan}, r"Schedule.gamma: got nan; expected"),
        ({"final_factor": -0.1}, r"Schedule.final_factor: got -0.1; expected a number in \[0, 1\]"),
        ({"final_factor": math.inf}, r"Schedule.final_factor: got inf; expected"),
        ({"warmup_factor": 1.5}, r"Schedule.warmup_factor: got 1.5; expected a number in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**({"kind": "cosine", "total_steps": 10, "warmup": "gradual"} | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"total_steps": 10.0}, r"Schedule.total_steps: got 10.0; expected a whole number of 1 or more"),
        ({"total_steps": True}, r"Schedule.total_steps: got True; expected"),
        ({"hold_steps": None}, r"Schedule.hold_steps: got None; expected"),
        ({"milestones": 3}, r"Schedule.milestones: got 3; expected whole numbers of steps"),
        ({"milestones": (1.5,)}, r"Schedule.milestones\[0\]: got 1.5; expected"),
        ({"gamma": "0.1"}, r"Schedule.gamma: got '0.1'; expected a number in \(0, 1\]"),
        ({"final_factor": False}, r"Schedule.final_factor: got False; expected"),
    ],
)
def test_values_of_another_type_are_refused_by_name(fields, message):
    with pytest.raises(TypeError, match=message):
        Schedule(**({"kind": "cosine", "total_steps": 10} | fields))


@pytest.mark.parametrize("fields", [{"gamma": 1}, {"gamma": 5e-324}, {"final_factor": 1}, {"warmup_factor": 0}])
def test_the_bounds_are_allowed(fields):
    for kind in KINDS:
        assert all(0 <= f <= 1 for f in Schedule(kind, 9, "constant", 2, milestones=[3], **fields).factors())


def test_a_step_before_the_run_is_refused():
    with pytest.raises(ValueError, match=r"Schedule.factor: got step -1; expected 0 or more"):
        Schedule("cosine", 10).factor(-1)


def test_a_schedule_is_frozen_and_lists_of_milestones_are_tuples():
    schedule = Schedule("step", 10, milestones=[3, 6])
    assert schedule == Schedule("step", 10, milestones=(3, 6))
    with pytest.raises(FrozenInstanceError):
        schedule.kind = "cosine"
