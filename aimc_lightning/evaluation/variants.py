"""What can be done to a network without training it; each gives a stage of its own in the table."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

from torch import nn

from aimc_lightning.evaluation.batch_norm import batch_norm_layers
from aimc_lightning.evaluation.calibration import Method, learned_tiles
from aimc_lightning.evaluation.nonidealities import changed_config, new_configs
from aimc_lightning.evaluation.programming import optimized_programming

#: Names for ``recalibrate``. ``batch_norm``: statistics re-estimated on each chip at each time;
#: ``column``: drift compensation per column; ``programming``: target conductances optimised for
#: the device; the others set input ranges, see
#: :func:`~aimc_lightning.evaluation.calibration.calibrate_input_ranges`.
METHODS = ("batch_norm", "column", "programming", *get_args(Method))


@dataclass(frozen=True)
class Variant:
    """A combination of methods.

    Example:
        >>> Variant(("column", "batch_norm")).suffix
        '+column+bn'

    Attributes:
        methods: Names from :data:`METHODS`; none is the network as it is.
    """

    methods: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """What is added to the name of a stage."""
        return "".join(f"+{'bn' if name == 'batch_norm' else name}" for name in self.methods)

    @property
    def batch_norm(self) -> bool:
        """Whether batch-norm statistics are re-estimated."""
        return "batch_norm" in self.methods

    @property
    def input_ranges(self) -> str | None:
        """Rule by which input ranges are set, if they are."""
        return next((name for name in self.methods if name in get_args(Method)), None)

    @property
    def needs_data(self) -> bool:
        """Whether training batches are needed."""
        return self.batch_norm or self.input_ranges is not None

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Change the settings of analog layers for a while, as far as no data are needed.

        Args:
            module: Model with analog layers, without a chip.
        """
        configs = optimized_programming(module) if "programming" in self.methods else {}
        with new_configs(configs):
            if "column" not in self.methods:
                yield
                return
            per_column = {"chip.compensation": "column"}
            with changed_config(module, lambda config: config.with_values(per_column)):
                yield


def parse_variants(
    recalibrate: str | Sequence[str] | None,
    batches: int,
    has_loader: bool,
    modules: Iterable[nn.Module | None],
) -> tuple[Variant, ...]:
    """Read and check what an evaluation was asked to do without training.

    Args:
        recalibrate: Names from :data:`METHODS`, joined by ``+``; ``None``: nothing.
        batches: Training batches for it.
        has_loader: Whether the module or its data module has a training loader.
        modules: What will be measured.

    Raises:
        ValueError: Names the value and the remedy.

    Example:
        >>> parse_variants("column", 20, False, [])
        (Variant(methods=('column',)),)
    """
    if recalibrate is None:
        return ()
    entries = [recalibrate] if isinstance(recalibrate, str) else list(recalibrate)
    variants = tuple(Variant(tuple(str(entry).split("+"))) for entry in entries)
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 1:
        raise ValueError(
            f"recalibration_batches is {batches!r}; it must be a whole number from 1 up, e.g. 20."
        )
    measured = [module for module in modules if module is not None]
    for entry, variant in zip(entries, variants, strict=True):
        _check(entry, variant, has_loader, measured)
    if len({frozenset(variant.methods) for variant in variants}) < len(variants):
        raise ValueError(f"recalibrate is {entries}; name each combination once.")
    return variants


def _check(entry: object, variant: Variant, has_loader: bool, modules: list[nn.Module]) -> None:
    methods = variant.methods
    ranges = [name for name in methods if name in get_args(Method)]
    if not set(methods) <= set(METHODS) or len(set(methods)) < len(methods) or len(ranges) > 1:
        raise ValueError(
            f"recalibrate is {entry!r}; it must be None or some of {', '.join(METHODS)}, joined by "
            f"'+', each once and at most one of {', '.join(get_args(Method))}."
        )
    for module in modules:
        if variant.batch_norm and not batch_norm_layers(module):
            raise ValueError(
                "recalibrate='batch_norm' needs batch-norm layers with running statistics, and "
                f"{type(module).__name__} has none; leave recalibrate out."
            )
    if variant.needs_data and not has_loader:
        raise ValueError(
            f"recalibrate={entry!r} takes statistics from training batches, and there is no "
            "training loader: give a data module with train_dataloader, or define it in the module."
        )


def check_tiles(variant: Variant, module: nn.Module) -> None:
    """Raise ``ValueError`` if input ranges are to be set and no tile of a module learns its own.

    Args:
        variant: What is to be done.
        module: Model with analog layers.
    """
    if variant.input_ranges is not None and not learned_tiles(module):
        raise ValueError(
            f"recalibrate={variant.input_ranges!r} sets input ranges, and {type(module).__name__} "
            "has no analog layer with input_range.mode 'learned'; leave it out."
        )
