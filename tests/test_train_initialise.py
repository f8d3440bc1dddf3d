"""Where weights start: the papers' distributions, blocks that begin as their shortcut, and the dropout."""

import math
import pickle
from copy import deepcopy

import pytest
import timm
import torch
import torchvision
from scipy import stats
from torch import nn
from torch.nn import functional as F

from augengine.train.fast_net import FastNet
from augengine.train.initialise import add_dropout, initialise, zero_gamma
from augengine.train.model import SmallNet
from augengine.train.resnet_cifar import ResNetCifar

LAYERS = {  # how many inputs an output reads, and how many outputs an input feeds
    "linear": (lambda: nn.Linear(300, 200), 300, 200),
    "3 x 3": (lambda: nn.Conv2d(32, 64, 3), 32 * 9, 64 * 9),
    "1 x 1": (lambda: nn.Conv2d(128, 256, 1, bias=False), 128, 256),
    "in groups": (lambda: nn.Conv2d(64, 128, 3, groups=4), 16 * 9, 32 * 9),
    "depthwise": (lambda: nn.Conv2d(2048, 2048, 3, groups=2048), 9, 9),
    "1d": (lambda: nn.Conv1d(64, 32, 5), 64 * 5, 32 * 5),
    "3d": (lambda: nn.Conv3d(8, 16, 3), 8 * 27, 16 * 27),
}


@pytest.fixture(autouse=True)
def seeded():
    before = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(before)


# --- the distributions


@pytest.mark.parametrize("layer", LAYERS)
def test_xavier_is_uniform_with_the_variance_2_over_the_sum_of_the_fans(layer):
    make, fan_in, fan_out = LAYERS[layer]
    initialise(module := make(), "xavier")
    weight = module.weight.detach()
    bound = math.sqrt(6 / (fan_in + fan_out))
    assert bound * 0.99 < float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert float(weight.var()) == pytest.approx(2 / (fan_in + fan_out), rel=0.03)
    assert stats.kstest(weight.flatten()[:4000].numpy(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3


@pytest.mark.parametrize("layer", LAYERS)
def test_he_is_normal_with_the_variance_2_over_the_fan_in(layer):
    make, fan_in, _ = LAYERS[layer]
    initialise(module := make(), "he")
    weight = module.weight.detach()
    assert float(weight.var()) == pytest.approx(2 / fan_in, rel=0.05)
    assert stats.kstest(weight.flatten()[:4000].numpy(), stats.norm(0, math.sqrt(2 / fan_in)).cdf).pvalue > 1e-3


def test_he_keeps_the_size_of_what_passes_thirty_layers_of_relus():
    layers = [part for _ in range(30) for part in (nn.Linear(256, 256), nn.ReLU())]
    initialise(model := nn.Sequential(*layers), "he")
    x = torch.randn(64, 256)
    with torch.no_grad():
        assert 0.2 < float(model(x).square().mean() / x.square().mean()) < 5


def test_without_groups_the_draws_are_those_of_torch():
    for kind, by_torch in (("xavier", nn.init.xavier_uniform_), ("he", nn.init.kaiming_normal_)):
        ours, theirs = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
        torch.manual_seed(1)
        initialise(ours, kind)
        torch.manual_seed(1)
        by_torch(theirs.weight)
        torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("kind", ["xavier", "he"])
def test_biases_begin_at_0_and_norms_as_the_identity(kind):
    norms = [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm([4, 5, 5]), nn.RMSNorm([4, 5, 5])]
    norms += [nn.BatchNorm1d(4, affine=False), nn.InstanceNorm2d(4, affine=True)]
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Linear(4, 4), *norms)
    for values in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
        nn.init.constant_(values, 0.3)
    initialise(model, kind)
    for name, values in model.named_parameters():
        if name.endswith("bias"):
            assert not values.any()
        elif not name.startswith(("0.", "1.")):
            assert torch.equal(values, torch.ones_like(values))
    for norm in (norms[0], norms[4]):
        assert not norm.running_mean.any()
        assert torch.equal(norm.running_var, torch.ones(4))


def test_default_and_what_is_not_trained_stay_as_the_constructor_made_them():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(3, 3)).requires_grad_(False)
    before = deepcopy(model.state_dict())
    for kind in ("xavier", "he"):
        initialise(model, kind)
    initialise(model.requires_grad_(True), "default")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_initialisation_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"Recipe\.initialisation: got 'lecun'; expected one of default, xavier, he"):
        initialise(nn.Linear(2, 2), "lecun")


