"""Checkpoints come back bit for bit, and neither kill -9, a full disk nor a damaged file costs the one before."""

import errno
import json
import logging
import math
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from augengine.train import durable
from augengine.train.checkpoint import (
    DamageError,
    check_fits,
    keep_last,
    latest_checkpoint,
    load_checkpoint,
    read_weights,
    save_checkpoint,
    weights_sha256,
    write_weights,
)
from augengine.train.seeding import generator_states

SMALL = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}
FILES = ("weights.safetensors", "state.safetensors", "state.json")
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu, torch.bool),
)


def bits(value):
    return value.detach().cpu().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8).tolist()


def check_same(a, b):
    """Equal in type, order and bits, down to the sign of zero and the payload of nan."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert bits(a) == bits(b)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, dict):
        assert [(type(k), k) for k in a] == [(type(k), k) for k in b]
        for key in a:
            check_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            check_same(one, other)
    elif isinstance(a, float):
        assert struct.pack(">d", a) == struct.pack(">d", b)
    else:
        assert a == b


def by_name(weights):
    return dict(sorted(weights.items()))


def check_round_trip(folder, state, model=SMALL):
    shutil.rmtree(folder, ignore_errors=True)
    weights, back = load_checkpoint(save_checkpoint(folder, 1, model, state))
    check_same(by_name(weights), by_name(model))
    check_same(back, state)


# --- what comes back


def tensors():
    def made(content, dtype, shape):
        data = torch.tensor(list(content), dtype=torch.uint8)
        if dtype is torch.bool:
            data = data % 2
        return data.view(dtype)[: math.prod(shape)].reshape(shape)

    shapes = st.sampled_from([(), (0,), (1,), (2, 0, 3), (4,), (2, 2)])
    return st.builds(made, st.binary(min_size=64, max_size=64), st.sampled_from(DTYPES), shapes)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**40), 10**40), st.floats(), st.binary(max_size=5),
    st.text(st.characters(), max_size=5), st.sampled_from(["$tuple", "\ud83d\ude00"]), tensors(),
)  # fmt: skip
KEYS = st.one_of(
    st.integers(), st.text(st.characters(), max_size=4), st.sampled_from(["$tuple", "$tensor", "a.b", "0"])
)
TREES = st.recursive(
    LEAVES,
    lambda t: st.one_of(
        st.lists(t, max_size=4), st.lists(t, max_size=4).map(tuple), st.dictionaries(KEYS, t, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_any_tree_comes_back(tmp_path_factory, tree):
    check_round_trip(tmp_path_factory.getbasetemp() / "trees", tree)


@pytest.mark.parametrize(
    "value",
    [
        *(math.inf, -math.inf, math.nan, -0.0, 5e-324, 1e16, 1.7976931348623157e308, 2**63, -(2**63), 2**20_000, True),
        *("", "$", "\ud800", "\ud83d\ude00", "\0", b"", b"\xff\0", (), [], {}, ((),), {"$tuple": [1]}, {1: 0, "1": 1}),
        *({"$tensor": "a", 3: (None,)}, {"": {"": [{}]}}, [1, 1.0, True, "1", b"1"]),
        struct.unpack(">d", bytes.fromhex("7ff8000000000abc"))[0],
    ],
    ids=lambda value: (hex(value) if isinstance(value, int) else ascii(value))[:20],
)
def test_values_at_the_edges_come_back(tmp_path, value):
    check_round_trip(tmp_path, value)


def trained(make):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4, 2))
    model = model.to(memory_format=torch.channels_last)
    optimizer = make(model.parameters())
    for _ in range(3):
        loss = model(torch.randn(5, 3, 4, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer


def adabound(parameters):
    from pytorch_optimizer import AdaBound

    return AdaBound(parameters, lr=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.1),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.AdamW(p, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-3), capturable=False, foreach=False),
        adabound,
    ],
    ids=["sgd", "momentum", "adamw", "adamw of a tensor rate", "adabound"],
)
def test_an_optimizer_goes_on_to_the_same_bits(tmp_path, make):
    model, optimizer = trained(make)
    state = {"optimizer": optimizer.state_dict()}
    check_round_trip(tmp_path, state, model.state_dict())
    fresh, other = trained(make)
    weights, back = load_checkpoint(tmp_path / "step-00000001")
    fresh.load_state_dict(weights)
    other.load_state_dict(back["optimizer"])
    for one, by in ((model, optimizer), (fresh, other)):
        by.zero_grad()
        one(torch.ones(2, 3, 4, 4)).sum().backward()
        by.step()
    check_same(by_name(fresh.state_dict()), by_name(model.state_dict()))


def test_schedules_scalers_and_generators_come_back(tmp_path):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    scaler = torch.amp.GradScaler("cpu")
    state = {"plateau": plateau.state_dict(), "scaler": scaler.state_dict(), "python": random.getstate()}
    check_round_trip(tmp_path, {**state, "numpy": list(np.random.get_state()), "all": generator_states()})


def test_arrays_come_back(tmp_path):
    flat = np.arange(24, dtype=np.float32).reshape(4, 6)
    frozen = np.arange(3)
    frozen.flags.writeable = False
    check_round_trip(tmp_path, [np.array(3.5), flat[::-2, ::3], flat.T, np.zeros((0, 2), bool), np.uint32([2**32 - 1])])
    check_round_trip(tmp_path, [frozen])


def test_tensors_that_share_memory_or_lie_apart_come_back(tmp_path):
    whole = torch.arange(48.0).reshape(2, 3, 2, 4)
    rows = torch.arange(6.0).reshape(2, 3)
    shared = {"all": whole, "again": whole, "part": whole[1], "last": whole.to(memory_format=torch.channels_last)}
    shared |= {"turned": whole.permute(3, 1, 0, 2), "wide": rows[:1].expand(4, 3), "step": whole[..., ::2]}
    lazy = torch.tensor([1 + 2j, 3 - 4j]).conj()
    lazy = {"conjugate": lazy, "negative": lazy.imag, "parameter": nn.Parameter(rows).detach()}
    check_round_trip(tmp_path, {**shared, **lazy}, shared)


def test_loaded_tensors_have_memory_of_their_own(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"a": torch.zeros(3), "b": torch.zeros(3)}, [torch.zeros(2)])
    weights, state = load_checkpoint(path)
    shutil.rmtree(path)
    weights["a"].fill_(1)
    state[0].fill_(1)
    assert weights["b"].tolist() == [0, 0, 0]
    assert len({value.untyped_storage().data_ptr() for value in (*weights.values(), *state)}) == 3


def test_parameters_come_back_as_plain_tensors(tmp_path):
    _, state = load_checkpoint(
        save_checkpoint(tmp_path, 1, {"w": nn.Parameter(torch.ones(2))}, nn.Parameter(torch.ones(3)))
    )
    check_same(state, torch.ones(3))


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": [1, {2}]}, r"state\['a'\]\[1\]: got set"),
        ({"a": {3: object()}}, r"state\['a'\]\[3\]: got object"),
        ([np.float64(1.0)], r"state\[0\]: got float64"),
        ([OrderedDict(a=1)], r"state\[0\]: got OrderedDict"),
        ({"a": {(1, 2): 3}}, r"state\['a'\]: got the key \(1, 2\) of type tuple; expected str or int"),
        ({True: 1}, "state: got the key True of type bool"),
        ({None: 1}, "state: got the key None"),
        (3 + 4j, "state: got complex"),
        ([torch.eye(3).to_sparse()], r"state\[0\]: got a Tensor of torch.float32, torch.sparse_coo"),
        ([torch.empty(3, device="meta")], r"state\[0\]: got a Tensor of .* on meta; expected a dense tensor"),
        ([np.array(["a"])], r"state\[0\]: got an array of <U1"),
        ([np.array([1], ">i4")], r"state\[0\]: got an array of >i4"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_anything_else_is_refused_by_its_place_and_nothing_is_written(tmp_path, state, place):
    with pytest.raises(TypeError, match=place):
        save_checkpoint(tmp_path / "new", 1, SMALL, state)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("value", [3.0, None, torch.zeros(2, dtype=torch.complex128)])
def test_weights_that_safetensors_cannot_hold_are_refused(tmp_path, value):
    with pytest.raises(TypeError, match=r"extra: got (float|NoneType)|got a tensor of torch.complex128"):
        save_checkpoint(tmp_path, 1, {"extra": value}, None)
    with pytest.raises(ValueError, match="__metadata__: a tensor has this name"):
        save_checkpoint(tmp_path, 1, {"__metadata__": torch.zeros(1)}, None)


def test_anyone_can_load_the_weights_and_nothing_is_pickled(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("it pickles")

    model, optimizer = trained(torch.optim.AdamW)
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler", "_Pickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, fail)
    for name in ("load", "save"):
        monkeypatch.setattr(torch, name, fail)
    path = save_checkpoint(tmp_path, 3, model.state_dict(), {"optimizer": optimizer.state_dict()})
    load_checkpoint(path)
    check_same(by_name(load_file(path / FILES[0])), by_name(model.state_dict()))
    assert sorted(p.name for p in path.iterdir()) == sorted(FILES)
    assert json.loads((path / "state.json").read_text())["step"] == 3


# --- which one


def save(folder, step, value=None):
    return save_checkpoint(
        folder, step, {"w": torch.full((50,), float(step))}, {"step": step, "value": value, "t": torch.ones(9)}
    )


def latest_step(folder):
    found = latest_checkpoint(folder)
    return None if found is None else found[2]["step"]


def test_the_newest_is_that_of_the_highest_step(tmp_path):
    assert latest_checkpoint(tmp_path / "none") is latest_checkpoint(tmp_path) is None
    for step in (0, 99_999_999, 100_000_000, 7):
        save(tmp_path, step)
    path, weights, state = latest_checkpoint(tmp_path)
    assert (path.name, weights["w"][0].item(), state["step"]) == ("step-100000000", 1e8, 100_000_000)


def test_the_last_are_kept(tmp_path):
    for step in (5, 3, 20, 9, 11):
        save(tmp_path, step)
    (tmp_path / "tmp-step-00000004-left").mkdir()
    for mine in ("notes", "step-00000005-copy", "step-9"):
        (tmp_path / mine).mkdir()
    keep_last(tmp_path, 3)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["notes", "step-00000005-copy", "step-00000009", "step-00000011", "step-00000020", "step-9"]
    keep_last(tmp_path, 5)
    assert len([*tmp_path.iterdir()]) == 6


def test_one_that_was_just_written_is_kept_beside_damaged_ones_of_later_steps(tmp_path):
    save(tmp_path, 10)
    damage(save(tmp_path, 20) / "state.json", "flipped")
    save(tmp_path, 15)
    keep_last(tmp_path, 1)
    assert latest_step(tmp_path) == 15


def test_the_same_step_is_replaced(tmp_path):
    save(tmp_path, 4, "first")
    save(tmp_path, 4, "second")
    assert latest_checkpoint(tmp_path)[2]["value"] == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]


def test_numbers_out_of_bounds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"save_checkpoint.step: got -1; expected 0 or more"):
        save(tmp_path, -1)
    with pytest.raises(ValueError, match=r"keep_last.count: got 0; expected 1 or more"):
        keep_last(tmp_path, 0)


# --- damage


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        {"empty": data.clear, "cut": data.pop, "longer": lambda: data.append(0)}.get(how, lambda: None)()
        if how == "flipped":
            data[-20] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "a folder", "empty", "cut", "longer", "flipped"])
def test_a_damaged_one_is_named_and_passed_over(tmp_path, caplog, name, how):
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    damage(path / name, how)
    with pytest.raises(ValueError, match=rf"{name}: is damaged: "):
        load_checkpoint(path)
    assert latest_step(tmp_path) == 1
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert str(path / name) in caplog.text


def test_every_flipped_bit_of_the_index_is_found_or_changes_nothing(tmp_path):
    state = {"a": (1, 2.5, "x", b"y", math.inf), 3: [torch.ones(1)]}
    path = save_checkpoint(tmp_path, 1, {"w": torch.ones(1)}, state)
    good = (path / "state.json").read_bytes()
    for at in range(len(good)):
        (path / "state.json").write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        with suppress(DamageError):
            check_same(load_checkpoint(path)[1], state)


def test_all_damaged_is_none_and_each_is_warned_of_once(tmp_path, caplog):
    for step in (1, 2):
        damage(save(tmp_path, step) / "state.json", "cut")
    (tmp_path / "tmp-step-00000003-left").mkdir()
    assert latest_checkpoint(tmp_path) is None
    assert len(caplog.records) == 3
    assert "half written" in caplog.text


def test_a_file_in_the_place_of_a_checkpoint_is_passed_over(tmp_path):
    (tmp_path / "step-00000009").touch()
    save(tmp_path, 1)
    assert latest_step(tmp_path) == 1


def test_one_under_the_name_of_another_step_is_passed_over(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2).rename(tmp_path / "step-00000003")
    assert latest_step(tmp_path) == 1


def test_one_of_another_format_stops_the_run(tmp_path, monkeypatch):
    save(tmp_path, 1)
    with monkeypatch.context() as later:
        later.setattr("augengine.train.checkpoint.FORMAT", 2)
        save(tmp_path, 2)
    with pytest.raises(ValueError, match=r"step-00000002/state.json: is of format 2; this version reads 1"):
        latest_checkpoint(tmp_path)


# --- kills and full disks


def run(code, *words):
    command = [sys.executable, *code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)


def test_kill_9_before_any_call_to_the_system_or_at_random_loses_no_checkpoint(tmp_path):
    done = run(["-m", "killed_saver"], tmp_path)
    assert done.returncode == 0, done.stderr
    following, same, random_steps = map(int, done.stdout.split())
    assert min(following, same) > 20  # files, syncs, renames and deletions
    assert random_steps > 0


FILL = """
import resource, sys
from pathlib import Path
import torch
from augengine.train.checkpoint import save_checkpoint
save_checkpoint(Path(sys.argv[1]), 1, {"w": torch.ones(10)}, None)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save_checkpoint(Path(sys.argv[1]), int(sys.argv[2]), {"w": torch.ones(100_000)}, None)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("step", [1, 2])
def test_where_the_disk_takes_no_more_the_older_checkpoint_stays(tmp_path, step):
    done = run(["-c", FILL], tmp_path, step)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert "weights.safetensors" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert latest_checkpoint(tmp_path)[1]["w"].tolist() == [1.0] * 10


