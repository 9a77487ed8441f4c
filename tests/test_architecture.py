"""The rows of imports, and the sizes of files, classes and functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A module imports only from rows above its own or from its own folder.
ROWS = (
    ("functional",),
    ("devices", "checks", "times"),
    ("config", "forward_config", "tile_config", "presets"),
    ("tiles",),
    ("explain",),
    ("explain",),
    ("nn",),
    ("selection", "report", "same_conversion"),
    ("conversion", "selection", "report"),
    ("checkpoint",),
    ("integration",),
    ("evaluation",),
    ("foreign_device",),
    ("hub", "importer", "foreign_config"),
    ("zoo",),
    ("recipes",),
)
# These rows are single files, which make up one part of the library and import each other.
FILES = (
    {"config", "forward_config", "tile_config", "presets"},
    {"conversion", "selection", "report"},
)
ROW = {part: row for row, parts in enumerate(ROWS) for part in parts}
MAY_IMPORT_LIGHTNING = {"integration", "evaluation", "zoo", "recipes"}
OPTIONAL = {"torchvision", "transformers", "datasets", "pyarrow", "sklearn"}
FOLDERS = {"aimc_lightning": "", "zoo": "zoo", "recipes": "recipes"}


def _modules() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield each file with its module name below ``aimc_lightning``, in parts."""
    for folder, prefix in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            yield path, ((prefix,) if prefix else ()) + parts


MODULES = list(_modules())
IDS = [str(path.relative_to(ROOT)) for path, _ in MODULES]
every_module = pytest.mark.parametrize(("path", "name"), MODULES, ids=IDS)


def _imports(node: ast.AST, name: tuple[str, ...], package: bool) -> Iterator[tuple[str, ...]]:
    """Yield the absolute module names that the tree below a node imports, in parts."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = tuple(child.module.split(".")) if child.module else ()
            if child.level:
                base = ("aimc_lightning", *name)
                module = base[: len(base) - child.level + int(package)] + module
            yield module


def _own(module: tuple[str, ...]) -> bool:
    return module[0] == "aimc_lightning"


@every_module
def test_module_imports_only_from_rows_above_its_own(path, name):
    if not name:
        return  # the package's own __init__ exports the public names of all rows
    assert name[0] in ROW, f"{name[0]} has no row: add it to ROWS"
    for module in _imports(ast.parse(path.read_text()), name, path.name == "__init__.py"):
        if not _own(module) or len(module) == 1:
            continue
        own, other = ROW[name[0]], ROW[module[1]]
        together = module[1] == name[0] or any({module[1], name[0]} <= row for row in FILES)
        assert other < own or together, ".".join(module)


@every_module
def test_functions_do_not_import_the_own_package(path, name):
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            imports = _imports(function, name, path.name == "__init__.py")
            assert not [module for module in imports if _own(module)]


@every_module
def test_core_imports_neither_lightning_nor_optional_packages(path, name):
    row = name[0] if name else ""
    tops = {module[0] for module in _imports(ast.parse(path.read_text()), name, False)}
    if row not in MAY_IMPORT_LIGHTNING:
        assert not tops & {"lightning", "pytorch_lightning"}
    if row != "zoo":
        assert not tops & OPTIONAL


@every_module
def test_file_has_at_most_300_lines(path, name):
    assert len(path.read_text().splitlines()) <= 300


def _is_gpu_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator) == "triton.jit" for decorator in node.decorator_list)


@every_module
def test_functions_are_short_and_take_few_parameters(path, name):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_gpu_kernel(node):
                continue  # one parameter for each tensor and number, and no calls to split it by
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 40, f"{node.name} has {lines} lines"
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = len([a for a in arguments if a.arg not in ("self", "cls")])
            assert count <= 8, f"{node.name} takes {count} parameters"


@every_module
def test_classes_have_at_most_20_methods_and_one_base(path, name):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            assert len(methods) <= 20, node.name
            assert len(node.bases) <= 1, node.name
