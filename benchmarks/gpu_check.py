"""Whether the GPU gives the CPU's bits: every op at its bounds, then random programs of whole recipes."""

from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu_card import Card

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = ((1, 1), (3, 5), (33, 17), (64, 48), (130, 171))
Run = Callable[[torch.Tensor | list[torch.Tensor]], torch.Tensor]


def comparisons(rehearses: bool) -> Iterator[tuple[str, Run, list[torch.Tensor]]]:
    """(name, run, images): every op at its bounds, then random programs of whole recipes."""
    from cases import cases
    from pictures import gradient, noise

    from augengine import functional
    from augengine.ops import OPS

    shapes, most = (((3, 5),), 1) if rehearses else (SHAPES, 24)
    for op in (op for op in OPS.values() if op.kind != "chain"):  # chains are in AugMix, below
        for channels in (1, 3):
            for h, w in shapes:
                images = [noise(h, w, channels), gradient(h, w, channels)]
                for case in cases(op, h, w, most=most):
                    run = lambda batch, op=op, case=case: getattr(functional, op.name)(batch, **case)  # noqa: E731
                    yield f"{op.name} {case} on {channels}x{h}x{w}", run, images
    yield from recipe_comparisons(1 if rehearses else 20)


def recipe_comparisons(epochs: int) -> Iterator[tuple[str, Run, list[torch.Tensor]]]:
    from pictures import gradient, noise

    import augengine as ae

    photos = [noise(60 + 7 * i, 190 - 9 * i) if i % 2 else gradient(150, 100 + 3 * i) for i in range(16)]
    interleaved = [i.permute(1, 2, 0).contiguous().permute(2, 0, 1) for i in photos]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for order in ("pillow13", "horizontal"):
                pipe = ae.Pipeline(*everything(), dtype=dtype, memory_format=memory_format, resize_order=order)
                for epoch in range(epochs):
                    run = lambda batch, p=pipe, e=epoch: p(batch, sample_ids=range(16), epoch=e)  # noqa: E731
                    yield f"{pipe!r}, epoch {epoch}", run, interleaved if epoch % 2 else photos


def everything() -> list[object]:
    import augengine as ae

    return [
        ae.RandomResizedCrop(48, interpolation="bicubic"),
        ae.RandomHorizontalFlip(),
        ae.RandomVerticalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.RandomRotation(30, "bilinear", fill=(10, 20, 30)),
        ae.RandomEqualize(),
        ae.RandomRotation(45),
        ae.RandomAdjustSharpness(2.0),
        ae.RandomChoice([ae.AutoAugment(), ae.RandAugment(), ae.TrivialAugmentWide(), ae.AugMix()]),
        ae.RandomChoice([ae.GaussianBlur(5), ae.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10), ae.RandomPerspective()]),
        ae.RandomCrop((50, 41), padding=4, padding_mode="reflect"),
        ae.Normalize(MEAN, STD),
        ae.RandomErasing(value="random"),
        ae.RandomChoice([ae.Mixup(0.4), ae.CutMix(), ae.RICAP()], p=(2, 1, 1)),
        ae.RandomErasing(value=(1.0, 2.0, 3.0)),
    ]


def check(card: Card) -> tuple[int, list[str]]:
    """How many comparisons were made, and the names of those that differ or fail."""
    made, different = 0, []
    for name, run, images in comparisons(card.rehearses):
        same = len({i.shape for i in images}) == 1
        moved = [i.to(card.device) for i in images]
        want = run(torch.stack(images) if same else images)
        made += 1
        try:
            with card.engine():
                equal = torch.equal(run(torch.stack(moved) if same else moved).cpu(), want)
        except Exception as error:  # the next comparison may still say something
            different.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if not equal:
            different.append(name)
    return made, different
