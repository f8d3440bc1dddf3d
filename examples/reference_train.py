"""A training script as torchvision's references/classification/train.py is built, in its data loading and its loop.

`python examples/reference_train.py --data-path FOLDER` trains on FOLDER/train and measures on FOLDER/val, alone or
under torchrun. `reference_train.diff` turns it into one that augengine feeds:

    patch examples/reference_train.py examples/reference_train.diff -o augengine_train.py
"""

import argparse
import os

import torch
import torch.utils.data
import torchvision
from torch import nn
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PresetTrain:
    """Crop, flip, AutoAugment, normalise, erase."""

    def __init__(self, crop_size: int) -> None:
        self.transforms = transforms.Compose(
            [
                transforms.RandomResizedCrop(crop_size),
                transforms.RandomHorizontalFlip(),
                transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET),
                transforms.PILToTensor(),
                transforms.ConvertImageDtype(torch.float),
                transforms.Normalize(MEAN, STD),
                transforms.RandomErasing(p=0.1),
            ]
        )

    def __call__(self, img):
        return self.transforms(img)


class PresetEval:
    """Resize, crop the middle, normalise."""

    def __init__(self, crop_size: int) -> None:
        self.transforms = transforms.Compose(
            [
                transforms.Resize(crop_size * 8 // 7),
                transforms.CenterCrop(crop_size),
                transforms.PILToTensor(),
                transforms.ConvertImageDtype(torch.float),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __call__(self, img):
        return self.transforms(img)


def train_one_epoch(model, criterion, optimizer, data_loader, device):
    """The mean loss of an epoch."""
    model.train()
    losses = []
    for image, target in data_loader:
        image, target = image.to(device), target.to(device)
        loss = criterion(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def evaluate(model, data_loader, device):
    """The share of images whose class the model names."""
    model.eval()
    right = seen = 0
    with torch.inference_mode():
        for image, target in data_loader:
            right += (model(image.to(device)).argmax(1) == target.to(device)).sum().item()
            seen += len(target)
    return right / seen


def load_data(args):
    """The datasets, with their transforms, and their samplers."""
    dataset = torchvision.datasets.ImageFolder(os.path.join(args.data_path, "train"), PresetTrain(args.crop_size))
    dataset_test = torchvision.datasets.ImageFolder(os.path.join(args.data_path, "val"), PresetEval(args.crop_size))
    if args.distributed:
        train_sampler = torch.utils.data.distributed.DistributedSampler(dataset)
        test_sampler = torch.utils.data.distributed.DistributedSampler(dataset_test, shuffle=False)
    else:
        train_sampler = torch.utils.data.RandomSampler(dataset)
        test_sampler = torch.utils.data.SequentialSampler(dataset_test)
    return dataset, dataset_test, train_sampler, test_sampler


def main(args):
    """Trains, and prints a line for each epoch."""
    torch.manual_seed(args.seed)
    args.distributed = "RANK" in os.environ
    if args.distributed:
        torch.distributed.init_process_group("nccl" if args.device == "cuda" else "gloo")
    device = torch.device(args.device)
    dataset, dataset_test, train_sampler, test_sampler = load_data(args)
    data_loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=args.batch_size,
        sampler=train_sampler,
        num_workers=args.workers,
    )
    data_loader_test = torch.utils.data.DataLoader(
        dataset_test, batch_size=args.batch_size, sampler=test_sampler, num_workers=args.workers
    )
    model = torchvision.models.__dict__[args.model](num_classes=len(dataset.classes)).to(device)
    if args.distributed:
        model = nn.parallel.DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    start_epoch = 0
    if args.resume:
        checkpoint = torch.load(args.resume, map_location="cpu")
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        start_epoch = checkpoint["epoch"] + 1
    for epoch in range(start_epoch, args.epochs):
        if args.distributed:
            train_sampler.set_epoch(epoch)
        loss = train_one_epoch(model, criterion, optimizer, data_loader, device)
        print(f"epoch {epoch}: loss {loss:.4f}, accuracy {evaluate(model, data_loader_test, device):.4f}", flush=True)
        if args.output_dir:
            checkpoint = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch,
            }
            torch.save(checkpoint, os.path.join(args.output_dir, "checkpoint.pth"))


def get_args_parser():
    """What the script takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-path", required=True)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-b", "--batch-size", default=32, type=int)
    parser.add_argument("--epochs", default=90, type=int)
    parser.add_argument("-j", "--workers", default=16, type=int)
    parser.add_argument("--lr", default=0.1, type=float)
    parser.add_argument("--crop-size", default=224, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--output-dir", default="")
    parser.add_argument("--resume", default="")
    return parser


if __name__ == "__main__":
    main(get_args_parser().parse_args())
