"""`timm_loader`: what stands where timm.data.create_loader stood, with the engine in place of its transforms."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch.utils.data import DistributedSampler, IterableDataset, Sampler, Subset, default_collate

from augengine import transforms
from augengine.compat.timm import Mixup
from augengine.data.loader import DataLoader
from augengine.data.route import default_seed
from augengine.data.sources import PhotoFiles, PhotoSource, PhotoSubset, fetches_as
from augengine.pipeline import Pipeline
from augengine.translate import UnsupportedTransform, from_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CUDA = torch.device("cuda")
OF_TRANSFORM = (
    *("input_size", "is_training", "no_aug", "train_crop_mode", "scale", "ratio", "hflip", "vflip", "color_jitter"),
    *("color_jitter_prob", "grayscale_prob", "gaussian_blur_prob", "auto_augment", "interpolation", "crop_pct"),
    *("crop_mode", "crop_border_pixels", "re_prob", "re_mode", "re_count"),
)
ASKED_BY = {
    "AutoAugment": "auto_augment",
    "RandAugment": "auto_augment",
    "AugMixAugment": "auto_augment",
    "TrimBorder": "crop_border_pixels",
    "ResizeKeepRatio": "crop_mode",
}
ALL_SAME = "keep timm.data.create_loader for it"


def timm_loader(
    dataset: Any,
    input_size: int | tuple[int, int] | tuple[int, int, int],
    batch_size: int,
    is_training: bool = False,
    no_aug: bool = False,
    re_prob: float = 0.0,
    re_mode: str = "const",
    re_count: int = 1,
    re_split: bool = False,
    train_crop_mode: str | None = None,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] | None = 0.4,
    color_jitter_prob: float | None = None,
    grayscale_prob: float = 0.0,
    gaussian_blur_prob: float = 0.0,
    auto_augment: str | None = None,
    num_aug_repeats: float = 0,
    num_aug_splits: int = 0,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    num_workers: int = 1,
    distributed: bool = False,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    crop_border_pixels: int | None = None,
    collate_fn: Callable[[Any], Any] | None = None,
    pin_memory: bool = False,
    fp16: bool = False,
    img_dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = CUDA,
    use_prefetcher: bool = True,
    use_multi_epochs_loader: bool = False,
    persistent_workers: bool = True,
    worker_seeding: str | Callable[[Any], int] = "all",
    tf_preprocessing: bool = False,
    input_size_choices: Sequence[Any] | None = None,
    batch_size_choices: Sequence[int] | None = None,
    batch_choice_weights: Sequence[float] | None = None,
    batch_choice_seed: int = 0,
    batch_choice_schedule: str = "constant",
    batch_schedule_epochs: int | None = None,
    batch_schedule_spread: float = 0.65,
    batch_schedule_random_mix: float = 0.1,
    num_batches: int | None = None,
    *,
    seed: int | None = None,
    resize_order: str = "pillow13",
    on_error: str = "replace",
    **loader_options: Any,
) -> "TimmLoader":
    """timm.data.create_loader's batches by the engine: its arguments (timm 1.0), order and defaults.

    Gives [images, targets]: images (B, C, H, W) of `img_dtype` on `device`, normalised, and with `use_prefetcher=False`
    float32 on the CPU; targets int64 (B,), or float32 (B, num_classes) where `collate_fn` is timm's FastCollateMixup.
    The transforms are those of timm's create_transform with these arguments, translated (see `augengine.translate`):
    the same distributions, with Pillow's pixels. `dataset.transform` becomes None, because the engine has it.

    Keyword arguments beyond timm's: `seed` (None: torch.manual_seed's), `resize_order` ("horizontal" for the pixels of
    Pillow 12), and those of `augengine.DataLoader`: `decoder`, `cache`, `on_error` and others. `on_error` is "replace",
    because timm's datasets, too, go on with another image where a file is damaged.

    What timm does and augengine doesn't raises ValueError that names the argument: `tf_preprocessing`, `re_split`
    (with `re_prob`), `num_aug_splits`, `input_size_choices`, `crop_mode="border"`, `crop_border_pixels`,
    `train_crop_mode` "rkrc" and "rkrr", `auto_augment` "augmix-...", "3a" and others that `augengine.translate` lists,
    evaluation that is not square, and datasets without an index. ImportError without timm.
    """
    given = dict(locals())
    timm = _load_timm()
    _check_supported(given)
    channels = input_size[0] if not isinstance(input_size, int) and len(input_size) == 3 else len(mean)
    mean, std = (timm.adapt_to_chs(tuple(values), channels) for values in (mean, std))
    mixup = _mixup_of(collate_fn, timm)
    dtype = torch.float16 if fp16 else img_dtype or torch.float32
    pipeline = _with_mixes(_translated(given, mean, std), mixup, batch_size).with_options(
        dtype=dtype if use_prefetcher else torch.float32,
        seed=default_seed() if seed is None else seed,
        resize_order=resize_order,
    )
    dataset.transform = None
    dataset, sampler = _sampled(dataset, distributed, is_training, num_aug_repeats, timm)
    return TimmLoader(
        dataset,
        batch_size,
        sampler is None and is_training,
        sampler=sampler,
        drop_last=is_training,
        pipeline=pipeline,
        collate_fn=None if mixup or collate_fn in (timm.fast_collate, default_collate) else collate_fn,
        device=device if use_prefetcher else None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=(persistent_workers or use_multi_epochs_loader) and num_workers > 0,
        worker_init_fn=partial(timm._worker_init, worker_seeding=worker_seeding),
        on_error=on_error,
        **loader_options,
    )


class TimmLoader(DataLoader[Any]):
    """What `timm_loader` gives: `augengine.DataLoader`, with the `mixup_enabled` that timm's train loop sets.

    The photos of timm's `ImageDataset` over an image folder are decoded in threads, only the region that a crop reads.
    """

    def __init__(self, dataset: Any, *args: Any, pipeline: Pipeline, **options: Any) -> None:
        self._timm_photos = _photos_of(dataset)
        self._mixes, self._mixup_enabled = pipeline, pipeline.softens
        super().__init__(dataset, *args, pipeline=pipeline, **options)

    @property
    def mixup_enabled(self) -> bool:
        """Whether batches are mixed; without FastCollateMixup it stays False. Targets stay soft where it is set so."""
        return self._mixup_enabled

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        if not self._mixes.softens:
            return
        self._mixup_enabled = bool(enabled)
        off = [transforms.Mixup(p=0.0) if t.stage == "mix" else t for t in self._mixes.transforms]
        self._given = self._mixes if enabled else _of_transforms(self._mixes, off)
        self._find_route()

    def _find_route(self) -> None:
        super()._find_route()
        if self._route is not None and self._timm_photos is not None and _innermost(self.dataset).transform is None:
            self._route = replace(self._route, source=self._timm_photos)


class RepeatSampler(Sampler[int]):
    """timm's RepeatAugSampler over `count` samples, where repeat k of sample i is i + k * count.

    A sample's draws follow its id, so ids of their own make its repeats differ, whichever rank gets them.
    """

    def __init__(self, sampler: Any, count: int) -> None:
        self.sampler, self.count = sampler, count

    @property
    def epoch(self) -> int:
        """The epoch whose order is next."""
        return int(self.sampler.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next order that of epoch `epoch`."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        repeats = self.sampler.num_repeats
        total = math.ceil(repeats * self.count)
        places = range(self.sampler.rank, self.sampler.total_size, self.sampler.num_replicas)
        for place, index in zip(places, self.sampler, strict=False):  # which ends before all have been given
            at = place % total
            first = math.ceil(at // repeats * repeats)
            yield int(index) + (at - first) * self.count


def _load_timm() -> Any:
    try:
        return import_module("timm.data.loader")
    except ImportError as error:
        raise ImportError("timm_loader: timm is not installed; pip install timm") from error


def _check_supported(given: dict[str, Any]) -> None:
    if isinstance(given["dataset"], IterableDataset):
        raise ValueError(
            f"timm_loader.dataset: got {type(given['dataset']).__name__}, whose samples have no index to draw by; "
            "expected a map-style dataset, such as timm's ImageDataset; augengine.Shards reads webdataset's shards"
        )
    if isinstance(given["dataset"], import_module("timm.data.dataset").AugMixDataset):
        raise ValueError(
            "timm_loader.dataset: got AugMixDataset, which gives a sample in several versions; expected the dataset "
            f"inside, or {ALL_SAME}"
        )
    refused = {
        "tf_preprocessing": "False: TensorFlow's decoding and resizing are no pixels of Pillow's",
        "num_aug_splits": "0: a sample is augmented once",
        "input_size_choices": "None: batches have one size; for others make a loader for each size",
    }
    if given["re_prob"] > 0:
        refused["re_split"] = "False: draws are by sample, not by its place in a batch"
    for name, expected in refused.items():
        if given[name]:
            raise ValueError(f"timm_loader.{name}: got {given[name]!r}; expected {expected}, or {ALL_SAME}")
    seeding = given["worker_seeding"]
    if not callable(seeding) and seeding not in ("all", "part"):
        raise ValueError(f"timm_loader.worker_seeding: got {seeding!r}; expected 'all', 'part' or a callable")
    if given["num_aug_repeats"] and not given["distributed"]:
        raise ValueError(
            f"timm_loader.num_aug_repeats: got {given['num_aug_repeats']!r} without distributed=True; expected 0, "
            "because timm repeats samples over ranks only"
        )


def _translated(given: dict[str, Any], mean: Sequence[float], std: Sequence[float]) -> Pipeline:
    """The pipeline of timm's transform for these arguments."""
    create_transform = import_module("timm.data.transforms_factory").create_transform
    try:
        transform = create_transform(**{name: given[name] for name in OF_TRANSFORM}, mean=mean, std=std)
    except (AssertionError, KeyError) as error:
        raise ValueError(
            f"timm_loader: timm's create_transform refuses these arguments: {error!r}; expected what it takes as "
            "interpolation, re_mode, train_crop_mode and auto_augment"
        ) from error
    try:
        return from_torchvision(transform)
    except UnsupportedTransform as error:
        kind = type(error.transform).__name__
        name = ASKED_BY.get(kind)
        if name is None:
            raise
        if kind == "ResizeKeepRatio" and given["is_training"]:
            name = "train_crop_mode"
        raise ValueError(
            f"timm_loader.{name}: got {given[name]!r}, which makes timm's {kind}; {error.reason}, or {ALL_SAME}"
        ) from error


