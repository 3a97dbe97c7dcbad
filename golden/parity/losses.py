"""Writes fixtures/losses.json: what the objectives of the GRPO family come to, by TRL and by formula.

    cargo xtask parity --regenerate

installs `requirements-trl.txt` and runs this. Two runs write the same bytes.

Decisions:
- Where TRL can express a case, TRL computes it: a `GRPOTrainer` in float64 whose completions, rewards and
  log-probabilities are those of the case, so that its advantages, its loss and autograd are all that runs.
- Every case is also computed by the formula, in numpy and with the gradient by hand. Where both are there,
  they must agree; where TRL stops (its epsilon is fixed, its KL is k3 in the loss), the formula is recorded.
- verl bounds a token's k3 (`low_var_kl`): the log-ratio to 20 either way, then the estimate to 10, each without
  slope beyond. The objective's key `k3_max` is the second bound, behind which the first changes nothing; the
  formula here has both. TRL has neither, so a case that reaches a bound is recorded from the formula.
- TRL takes means over micro-batches of one size. Where a case has several sizes, an objective that must not
  depend on them is recorded from the formula.
- No ratio is near a bound of the clip, and no k3 near its bound, where the gradient jumps and rounding would choose it.
"""

import argparse
import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1"
)

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

PACKAGES = dict(
    line.split("==")
    for line in (Path(__file__).parent / "requirements-trl.txt").read_text().splitlines()
    if not line.startswith("#")
)
SEED = 20250712
# TRL adds this to the deviation; it is no setting.
TRL_EPSILON = 1e-4
# How far every ratio is from where the loss has a kink: a share of that bound's distance from 1, and at
# least so much that 32 bits see it.
MARGIN = (0.005, 2e-5)
# How far TRL and the formula may be apart, both in float64.
TOLERANCE = 1e-12
# verl's bound on the log-ratio in its k3.
VERL_LOG_RATIO = 20.0

LOSS_TYPES = {
    "seq_mean_token_mean": "grpo",
    "token_mean_global": "dapo",
    "token_mean_local": "bnpo",
    "dr_grpo": "dr_grpo",
}
SCALES = {"group_std": "group", "group_mean": "none", "batch_std": "batch"}

STUDY = {
    "advantage": "group_std",
    "advantage_ddof": 1,
    "advantage_epsilon": 1e-6,
    "ratio": "token",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "dual_clip": 0.0,
    "kl": "k3",
    "k3_max": 10.0,
    "kl_in": "loss",
    "beta": 0.005,
    "aggregation": "seq_mean_token_mean",
}
ALL_TOKENS = {**STUDY, "beta": 0.0, "aggregation": "token_mean_global"}
TRL = {**ALL_TOKENS, "advantage_epsilon": TRL_EPSILON, "k3_max": 0.0}
VERL = {**ALL_TOKENS, "dual_clip": 3.0}
PRESETS = {
    "grpo_study": STUDY,
    "trl_default": TRL,
    "verl_default": VERL,
    "dr_grpo": {**ALL_TOKENS, "advantage": "group_mean", "aggregation": "dr_grpo"},
    "dapo": {**ALL_TOKENS, "clip_high": 0.28},
}


# ---------------------------------------------------------------------------------------- helpers


def write_json(path, value):
    """Two-space JSON, but a list of numbers on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(value, 0) + "\n", encoding="utf-8")


def to_json(value, depth):
    """See `write_json`."""
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(k)}: {to_json(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    if isinstance(value, list) and any(isinstance(v, (dict, list, str)) for v in value):
        rows = [f"{inner}{to_json(v, depth + 1)}" for v in value]
        return "[\n" + ",\n".join(rows) + f"\n{outer}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def plain(values):
    """Numbers for JSON, without negative zeros."""
    return [float(x) + 0.0 for x in values]


def random_stream(name):
    """A generator of its own for each use, so that a new case changes no other."""
    digest = hashlib.sha256(f"{SEED} {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


# -------------------------------------------------------------------------------------- the formula


def kl_terms(objective, d):
    """Estimates of the KL divergence (Schulman 2020) and their derivatives; verl's `kl_penalty`."""
    if objective["kl"] == "k1":
        return d, np.ones_like(d)
    if objective["kl"] == "k2":
        return d * d / 2, d
    if not objective["k3_max"]:
        return np.exp(-d) + d - 1, 1 - np.exp(-d)
    near = d.clip(-VERL_LOG_RATIO, VERL_LOG_RATIO)
    k3 = np.exp(-near) + near - 1
    is_within = (near == d) & (k3 <= objective["k3_max"])
    return k3.clip(-objective["k3_max"], objective["k3_max"]), np.where(is_within, 1 - np.exp(-near), 0.0)


