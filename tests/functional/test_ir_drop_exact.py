"""Exact currents of a resistive crossbar, and the error of the fast approximation."""

import math

import numpy as np
import pytest
import torch

from aimc_lightning.functional.ir_drop import position_weights, subtract_ir_drop_
from aimc_lightning.functional.ir_drop_exact import compare_ir_drop, exact_crossbar_currents

OHM = 1e6  # conductance of one ohm in microsiemens
RNG = np.random.default_rng(0)


def _random(out: int, inputs: int) -> torch.Tensor:
    return torch.from_numpy(RNG.uniform(0, 25, (out, inputs)))


@pytest.mark.parametrize(("r_bitline", "r_wordline", "amperes"), [
    (0.0, 0.0, 1 / 2), (3.0, 0.0, 1 / 5), (0.0, 5.0, 1 / 7), (3.0, 5.0, 1 / 10),
])  # fmt: skip
def test_one_cell_is_three_resistors_in_series(r_bitline, r_wordline, amperes):
    cell, volt = torch.tensor([[OHM / 2]]), torch.tensor([1.0], dtype=torch.float64)
    current = exact_crossbar_currents(
        cell, volt, r_bitline_ohm=r_bitline, r_wordline_ohm=r_wordline
    )
    assert current.tolist() == pytest.approx([1e6 * amperes])


def test_two_inputs_on_one_column_agree_with_the_solution_by_hand():
    # All resistors 1 ohm; 3 b0 = V0 + b1 and 2 b1 = V1 + b0 give b0 = 0.4 V0 + 0.2 V1.
    cells = torch.full((1, 2), OHM)
    volts = torch.eye(2, dtype=torch.float64)
    currents = exact_crossbar_currents(cells, volts, r_bitline_ohm=1.0)
    np.testing.assert_allclose(currents.numpy(), [[0.4e6], [0.2e6]], rtol=1e-12)


def test_two_outputs_on_one_row_agree_with_the_solution_by_hand():
    # All resistors 1 ohm; V = 3 w0 - w1 and w0 = 2 w1 give w0 = 0.4 V, w1 = 0.2 V.
    cells, volts = torch.full((2, 1), OHM), torch.ones(1, dtype=torch.float64)
    currents = exact_crossbar_currents(cells, volts, r_bitline_ohm=0.0, r_wordline_ohm=1.0)
    np.testing.assert_allclose(currents.numpy(), [0.4e6, 0.2e6], rtol=1e-12)


def _by_kirchhoff(g: np.ndarray, v: np.ndarray, r_bit: float, r_word: float) -> np.ndarray:
    """Solve the node equations one by one in a dense matrix; unknowns: words, then bits."""
    out, inputs = g.shape
    a, b = np.zeros((2 * out * inputs,) * 2), np.zeros(2 * out * inputs)
    for i, j in np.ndindex(out, inputs):
        word, bit = i * inputs + j, out * inputs + i * inputs + j
        for node, other in ((word, bit), (bit, word)):
            a[node, node] += g[i, j]
            a[node, other] -= g[i, j]
        for node, before, r in (
            (word, word - inputs if i else None, r_word), (bit, bit - 1 if j else None, r_bit),
        ):  # fmt: skip
            a[node, node] += OHM / r
            if before is not None:
                a[before, before] += OHM / r
                a[node, before] -= OHM / r
                a[before, node] -= OHM / r
            elif node == word:
                b[node] += OHM / r * v[j]
    bits = np.linalg.solve(a, b)[out * inputs :].reshape(out, inputs)
    return bits[:, 0] * OHM / r_bit  # all current of a column passes its first segment


@pytest.mark.parametrize(("out", "inputs"), [(1, 5), (5, 1), (2, 2), (3, 7), (6, 4)])
def test_both_wires_agree_with_a_dense_solution(out, inputs):
    g, v = _random(out, inputs) * 100, RNG.uniform(-1, 1, inputs)
    ours = exact_crossbar_currents(
        g, torch.from_numpy(v), r_bitline_ohm=2.0, r_wordline_ohm=3.0
    ).numpy()
    np.testing.assert_allclose(ours, _by_kirchhoff(g.numpy(), v, 2.0, 3.0), rtol=1e-9)


def test_perfect_wires_give_the_ideal_product():
    g, v = _random(4, 9), torch.from_numpy(RNG.uniform(-1, 1, (3, 9)))
    currents = exact_crossbar_currents(g, v, r_bitline_ohm=0.0)
    torch.testing.assert_close(currents, v @ g.t())


@pytest.mark.parametrize("wires", [(0.35, 0.0), (0.0, 0.35)])
def test_thin_wires_approach_the_ideal_product(wires):
    g, v = _random(4, 9), torch.from_numpy(RNG.uniform(-1, 1, 9))
    small = exact_crossbar_currents(
        g, v, r_bitline_ohm=wires[0] * 1e-6, r_wordline_ohm=wires[1] * 1e-6
    )
    torch.testing.assert_close(small, g @ v, rtol=1e-7, atol=1e-9)


def test_currents_are_linear_in_the_voltages():
    g, v = _random(4, 30) * 100, torch.from_numpy(RNG.uniform(-1, 1, (2, 30)))
    first, second, both = exact_crossbar_currents(
        g, torch.stack([v[0], v[1], 2 * v[0] - 3 * v[1]]), r_wordline_ohm=0.35
    )
    torch.testing.assert_close(both, 2 * first - 3 * second)


