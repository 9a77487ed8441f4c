"""The Lightning strategies ``aimc`` and ``aimc_ddp``, chosen by name in the Trainer.

Importing ``aimc_lightning`` registers them, and ``aimc_fsdp`` of
:mod:`aimc_lightning.integration.fsdp`. They bring the callback ``AnalogTraining`` along, so that a
run behaves as with the callback alone, and add what no callback can do: with processes that are
forked or spawned, the module is converted before, in the main process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, StrategyRegistry

from aimc_lightning.config import TileConfig
from aimc_lightning.conversion import Selector
from aimc_lightning.integration.fsdp import AimcFSDPStrategy
from aimc_lightning.integration.launch import ConvertingLauncher, add_callback
from aimc_lightning.integration.settings import analog_settings


class AimcStrategy(SingleDeviceStrategy):
    """One device, analog layers: ``Trainer(strategy="aimc")``.

    A subclass of Lightning's single-device strategy, since that is all one device needs.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(strategy="aimc", accelerator="cpu", logger=False)
        >>> type(trainer.strategy).__name__
        'AimcStrategy'

    Args:
        config: As for :class:`~aimc_lightning.integration.callback.AnalogTraining`. If all five
            settings are left out, an ``AnalogTraining`` among the callbacks decides, or else the
            default preset.
        preset: The same.
        include: The same.
        exclude: The same.
        layers: The same.
        **options: Arguments of Lightning's ``SingleDeviceStrategy``.
    """

    strategy_name = "aimc"

    def __init__(
        self,
        config: TileConfig | None = None,
        preset: str | None = None,
        include: Sequence[Selector] | None = None,
        exclude: Sequence[Selector] = (),
        layers: Mapping[str, TileConfig | str | None] | None = None,
        **options: Any,  # noqa: ANN401 - those of the base class
    ) -> None:
        super().__init__(**options)
        self.analog_settings = analog_settings(config, preset, include, exclude, layers)
        # The Trainer fills this in. The base class would stay on the CPU when chosen by name.
        self.parallel_devices: list[torch.device] | None = None

    @property
    def root_device(self) -> torch.device:
        """The Trainer's device."""
        return self.parallel_devices[0] if self.parallel_devices else self._root_device

    def connect(self, model: LightningModule) -> None:
        """Let the Trainer train the model as an analog one.

        Raises:
            ValueError: If the Trainer has several devices, or an ``AnalogTraining`` callback with
                other settings.
        """
        if self.parallel_devices and len(self.parallel_devices) > 1:
            raise ValueError(
                f"strategy='aimc' runs on one device, the Trainer has {len(self.parallel_devices)}."
                " Use strategy='aimc_ddp', or devices=1."
            )
        add_callback(model.trainer, self.analog_settings)
        super().connect(model)


class AimcDDPStrategy(DDPStrategy):
    """Several processes with whole copies of an analog model: ``Trainer(strategy="aimc_ddp")``.

    A subclass of Lightning's DDP strategy. With ``start_method`` ``"fork"`` or ``"spawn"`` (by name
    ``aimc_ddp_fork``, ``aimc_ddp_spawn``, ``aimc_ddp_notebook``) the module is converted before the
    processes start, so that after ``fit`` the module at hand is analog and has the trained weights.

    Example:
        >>> AimcDDPStrategy(exclude=["head"], start_method="fork").analog_settings["exclude"]
        ['head']

    Args:
        config: As for :class:`AimcStrategy`.
        preset: The same.
        include: The same.
        exclude: The same.
        layers: The same.
        **options: Arguments of Lightning's ``DDPStrategy``.
    """

    def __init__(
        self,
        config: TileConfig | None = None,
        preset: str | None = None,
        include: Sequence[Selector] | None = None,
        exclude: Sequence[Selector] = (),
        layers: Mapping[str, TileConfig | str | None] | None = None,
        **options: Any,  # noqa: ANN401 - those of the base class
    ) -> None:
        super().__init__(**options)
        self.analog_settings = analog_settings(config, preset, include, exclude, layers)

    def connect(self, model: LightningModule) -> None:
        """Let the Trainer train the model as an analog one."""
        add_callback(model.trainer, self.analog_settings)
        super().connect(model)

    def setup(self, trainer: Trainer) -> None:
        """Move the model to its device and wrap it."""
        if isinstance(self.launcher, ConvertingLauncher):
            self.launcher.check_parameters(trainer.lightning_module)
        super().setup(trainer)

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if self._start_method != "popen":
            self._launcher = ConvertingLauncher(self, self._start_method)


def register_strategies() -> None:
    """Make the strategies known to Lightning by name; a second call changes nothing."""
    if "aimc" in StrategyRegistry:
        return
    StrategyRegistry.register("aimc", AimcStrategy, "One device, analog layers")
    for name, start_method in (
        ("aimc_ddp", "popen"),
        ("aimc_ddp_spawn", "spawn"),
        ("aimc_ddp_fork", "fork"),
        ("aimc_ddp_notebook", "fork"),
    ):
        description = f"DDP with analog layers, processes started by {start_method}"
        StrategyRegistry.register(name, AimcDDPStrategy, description, start_method=start_method)
    for name, start_method in (("aimc_fsdp", "popen"), ("aimc_fsdp_fork", "fork")):
        description = f"FSDP2 with analog layers, processes started by {start_method}"
        StrategyRegistry.register(name, AimcFSDPStrategy, description, start_method=start_method)