def unbounded(case):
    """k3 of every token as it is without a bound, where the objective looks at it."""
    objective = case["objective"]
    if objective["kl"] == "k3" and objective["beta"] > 0:
        key = "log_probs" if objective["kl_in"] == "loss" else "old_log_probs"
        for new, reference in zip(log_probs(case, key), log_probs(case, "reference_log_probs")):
            yield kl_terms({**objective, "k3_max": 0.0}, new - reference)[0]


def reaches_bound(case):
    """Whether the k3 of a token is beyond its bound."""
    bound = case["objective"]["k3_max"]
    return bound > 0 and any((k3 > bound).any() for k3 in unbounded(case))


def log_probs(case, key):
    """One array for each sequence."""
    return [np.array(sequence[key]) for sequence in case["sequences"]]


def formula_advantages(case):
    """By the formula, after what the KL term takes from the rewards (verl's `use_kl_in_reward`)."""
    objective = case["objective"]
    rewards = np.array(case["rewards"])
    if objective["kl_in"] == "reward":
        pairs = zip(log_probs(case, "old_log_probs"), log_probs(case, "reference_log_probs"))
        kls = [kl_terms(objective, old - reference)[0].sum() for old, reference in pairs]
        rewards = rewards - objective["beta"] * np.array(kls)
    groups = rewards.reshape(-1, case["group_size"])
    centered = groups - groups.mean(1, keepdims=True)
    ddof, epsilon = objective["advantage_ddof"], objective["advantage_epsilon"]
    if objective["advantage"] == "group_std":
        centered = centered / (groups.std(1, ddof=ddof, keepdims=True) + epsilon)
    elif objective["advantage"] == "batch_std":
        centered = centered / (rewards.std(ddof=ddof) + epsilon)
    return centered.reshape(-1)


def ratios(case):
    """For each sequence the ratio of each token, or its only one."""
    pairs = zip(log_probs(case, "log_probs"), log_probs(case, "old_log_probs"))
    differences = [new - old for new, old in pairs]
    if case["objective"]["ratio"] == "sequence":
        differences = [d.mean(keepdims=True) for d in differences]
    return [np.exp(d) for d in differences]


def surrogate(objective, ratio, advantage):
    """The clipped loss of ratios and its derivative with respect to their logarithms.

    The dual clip is that of Ye et al. (2020) as verl has it.
    """
    low, high = 1 - objective["clip_low"], 1 + objective["clip_high"]
    free, clipped = -ratio * advantage, -np.clip(ratio, low, high) * advantage
    loss = np.maximum(free, clipped)
    slope = np.where(free == loss, free, 0.0)
    if objective["dual_clip"] > 0 and advantage < 0:
        most = -objective["dual_clip"] * advantage
        slope = np.where(loss > most, 0.0, slope)
        loss = np.minimum(loss, most)
    return loss, slope


def token_weights(case):
    """What the loss of each sequence's tokens counts in the loss of the update."""
    lengths = [len(sequence["log_probs"]) for sequence in case["sequences"]]
    match case["objective"]["aggregation"]:
        case "seq_mean_token_mean":
            return [1 / (len(lengths) * length) for length in lengths]
        case "token_mean_global":
            return [1 / sum(lengths)] * len(lengths)
        case "dr_grpo":
            return [1 / (len(lengths) * case["max_completion_tokens"])] * len(lengths)
    weights = [0.0] * len(lengths)
    for rows in case["micro_batches"]:
        for i in rows:
            weights[i] = 1 / (len(case["micro_batches"]) * sum(lengths[j] for j in rows))
    return weights