def test_columns_are_independent_with_perfect_wordlines():
    g, v = _random(5, 30), torch.from_numpy(RNG.uniform(-1, 1, 30))
    together = exact_crossbar_currents(g, v)
    alone = torch.cat([exact_crossbar_currents(g[i : i + 1], v) for i in range(5)])
    torch.testing.assert_close(together, alone)


def test_input_farther_from_the_amplifier_loses_more():
    g = torch.full((1, 64), 25.0)
    currents = exact_crossbar_currents(g, torch.eye(64, dtype=torch.float64)).flatten()
    assert (currents.diff() < 0).all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_leading_axes_and_dtype_are_kept(shape):
    currents = exact_crossbar_currents(_random(4, 6), torch.ones(*shape, 6))
    assert currents.shape == (*shape, 4)
    assert currents.dtype == torch.float32


@pytest.mark.parametrize(("g", "v", "options", "message"), [
    (-torch.ones(2, 2), torch.ones(2), {}, "conductances_us must be finite and not negative"),
    (torch.full((2, 2), math.nan), torch.ones(2), {}, "finite and not negative"),
    (torch.ones(2), torch.ones(2), {}, r"must have a shape \(out, in\), got \(2,\)"),
    (torch.ones(2, 3), torch.ones(2), {}, "voltages_v has 2 inputs, but conductances_us has 3"),
    (torch.ones(2, 2), torch.ones(2), {"r_bitline_ohm": -1.0}, "r_bitline_ohm must be .* got -1.0"),
    (torch.ones(2, 2), torch.ones(2), {"r_wordline_ohm": math.inf}, "r_wordline_ohm must be finit"),
])  # fmt: skip
def test_impossible_arrays_are_refused(g, v, options, message):
    with pytest.raises(ValueError, match=message):
        exact_crossbar_currents(g, v, **options)


@pytest.mark.parametrize("n", [64, 256, 512])
def test_approximation_is_right_for_a_uniform_column_with_full_inputs(n):
    # 0.35 ohm and 5 uS: the drop at n = 512 is 12 %. Left over are the discrete sum (1 / n) and
    # the cubic polynomial in place of the exact solution.
    x = weight = torch.ones(1, n, dtype=torch.float64)
    exact = n - float(exact_crossbar_currents(5.0 * weight, x)) / 5.0
    position = position_weights(n, dtype=torch.float64, device=torch.device("cpu"))
    z = torch.full((1, 1), float(n), dtype=torch.float64)
    weighted = (weight * position).sum().view(1, 1)
    fast = n - float(subtract_ir_drop_(z.clone(), z.clone(), weighted, n, 1.0, 1e6 / 0.35 / 5.0))
    assert fast == pytest.approx(exact, rel=0.02 + 2 / n)


def test_comparison_repeats_with_the_same_generator():
    rows = [compare_ir_drop([8, 16], generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert rows[0] == rows[1]
    assert [row.in_features for row in rows[0]] == [8, 16]


def test_drop_grows_with_the_square_of_the_size():
    small, large = compare_ir_drop([64, 256], generator=torch.Generator().manual_seed(0))
    assert large.exact_drop / small.exact_drop == pytest.approx(16, rel=0.1)


def test_error_for_signed_weights_is_a_small_part_of_the_drop():
    for row in compare_ir_drop([128, 512], generator=torch.Generator().manual_seed(0)):
        assert row.error < 0.2 * row.exact_drop


def test_relative_drop_is_independent_of_the_amplitude_and_the_approximation_is_not():
    full, tenth = (
        compare_ir_drop([128], amplitude=amplitude, generator=torch.Generator().manual_seed(0))[0]
        for amplitude in (1.0, 0.1)
    )
    assert tenth.exact_drop == pytest.approx(full.exact_drop)
    assert tenth.approximate_drop == pytest.approx(0.1 * full.approximate_drop, rel=0.02)


def test_perfect_wires_have_no_drop():
    (row,) = compare_ir_drop([16], r_wire_ohm=0.0)
    assert max(row[1:]) < 1e-14


@pytest.mark.parametrize("n", [64, 256, 512])
def test_approximation_is_about_half_the_drop_with_one_sign_only(n):
    generator = torch.Generator().manual_seed(0)
    (row,) = compare_ir_drop([n], signed=False, generator=generator)
    assert row.approximate_drop / row.exact_drop == pytest.approx(0.5, abs=0.03)


def test_page_of_the_docs_shows_what_is_measured(root):
    # As in docs/tools/figures.py: the draws follow each other.
    sizes = (16, 32, 64, 128, 256, 512, 1024)
    page = (root / "docs" / "ir_drop.md").read_text()
    signed, one = (
        compare_ir_drop(sizes, signed=signed, generator=torch.Generator().manual_seed(0))
        for signed in (True, False)
    )
    for a, b in list(zip(signed, one, strict=True))[2:]:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {a.in_features} |")]
        shown = [float(part) / 100 for part in line.split("|")[2:-1]]
        assert shown == pytest.approx([*a[1:], *b[1:]], rel=0.1)
