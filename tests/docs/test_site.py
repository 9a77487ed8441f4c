"""The site builds without a warning, loads nothing from elsewhere, and its links lead somewhere."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

mkdocs_build = pytest.importorskip("mkdocs.commands.build", reason="needs the extra 'docs'")
pytest.importorskip("mkdocstrings", reason="needs the extra 'docs'")

# Not ours: deprecations inside the packages that build the site.
pytestmark = pytest.mark.filterwarnings("ignore")
#: Attributes by which a browser loads something at once, and rel of such links.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload"}


class Html(HTMLParser):
    """Anchors, links and loaded resources of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in LOADED and values.get(LOADED[tag]):
            self.loaded.append(values[LOADED[tag]])
        if tag == "link" and LOADED_LINKS & set(values.get("rel", "").split()):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site, built strictly: a warning is an error."""
    from mkdocs.config import load_config

    from tests.conftest import ROOT

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    mkdocs_build.build(config)
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Parsed pages by their path."""
    # Links of 404.html are meant for any folder of a server.
    return {p: Html(p.read_text()) for p in site.rglob("*.html") if p.name != "404.html"}


def test_pages_load_nothing_from_another_host(site, pages):
    loaded = [(path.name, url) for path, page in pages.items() for url in page.loaded]
    assert len(loaded) > len(pages)  # each has at least its style sheet
    assert not [pair for pair in loaded if urlsplit(pair[1]).netloc]
    for sheet in site.rglob("*.css"):
        urls = re.findall(r"url\(['\"]?([^)'\"]+)|@import ['\"]([^'\"]+)", sheet.read_text())
        assert not [u for pair in urls for u in pair if re.match(r"(https?:)?//", u)], sheet


def test_links_and_anchors_lead_somewhere(site, pages):
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path.name}: {link}"
            checked += 1
    assert checked > 1000


def test_resources_are_there(pages):
    for path, page in pages.items():
        for url in page.loaded:
            if not url.startswith("data:"):
                assert (path.parent / urlsplit(url).path).is_file(), f"{path.name}: {url}"


def test_formulas_are_drawn(site):
    text = (site / "reference" / "functional.html").read_text()
    assert text.count("<math") > 20
    assert ".. math::" not in text
    assert ":math:" not in text


def test_search_works_from_a_folder(site):
    assert (site / "search" / "search_index.js").is_file()
    assert "iframe-worker.js" in (site / "index.html").read_text()