def formula(case, advantages):
    """Loss of the update and its gradient."""
    objective = case["objective"]
    total, gradients = 0.0, []
    columns = zip(
        ratios(case), advantages, token_weights(case), log_probs(case, "log_probs"),
        log_probs(case, "reference_log_probs"),
    )  # fmt: skip
    for ratio, advantage, weight, new, reference in columns:
        loss, slope = surrogate(objective, ratio, advantage)
        if objective["ratio"] == "sequence":
            # All tokens have the same loss, and each moves it by its share of the mean.
            loss = np.repeat(loss, len(new))
            slope = np.repeat(slope, len(new))
        if objective["kl_in"] == "loss" and objective["beta"] > 0:
            kl, kl_slope = kl_terms(objective, new - reference)
            loss = loss + objective["beta"] * kl
            slope = slope + objective["beta"] * kl_slope
        total += weight * loss.sum()
        gradients.append(weight * slope)
    return total, gradients


# ---------------------------------------------------------------------------------------------- TRL


def trl_computes_advantages(case):
    """Whether TRL has these."""
    objective = case["objective"]
    by_deviation = objective["advantage"] != "group_mean"
    return not (
        (objective["kl_in"] == "reward" and objective["beta"] > 0)
        or (by_deviation and objective["advantage_epsilon"] != TRL_EPSILON)
        or (by_deviation and objective["advantage_ddof"] != 1)
    )


def trl_computes_loss(case):
    """Whether TRL has this loss, the advantages given."""
    objective = case["objective"]
    has_kl = objective["kl_in"] == "loss" and objective["beta"] > 0
    sizes = {len(rows) for rows in case["micro_batches"]}
    cut_is_free = objective["aggregation"] in ("token_mean_local", "token_mean_global") or len(sizes) == 1
    return cut_is_free and not (has_kl and objective["kl"] != "k3") and not reaches_bound(case)


def padded(rows, width):
    """A rectangle, with zeros behind the shorter rows."""
    return torch.tensor(np.array([np.pad(row, (0, width - len(row))) for row in rows]))


