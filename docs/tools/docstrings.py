"""Docstrings are written for ``help()``; this makes Markdown of their roles and formulas."""

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|attr):`(~?)([\w.]+)`")
_INLINE_FORMULA = re.compile(r":math:`([^`]+)`")
# '.. math::' with the formula on the same line or indented below; a blank line ends it.
_FORMULA = re.compile(r"^( *)\.\. math::[ \n]*((?:.+\n?)+)", re.MULTILINE)
# The plural is what griffe sets as code.
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
# Two colons announce an indented block of code, which Markdown sees by itself.
_LITERAL = re.compile(r"(?<=\S)::$", re.MULTILINE)


def to_markdown(text: str) -> str:
    r"""Return a docstring with links and formulas as Markdown has them.

    Example:
        >>> to_markdown(":func:`~a.b.c` and :math:`x^2`")
        '[`c`][a.b.c] and \\(x^2\\)'
    """

    def formula(match: re.Match[str]) -> str:
        lines = " ".join(line.strip() for line in match[2].strip().splitlines())
        return f"{match[1]}\\[{lines}\\]\n"

    def role(match: re.Match[str]) -> str:
        short = match[2].rpartition(".")[2]
        return f"[`{short}`][{match[2]}]" if match[1] else f"`{match[2].lstrip('.')}`"

    text = _INLINE_FORMULA.sub(r"\\(\1\\)", _FORMULA.sub(formula, text))
    text = _LITERAL.sub(":", _EXAMPLE.sub(r"\1Examples:", text))
    return _ROLE.sub(role, text)


class MarkdownDocstrings(Extension):
    """Rewrites each docstring as it is read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:  # noqa: ANN401
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
