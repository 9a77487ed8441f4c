"""One tile run with fused kernels and through the readable chain, on the CPU or on a GPU."""

import pytest
import torch
from torch import Tensor

from aimc_lightning.functional import kernels, mvm
from aimc_lightning.functional.crossbar import CrossbarWeights, Periphery, crossbar_weights
from aimc_lightning.functional.integer_weights import IntegerWeights
from aimc_lightning.functional.product import ConvProduct, LinearProduct

STANDARD = Periphery(
    dac_steps=254, adc_steps=254, out_bound=4.0, ir_drop_scale=1.0, ir_drop_g_ratio=4000.0,
    read_noise_std=0.0175, output_noise_std=0.04, decay=0.01, min_percentage=0.5,
)  # fmt: skip
PRODUCTS = {
    "linear": ((33, 20), (7, 20), LinearProduct()),
    "one row": ((1, 20), (7, 20), LinearProduct()),
    "single vector": ((20,), (7, 20), LinearProduct()),
    "more axes": ((3, 5, 20), (7, 20), LinearProduct()),
    "conv": ((3, 4, 9, 8), (7, 4, 3, 3), ConvProduct((1, 1), (1, 1), (1, 1), 1)),
    "1x1": ((3, 4, 9, 8), (7, 4, 1, 1), ConvProduct((1, 1), (0, 0), (1, 1), 1)),
    "1x1, stride": ((3, 4, 9, 8), (7, 4, 1, 1), ConvProduct((2, 2), (0, 0), (1, 1), 1)),
    "stride, dilation": ((3, 4, 9, 8), (7, 4, 3, 2), ConvProduct((2, 1), (2, 1), (1, 2), 1)),
    "groups": ((3, 4, 9, 8), (6, 2, 3, 3), ConvProduct((1, 1), (0, 1), (1, 1), 2)),
    "depthwise": ((3, 4, 9, 8), (4, 1, 3, 3), ConvProduct((1, 1), (1, 1), (1, 1), 4)),
    "1d": ((3, 4, 30), (7, 4, 5), ConvProduct((2,), (1,), (1,), 1)),
    "3d": ((2, 3, 5, 4, 6), (5, 3, 2, 2, 3), ConvProduct((1, 1, 1), (1, 0, 1), (1, 1, 1), 1)),
}  # fmt: skip
every_product = pytest.mark.parametrize("name", PRODUCTS)


class Twins:
    """One tile, run with and without the kernels.

    ``device`` is where the kernels run: ``gpu`` is CUDA, or the CPU under Triton's interpreter.
    The readable chain runs on the CPU. ``integers``: the kernels multiply 8-bit integers.
    """

    def __init__(
        self,
        name: str,
        p: Periphery,
        *,
        c: float = 1.5,
        quiet: bool = True,
        device: str = "cpu",
        integers: bool = False,
    ) -> None:
        self.on_gpu = device == "gpu"
        self.device = "cuda" if self.on_gpu and torch.cuda.is_available() else "cpu"
        shape, weight_shape, self.product = PRODUCTS[name]
        generator = torch.Generator().manual_seed(0)
        self.x, weight = (torch.randn(size, generator=generator) for size in (shape, weight_shape))
        self.s = weight.abs().flatten(1).amax(1)
        self.weight = weight
        normalized = weight / self.s.view(-1, *(1,) * (weight.dim() - 1))
        self.weights = crossbar_weights(normalized, p)  # bfloat16 corrections as under noise
        if integers:
            integers = kernels.derived_weights(normalized, p).integers
            assert integers is not None
            self.weights = dequantized(integers, self.weights.in_features)
        self.p = p._replace(output_noise_std=0.0, read_noise_std=0.0) if quiet else p
        if quiet:
            self.weights = self.weights._replace(squares=None)
        self.gamma = torch.rand(weight_shape[0], generator=generator) + 0.5
        self.c = torch.tensor(c)

    def leaves(self, x: Tensor | None = None) -> list[Tensor]:
        """Return fresh inputs, weight, range and output scale."""
        x = self.x if x is None else x
        return [t.clone().requires_grad_() for t in (x, self.weight, self.c, self.gamma)]

    def forward(self, fused: bool, leaves: list[Tensor], seed: int = 0) -> Tensor:
        """Return the output on the CPU, from kernels or from the chain."""
        device = self.device if fused else "cpu"
        weights = self.weights
        if weights.integers is not None:
            kept = CrossbarWeights(weights.weight, weights.in_features, integers=weights.integers)
            weights = kept if fused else weights._replace(integers=None)
        weights = weights._replace(
            **{
                key: value.to(device)
                for key, value in weights._asdict().items()
                if isinstance(value, Tensor)
            }
        )
        if self.weights.squares is self.weights.magnitude and weights.magnitude is not None:
            weights = weights._replace(squares=weights.magnitude)
        leaves = [t.to(device) for t in leaves]
        generator = torch.Generator(device).manual_seed(seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "HAS_CPU_KERNELS", fused and not self.on_gpu)
            patch.setattr(kernels, "HAS_GPU_KERNELS", fused and self.on_gpu)
            if fused:
                serves = kernels.can_fuse_on_gpu if self.on_gpu else kernels.can_fuse
                assert serves(leaves[0], weights, self.p, self.product)
            return mvm.analog_mvm(
                *leaves, mvm.PreparedTile(weights, self.s.to(device), self.p), self.product,
                generator=generator,
            ).cpu()  # fmt: skip

    def run(self, fused: bool, x: Tensor | None = None, seed: int = 0) -> list[Tensor]:
        """Return output and gradients of inputs, weight, range and output scale."""
        leaves = self.leaves(x)
        y = self.forward(fused, leaves, seed)
        return [y.detach(), *torch.autograd.grad(y, leaves, output_gradient(y))]