@pytest.mark.parametrize("call", range(6))
def test_where_a_sync_fails_the_older_one_stays_or_the_newer_one_is_whole(tmp_path, monkeypatch, call):
    save(tmp_path, 1)
    calls, fsync = [], os.fsync

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", failing)
    if call < 5:  # three files, their folder, the folder of all
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, 2)
    else:
        save(tmp_path, 2)
    assert latest_step(tmp_path) == (1 if call < 4 else 2)
    assert not [*tmp_path.glob("tmp-*")]


# --- weights alone


def test_weights_and_facts_come_back(tmp_path):
    model, _ = trained(torch.optim.SGD)
    facts = {"task": "digits", "classes": ["a", "ü"], "epoch": 3, "best": 0.1}
    write_weights(tmp_path / "best.safetensors", model.state_dict(), facts)
    weights, back = read_weights(tmp_path / "best.safetensors")
    check_same(by_name(weights), by_name(model.state_dict()))
    assert back == facts
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


def test_weights_that_others_wrote_can_be_read(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    weights, facts = read_weights(tmp_path / "w.safetensors")
    assert (weights["w"].tolist(), facts) == ([1, 1], {})


@pytest.mark.parametrize("how", ["empty", "cut", "flipped"])
def test_damaged_weights_are_told(tmp_path, how):
    path = tmp_path / "best.safetensors"
    write_weights(path, {"w": torch.ones(20)}, {})
    damage(path, how)
    with pytest.raises(ValueError, match=r"best.safetensors: is damaged"):
        read_weights(path)


def test_missing_weights_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.safetensors"):
        read_weights(tmp_path / "none.safetensors")


def test_weights_that_cannot_be_written_leave_those_before(tmp_path, monkeypatch):
    path = tmp_path / "best.safetensors"
    write_weights(path, {"w": torch.ones(2)}, {"epoch": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*best.safetensors"):
        write_weights(path, {"w": torch.zeros(2)}, {"epoch": 2})
    assert read_weights(path)[1] == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


def test_the_sum_is_of_values_not_of_where_they_lie():
    whole = torch.randn(4, 3, 2, 2)
    same = [
        {"a": whole, "b": torch.ones(2)},
        {"b": torch.ones(2), "a": whole.to(memory_format=torch.channels_last)},
        {"a": torch.cat([whole, whole])[4:], "b": torch.ones(1).expand(2)},
        {"a": nn.Parameter(whole), "b": torch.ones(4)[::2]},
    ]
    assert len({weights_sha256(each) for each in same}) == 1


def test_the_sum_tells_names_dtypes_shapes_and_bits_apart():
    ones = torch.ones(2, 2)
    nudged = ones.clone()
    nudged.view(torch.int32)[1, 1] += 1
    different = [
        *({}, {"a": ones}, {"b": ones}, {"a": ones.view(torch.int32)}, {"a": ones.reshape(4)}, {"a": nudged}),
        *(
            {"a": torch.zeros(1)},
            {"a": -torch.zeros(1)},
            {"a": torch.zeros(0)},
            {"a": torch.zeros(0), "b": torch.zeros(0)},
        ),
        *(
            {"a": ones, "b": ones[:0]},
            {"a": ones[:1], "b": ones[1:]},
            {"a": ones[:0], "b": ones},
            {"a": torch.tensor(0.0)},
        ),
    ]
    assert len({weights_sha256(each) for each in different}) == len(different)


def test_weights_of_another_model_are_told_in_one_sentence():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    check_fits(model.state_dict(), model, "here")
    other = {f"block.{i}": torch.ones(1) for i in range(5)} | {"0.weight": torch.ones(4, 2), "0.bias": torch.ones(3)}
    message = (
        r"^best: is of another model: "
        r"5 weight\(s\) missing \(1\.weight, 1\.bias, 1\.running_mean and 2 more\), "
        r"5 weight\(s\) left over \(block\.0, block\.1, block\.2 and 2 more\), "
        r"1 weight\(s\) of another shape \(0\.weight is \(4, 2\) and should be \(3, 2\)\)$"
    )
    with pytest.raises(ValueError, match=message):
        check_fits(other, model, "best")