def trl_trainer(case, folder):
    """A trainer for the case; its model is never run."""
    objective = case["objective"]
    steps = len(case["micro_batches"])
    arguments = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_vllm=False,
        per_device_train_batch_size=len(case["rewards"]) // steps,
        gradient_accumulation_steps=steps,
        generation_batch_size=len(case["rewards"]),
        num_generations=case["group_size"],
        # With one, TRL takes the old log-probabilities for the new ones.
        num_iterations=2,
        max_completion_length=case["max_completion_tokens"],
        beta=objective["beta"] if objective["kl_in"] == "loss" else 0.0,
        epsilon=objective["clip_low"],
        epsilon_high=objective["clip_high"],
        # A cap on the ratio before the minimum: the same as the dual clip while it is above the upper bound.
        delta=objective["dual_clip"] or None,
        loss_type=LOSS_TYPES[objective["aggregation"]],
        scale_rewards=SCALES[objective["advantage"]],
        importance_sampling_level=objective["ratio"],
        # On by default: multiplies the KL term by the ratio, in the gradient too (DeepSeek-V3.2).
        use_bias_correction_kl=False,
        seed=1,
    )
    # TRL reads the reference model from a folder.
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float64)
    words = Tokenizer(models.WordLevel({"pad": 0, "end": 1, "word": 2}, unk_token="word"))
    rollouts = {
        "prompt_ids": [[2]] * len(case["rewards"]),
        "completion_ids": [[2] * len(sequence["log_probs"]) for sequence in case["sequences"]],
        "logprobs": None,
    }
    trainer = GRPOTrainer(
        model=model,
        args=arguments,
        reward_funcs=[lambda completions, **_: case["rewards"]],
        rollout_func=lambda prompts, trainer: dict(rollouts),
        train_dataset=Dataset.from_dict({"prompt": ["word"] * len(case["rewards"])}),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="pad", eos_token="end"),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def trl(case, folder, advantages):
    """Advantages, loss of the update and its gradient; the advantages are TRL's own if none are given."""
    trainer = trl_trainer(case, folder)
    width = max(len(sequence["log_probs"]) for sequence in case["sequences"])
    leaf = padded(log_probs(case, "log_probs"), width).requires_grad_()
    old = padded(log_probs(case, "old_log_probs"), width)
    reference = padded(log_probs(case, "reference_log_probs"), width)
    rows = []

    def recorded(model, input_ids, attention_mask, logits_to_keep, **_):
        assert logits_to_keep == width
        if torch.is_grad_enabled():
            return leaf[rows], torch.zeros(len(rows), width), None
        return (reference if model is trainer.ref_model else old), None, None

    trainer._get_per_token_logps_and_entropies = recorded
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = len(case["micro_batches"])
    scored = trainer._generate_and_score_completions([{"prompt": "word"}] * len(case["rewards"]))
    assert torch.equal(scored["old_per_token_logps"], old)
    if advantages is not None:
        scored["advantages"] = torch.tensor(advantages)
    assert scored["advantages"].dtype == torch.float64
    total = 0.0
    for rows in case["micro_batches"]:
        part = {k: v[rows] if v.ndim else v for k, v in scored.items()}
        loss = trainer.compute_loss(trainer.model, part)
        loss.backward()
        total += loss.item()
    gradients = [g[: len(s["log_probs"])].numpy() for g, s in zip(leaf.grad, case["sequences"])]
    return scored["advantages"].numpy(), total, gradients


# -------------------------------------------------------------------------------------------- cases


def has_margin(case):
    """Whether every ratio is away from every kink of its loss."""
    objective = case["objective"]
    bounds = [1 - objective["clip_low"], 1 + objective["clip_high"]]
    if objective["dual_clip"] > 0:
        bounds.append(objective["dual_clip"])
    share, least = MARGIN
    if objective["k3_max"] and any((abs(k3 - objective["k3_max"]) < 0.05).any() for k3 in unbounded(case)):
        return False
    return all(
        (abs(ratio - bound) > max(share * abs(bound - 1), least)).all() for ratio in ratios(case) for bound in bounds
    )


def draw_sequences(random, lengths, spread, on_policy, decimals, far=False):
    """Log-probabilities of sampled tokens; `spread` is the deviation of the logarithms of ratios. If `far`, the policy
    has given up some tokens of the reference's, and found some that it never had."""

    def listed(values):
        return plain(values.round(decimals))

    sequences = []
    for length in lengths:
        new = -random.uniform(1.5 + 3 * spread, 6, length)
        # The drift of a sequence as a whole is what a ratio of sequences sees.
        drift = spread * (random.normal() + random.normal(size=length))
        old = new if on_policy else new - drift.clip(-3 * spread, 3 * spread)
        reference = new + random.normal(size=length).clip(-2, 2) * 0.5
        if far:
            given_up, found = (np.arange(length) % 3 == k for k in (0, 1))
            new, old = (x - np.where(given_up, drop, 0) for drop in [random.uniform(1, 30, length)] for x in (new, old))
            reference = reference - np.where(found, random.uniform(5, 40, length), 0)
        sequences.append(
            {
                "log_probs": listed(new),
                "old_log_probs": listed(old),
                "reference_log_probs": listed(reference),
            }
        )
    return sequences


