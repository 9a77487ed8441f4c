"""One Triton kernel for all products of all tiles of a linear layer and their ADC: is it faster?

The library multiplies with torch and runs a kernel before and one behind each product. Here one
kernel takes the DAC codes of a layer as 8-bit integers and returns its outputs: the product with
the weights in bfloat16, the three of IR drop and read noise in 8-bit integers (twice the speed, one
unit for each output), noise and ADC behind each tile, partial sums in registers. Not part of the
library until a GPU has shown that it is faster:

    python benchmarks/one_kernel.py time       on a GPU, shapes of BERT-base
    python benchmarks/one_kernel.py check      errors; with TRITON_INTERPRET=1 without a GPU
    python benchmarks/one_kernel.py compile    registers and instructions, without a GPU
"""

import argparse
import json
import subprocess
import tempfile
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from aimc_lightning import get_preset
from aimc_lightning.functional.crossbar import crossbar_codes, crossbar_weights
from aimc_lightning.functional.gpu_kernels import _clip, _four_normals, _round
from aimc_lightning.functional.ir_drop import position_weights
from aimc_lightning.functional.product import LinearProduct
from aimc_lightning.tiles.periphery import build_periphery

SHAPES = ((16384, 768, 768), (16384, 768, 3072), (16384, 3072, 768))  # vectors, inputs, outputs
BLOCKS = ((128, 64, 64, 8), (128, 64, 128, 8), (64, 64, 64, 4), (128, 32, 128, 4))
SQUARE_STEP = 127


