"""What doctor reports, with and without the optional libraries."""

import io
import json
from importlib.metadata import PackageNotFoundError, metadata, requires

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image

from augengine import _native, doctor


@pytest.fixture(scope="module")
def findings():
    return doctor.examine()


def named(findings, section, name):
    return next(f for f in findings if (f.section, f.name) == (section, name))


def test_nothing_is_broken_here(findings):
    assert [f for f in findings if f.status == "fails"] == []


def test_versions_are_those_that_the_libraries_give(findings):
    assert named(findings, "library", "torch").detail == torch.__version__.split("+")[0]
    assert named(findings, "library", "numpy").detail == np.__version__


def test_the_cpu_backend_names_its_instruction_set(findings):
    assert _native.isa() in named(findings, "backend", "cpu").detail


def test_what_is_absent_comes_with_advice(findings):
    assert all(f.advice for f in findings if f.status == "absent")


@pytest.fixture
def installed(monkeypatch):
    """Plays that these versions alone are installed: a function of them."""

    def play(**versions):
        def version(name):
            if name in versions:
                return versions[name]
            raise PackageNotFoundError(name)

        monkeypatch.setattr(doctor, "version", version)

    return play


def test_a_missing_library_names_the_extra_that_installs_it(installed):
    installed(augengine="1.0", torch="2.9", numpy="2.0")
    found = doctor._libraries()
    assert all(f.status == "ok" for f in found if f.name in doctor.REQUIRED)
    for name, extra in (("kornia", "kornia"), ("pillow", "torchvision"), ("rich", "train"), ("ray", "search")):
        told = named(found, "library", name)
        assert (told.status, told.advice) == ("absent", f"pip install 'augengine[{extra}]'")


def test_each_extra_for_users_has_a_line():
    told = set(metadata("augengine").get_all("Provides-Extra"))
    assert set(doctor.EXTRAS) == told - {"bench", "dev"}


@pytest.mark.parametrize("extra", doctor.EXTRAS)
def test_an_extra_needs_what_pip_would_install(extra):
    def wanted(extra):
        """By packaging, which pip is built on."""
        for requirement in map(Requirement, requires("augengine")):
            if requirement.marker and requirement.marker.evaluate({"extra": extra}):
                if requirement.name == "augengine":
                    for nested in requirement.extras:
                        yield from wanted(nested)
                elif "extra" in str(requirement.marker):
                    (specifier,) = requirement.specifier
                    yield requirement.name, specifier.version

    assert doctor._needs(extra) == dict(wanted(extra))
    assert doctor._needs(extra)


def test_each_extra_says_what_it_adds_and_how_to_get_it_where_none_is_installed(installed, capsys):
    installed(augengine="1.0", torch="2.9", numpy="2.0")
    doctor.print_report(doctor.examine())
    lines = capsys.readouterr().out.splitlines()
    for extra, gives in doctor.EXTRAS.items():
        assert f"- extra     {extra:14} {gives}; pip install 'augengine[{extra}]'" in lines
    assert sum(line[2:].startswith("library") for line in lines) == 1 + len(doctor.REQUIRED)


def test_an_extra_that_is_there_in_part_names_the_rest(installed):
    installed(optuna="4.1", ray="2.9.3", scipy="1.13")
    found = named(doctor._extras(), "extra", "search")
    assert found.status == "absent"
    assert "missing: torchvision, " in found.detail
    assert "ray 2.40 or later, this is 2.9.3" in found.detail
    assert "optuna" not in found.detail


def test_an_extra_that_is_there_gives_the_versions(installed):
    installed(**{"cuda-core": "1.2rc1"})
    found = named(doctor._extras(), "extra", "cuda")
    assert (found.status, found.detail) == ("ok", f"{doctor.EXTRAS['cuda']} (cuda-core 1.2rc1)")


def test_frameworks_are_optional_and_say_what_they_plug_into(installed):
    installed(keras="3.15.0", lightning="2.6.0")
    found = {f.name: f for f in doctor._frameworks()}
    assert found["keras"].detail == f"present 3.15.0; {doctor.FRAMEWORKS['keras'][1]}"
    told = found["pytorch-ignite"]
    assert (told.status, told.advice) == ("absent", "pip install 'pytorch-ignite>=0.5'")
    assert told.detail.startswith("not installed; ")
    assert doctor.healthy(list(found.values()))


