"""Drawing of the library's parts and of what imports what, from the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

#: Parts made of several files, and what each part does.
GROUPS = {
    "forward_config": "config", "tile_config": "config", "presets": "config",
    "selection": "conversion", "report": "conversion", "same_conversion": "checkpoint",
    "foreign_config": "importer", "foreign_device": "importer",
}  # fmt: skip
TASKS = {
    "checks": "messages of wrong settings",
    "times": "seconds of '1d'",
    "functional": "physics on tensors",
    "devices": "memory devices, converters",
    "config": "settings and presets",
    "tiles": "one crossbar, arrays, a chip",
    "explain": "a tile in words",
    "nn": "analog layers",
    "conversion": "the only place that swaps layers",
    "checkpoint": "analog part of a checkpoint",
    "integration": "callback and strategies",
    "evaluation": "programme, age, measure",
    "hub": "checkpoint files and hubs",
    "importer": "files and settings of aihwkit",
    "zoo": "networks, data, results",
    "recipes": "experiments, command line",
}
_FOLDERS = {"aimc_lightning": "", "zoo": "zoo", "recipes": "recipes"}
_WIDTH, _BOX, _HEIGHT, _GAP = 860, 220, 46, 30
Graph = dict[str, set[str]]


def imports(root: Path) -> Graph:
    """Return which parts of the library each part imports.

    Args:
        root: Folder of the repository.
    """
    graph: Graph = {}
    for folder, part in _FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            name = part or path.relative_to(root / folder).with_suffix("").parts[0]
            if name == "__init__":
                continue  # the public names, taken from all parts
            name = GROUPS.get(name, name)
            found = {GROUPS.get(other, other) for other in _imported(path)}
            graph.setdefault(name, set()).update(found - {name, ""})
    return graph


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            # 'from aimc_lightning.nn import linear' as well as 'from aimc_lightning import nn'
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            first, _, rest = module.partition(".")
            if first == "aimc_lightning" and rest:
                yield rest.split(".")[0]


def levels(graph: Graph) -> dict[str, int]:
    """Return the row of each part: one below the lowest part that it imports.

    Raises:
        ValueError: If parts import each other in a circle.
    """
    rows: dict[str, int] = {}
    while len(rows) < len(graph):
        ready = [name for name in graph if name not in rows and graph[name] <= rows.keys()]
        if not ready:
            raise ValueError(f"these parts import each other: {sorted(graph.keys() - rows.keys())}")
        rows |= {
            name: 1 + max((rows[other] for other in graph[name]), default=-1) for name in ready
        }
    return rows


def reduced(graph: Graph) -> Graph:
    """Leave out imports that another way through the graph already shows."""

    def below(name: str) -> set[str]:
        return graph[name].union(*(below(other) for other in graph[name]))

    return {
        name: {x for x in others if not any(x in below(y) for y in others - {x})}
        for name, others in graph.items()
    }


def drawing(root: Path) -> str:
    """Return the SVG: a box for each part, an arrow to each part that it imports."""
    graph = imports(root)
    rows = levels(graph)
    lines: list[list[str]] = [[] for _ in range(1 + max(rows.values()))]
    for name in sorted(graph):
        lines[rows[name]].append(name)
    places = {
        name: ((i + 0.5) * _WIDTH / len(line), row * (_HEIGHT + _GAP) + _HEIGHT / 2 + 2)
        for row, line in enumerate(lines)
        for i, name in enumerate(line)
    }
    height = len(lines) * (_HEIGHT + _GAP) - _GAP + 4
    edges = [(name, other) for name, others in reduced(graph).items() for other in others]
    near = [edge for edge in edges if rows[edge[0]] - rows[edge[1]] == 1]
    far = sorted(set(edges) - set(near))  # around the boxes in between, each on a lane of its own
    arrows = [_arrow(*places[name], *places[other]) for name, other in sorted(near)]
    arrows += [
        _detour(*places[name], *places[other], 80 - 24 * i) for i, (name, other) in enumerate(far)
    ]
    boxes = [_box(name, *places[name]) for name in places]
    return (
        f'<figure class="drawing"><svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="Parts of the library and their imports" fill="currentColor">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
        f"{''.join(arrows)}{''.join(boxes)}</svg></figure>"
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    start, end = y - _HEIGHT / 2, to_y + _HEIGHT / 2
    return (
        f'<path d="M{x:.0f} {start:.0f}C{x:.0f} {start - 30:.0f} {to_x:.0f} {end + 30:.0f} '
        f'{to_x:.0f} {end:.0f}" fill="none" stroke="currentColor" opacity="0.55" '
        'marker-end="url(#tip)"/>'
    )


def _detour(x: float, y: float, to_x: float, to_y: float, lane: float) -> str:
    return (
        f'<path d="M{x - _BOX / 2:.0f} {y:.0f}H{lane:.0f}V{to_y:.0f}H{to_x - _BOX / 2:.0f}" '
        'fill="none" stroke="currentColor" opacity="0.55" marker-end="url(#tip)"/>'
    )


def _box(name: str, x: float, y: float) -> str:
    left, top = x - _BOX / 2, y - _HEIGHT / 2
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{_BOX}" height="{_HEIGHT}" rx="5" '
        'fill="var(--md-code-bg-color)" stroke="currentColor"/>'
        f'<text x="{x:.0f}" y="{y - 3:.0f}" text-anchor="middle" font-size="15" '
        f'font-weight="bold">{name}</text><text x="{x:.0f}" y="{y + 15:.0f}" '
        f'text-anchor="middle" font-size="12">{TASKS.get(name, "")}</text>'
    )
