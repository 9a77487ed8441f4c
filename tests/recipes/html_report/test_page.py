import math
import re

import pytest

from aimc_lightning.evaluation.layers.results import LayerResults, LayerRow
from aimc_lightning.evaluation.mapping.energy import load_constants
from aimc_lightning.evaluation.tolerances import SensitivityResults, Tolerance
from aimc_lightning.recipes.html_report.page import render_page
from aimc_lightning.recipes.html_report.run_data import read_runs
from tests.helpers.chromium import BINARY, REASON, probe, screenshot

needs_chromium = pytest.mark.skipif(BINARY is None, reason=REASON)
TOLERANCES = [
    Tolerance("output_noise", "signal", "mvm_error", 0.04, 0.06, 0.07, 0.065, 0.01, 0.012),
    Tolerance("output_noise", "signal", "iso_accuracy", 0.04, 0.1, 0.12, 0.11, 0.02),
    Tolerance("stuck_zero", "weight", "iso_accuracy", 0.0, 0.02, math.inf, math.nan, math.nan),
]


def _layer(name, decibel):
    return LayerRow(
        name, name, 100, 0.5, 0.2, decibel, 0.01, 0.3, 0.0, 0.1, 0.5, -0.2, 0.01, 0.002, 0.011
    )


@pytest.fixture(scope="module")
def page(run, unfinished, tmp_path_factory):
    """The report of a finished and of an unfinished run."""
    SensitivityResults(TOLERANCES, 3600.0, 2, [], 0).to_csv(run / "sensitivity.csv")
    LayerResults((_layer("stem", -2.5), _layer("head", 10.0)), 3600.0, 2, "acc").to_csv(
        run / "layers.csv"
    )
    runs = read_runs([run, unfinished], [load_constants("hermes_core_2022")])
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render_page(runs), encoding="utf-8")
    (run / "sensitivity.csv").unlink()
    (run / "layers.csv").unlink()
    return file


def test_page_says_what_was_found_and_what_is_missing(page):
    text = page.read_text()
    for part in (
        "Iso-accurate at all measured times, up to 1 year",
        "begun: no chip was measured yet",
        "The run is unfinished: direct, hwa not done",
        "aimc-lightning run resnet8_digits --seed 7",
        "hwa.trainer.max_epochs=1",
        "2 CPU cores",
        "S-shaped nonlinearity",
        "Khaddam-Aljameh",
        "Tolerated at 1 h, 2 chips",
        "2.50 x",
        "begun: tolerances were not measured",
        "Layers at 1 h, 2 chips; lost alone: acc",
        "begun: single layers were not measured",
    ):
        assert part in text, part


def test_page_refers_to_nothing_outside(page):
    text = page.read_text()
    assert "http:" not in text
    assert "https:" not in text
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith("#") for link in links)
    assert "default-src 'none'" in text


def test_every_figure_has_a_text_and_a_caption(page):
    text = page.read_text()
    figures = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
    assert len(figures) == 7  # drift, sensitivity, layers, 2 conductances, 2 tile maps
    assert all('role="img" aria-label="' in figure for figure in figures)
    assert all("<figcaption>" in figure for figure in figures)


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_browser_draws_every_figure_without_errors_or_requests(page, width):
    found, console = probe(
        page,
        f"document.body.style.width = '{width}px'; const width = {width};"  # windows are wider
        """
        out.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
        out.figures = [...document.querySelectorAll("figure svg")].map((svg) => {
          const box = svg.getBoundingClientRect();
          const drawn = [...svg.querySelectorAll("path, use")].filter((e) => e.getBBox().width > 0);
          return [box.width, box.height, drawn.length];
        });
        out.overflow = document.body.scrollWidth - width;
        """,
    )
    assert console == []
    assert found["requests"] == []
    assert len(found["figures"]) == 7
    assert all(w > 200 and h > 60 and drawn > 3 for w, h, drawn in found["figures"])
    assert found["overflow"] <= 0


@needs_chromium
def test_click_on_a_heading_sorts_by_value_and_back(page):
    found, console = probe(
        page,
        """
        const sort = (title, name) => {
          const table = document.querySelector(`table[aria-label^="${title}"]`);
          const heads = [...table.tHead.rows[0].cells];
          const column = heads.findIndex((head) => head.textContent.trim() === name);
          heads[column].querySelector("button").click();
          const cells = [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
          return [heads[column].getAttribute("aria-sort"), cells];
        };
        out.up = sort("good: layers", "weights");
        out.down = sort("good: layers", "weights");
        out.times = sort("good: mean", "time");
        out.layers = sort("good: Layers at", "signal to error");
        out.foot = document.querySelector("tfoot td").textContent;
        """,
    )
    assert console == []
    direction, cells = found["up"]
    numbers = [int(cell.replace(",", "")) for cell in cells if cell]
    assert direction == "ascending"
    assert len(numbers) == 8
    assert numbers == sorted(numbers)
    assert cells[-1] == ""  # digital layers have none, they come last
    assert found["down"][0] == "descending"
    assert next(cell for cell in found["down"][1] if cell) == f"{max(numbers):,}"
    assert found["times"][1] == ["1 s"] * 2 + ["1 h"] * 2 + ["1 year"] * 2 + [""]
    assert found["layers"] == ["ascending", ["-2.5 dB", "10.0 dB"]]
    assert found["foot"] == "all layers"


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_screenshot_is_kept_beside_the_page(page, width):
    target = page.with_name(f"report_{width}.png")
    screenshot(page, target, width)
    assert target.stat().st_size > 20_000
