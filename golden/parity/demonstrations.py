"""Writes fixtures/demonstrations.json: losses of demonstrations' tokens that weigh by their own probability or learn by an
advantage, and the share that demonstrations have of a step.

    cargo xtask parity --regenerate

runs this beside losses.py. Two runs write the same bytes.

Decisions:
- `dft` and `phi` are computed by Trinity-RFT's own classes (`SFTISLossFn` has the weight of DFT under another name). Its
  package asks for ray, so its file is taken out of the wheel, which pip fetches without what it depends on, and loaded with
  stand-ins for what it imports and does not use here.
- `trust_region` and `gft` have no package: TRAPO's published code does not hold its weight, and GFT's is no package.
  They are computed by formula with torch, the weight detached.
- Rows of a group are LUFFY's, ViSurf's, GFT's, Prefix-RFT's and SRFT's, which are no packages: torch differentiates their
  formula, in which entropies are constants. The same holds for what GFT and SRFT make of sampled answers (for SRFT,
  Unify-Post-Training at ae332f5: the mean entropy is that of each answer).
- Every case is also computed by formula in numpy, with the gradient by hand. Trinity adds a constant to the number of
  tokens, so it may be apart in the eighth digit.
"""

import argparse
import importlib.util
import json
import math
import sys
import tempfile
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

from wheels import fetched

WHEEL = "trinity-rft==0.6.0"
SHA256 = "51ac0d789ccedbdd0578372dc45fd1480c6e5dfe53632ffd451feed827d0a6da"
FILES = [
    "trinity/algorithm/utils.py",
    "trinity/algorithm/policy_loss_fn/policy_loss_fn.py",
    "trinity/algorithm/policy_loss_fn/ppo_policy_loss.py",
    "trinity/algorithm/policy_loss_fn/sft_loss.py",
    "trinity/algorithm/policy_loss_fn/chord_policy_loss.py",
]
# How far the package and the formula may be apart, as a share: it divides by the number of tokens and a little more.
TOLERANCE = 1e-7
# Probabilities from nearly none to nearly one, and on both sides of 0.1 and 0.3.
LOG_PROBS = [math.log(p) for p in (1e-6, 0.004, 0.09, 0.11, 0.29, 0.31, 0.5, 0.73, 0.97, 0.9999)]
WEIGHTS = [
    {"kind": "dft"},
    {"kind": "phi"},
    {"kind": "trust_region", "alpha": 0.1},
    {"kind": "trust_region", "alpha": 0.3},
    {"kind": "gft", "tau": 0.1},
    {"kind": "gft", "tau": 0.3},
]


