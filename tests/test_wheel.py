"""What goes into the source distribution and the wheel. The real build, on a clean machine, is a soak."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from soak.wheel import builders

ROOT = Path(__file__).parent.parent
BUILT_FROM = ("CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml")


def in_git():
    """The paths that are in git, or would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in found.split("\0") if name and (ROOT / name).exists()}


def copy_tree(folder, names):
    """These, and what lies around in a tree that is worked in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for name in ("notes.txt", "dist/old.whl", "build/x/a.o", "augengine/__pycache__/a.pyc", "augengine/_native.so"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not for others")


def build(tree, out, *options):
    """What one build gives; without isolation, which would ask the registry."""
    pytest.importorskip("scikit_build_core", reason="scikit-build-core, which builds, is not installed")
    command = [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", "--outdir", out, *options]
    done = subprocess.run([*command, tree], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.iterdir())


@pytest.fixture(scope="module")
def names():
    return in_git()


@pytest.fixture(scope="module")
def tree(names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder, names)
    return folder


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory):
    return build(tree, tmp_path_factory.mktemp("sdist"), "--sdist")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel of the unpacked source distribution, less what is compiled."""
    tree = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(tree, filter="data")
    (tree,) = tree.iterdir()
    uncompiled = ("--config-setting=wheel.cmake=false", "--config-setting=wheel.py-api=py3")
    return build(tree, tmp_path_factory.mktemp("wheel"), "--wheel", *uncompiled)


def test_a_source_distribution_has_what_a_build_needs_and_nothing_else(sdist, names):
    with tarfile.open(sdist) as archive:
        found = {name.split("/", 1)[1] for name in archive.getnames()}
    needed = {name for name in names if name.startswith(("augengine/", "kernels/"))}
    assert found == {*needed, *BUILT_FROM, "PKG-INFO"}


def test_source_distributions_of_the_same_files_are_the_same_bytes(sdist, tree, tmp_path):
    later = shutil.copytree(tree, tmp_path / "tree", copy_function=shutil.copyfile)
    (tmp_path / "out").mkdir()
    assert build(later, tmp_path / "out", "--sdist").read_bytes() == sdist.read_bytes()


def test_a_wheel_of_the_source_distribution_has_the_whole_package(wheel, names):
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == {name for name in names if name.startswith("augengine/")}
    assert {"augengine/py.typed", "augengine/_native.pyi", "augengine/search/report.css"} <= found


def test_the_metadata_says_what_pip_and_the_registry_ask_for(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("METADATA"))
        told = Parser().parsestr(archive.read(name).decode())
    assert [r for r in told.get_all("Requires-Dist") if "extra ==" not in r] == ["torch>=2.9", "numpy>=1.26"]
    assert (told["License-Expression"], told["License-File"]) == ("Apache-2.0", "LICENSE")
    assert "Typing :: Typed" in told.get_all("Classifier")
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload().startswith("# augengine")


def test_the_installed_package_has_the_source_that_nvrtc_compiles(names):
    installed = Path(sysconfig.get_path("platlib")) / "augengine" / "kernels"
    sources = {name for name in names if name.startswith("kernels/") and name.endswith((".h", ".cu"))}
    assert {f"kernels/{p.name}" for p in installed.iterdir()} == sources
    assert all((installed / Path(name).name).read_bytes() == (ROOT / name).read_bytes() for name in sources)


def test_the_soak_builds_with_real_pythons_beside_ours_where_those_on_the_path_do_not_run(monkeypatch, tmp_path, capfd):
    def program(path, lines):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    shim = program(tmp_path / "shims" / "python3.12", "exit 127")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "versions" / "ours"))
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    with pytest.raises(AssertionError, match=r"found no Python 3\.12 or later"):
        builders()
    later = [
        program(tmp_path / "versions" / f"3.{minor}" / "bin" / "python3", f'echo "3 {minor} $0"')
        for minor in (13, 8, 12)
    ]
    assert builders() == {sys.executable: [sys.executable], later[2]: [later[2], later[0]]}
    assert f"left out: {shim}, which does not run" in capfd.readouterr().out
