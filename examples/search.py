"""A policy for scikit-learn's digits in a minute or two: `python examples/search.py [FOLDER] [TRIALS]`."""

import sys
from pathlib import Path

import torch

import augengine as ae
from augengine.cli import main as augengine


def main(folder: str = "found", trials: int = 12) -> None:
    """Searches, prints the policy's first lines, and augments a batch by it."""
    if code := augengine(["search", "--data", "digits", "--trials", str(trials), "--workers", "2", "--out", folder]):
        sys.exit(code)
    text = Path(folder, "policy.json").read_text()
    print(*text.splitlines()[:8], "...", sep="\n")
    pipe = ae.Pipeline(ae.AutoAugment(ae.Policy.from_json(text)), ae.Normalize((0.5,), (0.5,)))
    batch = pipe(torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8), sample_ids=range(64))
    print(f"a batch by it: {tuple(batch.shape)} {batch.dtype}; {folder}/report.html shows the search")


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "found", *map(int, sys.argv[2:]))
