"""What is installed: the list of packages, the wheel's content, the mapped folders."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

FOLDERS = {"aimc_lightning": "aimc_lightning", "zoo": "aimc_lightning.zoo"}
FOLDERS["recipes"] = "aimc_lightning.recipes"
BUILD = "from setuptools import build_meta; build_meta.build_wheel({!r})"


def _listed(root: Path) -> list[str]:
    text = (root / "pyproject.toml").read_text()
    return ast.literal_eval(re.search(r"^packages = (\[.*?\])", text, re.DOTALL | re.M).group(1))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Folder with the content of a wheel built from a copy, without a network."""
    root = Path(__file__).resolve().parent.parent
    copy = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(root / folder, copy / folder)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    subprocess.run(
        [sys.executable, "-c", BUILD.format(str(copy))], cwd=copy, check=True, capture_output=True
    )
    (built,) = copy.glob("*.whl")
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(unpacked):
    """Names of the files in the wheel."""
    return [str(path.relative_to(unpacked).as_posix()) for path in unpacked.rglob("*")]


def test_packages_list_equals_the_folders(root):
    found = [
        ".".join([package, *path.parent.relative_to(root / folder).parts])
        for folder, package in FOLDERS.items()
        for path in (root / folder).rglob("__init__.py")
    ]
    assert sorted(_listed(root)) == sorted(found)


def test_wheel_installs_aimc_lightning_alone(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"aimc_lightning"}


def test_wheel_brings_every_file_that_git_keeps(wheel, root):
    listed = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = listed.stdout.splitlines()
    assert len(names) > 300
    for folder, package in FOLDERS.items():
        inner = package.replace(".", "/")
        names = [re.sub(rf"^{folder}/", f"{inner}/", name) for name in names]
    assert sorted(set(names) - set(wheel)) == []
    assert [name for name in names if name.endswith("/checkpoint/model.safetensors")]


def test_wheel_works_away_from_the_repository(unpacked, tmp_path):
    code = (
        "import aimc_lightning as a, sys; from aimc_lightning.recipes.cli import main;"
        "print(a.__file__); main(sys.argv[1:]);"
        "print(type(a.from_pretrained('resnet8_digits')).__name__)"
    )
    # Without site-packages' own hooks: an editable install there would lead to the repository.
    paths = [str(unpacked), *(path for path in sys.path if path.endswith("site-packages"))]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, "list", "--json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *middle, last = done.stdout.splitlines()
    assert Path(first).is_relative_to(unpacked)
    assert '"name": "resnet8_digits"' in "".join(middle)
    assert last == "ResNet8Digits"


@pytest.mark.parametrize("name", ["zoo", "recipes"])
def test_mapped_folder_refuses_its_bare_name(root, name):
    command = [sys.executable, "-c", f"import {name}"]
    outcome = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert outcome.returncode != 0
    assert f"use 'import aimc_lightning.{name}'" in outcome.stderr


def _pins(root, name):
    return [line for line in (root / name).read_text().splitlines() if line[0] != "#"]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_constraints_pin_one_version_for_each_python(root, name):
    lines = _pins(root, name)
    assert all(
        re.fullmatch(r'[a-z0-9-]+==[^;]+(; python_version [<>=]+ "3.11")?', x) for x in lines
    )
    names = [line.split("==")[0] for line in lines]
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]
    assert {"torch", "torchvision", "lightning", "numpy"} <= set(names)


def test_oldest_constraints_are_the_lower_bounds_of_the_project(root):
    pins = dict(line.split(";")[0].split("==") for line in _pins(root, "constraints-oldest.txt"))
    text = (root / "pyproject.toml").read_text()
    bounds = dict(
        re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)[^"]*"', text.split("[project.scripts]")[0])
    )
    del bounds["ray"]  # an extra that the tests do without
    for name, bound in bounds.items():
        found = pins[canonicalize_name(name)]
        assert f"{found}.".startswith(f"{bound}."), f"{name}>={bound} is tested with {found} only"
