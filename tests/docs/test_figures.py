"""The figures of the physics are drawn, and every figure is shown."""

import pytest
from PIL import Image

from docs.tools import figures, run_pages

SLOW = {"drift", "ir_drop_sizes"}


@pytest.mark.parametrize("name", sorted(figures.FIGURES.keys() - SLOW))
def test_figure_is_drawn(name):
    for axes in figures.FIGURES[name]().axes:
        assert axes.lines
        assert axes.get_xlabel()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_slow_figure_is_drawn(name):
    assert all(axes.lines for axes in figures.FIGURES[name]().axes)


@pytest.mark.parametrize("name", figures.STAGES)
def test_picture_of_a_stage_shows_its_effect(name):
    ideal, with_it = figures.stage(name).axes[0].lines
    assert abs(with_it.get_ydata() - ideal.get_ydata()).max() > 0.02


def test_every_figure_is_there_and_shown():
    files = {path.name for path in (run_pages.DOCS / "figures").iterdir()}
    pages = [run_pages.DOCS.parent / "README.md", *run_pages.DOCS.rglob("*.md")]
    shown = {name for path in pages for name in run_pages.figures(path.read_text())}
    assert files == shown
    assert {f"{name}.png" for name in figures.FIGURES} <= files


def test_unknown_figure_is_named_before_any_is_drawn(monkeypatch):
    monkeypatch.setattr("sys.argv", ["figures", "year", "months"])
    monkeypatch.setattr(figures, "save", lambda name: pytest.fail(f"drew {name}"))
    with pytest.raises(SystemExit, match="no figure months; there are programming, "):
        figures.main()


def test_figure_of_the_readme_shows_the_results_of_today():
    with Image.open(figures.FOLDER / "year.png") as picture:
        assert picture.text["Digest"] == figures.digest(figures.year()), (
            "results changed: python -m docs.tools.figures year"
        )