def make_case(
    name, objective, rewards, cut=1, longest=12, room=0, spread=0.45, on_policy=False, decimals=4, data=None, far=False
):
    """A case: `rewards` by group; `cut` into that many equal micro-batches in mixed order, or as it says.

    The longest sequence has `longest` tokens, `room` fewer than it may have. Cases with the same `data` have
    the same log-probabilities.
    """
    group_size = len(rewards[0])
    assert all(len(group) == group_size for group in rewards)
    flat = plain(reward for group in rewards for reward in group)
    # Given to TRL in float32.
    assert all(float(np.float32(reward)) == reward for reward in flat)
    if isinstance(cut, int):
        order = list(range(len(flat)))
        if cut > 1:
            order = random_stream(f"{name}, order").permutation(len(flat)).tolist()
        cut = [order[k :: cut] for k in range(cut)]
    assert sorted(i for rows in cut for i in rows) == list(range(len(flat)))
    for attempt in range(200):
        random = random_stream(f"{data or name}, {attempt}")
        # Both ends are always there.
        lengths = random.permutation([1, longest, *random.integers(1, longest + 1, len(flat) - 2)]).tolist()
        case = {
            "name": name,
            "source": "",
            "objective": dict(objective),
            "group_size": group_size,
            "max_completion_tokens": longest + room,
            "micro_batches": cut,
            "rewards": flat,
            "sequences": draw_sequences(random, lengths, spread, on_policy, decimals, far),
        }
        if has_margin(case):
            return case
    raise SystemExit(f"{name}: no draw is away from the bounds of the clip")


MIXED = [[1, 0, 0.125, 1], [0, 0.125, 1, 0.875]]
WITH_EQUAL = [[1, 0, 0.125, 0], [1, 1, 1, 1], [0.125, 0, 0.875, 1]]
ALL_EQUAL = [[1, 1, 1], [0, 0, 0]]
ONE_RIGHT = [[0, 0, 0, 1, 0, 0, 0, 0]]
ONE_WRONG = [[1, 1, 1, 1, 0, 1, 1, 1]]
PAIRS = [[1, 0], [0.125, 1], [0, 0], [0.875, 0.125]]
TRIPLES = [[1, 0, 0.125], [0.875, 0.125, 1]]
# TRL must be able to make as many equal ones.
UNEQUAL_CUT = [[5, 0], [3], [1, 2, 6, 7], [4]]


def preset_cases():
    """The same situations for every preset, with numbers of their own."""
    for name, objective in PRESETS.items():
        yield make_case(f"{name}: mixed rewards", objective, MIXED, room=4)
        yield make_case(f"{name}: a group of equal rewards", objective, WITH_EQUAL, cut=3)
        yield make_case(f"{name}: all rewards equal", objective, ALL_EQUAL, cut=2, longest=5)
        yield make_case(f"{name}: on policy", objective, ONE_RIGHT, on_policy=True, longest=6)
        yield make_case(f"{name}: one wrong, far off policy", objective, ONE_WRONG, spread=0.8, room=1)
        yield make_case(f"{name}: unequal micro-batches", objective, PAIRS, cut=UNEQUAL_CUT, longest=7)


