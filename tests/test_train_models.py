"""Models: their shapes and weights, where names lead, and what is said of those that do not fit."""

import importlib
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from augengine.train import models
from augengine.train.fast_net import FastNet
from augengine.train.model import SmallNet
from augengine.train.models import OURS, make_model
from augengine.train.resnet_cifar import DEPTHS, ResNetCifar

MODULE = """
from torch import nn

class Made(nn.Module):
    def __init__(self, num_classes, channels_in, seen):
        super().__init__()
        self.head, self.seen = nn.Linear(channels_in, num_classes), seen

    def forward(self, x):
        return self.head(x.mean((2, 3)))

def chans(num_classes, in_chans=3): return Made(num_classes, in_chans, "in_chans")
def in_channels(num_classes, in_channels=3): return Made(num_classes, in_channels, "in_channels")
def channels(*, channels, num_classes): return Made(num_classes, channels, "channels")
def plain(num_classes): return Made(num_classes, 3, "plain")
def other_classes(num_classes): return Made(1000, 3, "plain")
def no_classes(): return Made(10, 3, "plain")
def no_module(num_classes): return num_classes
class Pair(Made):
    def forward(self, x): return super().forward(x), x
def pair(num_classes): return Pair(num_classes, 3, "pair")
constant = 3
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "nets_of_a_user.py").write_text(MODULE)
    (tmp_path / "needs_more.py").write_text("import a_module_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield "nets_of_a_user"
    sys.modules.pop("nets_of_a_user", None)


def weights(model):
    return sum(p.numel() for p in model.parameters())


def drawn(model, channels, size):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0)), model


# --- augengine's own


@pytest.mark.parametrize("depth", DEPTHS)
def test_resnets_have_as_many_weights_as_the_paper_says(depth):
    n = (depth - 2) // 6
    convolutions = 3 * 16 + 2 * n * 16**2 + (16 * 32 + (2 * n - 1) * 32**2) + (32 * 64 + (2 * n - 1) * 64**2)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    in_table_6 = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
    found = weights(ResNetCifar(depth, 3, 10))
    assert found == 9 * convolutions + norms + 64 * 10 + 10
    assert found == pytest.approx(in_table_6[depth] * 1e6, rel=0.02)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_resnet_has_as_many_layers_with_weights_as_its_name_says(depth):
    layers = [m for m in ResNetCifar(depth, 3, 10).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth


@pytest.mark.parametrize("size", [4, 9, 32])
def test_a_resnet_whose_blocks_add_nothing_is_its_stem_and_shortcuts(size):
    images, model = drawn(ResNetCifar(20, 3, 10), 3, size)
    for block in model.stages:
        block.zero_init_last()
    x = model.stem(images)
    x = x[:, :, ::2, ::2][:, :, ::2, ::2].mean((2, 3))
    x = torch.cat([x, torch.zeros(2, 48)], 1)
    torch.testing.assert_close(model(images), model.head(x))


def test_a_resnet_halves_twice_and_widens_to_64():
    model, sizes = ResNetCifar(20, 1, 10), []
    for block in model.stages:
        block.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    model(torch.zeros(2, 1, 32, 32))
    assert sizes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3


@pytest.mark.parametrize("depth", [-4, 2, 18, 21])
def test_depths_that_are_not_6_n_plus_2_are_refused(depth):
    with pytest.raises(ValueError, match=rf"ResNetCifar.depth: got {depth}; expected 6 n \+ 2"):
        ResNetCifar(depth, 3, 10)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 33), (3, 16)])
def test_our_models_take_any_size_from_8_on(name, channels, size):
    if name not in ("resnet44", "resnet56", "resnet110"):  # these are resnet20 with more blocks
        assert make_model(name, 7, channels, size)(torch.randn(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("make", [SmallNet, FastNet, lambda *a: ResNetCifar(20, *a)])
def test_zeroed_blocks_learn_from_the_first_step(make):
    """A gain of 0 in front of a ReLU would get no gradient, ever."""
    images, model = drawn(make(3, 10), 3, 16)
    zeroed = [m for m in model.modules() if hasattr(m, "zero_init_last")]
    for block in zeroed:
        block.zero_init_last()
    F.cross_entropy(model(images), torch.tensor([1, 2])).backward()
    gains = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.any()]
    assert len(gains) == len(zeroed) > 0
    assert all(gain.grad.any() for gain in gains)


def test_a_zeroed_small_net_is_the_net_without_its_blocks():
    images, model = drawn(SmallNet(3, 10), 3, 16)
    blocks = [m for m in model.features if hasattr(m, "zero_init_last")]
    for block in blocks:
        block.zero_init_last()
    x = images
    for layer in model.features:
        x = x if layer in blocks else layer(x)
    torch.testing.assert_close(model(images), model.head(x.amax((2, 3))))


def test_a_zeroed_fast_net_is_the_net_without_its_blocks():
    images, model = drawn(FastNet(3, 10, widths=(8, 12)), 3, 9)
    for stage in model.stages:
        stage.zero_init_last()
    x = model.stem(images)
    for stage in model.stages:
        x = F.gelu(stage.down_norm(F.max_pool2d(stage.down(x), 2)))
    torch.testing.assert_close(model(images), model.head(x.amax((2, 3))) / 8)


@pytest.mark.parametrize("name", ["small", "fast", "resnet20"])
def test_our_models_say_the_same_whatever_the_memory_format(name):
    images, model = drawn(make_model(name, 10, 3, 16).eval(), 3, 16)
    plain = model(images)
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images.to(memory_format=torch.channels_last)), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["small", "fast", "resnet20"])
def test_our_models_know_a_batch_by_heart_in_a_few_steps(name):
    torch.manual_seed(0)
    images, targets = torch.randn(16, 3, 16, 16), torch.arange(16) % 4
    model = make_model(name, 4, 3, 16)
    optimizer = torch.optim.SGD(model.parameters(), 0.03, 0.9, nesterov=True)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
    assert (model(images).argmax(1) == targets).all()


# --- where names lead


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("small", "augengine.train.model"),
        ("resnet20", "augengine.train.resnet_cifar"),
        ("resnet18", "timm.models.resnet"),
        ("resnet18.a1_in1k", "timm.models.resnet"),
        ("timm/resnet18", "timm.models.resnet"),
        ("torchvision/resnet18", "torchvision.models.resnet"),
        ("shufflenet_v2_x0_5", "torchvision.models.shufflenetv2"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_name_leads_to_augengine_then_timm_then_torchvision(name, kind, channels):
    model = make_model(name, 5, channels, 32)
    assert type(model).__module__ == kind
    assert model.training
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18"])
def test_a_librarys_model_is_its_own_with_the_classes_of_the_data(name):
    torch.manual_seed(3)
    made = make_model(name, 10, 3, 32)
    torch.manual_seed(3)
    if name.startswith("timm"):
        theirs = importlib.import_module("timm").create_model("resnet18", num_classes=10, zero_init_last=False)
    else:
        theirs = importlib.import_module("torchvision").models.resnet18(weights=None, num_classes=10)
    assert made.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(made.state_dict()[k], v) for k, v in theirs.state_dict().items())


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_of_a_torchvision_model_only_the_first_convolution_takes_other_channels(name):
    gray, colour = (make_model(f"torchvision/{name}", 10, c, 64).state_dict() for c in (1, 3))
    assert gray.keys() == colour.keys()
    differ = [k for k in gray if gray[k].shape != colour[k].shape]
    assert len(differ) == 1
    assert gray[differ[0]].shape[1] == 1
    assert float(gray[differ[0]].std()) == pytest.approx(float(colour[differ[0]].std()), rel=0.25)


def test_timms_networks_of_one_input_size_are_made_for_the_datas():
    assert make_model("timm/vit_tiny_patch16_224", 10, 3, 32).patch_embed.img_size == (32, 32)


@pytest.mark.parametrize(
    ("factory", "channels", "seen"),
    [("chans", 1, "in_chans"), ("in_channels", 1, "in_channels"), ("channels", 2, "channels"), ("plain", 3, "plain")],
)
def test_a_factory_is_told_the_classes_and_the_channels_that_it_takes(nets, factory, channels, seen):
    model = make_model(f"{nets}:{factory}", 7, channels, 5)
    assert (model.seen, model.head.in_features, model.head.out_features) == (seen, channels, 7)


def test_nothing_is_downloaded(monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connects"))
    for name in ("timm/resnet18.a1_in1k", "torchvision/resnet18"):
        make_model(name, 10, 3, 32)


@pytest.mark.parametrize("name", ["fast", "timm/resnet18"])
def test_the_trial_leaves_the_generator_and_the_statistics_as_they_were(name, monkeypatch):
    states = []
    for check in (models.try_model, lambda *_: None):
        monkeypatch.setattr(models, "try_model", check)
        torch.manual_seed(1)
        model = make_model(name, 10, 3, 32)
        states.append([torch.get_rng_state(), *model.state_dict().values()])
    assert all(map(torch.equal, *states))


def test_a_trial_that_draws_leaves_the_generator_as_it_was(monkeypatch):
    class Drawing(nn.Module):
        def forward(self, x):
            return torch.randn(len(x), 4)

    monkeypatch.setitem(OURS, "drawing", lambda *_: Drawing())
    before = torch.get_rng_state()
    make_model("drawing", 4, 3, 8)
    assert torch.equal(torch.get_rng_state(), before)


# --- what does not fit


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnt20", r"--model: got 'resnt20'; expected one of tiny, small, .*; the nearest: .*resnet20"),
        ("timm/resnt18", r"got 'timm/resnt18'.*; the nearest: timm/resnet18"),
        ("torchvision/resnet81", r"got 'torchvision/resnet81'.*; the nearest: torchvision/resnet18"),
        ("torchvision/fcn_resnet50", r"got 'torchvision/fcn_resnet50'"),
        ("torchvision/small", r"got 'torchvision/small'"),
        ("/resnet18", r"got '/resnet18'"),
        ("", r"got ''; expected one of tiny, small"),
        ("no_such_package.nets:make", r"there is no module 'no_such_package.nets'"),
        (":make", r"there is no module ''"),
        (".nets:make", r"there is no module '.nets'"),
        ("hf-hub:someone/net", r"there is no module 'hf-hub'"),
        ("torchvision/vit_b_16", r"--model torchvision/vit_b_16: fails on images of 3 x 32 x 32 .*Expected 224"),
        ("timm/inception_v3", r"--model timm/inception_v3: fails on images of 3 x 32 x 32 .*Kernel size"),
        ("torchvision/googlenet", r"--model torchvision/googlenet: gives auxiliary logits while it trains"),
    ],
)
def test_a_name_that_leads_nowhere_and_a_model_that_does_not_fit_are_said(name, said):
    with pytest.raises(ValueError, match=said):
        make_model(name, 10, 3, 32)


@pytest.mark.parametrize(
    ("factory", "channels", "said"),
    [
        ("other_classes", 3, r"gives \(2, 1000\) for 2 images; expected \(2, 10\), the data's classes"),
        ("pair", 3, r"gives a tuple for 2 images; expected \(2, 10\)"),
        ("no_classes", 3, r"can't be called with num_classes=10: .*unexpected keyword argument 'num_classes'"),
        ("no_module", 3, r"gives a int; expected a torch.nn.Module"),
        ("constant", 3, r"nets_of_a_user has no function 'constant'"),
        ("", 3, r"nets_of_a_user has no function ''"),
        ("plain", 1, r"fails on images of 1 x 32 x 32 .*mat1 and mat2"),
    ],
)
def test_a_factory_that_does_not_fit_is_said(nets, factory, channels, said):
    with pytest.raises(ValueError, match=rf"^--model {nets}:{factory}: {said}"):
        make_model(f"{nets}:{factory}", 10, channels, 32)


def test_what_a_factorys_module_lacks_is_said_as_python_says_it(nets):
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        make_model("needs_more:make", 10, 3, 32)


@pytest.mark.parametrize("size", [0, 4, 7])
def test_images_too_small_for_a_model_are_said(size):
    with pytest.raises(ValueError, match=rf"--model fast: fails on images of 3 x {size} x {size}"):
        make_model("fast", 10, 3, size)


# --- libraries that are missing


def missing(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_without_timm_a_bare_name_leads_to_torchvision(monkeypatch):
    missing(monkeypatch, "timm")
    assert type(make_model("resnet18", 10, 3, 32)).__module__ == "torchvision.models.resnet"


@pytest.mark.parametrize(
    ("gone", "name"), [("timm", "timm/resnet18"), ("torchvision", "torchvision/resnet18"), ("timm", "resnet18d")]
)
def test_a_library_that_is_missing_is_named_where_it_is_needed(monkeypatch, gone, name):
    missing(monkeypatch, gone, f"{gone}.models")
    with pytest.raises(ImportError, match=rf"{gone} is not installed; pip install 'augengine\[train\]'"):
        make_model(name, 10, 3, 32)


@pytest.mark.parametrize("name", ["timm/resnt18", "fast"])
def test_a_library_that_is_not_asked_for_may_be_missing(monkeypatch, name):
    missing(monkeypatch, "torchvision", "torchvision.models")
    if name == "fast":
        make_model(name, 10, 3, 8)
    else:
        with pytest.raises(ValueError, match="the nearest: timm/resnet18"):
            make_model(name, 10, 3, 8)


def test_our_models_import_neither_timm_nor_torchvision():
    make = "augengine.train.models.make_model('small', 2, 1, 8)"
    code = f"import sys, augengine.train.models; {make}; print({{'timm', 'torchvision'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
