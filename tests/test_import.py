"""What `import augengine` costs and pulls in."""

import subprocess
import sys

EXTRAS = {"torchvision", "kornia", "nvidia.dali", "nvidia.nvimgcodec", "timm", "ray", "optuna", "rich", "PIL", "cuda"}
EXTRAS |= {"torch._dynamo", "lightning", "pytorch_lightning", "keras", "accelerate", "transformers", "ignite", "gradio"}


def test_import_pulls_in_no_extra():
    code = "import sys, torch, numpy; have = set(sys.modules); import augengine; print(*set(sys.modules) - have)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(found.stdout.split()) & EXTRAS


def test_every_public_name_exists():
    import augengine as ae

    for name in ae.__all__:
        assert getattr(ae, name).__doc__