def more_cases():
    """What no preset has."""
    for aggregation in LOSS_TYPES:
        sequence = {**TRL, "ratio": "sequence", "aggregation": aggregation}
        yield make_case(f"sequence ratio, {aggregation}", sequence, MIXED, cut=2, spread=0.3)
        with_kl = {**sequence, "beta": 0.04}
        yield make_case(f"sequence ratio, {aggregation}, KL", with_kl, TRIPLES, cut=3, spread=0.3, longest=8)
    gspo = {**STUDY, "ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4, "beta": 0.0}
    yield make_case("sequence ratio, clip of the GSPO paper", gspo, WITH_EQUAL, spread=8e-4, decimals=6)
    dual = {**VERL, "ratio": "sequence", "dual_clip": 1.5}
    yield make_case("dual clip, sequence ratio", dual, MIXED, spread=0.7, longest=4)
    yield make_case("sequence ratio, on policy", {**TRL, "ratio": "sequence"}, TRIPLES, on_policy=True, longest=6)

    for kind in ("k1", "k2", "k3"):
        for aggregation in LOSS_TYPES:
            objective = {**TRL, "kl": kind, "beta": 0.04, "aggregation": aggregation}
            yield make_case(f"{kind} in the loss, {aggregation}", objective, TRIPLES, cut=2, longest=7)
        objective = {**STUDY, "kl": kind, "kl_in": "reward", "beta": 0.05}
        yield make_case(f"{kind} in the reward", objective, MIXED, longest=6)
        yield make_case(f"{kind} in the reward, all rewards equal", objective, ALL_EQUAL, longest=6)
    objective = {**PRESETS["dr_grpo"], "kl": "k1", "kl_in": "reward", "beta": 0.05}
    yield make_case("k1 in the reward, dr_grpo", objective, TRIPLES, room=3, longest=6)
    # TRL's k3, since some of these are beyond verl's bound.
    objective = {**dual, "kl_in": "reward", "beta": 0.05, "k3_max": 0.0}
    yield make_case("dual clip, sequence ratio, k3 in the reward", objective, MIXED, spread=0.7, longest=4)
    yield make_case("k3 in the reward, beta 0", {**TRL, "kl_in": "reward"}, TRIPLES, longest=5)

    batch = {**TRL, "advantage": "batch_std"}
    yield make_case("batch_std", batch, MIXED)
    yield make_case("batch_std, a group of equal rewards", batch, WITH_EQUAL, cut=2, longest=6)
    yield make_case("batch_std, all rewards equal", batch, [[1, 1], [1, 1], [1, 1]], longest=4)
    yield make_case("batch_std, ddof 0", {**STUDY, "advantage": "batch_std", "advantage_ddof": 0}, TRIPLES, longest=6)
    no_ddof = {**STUDY, "advantage_ddof": 0}
    yield make_case("group_std, ddof 0", no_ddof, ONE_RIGHT, longest=6)
    yield make_case("group_std, ddof 0, pairs", {**VERL, "advantage_ddof": 0}, PAIRS, cut=4, longest=6)
    yield make_case("group_mean, seq_mean_token_mean", {**STUDY, "advantage": "group_mean"}, MIXED, cut=4, longest=6)

    local = {**TRL, "aggregation": "token_mean_local"}
    for title, cut in (("one", 1), ("two", 2), ("four", 4), ("eight", 8), ("unequal", UNEQUAL_CUT)):
        # The same numbers cut otherwise are another loss.
        yield make_case(f"token_mean_local, micro-batches: {title}", local, PAIRS, cut=cut, data="local", longest=8)
    yield make_case("token_mean_local, study's KL", {**STUDY, "aggregation": "token_mean_local"}, MIXED, cut=2)

    yield make_case("dual clip 2, seq_mean_token_mean", {**STUDY, "dual_clip": 2.0}, MIXED, spread=0.7, longest=8)
    yield make_case("dual clip, KL", {**VERL, "beta": 0.1}, MIXED, spread=0.8, longest=6)
    for preset, objective in (("grpo_study", STUDY), ("verl_default", VERL)):
        for place in ("loss", "reward"):
            # As large as in the study the term would be lost in the digits of the others.
            bounded = {**objective, "beta": 0.05, "kl_in": place}
            yield make_case(f"{preset}, far from the reference, k3 in the {place}", bounded, MIXED, longest=9, far=True)
    wide = {**TRL, "clip_low": 0.1, "clip_high": 0.5, "beta": 0.1}
    yield make_case("unequal clip, KL", wide, WITH_EQUAL, cut=2, longest=6)


def advantages_source(objective):
    """Where the formula of advantages is from that TRL does not have."""
    if objective["kl_in"] == "reward" and objective["beta"] > 0:
        return "KL in the reward as in verl (use_kl_in_reward)"
    epsilon = f"epsilon {objective['advantage_epsilon']:g}"
    if objective["advantage_ddof"] != 1:
        return f"TRL's formula with the population's deviation and {epsilon}"
    return f"TRL's formula with {epsilon}, as in verl"


def loss_source(case):
    """Where the formula of a loss is from that TRL does not have."""
    if case["objective"]["kl"] != "k3":
        return "the clipped loss with verl's kl_penalty"
    if reaches_bound(case):
        return "the clipped loss with verl's low_var_kl, whose bounds TRL does not have"
    return "TRL's formula over the whole update; TRL takes its micro-batches for equal ones"


def solve(case, folder):
    """Adds what it comes to, and who says so."""
    objective = case["objective"]
    advantages = formula_advantages(case)
    loss, gradients = formula(case, advantages)
    name = f"trl {version('trl')}"
    if trl_computes_loss(case):
        own = trl_computes_advantages(case)
        by_trl = trl(case, folder, None if own else advantages)
        flat = [np.concatenate([a, [l], *g]) for a, l, g in (by_trl, (advantages, loss, gradients))]
        apart = abs(flat[0] - flat[1]).max()
        assert apart < TOLERANCE, f"{case['name']}: TRL and the formula are {apart} apart"
        advantages, loss, gradients = by_trl
        case["source"] = name if own else f"{name}; advantages: numpy, {advantages_source(objective)}"
    else:
        case["source"] = f"numpy, {loss_source(case)}"
    case["want"] = {
        "advantages": plain(advantages),
        "loss": loss + 0.0,
        "gradient": [plain(g) for g in gradients],
    }
    return case


def regions(case):
    """In which parts of its loss the case has ratios."""
    objective = case["objective"]
    low, high, dual = 1 - objective["clip_low"], 1 + objective["clip_high"], objective["dual_clip"] or np.inf
    found = set()
    for ratio, advantage in zip(ratios(case), case["want"]["advantages"]):
        if abs(advantage) > 1e-3:
            sign = "+" if advantage > 0 else "-"
            names = [f"{sign} below", f"{sign} within", f"{sign} above", f"{sign} far above"]
            found.update(names[np.digitize(r, [low, high, max(dual, high)])] for r in ratio)
    return found


def check_coverage(cases):
    """Every preset, and the ratio of sequences under every aggregation, must be seen on both sides of the
    clip, for both signs of the advantage; every dual clip must act."""
    dual = {"- far above"}
    wanted = {f"{preset}:": dual if objective["dual_clip"] > 0 else set() for preset, objective in PRESETS.items()}
    wanted |= {f"sequence ratio, {aggregation}": set() for aggregation in LOSS_TYPES}
    for prefix, more in wanted.items():
        found = set().union(*(regions(c) for c in cases if c["name"].startswith(prefix)))
        missing = {f"{sign} {part}" for sign in "+-" for part in ("below", "within", "above")} | more
        missing -= found
        assert not missing, f"{prefix} no ratio is {missing}"
    for case in cases:
        is_far = "far from the reference" in case["name"]
        assert reaches_bound(case) == is_far, f"{case['name']}: is k3 beyond its bound?"
        assert not case["name"].startswith("dual clip") or dual <= regions(case), f"{case['name']}: it does not act"


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "fixtures" / "losses.json")
    arguments = parser.parse_args()
    have = {name: version(name) for name in PACKAGES}
    assert have == PACKAGES, f"{have} installed, {PACKAGES} pinned"
    warnings.filterwarnings("ignore")
    for name in ("transformers", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # TRL makes rewards and quotients of counts in the default type.
    torch.set_default_dtype(torch.float64)
    shape = {"vocab_size": 3, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1}
    with tempfile.TemporaryDirectory() as folder:
        config = Qwen2Config(**shape, num_attention_heads=1, num_key_value_heads=1)
        Qwen2ForCausalLM(config).save_pretrained(folder)
        cases = [solve(case, folder) for case in [*preset_cases(), *more_cases()]]
    check_coverage(cases)
    names = [case["name"] for case in cases]
    assert len(names) == len(set(names))
    note = (
        "loss: of the whole update. gradient: of it by each token's log-probability. source: what computed "
        "want; every case was also computed by formula in numpy."
    )
    write_json(arguments.out, {"note": note, "python": platform.python_version(), "packages": have, "cases": cases})
    by_trl = sum(case["source"].startswith("trl") for case in cases)
    print(f"{arguments.out}: {len(cases)} cases, {by_trl} by TRL, {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
