"""What a conversion did, layer by layer."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer: its name, class, number of crossbars (0: kept) and the reason."""

    name: str
    type: str
    tiles: int
    reason: str


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did, layer by layer; ``str(report)`` is a table.

    Attributes:
        converted: Layers now on tiles.
        kept: Layers with weights that stayed digital, each with its reason.
        already: Whether the model was analog before, so that nothing was done.

    Example:
        >>> print(ConversionReport([LayerReport("fc", "Linear", 2, "")]))
        fc  Linear  2 tiles
        1 layer on 2 tiles, 0 layers with weights stay digital
    """

    converted: list[LayerReport] = field(default_factory=list)
    kept: list[LayerReport] = field(default_factory=list)
    already: bool = False

    @property
    def tiles(self) -> int:
        """Number of crossbars in all."""
        return sum(row.tiles for row in self.converted)

    def __str__(self) -> str:
        """Return a table of all layers; those of one class kept for one reason share a line."""
        if self.already:
            return "The model was analog already; nothing was done."
        rows = [*self.converted, *_together(self.kept)]
        width = max((len(row.name or _ROOT) for row in rows), default=0)
        kind = max((len(row.type) for row in rows), default=0)
        lines = [f"{row.name or _ROOT:<{width}}  {row.type:<{kind}}  {_fate(row)}" for row in rows]
        stay = "stays" if len(self.kept) == 1 else "stay"
        lines.append(
            f"{_count(len(self.converted), 'layer')} on {_count(self.tiles, 'tile')}, "
            f"{_count(len(self.kept), 'layer')} with weights {stay} digital"
        )
        return "\n".join(lines)


_ROOT = "(the model itself)"
_ALONE = 3  # lines that are alike and still named each


def _together(kept: list[LayerReport]) -> list[LayerReport]:
    """Return one line for many layers of a class that were kept for the same reason."""
    alike: dict[tuple[str, str], list[LayerReport]] = {}
    for row in kept:
        alike.setdefault((row.type, row.reason), []).append(row)
    rows = []
    for found in alike.values():
        if len(found) <= _ALONE:
            rows += found
        else:
            rows.append(replace(found[0], name=f"{found[0].name} and {len(found) - 1} more"))
    return rows


def _fate(row: LayerReport) -> str:
    return _count(row.tiles, "tile") if row.tiles else f"digital: {row.reason}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
