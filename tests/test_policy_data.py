"""Policies as data: they survive JSON with equal pixels, and what is wrong in one is refused by its place."""

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise, pictures
from policy_draws import OPTIONS, WITHOUT_LEVEL, assert_equals_replay

import augengine as ae
from augengine.policies import PROFILES, PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_policy_survives_json(name):
    policy = ae.Policy.published(name)
    assert ae.Policy.from_json(policy.to_json()) == policy
    assert ae.Policy.from_data(json.loads(policy.to_json())) == policy


@pytest.mark.parametrize(
    ("one", "other", "change"),
    [
        ("timm-original", "imagenet", lambda op: op.removesuffix("Original")),
        ("timm-originalr", "timm-original", lambda op: op.replace("Increasing", "Original")),
        ("timm-v0r", "timm-v0", lambda op: op.removesuffix("Increasing")),
        ("timm-v0", "tf-v0", lambda op: op.removesuffix("Rel")),
        ("dali-v0", "tf-v0", lambda op: op),
    ],
)
def test_published_tables_that_are_kin_differ_only_in_the_names_of_ops(one, other, change):
    def steps(name):
        return [
            [(change(op), p, None if op in WITHOUT_LEVEL else m) for op, p, m in sub if p > 0]
            for sub in ae.Policy.published(name).sub_policies
        ]

    assert steps(one) == steps(other)
    assert len(steps(one)) == 25


def test_published_cifar_table_of_tensorflow_holds_twenty_of_torchvisions_rows():
    def steps(name):
        rows = ae.Policy.published(name).sub_policies
        return [tuple((op, p, None if op in WITHOUT_LEVEL else m) for op, p, m in sub) for sub in rows]

    theirs, ours = steps("tf-cifar10"), steps("cifar10")
    assert len(theirs) == 95
    assert sum(row in theirs for row in ours) == 20


@pytest.mark.parametrize(
    "transform",
    [
        ae.AutoAugment("timm-v0", "random", (1, 2, 3)),
        ae.AutoAugment(ae.Policy.published("svhn")),
        ae.AutoAugment(ae.Policy([[["TranslateXRel", 0.5, 2.5], ["Invert", 1, None]], [("Rotate", 1.0, 9)]], "timm")),
        ae.RandAugment(3, 7.5, interpolation="bicubic", fill=9),
        ae.RandAugment(profile="timm-increasing", magnitude_std=0.5),
        ae.TrivialAugmentWide(17),
        ae.AugMix(5, 2, 4, 0.5, all_ops=False),
    ],
    ids=repr,
)
def test_pipeline_with_a_policy_survives_json_and_gives_equal_pixels(transform):
    pipe = ae.Pipeline(transform, dtype=torch.uint8, seed=3)
    again = ae.Pipeline.from_json(pipe.to_json())
    images = noise(40, 30).expand(50, 3, 40, 30)
    assert again == pipe
    assert torch.equal(again(images, sample_ids=range(50)), pipe(images, sample_ids=range(50)))


def test_policy_of_a_search_drops_into_a_pipeline_as_json():
    text = (
        """{"version": 1, "sub_policies": [[["Rotate", 1.0, 9], ["Equalize", 1.0, null]], [["Invert", 1.0, null]]]}"""
    )
    transform = ae.AutoAugment(ae.Policy.from_json(text))
    assert transform == ae.AutoAugment(json.loads(text))
    assert transform.policy.profile == "torchvision"
    assert_equals_replay(transform, noise(20, 20).expand(40, 3, 20, 20))


