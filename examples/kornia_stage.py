"""Kornia's augmentations between augengine's fused passes: python -m examples.kornia_stage."""

import kornia.augmentation as K
import torch

import augengine as ae

PIPELINE = ae.Pipeline(
    ae.RandomResizedCrop(64),
    ae.RandomHorizontalFlip(),
    ae.Module(K.RandomPlasmaShadow(p=0.5)),  # gets float32 in 0 to 1, gives bytes to what follows
    ae.Module(K.RandomMotionBlur(5, 45.0, 0.5, p=0.3)),
    ae.ColorJitter(0.4, 0.4, 0.4),
    ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    seed=0,
)


def main() -> None:
    """Shows that a sample's draws, Kornia's too, don't depend on its batch."""
    images = torch.randint(0, 256, (16, 3, 96, 96), dtype=torch.uint8)
    batch = PIPELINE(images, sample_ids=range(16), epoch=3)
    alone = PIPELINE(images[5:6], sample_ids=[5], epoch=3)
    print(PIPELINE.plan((96, 96)))
    print(f"{tuple(batch.shape)} {batch.dtype}; sample 5 alone is the same: {torch.equal(alone[0], batch[5])}")


if __name__ == "__main__":
    main()
