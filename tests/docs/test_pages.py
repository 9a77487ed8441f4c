"""Every block of Python in the pages runs and gives the output that the page shows."""

import re

import pytest

from docs.tools import run_pages
from docs.tools.figures import FIGURES

#: Pages whose blocks have tests of their own; pages without Python need none.
OTHERS = {
    "contributing/add_device.md",
    "contributing/add_layer.md",
    "contributing/add_zoo_entry.md",
    "fabric.md",
    "hf_trainer.md",
    "hub.md",
    "own_device.md",
}
WORD = re.compile(r"(?!(?:yes|no|x)\b)\b[A-Za-z_]\w*")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
PAGES = {str(path.relative_to(run_pages.DOCS)): path for path in run_pages.pages_with_output()}


def compare(found, shown):
    """Compare words exactly; numbers roughly, as other versions of torch draw and round otherwise.

    Verdicts, and values that were not reached ('-'), may then change too; and Lightning 2.6.0 ends
    its progress bar with an empty line.
    """
    lines = [[line for line in text.splitlines() if line.strip()] for text in (found, shown)]
    for one, other in zip(*lines, strict=True):
        assert WORD.findall(one) == WORD.findall(other)
        numbers = NUMBER.findall(one), NUMBER.findall(other)
        if len(numbers[0]) == len(numbers[1]) or "-" not in f"{one} {other}".split():
            for mine, theirs in zip(*numbers, strict=True):
                assert float(mine) == pytest.approx(float(theirs), rel=0.6, abs=0.5), one


@pytest.mark.filterwarnings("ignore")  # advice of Lightning about runs as short as these
@pytest.mark.parametrize("name", PAGES)
def test_page_prints_what_it_shows(name):
    pytest.importorskip("sklearn")
    text = PAGES[name].read_text()
    with run_pages.fresh_folder() as folder:
        found = [output for _, output in run_pages.run(text, name)]
        for figure in run_pages.figures(text):
            drawn = figure.removesuffix(".png") in FIGURES
            assert drawn or (folder / figure).is_file(), f"{name} does not write {figure}"
    for one, other in zip(found, run_pages.shown_outputs(text), strict=True):
        compare(one, other)


def test_every_page_with_python_is_run():
    pages = run_pages.DOCS.rglob("*.md")
    with_code = {str(p.relative_to(run_pages.DOCS)) for p in pages if "```python" in p.read_text()}
    assert with_code == {*PAGES, *OTHERS}


def test_comparison_notices_another_word_and_another_number():
    compare("accuracy 0.97 +- 0.02", "accuracy 0.95 +- 0.01")
    for other in ("accuracy 0.20 +- 0.01", "precision 0.97 +- 0.02"):
        with pytest.raises(AssertionError):
            compare("accuracy 0.97 +- 0.02", other)


def test_outputs_are_put_under_their_blocks():
    page = "# A\n\n```python\nprint(1)\n```\n\n```text\nold\n```\n\n```python\nx = 2\n```\n"
    outputs = [output for _, output in run_pages.run(page, "page")]
    renewed = run_pages.with_outputs(page, outputs)
    assert run_pages.shown_outputs(renewed) == ["1", ""]
    assert run_pages.with_outputs(renewed, outputs) == renewed
