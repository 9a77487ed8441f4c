"""Docstrings become Markdown."""

import pytest

pytest.importorskip("griffe", reason="needs the extra 'docs'")

from docs.tools.docstrings import to_markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":func:`~a.b.c`", "[`c`][a.b.c]"),
        (":class:`Local`", "`Local`"),
        (":mod:`.mvm`", "`mvm`"),
        (r":math:`\alpha`", r"\(\alpha\)"),
        (".. math:: x = y\n", "\\[x = y\\]\n"),
        (
            "  .. math::\n     a &= b \\\\\n     c &= d\n\nText",
            "  \\[a &= b \\\\ c &= d\\]\n\nText",
        ),
        ("Example:\n    >>> 1", "Examples:\n    >>> 1"),
        ("One small class::", "One small class:"),
    ],
)
def test_markup_is_translated(text, expected):
    assert to_markdown(text) == expected


def test_formula_with_alignment_is_one_table():
    pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
    from docs.tools.hooks import mathml

    drawn = mathml(r"a &= b \\ c &= d")
    assert drawn.count("<mtr") == 2
    assert "&" not in drawn.replace("&#x", "")
