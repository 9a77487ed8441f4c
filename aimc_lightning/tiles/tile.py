"""The crossbars that share one input vector, with their periphery."""

import torch
from torch import Tensor, nn

from aimc_lightning.config import TileConfig
from aimc_lightning.functional import kernels
from aimc_lightning.functional.clipping import (
    channel_max_clip_bound,
    clip_weights,
    gaussian_clip_bound,
)
from aimc_lightning.functional.crossbar import CrossbarWeights, crossbar_weights
from aimc_lightning.functional.mvm import PreparedTile, analog_mvm
from aimc_lightning.functional.noise import NoiseLaw, drop_connect, noisy_weight
from aimc_lightning.functional.product import LinearProduct, Product
from aimc_lightning.tiles.centring import Centring
from aimc_lightning.tiles.device_noise import device_weight_noise
from aimc_lightning.tiles.initial_range import next_input_range
from aimc_lightning.tiles.mapping import mapping_scale
from aimc_lightning.tiles.periphery import added, build_periphery
from aimc_lightning.tiles.programmed import ProgrammedTile
from aimc_lightning.tiles.splitting import OutlierSplitting


def _restore_initialization_(tile: "AnalogTile", _: object) -> None:
    """Go on with the initialisation of the range, or not, as the loaded counter says."""
    ranges = tile.config.input_range
    tile.initializing = ranges.mode == "learned" and ranges.init_batches > 0
    if not tile.range_batches.is_meta:
        tile.check_initialization_()