def _mixup_of(collate_fn: Any, timm: Any) -> Mixup | None:
    """What FastCollateMixup does."""
    if not isinstance(collate_fn, timm.FastCollateMixup):
        return None
    if type(collate_fn) is not timm.FastCollateMixup:
        raise ValueError(
            f"timm_loader.collate_fn: got {type(collate_fn).__name__}, a subclass of timm's FastCollateMixup, which "
            "may do anything; expected FastCollateMixup itself"
        )
    names = ("mixup_alpha", "cutmix_alpha", "cutmix_minmax", "switch_prob", "mode", "correct_lam", "label_smoothing")
    options = {name: getattr(collate_fn, name) for name in (*names, "num_classes", "multi_label")}
    mixup = Mixup(prob=collate_fn.mix_prob, **options)
    if mixup.multi_label and mixup.label_smoothing:
        raise ValueError(
            f"timm_loader.collate_fn: got label_smoothing={mixup.label_smoothing} with multi_label; expected 0, or "
            "augengine.compat.timm.Mixup in the training loop, which smooths labels towards 1/2"
        )
    return mixup


def _with_mixes(pipeline: Pipeline, mixup: Mixup | None, batch_size: int) -> Pipeline:
    """Mixed behind Normalize and before any erasing, as timm's prefetcher does, with one group a batch."""
    if mixup is None:
        return pipeline
    done = [*pipeline.transforms]
    done.insert(next(i for i, t in enumerate(done, 1) if isinstance(t, transforms.Normalize)), mixup.transform)
    return _of_transforms(
        pipeline,
        done,
        num_classes=mixup.num_classes,
        label_smoothing=mixup.label_smoothing,
        mix_group=max(2, batch_size),
    )


