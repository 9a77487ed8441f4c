"""Training noise that is the memory device itself: programmed anew, aged, and compensated."""

import torch
from torch import Tensor

from aimc_lightning.tile_config import ChipConfig


def device_weight_noise(
    weight: Tensor,
    chip: ChipConfig,
    out_sizes: list[int],
    t_inference_s: float,
    scale: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return weights as a freshly programmed and aged chip would hold them.

    .. math:: w' = w + S \, (\alpha \, w_\text{chip}(t) - w)

    with both devices of each pair, their programming noise, drift exponents and 1/f noise, and
    :math:`\alpha = \overline{|w_\text{chip}(0)|} / \overline{|w_\text{chip}(t)|}` in place of the
    read-out of global drift compensation. Every device and converter can be trained for in this
    way, without a training law of its own.

    Args:
        weight: Normalised weights, ``(out, ...)``, dimensionless.
        chip: Device and converter; its ``compensation`` applies.
        out_sizes: Outputs of each crossbar.
        t_inference_s: Seconds after programming; 0 is right after it.
        scale: S, multiple of the deviation.
        generator: Random numbers; torch's own if ``None``.

    Returns:
        Normalised weights, a new tensor of the same shape.

    Example:
        >>> w = torch.tensor([[0.5, -1.0]])
        >>> noisy = device_weight_noise(w, ChipConfig(), [1], 3600.0, scale=0.0)
        >>> bool((noisy == w).all())
        True
    """
    device, converter = chip.device, chip.converter
    parts = []
    for part in weight.flatten(1).split(out_sizes):
        targets, factor = converter.to_conductances(part, device.g_max_us)
        drawn = [device.program_chip(target, generator=generator) for target in targets]
        programmed = converter.to_weights([g for g, _ in drawn], factor, device.g_max_us)
        aged = programmed
        if t_inference_s > 0:
            reads = [
                device.read(g, nu, target, t_inference_s, generator=generator)
                for (g, nu), target in zip(drawn, targets, strict=True)
            ]
            aged = converter.to_weights(reads, factor, device.g_max_us)
            if chip.compensation != "none":
                axis = 1 if chip.compensation == "column" else None
                reference = part if chip.compensation == "exact" else programmed
                before, after = (
                    w.abs().mean(axis, keepdim=axis is not None) for w in (reference, aged)
                )
                aged = aged * (before / after.clamp(min=1e-8))
        parts.append(aged)
    return weight + scale * (torch.cat(parts).view_as(weight) - weight)
