"""Every error message, read from the code; ``python -m docs.tools.error_messages`` prints them."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
#: Errors that carry no sentence: the end of a program, and methods that a subclass defines.
_SILENT = {"SystemExit", "KeyboardInterrupt", "NotImplementedError", "StopIteration"}
_TEXT = """# Error messages

What each message of the package looks like, to be searched for a message that you have before you.
A part in braces stands for a value. This page is made from the code.
"""


class Message(NamedTuple):
    """One place where an error is made."""

    module: str
    line: int
    kind: str
    text: str


def messages(root: Path = ROOT) -> list[Message]:
    """Return all messages, sorted by module and line.

    Args:
        root: Folder of the repository.
    """
    found = []
    for folder in ("aimc_lightning", "zoo", "recipes"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            module = ".".join(parts if folder == "aimc_lightning" else ("aimc_lightning", *parts))
            found += _of_module(module.removesuffix(".__init__"), ast.parse(path.read_text()))
    return found


def page(root: Path = ROOT) -> str:
    """Return the page of the site.

    Args:
        root: Folder of the repository.
    """
    lines = [_TEXT]
    module = ""
    for message in messages(root):
        if message.module != module:
            module = message.module
            lines += [f"## {module.removeprefix('aimc_lightning.')}", ""]
        lines += [f"- `{message.kind}`", "", f"        {message.text}", ""]
    return "\n".join(lines)


def _of_module(module: str, tree: ast.Module) -> Iterator[Message]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda function: function.lineno):
        names = _Names(tree, function)
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and call.args:
                kind = ast.unparse(call.func).split(".")[-1]
                if _is_error(kind):
                    yield Message(module, call.lineno, kind, names.text(call.args[0]))


def _is_error(name: str) -> bool:
    known = getattr(builtins, name, None)
    if isinstance(known, type):
        return issubclass(known, BaseException) and name not in _SILENT
    return name.endswith("Error")


class _Names:
    """Strings with a name in a function: its own, the module's, and what functions return."""

    def __init__(self, tree: ast.Module, function: ast.FunctionDef) -> None:
        self._values: dict[str, list[ast.expr]] = {}
        for node in (*tree.body, *ast.walk(function)):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._values.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                returned = (x.value for x in ast.walk(node) if isinstance(x, ast.Return))
                self._values[f"{node.name}()"] = [value for value in returned if value]

    def text(self, node: ast.expr) -> str:
        """Return the text of an expression; what is only known later stands in braces."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(map(self.text, values))
            case ast.FormattedValue(value=value):
                return self.text(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.text(left) + self.text(right)
            case ast.IfExp(body=body, orelse=orelse):
                return " | ".join(filter(None, (self.text(body), self.text(orelse))))
            case ast.Name(id=name) if self._are_texts(name):
                return " | ".join(map(self.text, self._values[name]))
            case ast.Call(func=ast.Name(id=name)) if self._are_texts(f"{name}()"):
                return " | ".join(map(self.text, self._values[f"{name}()"]))
        return f"{{{ast.unparse(node)}}}"

    def _are_texts(self, name: str) -> bool:
        values = self._values.get(name, [])
        kinds = ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp
        texts = [x for x in values if isinstance(x, kinds) and not _is_number(x)]
        return bool(values) and len(texts) == len(values)


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return not any(isinstance(x, ast.Constant | ast.JoinedStr) and _has_text(x)
                       for x in ast.walk(node))  # fmt: skip
    return isinstance(node, ast.Constant) and not isinstance(node.value, str)


def _has_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


if __name__ == "__main__":
    for _message in messages():
        print(f"{_message.module}:{_message.line}: {_message.kind}: {_message.text}")
