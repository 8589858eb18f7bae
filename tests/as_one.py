"""Run by torchrun: what processes make of one step together, beside what each makes of it alone. Prints JSON.

{network: {"loss", "gradient", "weights", "norms": relative differences (root mean square) after one step, "later": that of the
loss after five more}}
"""

import json
import sys
from dataclasses import replace

import torch

from beamsight.examples import Source
from beamsight.parallel import act_as_one, is_first, joined, mine, totals
from beamsight.recipe import Recipe
from beamsight.train import learn, start
from beamsight.views import build_view
from toy import RECIPE, TOY

# Nine examples are shared unevenly.
SMALL = replace(RECIPE, size=64, batch=9, steps=60)
STEPS = 3


def steps(recipe: Recipe, n: int) -> list[dict[str, list[torch.Tensor]]]:
    """Loss, gradients, weights and running statistics after each of n steps."""
    state, view, source = start(TOY.target, recipe), build_view(recipe.view), Source(TOY, recipe, None, mine())
    act_as_one(state.network, recipe.batch)
    found = []
    for number in range(n):
        loss = learn(state, view, source.step(number), TOY.target, recipe)
        state.step = number + 1
        weights = list(state.network.parameters())
        found.append(
            {
                "loss": [torch.tensor(totals(float(loss)))],
                "gradient": [w.grad.clone() for w in weights],
                "weights": [w.detach().clone() for w in weights],
                "norms": [b.float().clone() for b in state.average.buffers()],
            }
        )
    return found


def apart(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """Root mean square of the difference over that of the values."""
    square = sum(float((x - y).double().square().sum()) for x, y in zip(a, b, strict=True))
    return (square / max(1e-30, sum(float(y.double().square().sum()) for y in b))) ** 0.5


def main() -> None:
    torch.set_num_threads(1)
    recipes = {name: replace(SMALL, network=name) for name in sys.argv[1:]}
    alone = {name: steps(recipe, STEPS) for name, recipe in recipes.items()}
    told = {}
    with joined(SMALL.batch):
        for name, recipe in recipes.items():
            together = steps(recipe, STEPS)
            told[name] = {k: apart(together[0][k], alone[name][0][k]) for k in together[0]}
            told[name]["later"] = apart(together[-1]["loss"], alone[name][-1]["loss"])
    if is_first():
        print(json.dumps(told))


if __name__ == "__main__":
    main()