def dequantized(integers: IntegerWeights, in_features: int) -> CrossbarWeights:
    """Return integers together with what they stand for, in float32."""
    unit = integers.unit[:, None]
    magnitude = None if integers.magnitude is None else integers.magnitude * unit
    positioned = None if integers.positioned is None else integers.positioned * unit
    weight = (integers.high + integers.low / 256) * unit
    return CrossbarWeights(weight, in_features, magnitude, positioned, magnitude, integers=integers)


def output_gradient(y: Tensor) -> Tensor:
    """Return the gradient that comes in, the same in each run."""
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1))


def agree(ours: list[Tensor], expected: list[Tensor], step: Tensor) -> None:
    """Allow one in 200 outputs to differ by one converter step, and what follows from it."""
    y, y_expected = ours[0], expected[0]
    off = (y - y_expected).abs()
    assert (off > 1e-4).float().mean() < 0.005
    assert off.max() <= 1.01 * step.max()
    for gradient, other in zip(ours[1:], expected[1:], strict=True):
        scale = other.abs().max().clamp(min=1e-3)
        assert gradient.shape == other.shape
        assert ((gradient - other).norm() / other.norm().clamp(min=1e-3) < 0.02) or (
            (gradient - other).abs().max() < 0.02 * scale
        )


def check_frozen(twins: Twins, frozen: int, *, rtol: float, atol: float) -> None:
    """Require that a tensor that needs no gradient gets none, and the others theirs."""
    whole, part = twins.leaves(), twins.leaves()
    part[frozen].requires_grad_(False)
    for leaves in (whole, part):
        y = twins.forward(True, leaves)
        y.backward(output_gradient(y))
    for index, (ours, other) in enumerate(zip(part, whole, strict=True)):
        if index == frozen:
            assert ours.grad is None
        else:  # without the gradient of the inputs, that of the range is added up otherwise
            torch.testing.assert_close(ours.grad, other.grad, rtol=rtol, atol=atol)


def check_output_noise(device: str) -> None:
    """Require that output noise is normal and independent between outputs and between rows.

    1e5 draws; standard errors: mean 1/sqrt(N), variance sqrt(2/N), third sqrt(15/N), fourth moment
    sqrt(96/N).
    """
    n = 100_000
    p = Periphery(dac_steps=254, adc_steps=65534, out_bound=10.0, output_noise_std=0.04)
    weight, one = torch.zeros(4, 3, device=device), torch.ones(4, device=device)
    y = mvm.analog_mvm(
        torch.zeros(n // 4, 3, device=device), weight, one[0], one,
        mvm.PreparedTile(crossbar_weights(weight, p), one, p), LinearProduct(),
        generator=torch.Generator(device).manual_seed(0),
    ).cpu()  # fmt: skip
    z = y.double().flatten() / 0.04
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float(z.pow(power).mean()) - moment) < 5 * (variance / n) ** 0.5
    assert abs(float((y[:, 0] * y[:, 1]).double().mean())) / 0.04**2 < 5 / (n / 4) ** 0.5
    assert abs(float((y[1:] * y[:-1]).double().mean())) / 0.04**2 < 5 / n**0.5
