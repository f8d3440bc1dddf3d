"""Prints the table of exactness: each op and policy against torchvision on PIL images, values compared and differing.

usage: make exactness
"""

import PIL
import torch
import torchvision
from cases import cases
from oracle import RESIZE_ORDER, call_pil, from_pil, replay, to_pil
from pictures import gradient, noise, pictures

import augengine as ae
from augengine import _native, functional
from augengine.ops import OPS

SHAPES = ((1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (5, 3), (32, 32), (61, 90), (224, 224), (400, 500))
SAMPLES = 500
POLICIES = {
    "AutoAugment imagenet": ae.AutoAugment("imagenet"),
    "AutoAugment cifar10": ae.AutoAugment("cifar10"),
    "AutoAugment svhn": ae.AutoAugment("svhn"),
    "AutoAugment imagenet, bicubic": ae.AutoAugment("imagenet", "bicubic"),
    "RandAugment": ae.RandAugment(),
    "RandAugment(3, 17)": ae.RandAugment(3, 17),
    "TrivialAugmentWide": ae.TrivialAugmentWide(),
    "AugMix, of Pillow's ops": ae.AugMix(),
    "AutoAugment timm-v0": ae.AutoAugment("timm-v0"),
}


class Row:
    """One line of the table."""

    def __init__(self):
        self.cases = self.values = self.differ = self.most = 0

    def add(self, got, want):
        """Counts one comparison."""
        off = (got.int() - want.int()).abs()
        self.cases += 1
        self.values += off.numel()
        self.differ += int((off > 0).sum())
        self.most = max(self.most, int(off.max()))

    def print(self, name):
        """Writes it in Markdown."""
        share = f"{self.differ / self.values:.1e}" if self.differ else "0"
        print(f"| {name} | {self.cases:,} | {self.values:,} | {self.most} | {share} |", flush=True)


def op_row(op):
    """The op over all shapes, channels and pictures, on every instruction set."""
    row, sized = Row(), any(p.name == "size" for p in op.params)
    options = {"resize_order": RESIZE_ORDER} if sized else {}
    for h, w in SHAPES:
        large = h > 100
        for channels in (1, 3):
            images = [noise(h, w, channels), gradient(h, w, channels)] if large else pictures(h, w, channels)
            for image in images:
                for params in cases(op, h, w, most=6 if large else 20):
                    decoded = {
                        k: list(v) if isinstance(v, tuple) else v for k, v in op.decode(op.encode(params)).items()
                    }
                    want = from_pil(call_pil(op.name, decoded, to_pil(image)))
                    for isa in _native.isas():
                        _native.set_isa(isa)
                        row.add(getattr(functional, op.name)(image, **params, **options), want)
    return row


def policy_row(transform):
    """The policy on samples of several sizes, replayed call by call."""
    row, pipe = Row(), ae.Pipeline(transform, dtype=torch.uint8)
    for h, w in ((1, 1), (32, 32), (97, 64), (224, 224)):
        program = pipe.sample(range(SAMPLES), size=(h, w))
        for i in range(SAMPLES):
            image = noise(h, w) if i % 2 else gradient(h, w)
            row.add(pipe.run(image[None], program.rows([i]))[0], replay(program[i], image))
    return row


def main():
    """Prints the whole table."""
    versions = f"Pillow {PIL.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"augengine {ae.__version__} against {versions}; instruction sets: {', '.join(_native.isas())}\n")
    print(
        "| op or policy | cases | values | largest difference | share that differs |\n| --- | --- | --- | --- | --- |"
    )
    for op in OPS.values():
        if op.kind != "chain" and not op.output_units:
            op_row(op).print(op.name)
    for name, transform in POLICIES.items():
        policy_row(transform).print(name)


if __name__ == "__main__":
    main()