def test_docs_show_a_valid_policy_and_every_published_name():
    page = (Path(__file__).parent.parent / "docs" / "policies.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(ae.Policy.from_json(example).sub_policies) == 3
    rows = re.findall(r"^\| (`.*?) \| \d+", page, re.MULTILINE)
    assert re.findall(r"`([a-z0-9-]+)`", " ".join(rows)) == list(PUBLISHED)


@st.composite
def any_policy(draw):
    profile = draw(st.sampled_from(sorted(PROFILES)))
    ops = PROFILES[profile].ops
    names = st.sampled_from(sorted(set(ops) - {"GaussianBlurRand", "GaussianBlur"}))
    p = st.one_of(st.sampled_from([0, 1]), st.floats(0.0, 1.0))

    def step(name):
        most = PROFILES[profile].levels - 1
        whole = st.integers(0, most)
        magnitudes = whole if ops[name].values else st.one_of(whole, st.floats(0.0, most))
        return st.tuples(st.just(name), p, magnitudes if ops[name].param else st.one_of(st.none(), whole))

    return ae.Policy(
        draw(st.lists(st.lists(names.flatmap(step), min_size=1, max_size=5), min_size=1, max_size=6)), profile
    )


@settings(max_examples=120, deadline=None)
@given(any_policy(), st.sampled_from(OPTIONS), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_any_valid_policy_survives_json_and_equals_pillow(policy, options, h, w, channels):
    assert ae.Policy.from_json(policy.to_json()) == policy
    assert_equals_replay(ae.AutoAugment(policy, *options), torch.stack(pictures(h, w, channels)))


def with_step(*step, profile="torchvision"):
    good = [["ShearX", 0.5, 3], ["Equalize", 0.5, None]]
    return {"version": 1, "profile": profile, "sub_policies": [good, good, good, [good[0], list(step)]]}


HERE = r"sub_policies\[3\]\[1\]"
BAD_POLICIES = {
    "a list for a profile": (with_step("Invert", 1, 0, profile=["x"]), "policy.profile: got"),
    "an unknown op": (with_step("Shear", 0.5, 3), HERE + ": unknown op 'Shear'; .*ShearX"),
    "an op of another profile": (with_step("TranslateXRel", 0.5, 3), HERE + ": unknown op .*torchvision has"),
    "a number for an op": (with_step(7, 0.5, 3), HERE + ": unknown op 7"),
    "a list for an op": (with_step(["ShearX"], 0.5, 3), HERE + ": unknown op"),
    "a magnitude above 9": (with_step("ShearX", 0.5, 9.5), HERE + r", ShearX: got magnitude 9.5; .*\[0, 9\]"),
    "a magnitude above 10": (with_step("ShearX", 0.5, 11, profile="dali"), HERE + r".*\[0, 10\]"),
    "a magnitude below 0": (with_step("Rotate", 0.5, -1), HERE + ", Rotate: got magnitude -1"),
    "no magnitude": (with_step("Rotate", 0.5, None), HERE + ", Rotate: got magnitude None"),
    "a magnitude that is no number": (with_step("Rotate", 0.5, float("nan")), HERE + ", Rotate: got magnitude nan"),
    "a magnitude as text": (with_step("Rotate", 0.5, "9"), HERE + ", Rotate: got magnitude '9'"),
    "a magnitude as truth": (with_step("Rotate", 0.5, True), HERE + ", Rotate: got magnitude True"),
    "a magnitude without end": (with_step("Rotate", 0.5, 10**400), HERE + ", Rotate: got magnitude 1000"),
    "a fraction in a table": (with_step("Posterize", 0.5, 2.5, profile="tf"), HERE + ".*whole number"),
    "a wrong magnitude of an op without": (with_step("Invert", 0.5, 99), HERE + ", Invert: got magnitude 99; .*null"),
    "a probability above 1": (with_step("Invert", 1.5, None), HERE + r", Invert: got probability 1.5; .*\[0, 1\]"),
    "a probability below 0": (with_step("Invert", -0.1, None), HERE + ", Invert: got probability -0.1"),
    "a probability that is no number": (with_step("Invert", float("nan"), None), HERE + ".*probability nan"),
    "no probability": (with_step("Invert", None, None), HERE + ", Invert: got probability None"),
    "two values for a step": (with_step("Invert", 0.5), HERE + r": got \['Invert', 0.5\]; expected \[op, prob"),
    "four values for a step": (with_step("Invert", 0.5, 1, 1), HERE + ": got"),
    "text for a step": ({"version": 1, "sub_policies": [["abc"]]}, r"sub_policies\[0\]\[0\]: got 'abc'"),
    "an empty sub-policy": ({"version": 1, "sub_policies": [[["Invert", 1, 0]], []]}, r"sub_policies\[1\]: got \[\]"),
    "too many ops": ({"version": 1, "sub_policies": [[["Invert", 1, 0]] * 17]}, r"sub_policies\[0\]: .*1 to 16"),
    "a number for a sub-policy": ({"version": 1, "sub_policies": [3]}, r"sub_policies\[0\]: got 3"),
    "no sub-policies": ({"version": 1, "sub_policies": []}, r"policy.sub_policies: got \[\]"),
    "an object of sub-policies": ({"version": 1, "sub_policies": {"a": 1}}, "policy.sub_policies: got"),
    "missing sub-policies": ({"version": 1}, "sub_policies"),
    "no version": ({"sub_policies": [[["Invert", 1, 0]]]}, '"version": 1'),
    "another version": ({"version": 2, "sub_policies": [[["Invert", 1, 0]]]}, '"version": 1'),
    "an unknown field": ({"version": 1, "sub_policies": [], "levels": 9}, "unknown field 'levels'"),
    "an unknown profile": (with_step("Invert", 1, 0, profile="keras"), "policy.profile: got 'keras'; .*torchvision"),
    "a number for a profile": (with_step("Invert", 1, 0, profile=3), "policy.profile: got 3"),
    "a list": ([1], "policy: expected an object"),
}


@pytest.mark.parametrize("case", BAD_POLICIES)
def test_bad_policy_names_the_place(case):
    data, message = BAD_POLICIES[case]
    with pytest.raises(ValueError, match=message):
        ae.Policy.from_json(json.dumps(data))
    transforms = [{"name": "AutoAugment", "policy": data}]
    text = json.dumps({**json.loads(ae.Pipeline(ae.AutoAugment()).to_json()), "transforms": transforms})
    with pytest.raises(ValueError, match=r"transforms\[0\]"):
        ae.Pipeline.from_json(text)


@pytest.mark.parametrize("depth", [100, 5000, 100000])
def test_text_nested_without_end_is_refused(depth):
    nested = "[" * depth + "]" * depth
    for text in (
        nested,
        f'{{"version": 1, "sub_policies": {nested}}}',
        f'{{"version": 1, "sub_policies": [[{nested}]]}}',
    ):
        with pytest.raises(ValueError, match=r"policy|policies"):
            ae.Policy.from_json(text)


def test_text_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="policy: is not JSON"):
        ae.Policy.from_json("Rotate 0.5 9")


BAD_DECLARATIONS = {
    "unknown policy": (lambda: ae.AutoAugment("imagenet21k"), "unknown name 'imagenet21k'; .*cifar10"),
    "a number for a policy": (lambda: ae.AutoAugment(3), "AutoAugment.policy: got 3"),
    "unknown published name": (lambda: ae.Policy.published("v0"), "unknown name 'v0'; .*timm-v0"),
    "lanczos": (lambda: ae.AutoAugment(interpolation="lanczos"), "AutoAugment.interpolation: got 'lanczos'.*random"),
    "fill above 255": (lambda: ae.TrivialAugmentWide(fill=256), "TrivialAugmentWide.fill: got 256"),
    "fill of two": (lambda: ae.RandAugment(fill=(1, 2)), "RandAugment.fill: got 2 values"),
    "no ops": (lambda: ae.RandAugment(0), "RandAugment.num_ops: got 0"),
    "a magnitude beyond the bins": (lambda: ae.RandAugment(magnitude=31), r"magnitude: got 31; .*\[0, 30\]"),
    "a magnitude beyond timm's": (
        lambda: ae.RandAugment(magnitude=11, profile="timm"),
        r"magnitude: got 11; .*\[0, 10\]",
    ),
    "one bin": (lambda: ae.TrivialAugmentWide(1), "num_magnitude_bins: got 1"),
    "unknown profile": (lambda: ae.RandAugment(profile="dali"), "RandAugment.profile: got 'dali'"),
    "negative noise": (lambda: ae.RandAugment(magnitude_std=-1.0), "magnitude_std: got -1.0"),
    "probability above 1": (lambda: ae.RandAugment(p=1.1), "RandAugment.p: got 1.1"),
    "severity above 10": (lambda: ae.AugMix(11), r"AugMix.severity: got 11; .*\[1, 10\]"),
    "no chains": (lambda: ae.AugMix(mixture_width=0), "mixture_width: got 0"),
    "half a chain": (lambda: ae.AugMix(chain_depth=1.5), "chain_depth: got 1.5"),
    "alpha of 0": (lambda: ae.AugMix(alpha=0), "AugMix.alpha: got 0"),
    "all ops as a number": (lambda: ae.AugMix(all_ops=1), "AugMix.all_ops: got 1"),
}


@pytest.mark.parametrize("case", BAD_DECLARATIONS)
def test_bad_declaration_is_refused_by_name(case):
    make, message = BAD_DECLARATIONS[case]
    with pytest.raises(ValueError, match=message):
        make()