def trinity(folder):
    """The module of CHORD's losses, by itself."""
    with fetched(folder, WHEEL, SHA256) as archive:
        for name in FILES:
            archive.extract(name, folder)

    class StandIn(types.ModuleType):
        __path__ = []

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return MagicMock(name=name)

    class Mappers(dict):
        def __getitem__(self, _):
            mapper = MagicMock()
            mapper.to_trinity = mapper.from_trinity = lambda name: name
            return mapper

        def get(self, name, default=None):
            return self[name]

    for name in ("trinity", "trinity.algorithm", "trinity.algorithm.policy_loss_fn", "trinity.utils", "trinity.utils.registry"):
        sys.modules[name] = StandIn(name)
    mappers = StandIn("trinity.algorithm.key_mapper")
    mappers.ALL_MAPPERS = Mappers()
    sys.modules["trinity.algorithm.key_mapper"] = sys.modules["trinity.algorithm"].key_mapper = mappers
    for file in FILES:
        name = file.removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(name, Path(folder) / file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module

# Entropies at the same tokens, two of them alike.
ENTROPIES = [2.1, 1.7, 0.9, 1.2, 0.05, 0.9, 1.3, 0.4, 0.1, 0.0]
GFT = {"kind": "gft", "tau": 0.1}
# What a token gains, and the weight of the negative log-likelihood besides.
ROWS = [
    ({"kind": "log_p"}, None),
    ({"kind": "shaped", "gamma": 0.1}, None),
    ({"kind": "log_p", "token_weight": GFT}, None),
    ({"kind": "log_p", "entropy_share": 0.2}, None),
    ({"kind": "log_p", "entropy_share": 0.75}, None),
    ({"kind": "shaped", "gamma": 0.1}, 0.5),
]
# What sampled answers are worth by themselves, what their tokens weigh, and whether the answer is right.
ANSWERS = [
    ({"right": 0.1, "wrong": 1.0}, None, True),
    ({"right": 0.1, "wrong": 1.0}, None, False),
    (None, GFT, True),
    ({"right": 0.3, "wrong": 0.5}, GFT, True),
]
# CHORD's defaults of 2025 (a rise and a fall), a constant share, and the paper's fall without a rise.
SCHEDULES = [
    {"warmup_steps": 200, "decay_steps": 400, "peak": 0.5, "valley": 0.02},
    {"warmup_steps": 0, "decay_steps": 0, "peak": 0.1, "valley": 0.1},
    {"warmup_steps": 0, "decay_steps": 200, "peak": 0.9, "valley": 0.05},
]
STEPS = [0, 1, 50, 100, 199, 200, 201, 400, 599, 600, 1000]


def shares(mu, chord):
    """The share of demonstrations at some steps, by the authors' package."""
    return {"mu": mu, "shares": [[step, chord.mu_schedule_function(step, *(mu[k] for k in ("warmup_steps", "decay_steps", "peak", "valley")))] for step in STEPS]}


def weight_of(by, p):
    """The weight of tokens of the probabilities `p`, by formula."""
    match by["kind"]:
        case "dft":
            return p
        case "phi":
            return p * (1 - p)
        case "trust_region":
            return np.minimum(p / by["alpha"], 1.0)
        case "gft":
            return np.where(p < by["tau"], p, 1.0)


def solve(by, chord):
    """A case: the mean over tokens, and its slope along each log-probability."""
    by_hand = weight_of(by, np.exp(np.array(LOG_PROBS))) / len(LOG_PROBS)
    loss = -(by_hand * np.array(LOG_PROBS)).sum()
    leaf = torch.tensor([LOG_PROBS], dtype=torch.float64, requires_grad=True)
    classes = {"dft": chord.SFTISLossFn, "phi": chord.SFTPhiLossFn}
    if by["kind"] in classes:
        found, _ = classes[by["kind"]]()(leaf, torch.ones(1, len(LOG_PROBS), dtype=torch.bool))
        source = WHEEL.replace("==", " ")
    else:
        weights = torch.from_numpy(weight_of(by, leaf.detach().exp().numpy()))
        found = -(weights * leaf).sum() / len(LOG_PROBS)
        source = "torch, by formula"
    found.backward()
    gradient = leaf.grad[0].numpy()
    apart = max(abs(found.item() - loss) / loss, abs(gradient + by_hand).max() / by_hand.max())
    assert apart < TOLERANCE, f"{by}: {source} and the formula are {apart} apart"
    return {
        "token_weight": by,
        "source": source,
        "log_probs": LOG_PROBS,
        "loss": found.item(),
        "gradient": gradient.tolist(),
    }


def row(gain, sft):
    """A row of a group: minus the advantage times what its tokens gain, weighted and summed, by autograd; besides, the mean
    negative log-likelihood times `sft` and e to minus the mean entropy."""
    advantage, weight = 1.5, 0.01
    leaf = torch.tensor(LOG_PROBS, dtype=torch.float64, requires_grad=True)
    p = leaf.exp()
    gains = leaf if gain["kind"] == "log_p" else p / (p + gain["gamma"])
    if "token_weight" in gain:
        gains = gains * torch.from_numpy(weight_of(gain["token_weight"], leaf.detach().exp().numpy()))
    if "entropy_share" in gain:
        # As Prefix-RFT's authors do: sorted, and the lower part without an advantage.
        order = torch.sort(torch.tensor(ENTROPIES), stable=True).indices
        mask = torch.ones(len(ENTROPIES), dtype=torch.float64)
        mask[order[: int(len(order) * (1 - gain["entropy_share"]))]] = 0.0
        gains = gains * mask
    loss = -(weight * advantage * gains).sum()
    if sft is not None:
        loss = loss - sft * math.exp(-sum(ENTROPIES) / len(ENTROPIES)) * leaf.mean()
    loss.backward()
    return {
        "gain": gain,
        "sft": sft,
        "log_probs": LOG_PROBS,
        "entropies": ENTROPIES,
        "advantage": advantage,
        "token_weight": weight,
        "loss": loss.item(),
        "gradient": leaf.grad.tolist(),
    }


def answer(signed, token_weight, is_right):
    """A sampled answer without a ratio: minus its worth times its log-probabilities, weighted and summed, by autograd."""
    advantage, share = 1.5, 0.01
    leaf = torch.tensor(LOG_PROBS, dtype=torch.float64, requires_grad=True)
    if signed is not None:
        entropy = torch.tensor(ENTROPIES, dtype=torch.float64).mean()
        advantage = signed["right"] * torch.exp(entropy) if is_right else -signed["wrong"]
    weights = torch.ones(len(LOG_PROBS), dtype=torch.float64)
    if token_weight is not None:
        weights = torch.from_numpy(weight_of(token_weight, leaf.detach().exp().numpy()))
    loss = -(share * advantage * weights * leaf).sum()
    loss.backward()
    return {
        "signed": signed,
        "token_weight": token_weight,
        "is_right": is_right,
        "log_probs": LOG_PROBS,
        "entropies": ENTROPIES,
        "advantage": 1.5,
        "share": share,
        "loss": loss.item(),
        "gradient": leaf.grad.tolist(),
    }


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "fixtures" / "demonstrations.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        chord = trinity(folder)
    cases = [solve(by, chord) for by in WEIGHTS]
    schedules = [shares(mu, chord) for mu in SCHEDULES]
    rows = [row(gain, sft) for gain, sft in ROWS]
    answers = [answer(*case) for case in ANSWERS]
    note = "loss: the mean over tokens of weight times negative log-probability. gradient: of it, the weight detached."
    lines = ",\n".join(f"    {json.dumps(case)}" for case in cases)
    of_steps = ",\n".join(f"    {json.dumps(case)}" for case in schedules)
    of_rows = ",\n".join(f"    {json.dumps(case)}" for case in rows)
    of_answers = ",\n".join(f"    {json.dumps(case)}" for case in answers)
    text = f'{{\n  "note": {json.dumps(note)},\n  "cases": [\n{lines}\n  ],\n  "rows": [\n{of_rows}\n  ],\n  "answers": [\n{of_answers}\n  ],\n  "mu": [\n{of_steps}\n  ]\n}}\n'
    arguments.out.write_text(text, encoding="utf-8")
    print(f"{arguments.out}: {len(cases)} cases")


if __name__ == "__main__":
    sys.exit(main())
