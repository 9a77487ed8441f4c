"""The drawings follow the code."""

import pytest

from aimc_lightning.explain.stages import explain
from docs.tools import architecture, signal_chain


def test_rows_are_one_below_the_lowest_import():
    graph = {"a": set(), "b": {"a"}, "c": {"a", "b"}}
    assert architecture.levels(graph) == {"a": 0, "b": 1, "c": 2}


def test_import_that_a_longer_way_shows_is_left_out():
    graph = {"a": set(), "b": {"a"}, "c": {"a", "b"}}
    assert architecture.reduced(graph) == {"a": set(), "b": {"a"}, "c": {"b"}}


def test_circle_is_an_error_that_names_the_parts():
    with pytest.raises(ValueError, match=r"import each other: \['a', 'b'\]"):
        architecture.levels({"a": {"b"}, "b": {"a"}})


def test_drawing_has_a_box_for_every_part(root):
    svg = architecture.drawing(root)
    parts = architecture.imports(root)
    assert {"functional", "nn", "recipes"} <= parts.keys()
    assert svg.count("<rect") == len(parts)
    assert "functional" not in architecture.imports(root)["functional"]


def test_every_part_says_what_it_does(root):
    assert architecture.imports(root).keys() == architecture.TASKS.keys()


def test_chain_has_every_stage_with_its_setting():
    svg = signal_chain.drawing("standard_pcm")
    stages = [s for s in explain("standard_pcm") if s.part in signal_chain.ZONES]
    assert len(stages) > 10
    for stage in stages:
        assert f">{stage.name}</text>" in svg
        assert f">{stage.setting}</text>" in svg


def test_every_stage_has_a_section_on_the_page(root):
    page = (root / "docs" / "physics" / "chain.md").read_text()
    sections = {line[3:] for line in page.splitlines() if line.startswith("## ")}
    named = {name[0].upper() + name[1:] for name in signal_chain.EFFECTS}
    assert sections == named
