"""Training step of the full model under ``torch.compile``, as a ratio to plain torch.

``python benchmarks/compiled.py`` prints one line for each network. Random numbers are torch's own,
since those of inductor are slow on a CPU.
"""

import copy

from allocator import restart_with_kept_memory

if __name__ == "__main__":
    restart_with_kept_memory()

import torch
from cases import CASES, Case, analog, training_step, variants
from measure import interleaved


def main() -> None:
    """Measure and print."""
    torch._inductor.config.fallback_random = True
    for name in ("linear", "bert"):
        torch.manual_seed(0)
        case = CASES[name]()
        models = {"plain": case.model.train()}
        for kind in ("eager", "compiled"):
            other = Case(copy.deepcopy(case.model), case.inputs, case.loss)
            models[kind] = analog(other, variants()["full"]).train()
        models["compiled"] = torch.compile(models["compiled"])
        times = interleaved({kind: training_step(case, model) for kind, model in models.items()}, 5)
        ratios = (f"{kind} {t.median / times['plain'].median:.2f}" for kind, t in times.items())
        print(name, *ratios, flush=True)


if __name__ == "__main__":
    main()