class AnalogTile(nn.Module):
    """One row of crossbars: they share the inputs and their DACs, and differ in their outputs.

    Crossbars beside each other see the same input vector, so one product serves all of them and one
    input range is learned; mapping scales, drift compensation and programming are per crossbar.

    Args:
        out_sizes: Outputs of each crossbar.
        config: Settings of the tile.
        channels: Features, or channels, of the inputs whose means are subtracted where the
            settings say so; ``None`` leaves the inputs as they are.
        splitting: Repeats the largest inputs in idle rows; ``None`` repeats none.
    """

    def __init__(
        self,
        out_sizes: list[int],
        config: TileConfig,
        channels: int | None = None,
        splitting: OutlierSplitting | None = None,
    ) -> None:
        super().__init__()
        self.out_sizes = out_sizes
        self.config = config
        self.periphery = build_periphery(config)
        ranges = config.input_range
        start = ranges.initial if ranges.mode in ("learned", "fixed") else 1.0
        self.input_range = nn.Parameter(
            torch.tensor(float(start)), requires_grad=ranges.mode == "learned"
        )
        learn = config.mapping.learn_out_scale
        size = sum(out_sizes) if learn == "column" else 1
        self.out_scale = nn.Parameter(torch.ones(size), requires_grad=learn is not None)
        self.register_buffer("range_batches", torch.tensor(0))
        self.range_batches: Tensor
        centred = ranges.centred and channels is not None
        self.centring = Centring(channels or 0) if centred else None
        self.splitting = splitting
        # Off once enough batches were seen, so that a steady forward pass costs nothing for it.
        self.initializing = ranges.mode == "learned" and ranges.init_batches > 0
        self.register_load_state_dict_post_hook(_restore_initialization_)
        self.noise_scale = 1.0
        self.chip: ProgrammedTile | None = None
        self._held: Tensor | None = None

    def prepare(
        self, weight: Tensor, *, integers: bool = False, generator: torch.Generator | None = None
    ) -> PreparedTile:
        """Return the weights for one forward pass: normalised, with training noise if training.

        Args:
            weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
            integers: Whether they may be 8-bit integers, which only a linear product reads.
            generator: Random numbers; torch's own if ``None``.
        """
        if self.chip is not None and not self.training:
            return PreparedTile(self.chip.weights, self.chip.output_scale, self.chip.periphery)
        if self.splitting is None:
            return self._prepare_rows(weight, integers, generator)
        ready = self._prepare_rows(self.splitting.split_weights(weight), integers, generator)
        return ready._replace(weights=self.splitting.add_copies(ready.weights, ready.periphery))

    def _prepare_rows(
        self, weight: Tensor, integers: bool, generator: torch.Generator | None
    ) -> PreparedTile:
        """Return the weights of all rows, those of repeated inputs included."""
        with torch.no_grad():
            wide = weight if weight.dtype == torch.float64 else weight.float()
            scale = mapping_scale(wide, self.config.mapping, self.out_sizes)
            noisy = self.training and self.noise_scale > 0
            law, weights = self._simple_law(noisy), None
            if law is not None:
                weights = self._fused_weights(wide, scale, law, integers, generator)
            if weights is None:
                normalized = wide / scale.view(-1, *(1,) * (weight.dim() - 1))
                if noisy:
                    normalized = self._disturbed(normalized, generator)
                make = kernels.derived_weights if integers else crossbar_weights
                weights = make(normalized, self.periphery)
            return PreparedTile(weights, scale, self.periphery)

    def noise_free(self, weight: Tensor, *, integers: bool = False) -> PreparedTile:
        """Return the weights of all rows for one forward pass without training noise.

        Args:
            weight: Weights of the rows, those of repeated inputs included, in digital units.
            integers: See :meth:`prepare`.
        """
        kept, self.noise_scale = self.noise_scale, 0.0
        try:
            return self._prepare_rows(weight, integers, None)
        finally:
            self.noise_scale = kept

    def _simple_law(self, noisy: bool) -> NoiseLaw | None:
        """Return the training noise if kernels may know it."""
        noise = self.config.weight_noise
        if not noisy or noise.type == "none":
            return NoiseLaw()
        if noise.type == "device" or noise.draw == "step" or noise.drop_connect > 0:
            return None
        std, omega = noise.std * self.noise_scale, self.config.mapping.omega
        return NoiseLaw(noise.type, std, omega, noise.coefficients, noise.t_inference_s)

    def _fused_weights(
        self,
        weight: Tensor,
        scale: Tensor,
        law: NoiseLaw,
        integers: bool,
        generator: torch.Generator | None,
    ) -> CrossbarWeights | None:
        """Return what a kernel makes of the weights, ``None`` where none serves."""
        p = self.periphery
        if kernels.HAS_GPU_KERNELS and kernels.can_fuse_weights_on_gpu(weight, p, law):
            return kernels.gpu_weights(weight, scale, p, law, generator=generator)
        if kernels.HAS_CPU_KERNELS and kernels.can_fuse_weights(weight, p, law):
            return kernels.fused_weights(
                weight, scale, p, law, integers=integers, generator=generator
            )
        return None

    def _disturbed(self, normalized: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = self.config.weight_noise
        hold = noise.draw == "step"
        if hold and self._held is not None:
            return self._held
        std = noise.std * self.noise_scale
        if noise.type == "device":
            disturbed = device_weight_noise(
                normalized,
                self.config.chip,
                self.out_sizes,
                noise.t_inference_s,
                std,
                generator=generator,
            )
        else:
            disturbed = noisy_weight(
                normalized,
                noise.type,
                std,
                w_max=self.config.mapping.omega,
                coefficients=noise.coefficients,
                resolution=noise.resolution,
                t_inference_s=noise.t_inference_s,
                generator=generator,
            )
        disturbed = drop_connect(disturbed, noise.drop_connect, generator=generator)
        if hold:
            self._held = disturbed
        return disturbed

    def redraw_noise_(self) -> None:
        """Forget the held training noise; the next forward pass draws anew."""
        self._held = None

    def forward(
        self, x: Tensor, weight: Tensor, product: Product, prepared: PreparedTile | None = None
    ) -> Tensor:
        """Return the digital output of this row of crossbars, without bias.

        Args:
            x: Inputs, ``(..., in_features)`` or ``(batch, channels, *space)``.
            weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
            product: How inputs meet weights.
            prepared: Weights of this pass when they serve several products, as in a recurrent
                layer; made here if ``None``.

        Returns:
            Outputs in digital units.
        """
        chip = None if self.training else self.chip
        generator = None if chip is None else chip.generator
        x, constant = self.centred(x, weight, product)
        if self.training and self.initializing and self.splitting is not None:
            self.splitting.note_(x, product)
        if prepared is None:
            prepared = self.prepare(weight, integers=isinstance(product, LinearProduct))
        input_range: Tensor = self.input_range
        if self.training and self.initializing:
            rows = weight if self.splitting is None else self.splitting.split_weights(weight)
            self.initialize_range_(self.on_rows(x, product), rows, product)
            # A copy, since a layer that runs twice changes the range between its backward passes.
            input_range = self.input_range.clone()
        if (splitting := self._splitting()) is not None:
            x, weight = splitting.facing(prepared.weights.weight, x, weight, product)
        y = analog_mvm(
            x, weight, input_range, self.out_scale, prepared, product, generator=generator
        )
        return y if constant is None else added(y, constant.to(y.dtype))

    def centred(self, x: Tensor, weight: Tensor, product: Product) -> tuple[Tensor, Tensor | None]:
        """Return the inputs of the DAC, and what is added digitally; see :class:`.Centring`."""
        if self.centring is None:
            return x, None
        x, constant = self.centring(x, weight, product)
        return x, constant * product.per_output(self.out_scale)

    def on_rows(self, x: Tensor, product: Product) -> Tensor:
        """Return what the DACs of all rows take; see :class:`.OutlierSplitting`."""
        splitting = self._splitting()
        return x if splitting is None else splitting.split_inputs(x, product)

    def _splitting(self) -> OutlierSplitting | None:
        """Return which inputs have several rows: a chip keeps its own."""
        return self.splitting if self.chip is None or self.training else self.chip.splitting

    @torch.no_grad()
    def initialize_range_(self, x: Tensor, weight: Tensor, product: Product) -> None:
        """Set the input range from one more batch of inputs, while it has not seen enough.

        Args:
            x: Inputs of this tile, as of :meth:`forward`.
            weight: Its logical weights.
            product: How inputs meet weights.
        """
        new, batches = next_input_range(self, x, weight, product, self.range_batches)
        active = self.range_batches < self.config.input_range.init_batches
        self.input_range.copy_(torch.where(active, new, self.input_range))
        self.range_batches.copy_(torch.where(active, batches, self.range_batches))
        if not torch.compiler.is_compiling():
            self.check_initialization_()

    def check_initialization_(self) -> None:
        """Switch the initialisation of the range off when it has seen enough batches."""
        if self.initializing:
            self.initializing = int(self.range_batches) < self.config.input_range.init_batches

    @torch.no_grad()
    def clip_(self, weight: Tensor) -> None:
        """Clip logical weights in place as configured.

        Args:
            weight: Logical weights of this tile, ``(out, in / groups, *kernel)``.
        """
        clip = self.config.clip
        if clip.type is None:
            return
        scale = mapping_scale(weight, self.config.mapping, self.out_sizes)
        scale = scale.view(-1, *(1,) * (weight.dim() - 1))
        normalized = weight / scale
        if clip.type == "gaussian":
            bound: Tensor | float = gaussian_clip_bound(normalized, clip.sigma, clip.value)
        elif clip.type == "channel_max":
            bound = channel_max_clip_bound(normalized, clip.value)
        else:
            bound = clip.value or 1.0
        clipped = clip_weights(normalized, bound)
        # Weights within the bound stay as they are, without the rounding of w / s * s.
        weight.copy_(torch.where(clipped == normalized, weight, clipped * scale))

    def program_(self, weight: Tensor, generator: torch.Generator) -> None:
        """Programme the crossbars with the present weights; these themselves stay untouched.

        Args:
            weight: Logical weights, ``(out, in / groups, *kernel)``, in digital units.
            generator: Random numbers on the CPU, so that a chip is the same on every device.
        """
        self.chip = ProgrammedTile(
            weight, self.periphery, self.config, self.out_sizes, generator, self.splitting
        )

    def extra_repr(self) -> str:
        """Return the sizes of the crossbars."""
        return f"out_sizes={self.out_sizes}"
