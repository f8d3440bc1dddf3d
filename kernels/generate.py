"""Writes registry.inc for the build. usage: generate.py REPOSITORY OUTPUT"""

import sys
import types
from pathlib import Path

package = types.ModuleType("augengine")  # a stand-in: the real package imports torch, which a build does not have
package.__path__ = [str(Path(sys.argv[1]) / "augengine")]
sys.modules["augengine"] = package

import augengine.ops  # noqa: E402
from augengine.ops.header import registry_header  # noqa: E402

if not Path(augengine.ops.__file__).resolve().is_relative_to(Path(sys.argv[1]).resolve()):
    sys.exit(f"generate.py: read {augengine.ops.__file__}, which is not in {sys.argv[1]}; run it with python -I -S")

Path(sys.argv[2]).write_text(registry_header())