# --- zero-gamma


def timm_model(name):
    return timm.create_model(name, num_classes=10)


def torchvision_model(name):
    return torchvision.models.get_model(name, weights=None, num_classes=10)


BLOCKS = {  # the model, and its residual blocks
    "timm resnet18": (lambda: timm_model("resnet18"), 8),
    "timm resnet50": (lambda: timm_model("resnet50"), 16),
    "timm resnetv2_50": (lambda: timm_model("resnetv2_50"), 16),
    "timm mobilenetv3": (lambda: timm_model("mobilenetv3_small_050"), 7),
    "timm efficientnet": (lambda: timm_model("efficientnet_lite0"), 9),
    "torchvision resnet18": (lambda: torchvision_model("resnet18"), 8),
    "torchvision resnet50": (lambda: torchvision_model("resnet50"), 16),
    "torchvision mobilenet_v2": (lambda: torchvision_model("mobilenet_v2"), 10),
    "torchvision mobilenet_v3": (lambda: torchvision_model("mobilenet_v3_small"), 6),
    "torchvision efficientnet": (lambda: torchvision_model("efficientnet_b0"), 9),
    "torchvision regnet": (lambda: torchvision_model("regnet_y_400mf"), 16),
    "torchvision mnasnet": (lambda: torchvision_model("mnasnet0_5"), 10),
    "resnet20": (lambda: ResNetCifar(20, 3, 10), 9),
    "small": (lambda: SmallNet(3, 10, 8), 2),
    "fast": (lambda: FastNet(3, 10, (8, 16)), 2),
}
RESIDUAL = ("BasicBlock", "Bottleneck", "ResBottleneckBlock", "Block", "Residual", "MBConv", "InvertedResidual",
            "_InvertedResidual", "DepthwiseSeparableConv", "PreActBottleneck")  # fmt: skip


def residual_blocks(model):
    return [m for m in model.modules() if type(m).__name__ in RESIDUAL]


def shortcut(block, x):
    """What passes beside the block's body, by the names of its library; None where nothing does."""
    if hasattr(block, "shortcut") and callable(block.shortcut):
        return F.relu(block.shortcut(x))
    for flag in ("use_res_connect", "has_skip", "apply_residual"):
        if hasattr(block, flag):
            return x if getattr(block, flag) else None
    beside = getattr(block, "downsample", None) or getattr(block, "proj", None)
    return F.relu(x if beside is None else beside(x))


def inputs_of(model, blocks, size=64):
    """What each block reads, and gives, in a pass of the model."""
    seen, hooks = {}, []
    for block in blocks:
        hooks.append(block.register_forward_hook(lambda m, x, y: seen.update({m: (x[0].clone(), y.clone())})))
    with torch.no_grad():
        model(torch.randn(2, 3, size, size))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("name", [name for name in BLOCKS if name not in ("timm resnetv2_50", "fast")])
def test_blocks_begin_as_their_shortcut(name):
    make, count = BLOCKS[name]
    model = make().train()
    for block in residual_blocks(model):
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
    before = {k: v.clone() for k, v in model.named_parameters() if v.any()}
    assert zero_gamma(model) == count
    zeroed = [k for k, v in model.named_parameters() if k in before and not torch.equal(v, before[k])]
    assert len(zeroed) in (0, count)  # timm's ResNets begin so
    found = inputs_of(model, residual_blocks(model))
    same = 0
    with torch.no_grad():
        for block, (x, y) in found.items():
            expected = shortcut(block.train(), x)
            if expected is not None:
                torch.testing.assert_close(y, expected)
                same += 1
    assert same == count


