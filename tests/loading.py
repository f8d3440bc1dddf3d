"""What the loader's tests share."""

import threading

import torch
from oracle import RESIZE_ORDER

import augengine as ae
from augengine.data.ahead import THREAD_NAME

NORMALIZE = ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def crops(size=32, seed=5):
    return ae.Pipeline(
        ae.RandomResizedCrop(size), ae.RandomHorizontalFlip(), dtype=torch.uint8, seed=seed, resize_order=RESIZE_ORDER
    )


def gather(loader):
    """An epoch as one pair of tensors."""
    images, targets = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(targets)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]