def test_a_framework_older_than_what_works_is_not_ok(installed):
    installed(transformers="4.0.1", accelerate="1.0")
    found = {f.name: f for f in doctor._frameworks()}
    told = found["transformers"]
    assert (told.status, told.advice) == ("absent", "pip install 'transformers>=4.45'")
    assert told.detail.startswith("transformers 4.45 or later, this is 4.0.1; ")
    assert found["accelerate"].status == "ok"


def test_the_lowest_versions_of_frameworks_are_those_that_are_installed_to_test():
    dev = [r for r in map(Requirement, requires("augengine")) if r.marker and r.marker.evaluate({"extra": "dev"})]
    lowest = {r.name: str(r.specifier) for r in dev} | {"timm": f">={doctor._needs('train')['timm']}"}
    assert {name: f">={least}" for name, (least, _) in doctor.FRAMEWORKS.items()} == {
        name: lowest[name] for name in doctor.FRAMEWORKS
    }


def test_a_required_library_older_than_pip_would_leave_fails(installed):
    installed(augengine="1.0", torch="2.0.0", numpy="1.20")
    found = doctor._libraries()
    for name, lowest, has in (("torch", "2.9", "2.0.0"), ("numpy", "1.26", "1.20")):
        told = named(found, "library", name)
        assert (told.status, told.advice) == ("fails", f"pip install '{name}>={lowest}'")
        assert told.detail == f"{name} {lowest} or later, this is {has}"
    installed(augengine="1.0", torch="2.9", numpy="1.26.0")
    assert doctor.healthy(doctor._libraries())


def test_a_checkout_without_metadata_is_reported(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", absent)
    monkeypatch.setattr(doctor, "requires", absent)
    doctor._needs.cache_clear()
    try:
        findings = doctor.examine()
    finally:
        doctor._needs.cache_clear()
    assert named(findings, "library", "augengine").status == "absent"
    assert named(findings, "extra", "train").advice == "pip install 'augengine[train]'"


def test_it_runs_with_no_extra_installed(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "find_spec", lambda module: None)
    findings = doctor.examine()
    doctor.print_report(findings)
    assert doctor.healthy(findings)
    assert {f.status for f in findings if f.section == "decoder"} == {"absent"}
    assert "pip install 'augengine[dali]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("built", "available", "core", "reason"),
    [
        (None, False, True, "built without CUDA"),
        ("13.0", False, True, "finds no GPU"),
        ("13.0", True, False, "cuda-core"),
    ],
)
def test_the_cuda_backend_says_why_it_does_not_work(built, available, core, reason, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(doctor, "_importable", lambda module: core)
    found = doctor._cuda()
    assert (found.status, reason in found.detail, bool(found.advice)) == ("absent", True, True)


@pytest.fixture
def played_gpu(monkeypatch, tmp_path):
    """The CPU plays an sm_90 with an empty cache; its kernels are compiled all the same."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Played")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.Tensor, "cuda", lambda images: images)


def test_a_gpu_is_compared_and_its_compilation_timed(played_gpu):
    first, second = doctor._cuda(), doctor._cuda()
    assert (first.status, second.status) == ("ok", "ok")
    assert "Played equals the CPU bit for bit; kernels compiled for sm_90 in" in first.detail
    assert "kernels for sm_90 came from the cache in" in second.detail


def test_a_gpu_that_differs_fails(played_gpu, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cuda", lambda images: images ^ 1)
    found = doctor._cuda()
    assert (found.status, found.detail) == ("fails", "does not hold: Played equals the CPU bit for bit")


def test_a_library_that_throws_is_reported_and_not_raised():
    def broken():
        raise OSError("libfoo.so: cannot open\nmore")

    found = doctor._try("decoder", "foo", "decodes", broken)
    assert (found.status, found.detail) == ("fails", "OSError: libfoo.so: cannot open")
    assert not doctor.healthy([found])


def test_the_json_report_has_every_finding(findings):
    report = json.loads(doctor.report_json(findings))
    assert report["ok"] is True
    assert [f["name"] for f in report["findings"]] == [f.name for f in findings]


def test_the_tiny_jpeg_is_an_image():
    image = Image.open(io.BytesIO(doctor.TINY_JPEG))
    assert image.size == (8, 8)
    assert np.abs(np.asarray(image).astype(int) - 128).max() <= 2