@pytest.mark.parametrize("name", ["timm resnetv2_50", "fast"])
def test_other_blocks_are_counted(name):
    make, count = BLOCKS[name]
    assert zero_gamma(make()) == count


@pytest.mark.parametrize("name", ["small", "torchvision resnet18", "torchvision mobilenet_v2"])
def test_a_zeroed_gain_learns(name):
    model = BLOCKS[name][0]()
    zero_gamma(model)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    gains = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()]
    assert len(gains) == BLOCKS[name][1]
    assert all(gain.grad.any() for gain in gains)


def test_a_model_without_blocks_is_refused():
    for model in (nn.Linear(2, 2), torchvision_model("vgg11_bn")):
        with pytest.raises(ValueError, match=r"Recipe\.zero_gamma: \w+ has no residual block that is known"):
            zero_gamma(model)


def test_a_method_that_zeroes_nothing_is_not_counted():
    class Idle(nn.Linear):
        def zero_init_last(self):
            pass

    with pytest.raises(ValueError, match="no residual block"):
        zero_gamma(Idle(2, 2))


def test_norms_without_gains_are_not_counted():
    model = torchvision_model("resnet18")
    for block in residual_blocks(model):
        block.bn2 = nn.BatchNorm2d(block.bn2.num_features, affine=False)
    with pytest.raises(ValueError, match="no residual block"):
        zero_gamma(model)


def test_zero_gamma_behind_an_initialisation_holds():
    model = SmallNet(3, 10, 8)
    initialise(model, "he")
    zero_gamma(model)
    assert sum(not m.weight.any() for m in model.modules() if isinstance(m, nn.BatchNorm2d)) == 2


# --- dropout


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 400)
        self.head = nn.Linear(400, 3)

    def forward(self, x):
        return self.head(self.body(x))


def read_by_head(model, x):
    seen = []
    hook = model.head.register_forward_hook(lambda m, inputs, y: seen.append(inputs[0]))
    model(x)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_expectation(p):
    model = Head()
    add_dropout(model, p)
    x = torch.randn(200, 6)
    whole, dropped = model.body(x), read_by_head(model.train(), x)
    gone = dropped == 0
    assert float(gone.float().mean()) == pytest.approx(p, abs=0.01)
    torch.testing.assert_close(dropped[~gone], whole[~gone] / (1 - p))
    rates = gone.float().mean(0)  # each feature by itself, of each image by itself
    assert float(rates.std()) == pytest.approx(math.sqrt(p * (1 - p) / 200), rel=0.2)


def test_dropout_is_off_in_eval_mode():
    model, x = Head(), torch.randn(5, 6)
    expected = model(x)
    add_dropout(model, 0.5)
    assert torch.equal(model.eval()(x), expected)
    assert not torch.equal(model.train()(x), expected)


def test_weights_keep_their_names_and_copies_drop_too():
    model = Head()
    names = list(model.state_dict())
    add_dropout(model, 0.5)
    assert list(model.state_dict()) == names
    for other in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (read_by_head(other.train(), torch.randn(9, 6)) == 0).any()
        assert not (read_by_head(other.eval(), torch.randn(9, 6)) == 0).any()


def test_no_dropout_leaves_no_hook():
    model = Head()
    add_dropout(model, 0.0)
    add_dropout(nn.Conv2d(3, 3, 3), 0.0)
    assert not model.head._forward_pre_hooks


def test_dropout_stands_in_front_of_the_classifier_of_the_libraries():
    for model, head in ((timm_model("resnet18"), "fc"), (torchvision_model("mobilenet_v2"), "classifier.1")):
        add_dropout(model, 0.5)
        assert [name for name, m in model.named_modules() if m._forward_pre_hooks] == [head]


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match=r"Recipe\.dropout: got .*; expected a number in \[0, 1\)"):
        add_dropout(Head(), p)


def test_dropout_without_a_linear_layer_is_refused():
    with pytest.raises(ValueError, match=r"Recipe\.dropout: Conv2d has no linear layer; expected dropout = 0"):
        add_dropout(nn.Conv2d(3, 3, 3), 0.5)