@triton.jit
def layer_product(
    codes, weight, magnitude, positioned, unit, position_unit, scale, y, seed,
    step, current_factor, ir_drop_scale, read_variance, output_variance, levels, code_limit,
    rows, outputs, inputs,
    TILES: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr,
    NOISY: tl.constexpr,
):  # fmt: skip
    """Write the outputs of a layer, ``(rows, outputs)``.

    Codes ``(rows, TILES * inputs)``; weights, also as magnitudes and position-weighted,
    ``(outputs, TILES * inputs)``; units and scales ``(TILES, outputs)``. A scale is what one ADC
    code is worth in digital units.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    there = output < outputs
    width = TILES * inputs
    total = tl.zeros((ROWS, OUTPUTS), tl.float32)
    for tile in range(TILES):
        z = tl.zeros((ROWS, OUTPUTS), tl.float32)
        current = tl.zeros((ROWS, OUTPUTS), tl.int32)
        weighted = tl.zeros((ROWS, OUTPUTS), tl.int32)
        squares = tl.zeros((ROWS, OUTPUTS), tl.int32)
        for first in range(0, inputs, INPUTS):
            k = first + tl.arange(0, INPUTS)
            at = tile * inputs + k
            inside = (row < rows)[:, None] & (k < inputs)[None, :]
            x = tl.load(codes + row[:, None] * width + at[None, :], mask=inside, other=0)
            from_w = output[None, :] * width + at[:, None]
            present = there[None, :] & (k < inputs)[:, None]
            w = tl.load(weight + from_w, mask=present, other=0.0)
            absolute = tl.load(magnitude + from_w, mask=present, other=0)
            far = tl.load(positioned + from_w, mask=present, other=0)
            z = tl.dot(x.to(weight.dtype.element_ty), w, z)
            weighted = tl.dot(x, far, weighted)
            wide = x.to(tl.int16)
            size = tl.where(wide < 0, -wide, wide)
            current = tl.dot(size.to(tl.int8), absolute, current)
            # size**2 / 127, rounded: 258 / 2**15 is 1 / 127 to 2e-5.
            square = ((size.to(tl.int32) * size * 258 + 16384) >> 15).to(tl.int8)
            squares = tl.dot(square, absolute, squares)
        place = tile * outputs + output
        size_unit = tl.load(unit + place, mask=there, other=0.0)[None, :]
        far_unit = tl.load(position_unit + place, mask=there, other=0.0)[None, :]
        value = z * step
        a = current.to(tl.float32) * (size_unit * current_factor)
        coefficient = ((a * 0.05 - 0.2) * a + 0.5) * a
        value -= ir_drop_scale * coefficient * (weighted.to(tl.float32) * far_unit)
        if NOISY:
            spread = squares.to(tl.float32) * (size_unit * 127.0 * read_variance) + output_variance
            quad = (
                tl.arange(0, ROWS)[:, None] * (OUTPUTS // 4) + tl.arange(0, OUTPUTS // 4)[None, :]
            )
            block = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * TILES + tile
            p, q, r, s = _four_normals(seed, block * (ROWS * OUTPUTS // 4) + quad)
            four = tl.join(tl.join(p, q), tl.join(r, s))
            # Which output gets which number does not matter.
            value += tl.sqrt(spread) * tl.reshape(four, (ROWS, OUTPUTS), can_reorder=True)
        value = _clip(_round(value * levels), code_limit)
        total += value * tl.load(scale + place, mask=there, other=0.0)[None, :]
    inside = (row < rows)[:, None] & there[None, :]
    where = row[:, None] * outputs + output[None, :]
    tl.store(y + where, total.to(y.dtype.element_ty), mask=inside)


class Layer:
    """Weights of a layer as the kernel takes them, and the numbers of its signal chain."""

    def __init__(self, weight: Tensor, tiles: int) -> None:
        """Map weights ``(out, in)`` on tiles of equal width."""
        self.periphery = build_periphery(get_preset("standard_pcm"))
        self.parts = [part / part.abs().amax(1, keepdim=True) for part in weight.chunk(tiles, 1)]
        width = self.parts[0].shape[1]
        position = position_weights(width, dtype=torch.float32, device=weight.device)
        far = [part * position for part in self.parts]
        # Triton's interpreter knows no products of bfloat16.
        half = torch.bfloat16 if weight.is_cuda else torch.float32
        self.weight = torch.cat(self.parts, 1).to(half)
        self.magnitude, self.unit = _integers([part.abs() for part in self.parts])
        self.positioned, self.position_unit = _integers(far)
        self.scale = torch.full_like(self.unit, self.periphery.adc_step)
        self.tiles, self.width = tiles, width

    def arguments(self, codes: Tensor, y: Tensor, seed: Tensor) -> list[Any]:
        """Return what the kernel is called with, blocks excepted."""
        p = self.periphery
        step = 2 / (p.dac_steps or 1)
        return [
            codes, self.weight, self.magnitude, self.positioned, self.unit, self.position_unit,
            self.scale, y, seed, step, self.width * step / p.ir_drop_g_ratio,
            p.ir_drop_scale * step, (p.read_noise_std * step) ** 2, p.output_noise_std**2,
            1 / p.adc_step, p.code_limit or 0.0, len(codes), y.shape[1], self.width,
        ]  # fmt: skip

    def run(
        self, codes: Tensor, blocks: tuple[int, int, int, int], *, noisy: bool = True
    ) -> Tensor:
        """Return the outputs for DAC codes, int8, ``(rows, in)``."""
        y = torch.empty(len(codes), len(self.weight), dtype=self.weight.dtype, device=codes.device)
        seed = torch.randint(0, 2**63 - 1, (1,), device=codes.device)
        rows, outputs, inputs, warps = blocks
        grid = triton.cdiv(len(codes), rows), triton.cdiv(y.shape[1], outputs)
        layer_product[grid](
            *self.arguments(codes, y, seed), self.tiles, rows, outputs, inputs, noisy,
            num_warps=warps, num_stages=3,
        )  # fmt: skip
        return y

    def reference(self, codes: Tensor, *, noisy: bool = True) -> Tensor:
        """Return the same by the library's readable chain, in float32."""
        p = self.periphery
        if not noisy:
            p = p._replace(output_noise_std=0.0, read_noise_std=0.0)
        total = torch.zeros(len(codes), len(self.weight), device=codes.device)
        step = 2 / (p.dac_steps or 1)
        for part, x in zip(self.parts, codes.chunk(self.tiles, 1), strict=True):
            weights = crossbar_weights(part, p)
            total += crossbar_codes(x.float() * step, weights, p, LinearProduct()) * p.adc_step
        return total


