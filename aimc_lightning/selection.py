"""Which layers are meant: by name, glob, regular expression, type, or position in the model."""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from aimc_lightning.config import TileConfig
from aimc_lightning.nn.base import is_analog
from aimc_lightning.nn.registry import reason_to_stay

Selector = str | type
_POSITIONS = {"first": 0, "last": -1}


def matches(name: str, module: nn.Module, selectors: Iterable[Selector]) -> bool:
    """Return whether a layer is meant by any selector.

    Args:
        name: Qualified name of the layer.
        module: The layer; of an analog one, the digital class counts.
        selectors: A class, the name of a class, a name or glob (``layer1.*``), or a regular
            expression after ``re:``.

    Example:
        >>> matches("layer1.conv", nn.Conv2d(1, 1, 1), ["layer1.*"])
        True
    """
    kind = getattr(module, "digital_class", type(module))
    for selector in selectors:
        if isinstance(selector, type):
            if isinstance(module, selector) or issubclass(kind, selector):
                return True
        elif selector.startswith("re:"):
            if re.search(selector[3:], name):
                return True
        elif fnmatch.fnmatchcase(name, selector) or kind.__name__ == selector:
            return True
    return False


def weighted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that own parameters themselves, shared ones once.

    Example:
        >>> list(weighted_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
        ['0']
    """
    return {
        name: module
        for name, module in model.named_modules()
        if any(parameter is not None for parameter in module._parameters.values())
    }


class Selection(NamedTuple):
    """The layers of one model that go on tiles, and their settings; made by :func:`select`.

    Attributes:
        default: Settings of layers without any of their own.
        include: Selectors of layers to convert, ``None`` for all.
        exclude: Selectors of layers to keep digital.
        layers: Settings by selector, ``None`` keeps a layer digital; the first match counts.
        names: All names of each module by its ``id``, more than one if it has several parents.
    """

    default: TileConfig
    include: list[Selector] | None
    exclude: list[Selector]
    layers: dict[Selector, TileConfig | None]
    names: dict[int, list[str]]

    def choose(self, module: nn.Module) -> TileConfig | str:
        """Return the settings for a layer, or why it is kept digital."""
        if self._means(module, self.exclude):
            return "excluded"
        if self.include is not None and not self._means(module, self.include):
            return "not included"
        for selector, config in self.layers.items():
            if self._means(module, [selector]):
                return "kept by its own setting" if config is None else config
        return self.default

    def _means(self, module: nn.Module, selectors: Sequence[Selector]) -> bool:
        return any(matches(name, module, selectors) for name in self.names[id(module)])


def select(
    model: nn.Module,
    default: TileConfig,
    include: Sequence[Selector] | None,
    exclude: Sequence[Selector],
    layers: Mapping[str, TileConfig | None],
) -> Selection:
    """Check selectors against a model and resolve positions.

    ``first`` and ``last`` are the first and last convertible layer in the order of
    ``named_modules``, unless a layer has that very name.

    Args:
        model: Model to be converted, or converted already.
        default: Settings of layers without any of their own.
        include: Layers to convert (see :func:`matches`); all convertible ones if ``None``.
        exclude: Layers to keep digital.
        layers: Settings by selector.

    Raises:
        ValueError: If a selector matches no layer with weights, or is no regular expression.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> select(model, TileConfig(), None, ["first", "last"], {}).exclude
        ['0', '2']
    """
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    weighted = weighted_layers(model)
    convertible = [n for n, m in weighted.items() if is_analog(m) or reason_to_stay(m) is None]

    def resolve(selector: Selector) -> Selector:
        if selector in _POSITIONS and selector not in weighted and convertible:
            return convertible[_POSITIONS[str(selector)]].translate(_ESCAPES)
        _require_match(selector, [(n, m) for m in weighted.values() for n in names[id(m)]])
        return selector

    return Selection(
        default,
        None if include is None else [resolve(selector) for selector in include],
        [resolve(selector) for selector in exclude],
        {resolve(selector): config for selector, config in layers.items()},
        names,
    )


_ESCAPES = str.maketrans({"[": "[[]", "*": "[*]", "?": "[?]"})


def _require_match(selector: Selector, layers: Sequence[tuple[str, nn.Module]]) -> None:
    try:
        found = any(matches(name, module, [selector]) for name, module in layers)
    except re.error as error:
        raise ValueError(
            f"{selector!r} is not a regular expression ({error}); escape what is meant literally."
        ) from None
    if not found:
        known = [name for name, _ in layers if name]
        close = difflib.get_close_matches(str(selector), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(known[:40]) + (f" and {len(known) - 40} more" if known[40:] else "")
        raise ValueError(f"No layer matches {selector!r}; name some of {shown}.{hint}")
