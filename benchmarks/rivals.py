"""Other simulators on the same networks, each where it can be imported.

``aihwkit`` and ``aihwkit-lightning`` are not installed by this project. Settings are those of our
variants as far as the simulator has them: aihwkit has no PCM training noise on a CPU, so its
programming noise of the same polynomial stands in; aihwkit-lightning has neither read noise nor IR
drop and takes additive weight noise.
"""

from collections.abc import Callable
from importlib import metadata, util
from typing import NamedTuple

import torch
from torch import nn

Optimizer = Callable[[nn.Module], torch.optim.Optimizer]


class Rival(NamedTuple):
    """A converted network and what makes its optimizer."""

    model: nn.Module
    optimizer: Optimizer


def _aihwkit(model: nn.Module, *, full: bool) -> Rival:
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.optim import AnalogSGD
    from aihwkit.simulator.parameters.enums import WeightModifierType, WeightNoiseType
    from aihwkit.simulator.presets import StandardHWATrainingPreset

    config = StandardHWATrainingPreset()
    config.modifier.type = WeightModifierType.PROG_NOISE
    config.modifier.std_dev = 3.0
    config.modifier.coeffs = [0.26348, 1.965, -1.1731]
    config.modifier.rel_to_actual_wmax = False
    if not full:
        config.forward.w_noise = 0.0
        config.forward.w_noise_type = WeightNoiseType.NONE
        config.forward.ir_drop = 0.0
    return Rival(
        convert_to_analog(model, config),
        lambda m: AnalogSGD(m.parameters(), lr=1e-4, momentum=0.9),
    )


def _aihwkit_lightning(model: nn.Module) -> Rival:
    from aihwkit_lightning.nn.conversion import convert_to_analog
    from aihwkit_lightning.optim import AnalogOptimizer
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
    from aihwkit_lightning.simulator.parameters import WeightNoiseInjectionType

    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 254
    config.forward.out_bound, config.forward.out_noise = 10.0, 0.04
    config.pre_post.input_range.enable = True
    config.mapping.max_input_size = 512
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
    config.modifier.std_dev = 0.06

    def optimizer(converted: nn.Module) -> torch.optim.Optimizer:
        return AnalogOptimizer(
            torch.optim.SGD, converted.analog_layers, converted.parameters(), lr=1e-4, momentum=0.9
        )

    return Rival(convert_to_analog(model, config), optimizer)


def rivals(model: Callable[[], nn.Module]) -> dict[str, Callable[[], Rival]]:
    """Return what builds each rival that can be imported, by name with version.

    Args:
        model: Returns a fresh copy of the digital network.
    """
    found: dict[str, Callable[[], Rival]] = {}
    if util.find_spec("aihwkit"):
        name = f"aihwkit {metadata.version('aihwkit')}"
        found[f"{name}, full"] = lambda: _aihwkit(model(), full=True)
        found[f"{name}, reduced"] = lambda: _aihwkit(model(), full=False)
    if util.find_spec("aihwkit_lightning"):
        name = f"aihwkit-lightning {metadata.version('aihwkit-lightning')}"
        found[f"{name}, reduced"] = lambda: _aihwkit_lightning(model())
    return found
