"""Writes registry.inc for the build. usage: generate.py REPOSITORY OUTPUT"""

import sys
import types
from pathlib import Path

package = types.ModuleType("augengine")  # a stand-in: the real package imports torch, which a build does not have
package.__path__ = [str(Path(sys.argv[1]) / "augengine")]
sys.modules["augengine"] = package

from augengine.ops.header import registry_header  # noqa: E402

Path(sys.argv[2]).write_text(registry_header())