def _integers(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    units = [part.abs().amax(1).clamp(min=1e-30) / 127 for part in parts]
    codes = [(p / u[:, None]).round().to(torch.int8) for p, u in zip(parts, units, strict=True)]
    return torch.cat(codes, 1), torch.stack(units)


def check(device: torch.device) -> dict[str, float]:
    """Compare the kernel with the readable chain.

    Returns:
        ``quiet``: root mean square difference without noise, in units of one tile's output noise;
        ``noise``: standard deviation of the noise over that of the chain's.
    """
    torch.manual_seed(0)
    rows, inputs, outputs = 256, 128, 96
    layer = Layer(torch.randn(outputs, inputs, device=device), tiles=2)
    codes = torch.randint(-127, 128, (rows, inputs), dtype=torch.int8, device=device)
    blocks = (64, 32, 32, 4)
    quiet = layer.run(codes, blocks, noisy=False).float() - layer.reference(codes, noisy=False)
    still = layer.reference(codes, noisy=False)
    noise = (layer.run(codes, blocks).float() - still).std()
    noise_of_chain = (layer.reference(codes) - still).std()
    return {
        "quiet": (quiet.square().mean().sqrt() / layer.periphery.output_noise_std).item(),
        "noise": (noise / noise_of_chain).item(),
    }


def compiled(blocks: tuple[int, int, int, int], tiles: int) -> str:
    """Compile for an H100, which needs none, and return what the compiler made of the kernel."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = ["*i8", "*bf16", "*i8", "*i8", "*fp32", "*fp32", "*fp32", "*bf16", "*i64"]
    types += ["fp32"] * 7 + ["i32"] * 3
    signature = dict(zip(layer_product.arg_names, types + ["constexpr"] * 5, strict=True))
    rows, outputs, inputs, warps = blocks
    constants = {
        "TILES": tiles, "ROWS": rows, "OUTPUTS": outputs, "INPUTS": inputs, "NOISY": True
    }  # fmt: skip
    aligned = [index for index in range(19) if index < 9 or index > 15]  # as the runtime finds them
    source = ASTSource(
        layer_product, signature, {(layer_product.arg_names.index(k),): v
                                   for k, v in constants.items()},
        {(index,): [["tt.divisibility", 16]] for index in aligned},
    )  # fmt: skip
    options = {"num_warps": warps, "num_stages": 3}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    ptx = made.asm["ptx"]
    products = {
        kind: sum(kind in line for line in ptx.splitlines() if "mma" in line)
        for kind in (".f32.bf16.bf16", ".s32.s8.s8")
    }
    return f"{blocks}: products in a step {products}, {_resources(made.asm['cubin'])}"


def _resources(binary: bytes) -> str:
    """Return registers, stack (of registers that are spilled) and shared memory of a kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        command = [tool, "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.splitlines()[-1].strip()


def time_us(function: Any) -> float:
    """Return microseconds of one call on the GPU."""
    return 1e3 * triton.testing.do_bench(function, rep=300, return_mode="median")


def measure() -> None:
    """Print times of the plain product and of the kernel, for each shape and block."""
    device = torch.device("cuda")
    print(torch.cuda.get_device_name(), check(device))
    for rows, inputs, outputs in SHAPES:
        weight = torch.randn(outputs, inputs, device=device)
        layer = Layer(weight, tiles=-(-inputs // 512))
        codes = torch.randint(-127, 128, (rows, inputs), dtype=torch.int8, device=device)
        x, half = codes.bfloat16(), weight.bfloat16()
        plain = time_us(lambda x=x, half=half: torch.nn.functional.linear(x, half))
        print(f"{rows} x {inputs} -> {outputs}: plain bfloat16 {plain:.0f} us")
        for blocks in BLOCKS:
            found = time_us(lambda a=layer, c=codes, b=blocks: a.run(c, b))
            print(f"  blocks {blocks}: {found:.0f} us, {found / plain:.2f} x plain")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("time", "check", "compile"))
    what = parser.parse_args().what
    if what == "time":
        measure()
    elif what == "check":
        print(json.dumps(check(torch.device("cuda" if torch.cuda.is_available() else "cpu"))))
    else:
        for chosen in BLOCKS:
            print(compiled(chosen, tiles=2))