def _of_transforms(pipeline: Pipeline, made: Sequence[transforms.Transform], **changes: Any) -> Pipeline:
    options: dict[str, Any] = {f.name: getattr(pipeline, f.name) for f in fields(pipeline) if f.name != "transforms"}
    return Pipeline(*made, **(options | changes))


def _sampled(dataset: Any, distributed: bool, is_training: bool, repeats: float, timm: Any) -> tuple[Any, Any]:
    """The dataset and sampler that timm's create_loader takes; repeats have indices of their own."""
    if not distributed:
        return dataset, None
    if not is_training:
        return dataset, timm.OrderedDistributedSampler(dataset)
    if not repeats:
        return dataset, DistributedSampler(dataset)
    count = len(dataset)
    sampler = RepeatSampler(timm.RepeatAugSampler(dataset, num_repeats=repeats), count)
    return Subset(dataset, list(range(count)) * math.ceil(repeats)), sampler


def _innermost(dataset: Any) -> Any:
    return _innermost(dataset.dataset) if isinstance(dataset, Subset) else dataset


def _photos_of(dataset: Any) -> PhotoSource | None:
    """The files behind timm's ImageDataset of an image folder, where it gives them as RGB and no more; else None."""
    if isinstance(dataset, Subset):
        whole = _photos_of(dataset.dataset) if fetches_as(Subset, dataset) else None
        return whole and PhotoSubset(whole, dataset.indices)
    theirs = import_module("timm.data.dataset").ImageDataset
    folder = import_module("timm.data.readers.reader_image_folder").ReaderImageFolder
    if not isinstance(dataset, theirs) or not fetches_as(theirs, dataset) or not fetches_as(folder, dataset.reader):
        return None
    plain = not dataset.load_bytes and dataset.input_img_mode == "RGB" and dataset.additional_features is None
    return PhotoFiles(dataset.reader.samples, dataset.target_transform) if plain else None
