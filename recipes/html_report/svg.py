"""A figure as inline SVG: text stays text, nothing outside is named, ids do not clash."""

import io
import re

import matplotlib
from matplotlib.figure import Figure

_ID = re.compile(r'\sid="([^"]*)"')


def inline_svg(figure: Figure, key: str, title: str) -> str:
    """Return a figure for use inside an HTML page.

    Args:
        figure: The figure.
        key: Different for each figure of a page; ids follow from it.
        title: What the figure shows, for those who cannot see it.

    Returns:
        An ``svg`` element with role and label.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    # Hashes differ by key, and only they are referred to; other ids would occur in each figure.
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = _ID.sub(lambda match: match.group(0) if match.group(1) in used else "", text)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{label}"><title>{label}</title>{rest}'
