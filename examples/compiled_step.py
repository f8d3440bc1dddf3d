"""A training step compiled as one graph, with the augmentation in it: python -m examples.compiled_step."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import augengine as ae

PIPELINE = ae.Pipeline(
    ae.RandomCrop(8, padding=1), ae.RandomErasing(), ae.Normalize(0.3, 0.35), ae.Mixup(), num_classes=10, seed=0
)


def main(epochs: int = 3, batch_size: int = 256) -> list[float]:
    """Trains on scikit-learn's digits; gives each epoch's mean loss."""
    digits = load_digits()
    images = torch.from_numpy(digits.images * 15.9375).to(torch.uint8)[:, None]  # 0..16 becomes 0..255
    targets = torch.from_numpy(digits.target)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 6 * 6, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @torch.compile(fullgraph=True)  # raises where anything would break the graph
    def loss_of(images: torch.Tensor, targets: torch.Tensor, ids: torch.Tensor, epoch: int) -> torch.Tensor:
        finished, soft = PIPELINE(images, targets, ids, epoch)
        return nn.functional.cross_entropy(net(finished), soft)

    means = []
    for epoch in range(epochs):
        losses = []
        for ids in torch.randperm(len(images)).split(batch_size)[:-1]:  # the last is shorter
            loss = loss_of(images[ids], targets[ids], ids, epoch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
        print(f"epoch {epoch}: loss {means[-1]:.3f}")
    return means


if __name__ == "__main__":
    main()
