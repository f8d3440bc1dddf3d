"""Hugging Face's Trainer on augengine's batches: `python examples/hf_trainer.py [FOLDER]`, or by `torchrun`."""

import sys

import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset
from transformers import ResNetConfig, ResNetForImageClassification, TrainingArguments

import augengine as ae
from augengine.compat.huggingface import Trainer


def main(out: str = "digits-resnet", epochs: float = 5, **arguments: object) -> float:
    """Fits a small ResNet to scikit-learn's digits; gives its accuracy on those held out."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(images * 15).to(torch.uint8).view(-1, 1, 8, 8), torch.from_numpy(labels)
    train, held_out = (TensorDataset(images[part], labels[part]) for part in (slice(1500), slice(1500, None)))
    normalize = ae.Normalize(0.3, 0.35)
    sizes = {"num_channels": 1, "embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1]}
    config = ResNetConfig(**sizes, layer_type="basic", num_labels=10)
    trainer = Trainer(
        ResNetForImageClassification(config),
        TrainingArguments(
            out, num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=3e-3, report_to=[], **arguments
        ),
        train_dataset=train,
        eval_dataset=held_out,
        pipeline=ae.Pipeline(ae.RandomAffine(10, (0.1, 0.1)), normalize, ae.Mixup(0.2), num_classes=10),
        eval_pipeline=ae.Pipeline(normalize),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )
    trainer.train()  # resume_from_checkpoint=True goes on where a killed run was
    accuracy = trainer.evaluate()["eval_accuracy"]
    print(f"accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "digits-resnet")
