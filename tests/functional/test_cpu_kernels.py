"""The CPU kernels alone: random numbers, rounding, memory layouts, threads and forked processes."""

import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from aimc_lightning.functional import cpu_jit, crossbar, kernels, mvm
from aimc_lightning.functional.cpu_blocks import Blocks, blocks_of
from aimc_lightning.functional.cpu_jit import SERIAL_ELEMENTS, run_in_threads
from aimc_lightning.functional.cpu_kernels import (
    InputArrays,
    InputNumbers,
    convert_inputs,
    output_normals,
)
from aimc_lightning.functional.cpu_layout import border, dense, flat_array
from aimc_lightning.functional.crossbar import Periphery, crossbar_weights
from aimc_lightning.functional.product import ConvProduct, LinearProduct, Product

STANDARD = Periphery(
    dac_steps=254, adc_steps=254, out_bound=10.0, ir_drop_scale=1.0, ir_drop_g_ratio=571428.57,
    read_noise_std=0.0175, output_noise_std=0.04, decay=0.01, min_percentage=0.5,
)  # fmt: skip
CONV = ConvProduct((1, 1), (1, 1), (1, 1), 1)


@pytest.fixture(scope="module")
def normals() -> np.ndarray:
    """Return 2**24 numbers, ``(blocks, four quarters, counters)``."""
    blocks = blocks_of(1 << 13, 1 << 11, 1, 1 << 11)
    out = np.empty(blocks.elements, np.float32)
    output_normals(blocks, blocks.number, 12345, 678, out)
    return out.reshape(1 << 13, 4, 1 << 9).astype(np.float64)


