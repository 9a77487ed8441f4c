"""Layers whose weight their parent reads without ever calling them, found in the parent's source.

Tiles of such a layer would never be used: torch's attention reads the weight of its output
projection, Mamba that of its convolution. What the source does not show is not found.
"""

import ast
import functools
import inspect
import textwrap

from torch import nn

_DATA = {"weight", "bias", "in_features", "out_features", "in_channels", "out_channels"}
#: What one may ask of a weight without computing with it.
_DESCRIPTION = {"dtype", "device", "shape", "size", "dim", "ndim", "numel", "requires_grad", "data"}
_SET_UP = ("__init__", "init", "_init", "reset", "_reset", "extra_repr", "__repr__")


def only_read(parent: nn.Module) -> frozenset[str]:
    """Return the names of children whose weight is read, but which are never called or passed on.

    Args:
        parent: Module whose methods are looked at, those that set it up excepted.

    Example:
        >>> sorted(only_read(nn.MultiheadAttention(4, 2)))
        ['out_proj']
    """
    return _only_read(type(parent))  # type: ignore[arg-type]  # classes are hashable


@functools.cache
def _only_read(cls: type) -> frozenset[str]:
    read: set[str] = set()
    used: set[str] = set()
    for base in cls.__mro__:
        if base is nn.Module:
            break
        for method in _methods(base):
            _sort_children(method, read, used)
    return frozenset(read - used)


def _methods(cls: type) -> list[ast.FunctionDef]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return []  # defined interactively or in C
    functions = [
        node
        for body in ast.iter_child_nodes(tree)
        for node in ast.iter_child_nodes(body)
        if isinstance(node, ast.FunctionDef)
    ]
    return [function for function in functions if not function.name.startswith(_SET_UP)]


def _sort_children(method: ast.FunctionDef, read: set[str], used: set[str]) -> None:
    """Note children whose weight is read, and those that occur in any other way."""
    parents = {child: node for node in ast.walk(method) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(method):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id != "self":
            continue
        outer = parents[node]
        if not (isinstance(outer, ast.Attribute) and outer.attr in _DATA):
            used.add(node.attr)
        elif outer.attr == "weight" and not _is_description(parents[outer]):
            read.add(node.attr)


def _is_description(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in _DESCRIPTION
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
