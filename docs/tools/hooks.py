"""What the site gets while it is built: pages made from the code, links, formulas, drawings."""

import html
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.tools import architecture, made_pages, signal_chain

ROOT = Path(__file__).resolve().parents[2]
#: Files outside of docs/ that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "contributing/conduct.md",
    "CONTRIBUTING.md": "contributing/index.md",
    "recipes/README.md": "recipes.md",
    "benchmarks/results.md": "benchmarks.md",
}
_LINK = re.compile(r"(!?\[[^\]]*\])\(([^)#:\s]+)(#[^)\s]*)?\)")
_FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL
)  # fmt: skip


@event_priority(100)  # before mkdocstrings looks for the sources
def on_config(config: Any) -> Any:  # noqa: ANN401 - a MkDocsConfig
    """Put the sources together as they are when installed: zoo and recipes inside the package."""
    package = ROOT / "build" / "reference" / "aimc_lightning"
    shutil.rmtree(package, ignore_errors=True)
    for folder, inner in (("aimc_lightning", "."), ("zoo", "zoo"), ("recipes", "recipes")):
        for path in (ROOT / folder).rglob("*.py"):
            copy = package / inner / path.relative_to(ROOT / folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return config


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401 - a MkDocsConfig
    """Add the pages that are not written by hand."""
    contents = {target: (ROOT / source).read_text() for source, target in PAGES.items()}
    for target, content in {**contents, **made_pages.pages(ROOT)}.items():
        files.append(File.generated(config, target, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:  # noqa: ANN401
    """Let links to files of the repository lead to their pages, or be plain code."""
    target = page.file.src_uri
    if target == "index.md":  # has no chapter of its own; the place is better used by its code
        page.meta["hide"] = ["navigation"]
    source = next((path for path, uri in PAGES.items() if uri == target), f"docs/{target}")

    def moved(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        uri = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if uri is None:
            return match[1][1:-1] if (ROOT / path).exists() else match[0]
        relative = posixpath.relpath(uri, posixpath.dirname(target) or ".")
        return f"{match[1]}({relative}{match[3] or ''})"

    if "<!-- drawing: architecture -->" in markdown:
        markdown = markdown.replace("<!-- drawing: architecture -->", architecture.drawing(ROOT))
    if "<!-- drawing: signal chain -->" in markdown:
        markdown = markdown.replace("<!-- drawing: signal chain -->", signal_chain.drawing())
    return _LINK.sub(moved, markdown)


def on_page_content(content: str, **_: Any) -> str:  # noqa: ANN401
    """Turn formulas into MathML, which browsers draw by themselves."""
    return _FORMULA.sub(lambda match: mathml(html.unescape(match[2]), match[1]), content)


def mathml(tex: str, kind: str = "div") -> str:
    """Return a formula as MathML.

    Args:
        tex: LaTeX.
        kind: ``div`` for a line of its own, ``span`` inside a sentence.
    """
    if "&" in tex:
        tex = rf"\begin{{align*}}{tex}\end{{align*}}"
    drawn = convert(tex, display="block" if kind == "div" else "inline")
    return f'<div class="formula">{drawn}</div>' if kind == "div" else drawn
