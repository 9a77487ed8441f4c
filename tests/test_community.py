"""Files for contributors and for a public forge agree with the package."""

import re
from importlib.metadata import metadata

import pytest
import yaml

WORKFLOWS = ("docs", "package", "tests")


PACKAGE = metadata("aimc-lightning")


def _workflow(root, name):
    return yaml.safe_load((root / ".github" / "workflows" / f"{name}.yml").read_text())


def test_citation_names_the_version_and_licence_of_the_package(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PACKAGE["Version"]
    assert citation["license"] == PACKAGE["License"]
    assert citation["authors"]
    assert citation["message"]


def test_every_template_is_a_valid_form(root):
    forms = [p for p in (root / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.stem != "config"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert form["name"]
        assert form["description"]
        kinds = {part["type"] for part in form["body"]}
        assert kinds <= {"textarea", "input", "dropdown", "checkboxes", "markdown"}
        assert all(part["attributes"]["label"] for part in form["body"])


def test_workflow_runs_every_supported_python_and_system(root):
    matrix = _workflow(root, "tests")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert PACKAGE["Requires-Python"] == f">={matrix['python'][0]}"
    systems = {entry["os"].split("-")[0] for entry in matrix["include"]}
    assert systems == {"ubuntu", "macos", "windows"}


def test_workflow_takes_its_versions_from_files_that_are_there(root):
    text = (root / ".github" / "workflows" / "tests.yml").read_text()
    files = re.findall(r"cp (constraints\S*) versions.txt", text)
    assert files == ["constraints-oldest.txt", "constraints.txt"]  # checked by test_packaging.py
    assert all((root / name).is_file() for name in files)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_make_targets_of_workflows_exist(root, name):
    makefile = (root / "Makefile").read_text()
    steps = [s for job in _workflow(root, name)["jobs"].values() for s in job["steps"]]
    commands = "\n".join(step.get("run", "") for step in steps)
    for line in re.findall(r"^make (.*)$", commands, re.M):
        assert all(f"\n{target}:" in makefile for target in line.split())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_may_only_read(root, name):
    workflow = _workflow(root, name)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())