@pytest.fixture
def threads():
    """Restore the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Normal moments of order 2, 4, 6 and 8 are 1, 3, 15 and 105; the variance of z**k is
# m(2k) - m(k)**2. All bounds are five standard errors.


@pytest.mark.parametrize(
    ("power", "moment", "variance"),
    [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)],
)
def test_moments_are_normal(normals, power, moment, variance):
    error = (variance / normals.size) ** 0.5
    assert abs(float((normals**power).mean()) - moment) < 5 * error


@pytest.mark.parametrize(
    ("bound", "probability"),
    [(1, 0.317310507863), (2, 4.55002638964e-2), (3, 2.69979606326e-3), (4, 6.33424836662e-5),
     (5, 5.73303143758e-7)],
)  # fmt: skip
def test_tails_are_normal(normals, bound, probability):
    expected = normals.size * probability
    for side in (normals, -normals):
        count = int((side > bound).sum())
        assert abs(count - expected / 2) < 5 * (expected / 2) ** 0.5 + 1
    assert np.abs(normals).max() < 6.8  # sqrt(2 ln 2**33): the smallest uniform number


def test_distribution_is_normal_in_each_of_256_classes(normals):
    # Chi-square with 255 degrees of freedom: mean 255, variance 510.
    uniform = torch.special.ndtr(torch.from_numpy(normals)).numpy()
    counts, _ = np.histogram(uniform, bins=256, range=(0, 1))
    expected = normals.size / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 255) < 5 * 510**0.5


@pytest.mark.parametrize("transform", [lambda z: z, lambda z: z**2 - 1], ids=["values", "squares"])
def test_neighbours_and_pairs_are_independent(normals, transform):
    # Pairs of Box-Muller share a radius and stand in quarters 0 and 1, or 2 and 3.
    z = transform(normals)
    pairs = {
        "cosine and sine": (z[:, 0], z[:, 1]),
        "second pair": (z[:, 2], z[:, 3]),
        "words of a counter": (z[:, 0], z[:, 2]),
        "counters": (z[..., 1:], z[..., :-1]),
        "blocks": (z[1:], z[:-1]),
    }
    for name, (a, b) in pairs.items():
        error = float(z.var()) / a.size**0.5
        assert abs(float((a * b).mean())) < 5 * error, name


def _drawn(k0: int, k1: int = 0, blocks: Blocks | None = None) -> np.ndarray:
    blocks = blocks_of(512, 2048, 1, 2048) if blocks is None else blocks
    out = np.empty(blocks.elements, np.float32)
    output_normals(blocks, blocks.number, k0, k1, out)
    return out


@pytest.mark.parametrize("other", [(2, 0), (1, 1), (0, 1)])
def test_keys_give_independent_numbers(other):
    a, b = _drawn(1), _drawn(*other)
    assert abs(float((a * b).mean(dtype=np.float64))) < 5 / a.size**0.5


def test_philox_words_are_the_published_ones():
    # Known answers of Random123, "philox4x32 10", counter 0 and key 0: the first word gives the
    # radius, the second the direction; 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
    one = _drawn(0, 0, Blocks(1, 64, 1, 64, 1)).astype(np.float64)
    words = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    radii = [(-2 * np.log((word + 0.5) / 2**32)) ** 0.5 for word in words[::2]]
    found = np.hypot(one[[0, 32]], one[[16, 48]])
    np.testing.assert_allclose(found, radii, rtol=1e-6)
    angle = (np.int32(np.uint32(words[1] << 2 & 0xFFFFFFFF)) / 2**31) * np.pi / 4
    assert sorted(np.abs(one[[0, 16]])) == pytest.approx(
        sorted(np.abs([np.cos(angle) * radii[0], np.sin(angle) * radii[0]])), rel=1e-6
    )


def _inputs(x: Tensor, product: Product, steps: int, inverse: float) -> InputArrays:
    place, blocks, _ = border(x, product)
    size = blocks.elements
    arrays = InputArrays(
        np.empty(size, np.float32), np.empty(size, np.int16),
        *(np.empty(size, np.uint16) for _ in range(3)),
    )  # fmt: skip
    numbers = InputNumbers(inverse, steps / 2)
    convert_inputs(flat_array(place), blocks, numbers, arrays, 0, blocks.number)
    return arrays


@pytest.mark.parametrize("steps", [30, 254, 2046, 65534])
def test_codes_and_their_bfloat16_forms_are_those_of_torch(steps):
    x = torch.randn(300, 70, generator=torch.Generator().manual_seed(0)) * 0.6
    arrays = _inputs(x, LinearProduct(), steps, 1.25)
    codes = (x * 1.25).clamp(-1, 1).mul(steps / 2).round()
    assert torch.equal(torch.from_numpy(arrays.codes).view_as(x), codes)
    assert torch.equal(torch.from_numpy(arrays.saved).view_as(x).float(), codes)
    coarse = codes.bfloat16()
    for array, expected in (
        (arrays.coarse, coarse), (arrays.magnitude, coarse.abs()),
        (arrays.squares, coarse.square()),
    ):  # fmt: skip
        found = torch.from_numpy(array).view(torch.bfloat16)
        assert torch.equal(found.view_as(x).float(), expected.float())


@pytest.mark.parametrize("shape", [(3, 5, 2, 3), (2, 16, 33, 31), (1, 40, 7, 9), (4, 300, 1, 1)])
def test_planes_become_rows(shape):
    x = torch.randint(-127, 128, shape).float()
    for image in (x, x.contiguous(memory_format=torch.channels_last), x[:, ::2], x[:, 1:3]):
        rows = image.movedim(1, -1).flatten()
        found = _inputs(image, CONV, 254, 1 / 127).codes
        np.testing.assert_array_equal(found, rows.numpy())


class SameNumbers:
    """Gives the readable chain the random numbers that the kernels draw."""

    def __init__(self, product: Product, in_rows: bool) -> None:
        self.product, self.in_rows = product, in_rows

    def __call__(self, z: Tensor, *, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(0, 2**63 - 1, (), generator=generator))
        _, place = dense(z.shape, self.product, in_rows=self.in_rows)
        numbers = torch.from_numpy(_drawn(seed & 0xFFFFFFFF, seed >> 32, place.blocks))
        if isinstance(self.product, LinearProduct):
            return numbers.view(z.shape)
        return numbers.view(z.shape[0], *z.shape[2:], z.shape[1]).movedim(-1, 1)


def _chain(x: Tensor, weight: Tensor, product: Product, p: Periphery, fused: bool) -> list[Tensor]:
    """Return output and gradients of inputs, weight, range and output scale."""
    outputs = weight.shape[0]
    s = torch.linspace(1, 2, outputs)
    leaves = [x, weight, torch.tensor(1.5), torch.linspace(0.5, 1.5, outputs)]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "HAS_CPU_KERNELS", fused)
        numbers = SameNumbers(product, border(x, product).in_rows)
        patch.setattr(crossbar, "standard_normal_like", numbers)
        y = mvm.analog_mvm(
            *leaves, mvm.PreparedTile(crossbar_weights(weight, p), s, p), product,
            generator=torch.Generator().manual_seed(3),
        )  # fmt: skip
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


def _case(name: str) -> tuple[Tensor, Tensor, Product]:
    generator = torch.Generator().manual_seed(0)
    if name == "linear":
        x, weight = (torch.randn(s, generator=generator) for s in ((130, 300), (40, 300)))
        return x, weight * 0.3, LinearProduct()
    x, weight = (torch.randn(s, generator=generator) for s in ((4, 20, 13, 11), (24, 20, 3, 3)))
    x = x.contiguous(memory_format=torch.channels_last) if name == "channels last" else x
    return x, weight * 0.3, CONV


@pytest.mark.parametrize("name", ["linear", "planes", "channels last"])
@pytest.mark.parametrize("effects", [
    {}, {"ir_drop_scale": 0.0}, {"read_noise_std": 0.0}, {"read_noise_type": "constant"},
    {"ir_drop_scale": 0.0, "read_noise_std": 0.0}, {"dac_steps": 1022, "adc_steps": 510},
    {"out_bound": 1.0}, {"output_noise_factor": torch.linspace(-1, 2, 40)},
], ids=str)  # fmt: skip
def test_kernels_equal_the_chain_for_the_same_random_numbers(name, effects):
    x, weight, product = _case(name)
    p = STANDARD._replace(**effects)
    if p.output_noise_factor is not None:
        p = p._replace(output_noise_factor=p.output_noise_factor[: len(weight)])
    ours, expected = (_chain(x, weight, product, p, fused) for fused in (True, False))
    # A product may differ in its last bit, and an output that lies on a tie by one step: 0.1 % of
    # the elements may, as in the golden families.
    off = (ours[0] - expected[0]).abs() > 1e-5
    assert float(off.float().mean()) <= 1e-3
    if not off.any():
        for gradient, other in zip(ours[1:], expected[1:], strict=True):
            scale = float(other.abs().max())
            torch.testing.assert_close(gradient, other, rtol=0, atol=1e-5 * scale)
    assert ours[0].stride() == expected[0].stride()


def test_nan_stays_nan():
    x, weight, product = _case("linear")
    x[5, 7] = float("nan")
    y = _chain(x, weight, product, STANDARD, True)[0]
    assert bool(y[5].isnan().all())
    assert not bool(y[6].isnan().any())


def test_results_have_float32_whatever_the_default_is():
    x, weight, product = _case("planes")
    expected = _chain(x, weight, product, STANDARD, True)
    gamma, s = torch.linspace(0.5, 1.5, 24), torch.linspace(1, 2, 24)
    torch.set_default_dtype(torch.float64)
    try:
        leaves = [x, weight, torch.tensor(1.5, dtype=torch.float32), gamma]
        y = mvm.analog_mvm(
            *leaves, mvm.PreparedTile(crossbar_weights(weight, STANDARD), s, STANDARD), product,
            generator=torch.Generator().manual_seed(3),
        )  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(y, expected[0])


def test_a_gradient_of_the_gradient_takes_the_readable_chain():
    x, weight, product = _case("linear")
    tile = mvm.PreparedTile(crossbar_weights(weight, STANDARD), torch.ones(40), STANDARD)
    second = []
    for fused in (True, False):
        leaf = x.clone().requires_grad_()
        logical = weight.clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "HAS_CPU_KERNELS", fused)
            patch.setattr(crossbar, "standard_normal_like", SameNumbers(product, True))
            y = mvm.analog_mvm(
                leaf, logical, torch.tensor(1.5), torch.ones(40), tile, product,
                generator=torch.Generator().manual_seed(3),
            )  # fmt: skip
        dy = torch.ones_like(y, requires_grad=True)
        (grad,) = torch.autograd.grad(y, leaf, dy, create_graph=True)
        second.append(torch.autograd.grad(grad.square().sum(), dy)[0])
    torch.testing.assert_close(*second)


def test_result_does_not_depend_on_the_number_of_threads(threads):
    x, weight, product = _case("planes")
    x = x.repeat(12, 1, 3, 3)
    assert x.numel() > 4 * SERIAL_ELEMENTS
    results = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        numbers = _drawn(1)
        results.append([*_inputs(x, CONV, 254, 0.7), numbers])
        y = _chain(x, weight, product, STANDARD, True)
        results[-1].append(y[0].numpy())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("openmp", [True, False])
def test_threads_cover_every_block_once(openmp, threads, monkeypatch):
    if not openmp:
        monkeypatch.setattr(cpu_jit, "_torch_team", lambda: None)
    torch.set_num_threads(3)
    seen, workers = [], set()
    for _ in range(20):
        pieces: list[int] = []

        def work(first: int, last: int, pieces: list[int] = pieces) -> None:
            workers.add(threading.get_ident())
            pieces.extend(range(first, last))

        run_in_threads(work, 50, SERIAL_ELEMENTS)
        seen.append(sorted(pieces))
    assert seen == [list(range(50))] * 20


@pytest.mark.parametrize("openmp", [True, False])
def test_an_error_in_a_thread_reaches_the_caller(openmp, threads, monkeypatch):
    if not openmp:
        monkeypatch.setattr(cpu_jit, "_torch_team", lambda: None)
    torch.set_num_threads(2)

    def work(first: int, last: int) -> None:
        raise ZeroDivisionError(f"{first} {last}")

    with pytest.raises(ZeroDivisionError):
        run_in_threads(work, 50, SERIAL_ELEMENTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kernels_work_in_a_forked_process(threads):
    torch.set_num_threads(2)
    x = torch.randn(400, 1000, generator=torch.Generator().manual_seed(0))
    expected = _inputs(x, LinearProduct(), 254, 0.7).codes
    counted: list[int] = []
    run_in_threads(lambda first, last: counted.append(last - first), 64, x.numel())
    child = os.fork()
    if child == 0:  # a data loader's worker, or a process of ddp_fork
        signal.alarm(120)  # a thread that never comes would hang it
        counted.clear()
        run_in_threads(lambda first, last: counted.append(last - first), 64, x.numel())
        same = np.array_equal(_inputs(x, LinearProduct(), 254, 0.7).codes, expected)
        os._exit(0 if same and sum(counted) == 64 else 1)
    assert os.waitpid(child, 0)[1] == 0
