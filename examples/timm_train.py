"""timm's pieces, with the loader alone changed: `python examples/timm_train.py FOLDER`, of train/ and validation/."""

import sys
from typing import Any

import timm
import torch
from timm.data import FastCollateMixup, create_dataset, resolve_data_config
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy

from augengine.compat.timm_loader import timm_loader  # was: from timm.data import create_loader


def main(folder: str, model: str = "resnet18", size: int = 224, epochs: int = 2, batch_size: int = 16) -> float:
    """Prints the loss and accuracy of each epoch; gives the last accuracy in percent."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, validation = (create_dataset("", root=folder, split=split) for split in ("train", "validation"))
    classes = len(train.reader.class_to_idx)
    net = timm.create_model(model, num_classes=classes).to(device)
    data = resolve_data_config({"input_size": (3, size, size)}, model=net)
    mixup = FastCollateMixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=classes)
    common: dict[str, Any] = {"batch_size": batch_size, "device": device, "num_workers": 2}
    common |= {name: data[name] for name in ("input_size", "mean", "std")}
    train_loader = timm_loader(
        train, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, collate_fn=mixup, **common
    )
    eval_loader = timm_loader(validation, interpolation=data["interpolation"], crop_pct=data["crop_pct"], **common)
    optimizer = create_optimizer_v2(net, opt="adamw", lr=1e-3, weight_decay=0.05)
    scheduler, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=epochs)
    criterion, losses, top1 = SoftTargetCrossEntropy(), AverageMeter(), AverageMeter()
    for epoch in range(epochs):
        train_loader.mixup_enabled = epoch < epochs - 1  # the last epoch sees images as they are
        net.train()
        losses.reset()
        for images, targets in train_loader:
            loss = criterion(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(images))
        scheduler.step(epoch + 1)
        net.eval()
        top1.reset()
        with torch.no_grad():
            for images, targets in eval_loader:
                top1.update(accuracy(net(images), targets)[0].item(), len(images))
        print(f"epoch {epoch}: loss {losses.avg:.3f}, top-1 {top1.avg:.1f}%")
    return top1.avg


if __name__ == "__main__":
    main(sys.argv[1])
