"""Shortcuts by which modules compute a layer without calling it, and how they are closed.

torch's fused transformer encoder layer and some modules of other libraries read the weights of
their layers and would compute digitally what was converted.
"""

import functools
from contextlib import nullcontext
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.nn.base import is_analog
from aimc_lightning.nn.linear import AnalogLinear
from aimc_lightning.nn.read_weights import only_read

#: Settings that allow torch's fused path, by class; the value given here forbids it.
_FUSED: dict[type[nn.Module], tuple[str, Any]] = {
    nn.TransformerEncoderLayer: ("activation_relu_or_gelu", 0),
    nn.TransformerEncoder: ("use_nested_tensor", False),
}
_ALLOWED = "_aimc_fused_path"  # where the digital setting is kept

#: Modules that call ``F.linear`` with the weights of their layers, by package and class name.
#: Source: pytorch/vision, ``torchvision/models/swin_transformer.py``, ``shifted_window_attention``.
_READ_BY_LINEAR = {("torchvision", "ShiftedWindowAttention")}
#: Modules that in training hand weights of their layers to one fused kernel, where that is there.
#: Source: huggingface/transformers, ``src/transformers/models/mamba/modeling_mamba.py``.
_FUSED_IN_TRAINING = {
    ("transformers", "MambaMixer"),
    ("transformers", "Mamba2Mixer"),
    ("transformers", "FalconMambaMixer"),
    ("transformers", "FalconH1Mixer"),
    ("transformers", "BambaMixer"),
    ("transformers", "Zamba2MambaMixer"),
    ("transformers", "NemotronHMamba2Mixer"),
    ("transformers", "GraniteMoeHybridMambaLayer"),
}


def bypassed_children(module: nn.Module, converted: bool) -> list[nn.Module]:
    """Return the layers of a module that are not called, so that tiles of them would be idle.

    Args:
        module: Parent of the layers.
        converted: Whether the module itself becomes analog, and then calls them.

    Example:
        >>> attention = nn.MultiheadAttention(4, 2)
        >>> bypassed_children(attention, converted=False) == [attention.out_proj]
        True
    """
    if converted or _is_one_of(module, _READ_BY_LINEAR):
        return []
    names = only_read(module)
    return [child for name, child in module.named_children() if name in names]


def close_shortcuts_(model: nn.Module) -> None:
    """Make modules with analog layers call them; give modules without any their shortcuts back.

    Call it after layers were swapped, in either direction.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2)
        >>> close_shortcuts_(layer)
        >>> layer.activation_relu_or_gelu
        1
    """
    for module in model.modules():
        for cls, (name, forbidden) in _FUSED.items():
            if isinstance(module, cls) and hasattr(module, name):
                _set_fused(module, name, forbidden, any(map(is_analog, module.modules())))
        if _is_one_of(module, _READ_BY_LINEAR | _FUSED_IN_TRAINING):
            vars(module).pop("forward", None)
            if any(map(is_analog, module.children())):
                # A partial, because deepcopy and pickle rebind it to the copy.
                vars(module)["forward"] = functools.partial(_forward, module)


def _is_one_of(module: nn.Module, names: set[tuple[str, str]]) -> bool:
    return any((c.__module__.split(".")[0], c.__name__) in names for c in type(module).__mro__)


def _set_fused(module: nn.Module, name: str, forbidden: Any, analog: bool) -> None:  # noqa: ANN401
    kept = vars(module)
    if analog and _ALLOWED not in kept:
        kept[_ALLOWED] = getattr(module, name)
        setattr(module, name, forbidden)
    elif not analog and _ALLOWED in kept:
        setattr(module, name, kept.pop(_ALLOWED))


def _forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    training = module.training
    linear = _is_one_of(module, _READ_BY_LINEAR)
    try:
        if not linear:
            module.training = False  # of this module alone; its layers keep their mode
        with _ToTiles(module) if linear else nullcontext():
            return type(module).forward(module, *args, **kwargs)
    finally:
        module.training = training


class _ToTiles(TorchFunctionMode):
    """Sends ``F.linear`` with the weight of an analog child of ``module`` to its tiles."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        layers = [layer for layer in module.children() if isinstance(layer, AnalogLinear)]
        self.layers = {id(layer.weight): layer for layer in layers if not layer.analog.bypass}

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any function of torch
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function of torch, or the tiles in its place."""
        if func is F.linear and id(args[1]) in self.layers:
            return self._linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = self.layers[id(weight)].analog(x, weight, LinearProduct())
        return y if bias is None else y + bias.to(y.dtype)
