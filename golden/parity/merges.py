"""Writes fixtures/merges.json: what mergekit makes of two tiny models and their base.

    cargo xtask parity --regenerate

installs `requirements-mergekit.txt` and runs this. Two runs write the same bytes.

Decisions:
- mergekit runs as a whole: Llama checkpoints of one layer on disk, a configuration, a merged checkpoint, all
  in float32 on the CPU. Numbers are recorded as the shortest decimals that are the same float32.
- Nothing hangs on an order or a sign that rounding would choose: magnitudes of differences are unequal, and
  no weighted sum of two of them is near zero. Differences that are exactly zero are among them.
- DARE is not here: its masks are random.

What mergekit 0.1.5 does that its formulas do not tell:
- TIES keeps `max(1, int(density * n))` numbers of a tensor: it rounds down, but never to none.
- SLERP is linear where the cosine is above .9995 or below -.9995, and takes the angle to be a right one
  where a tensor is zero.
- SLERP's `t` is the way from `base_model`, which must be one of the two, to the other.
- TIES multiplies by lambda after it divided by the weights that agree.
"""

import argparse
import hashlib
import json
import logging
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy as np
import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.numpy import load_file, save_file
from transformers import LlamaConfig

PACKAGES = dict(
    line.split("==")
    for line in (Path(__file__).parent / "requirements-mergekit.txt").read_text().splitlines()
    if not line.startswith("#")
)
SEED = 20250712
# Most sizes are odd, so that half of a tensor is no whole number; that of a head must be even.
HIDDEN, HEAD, INTERMEDIATE, VOCABULARY = 7, 6, 3, 5
LAYER = "model.layers.0"
SHAPES = {
    "model.embed_tokens.weight": [VOCABULARY, HIDDEN],
    f"{LAYER}.input_layernorm.weight": [HIDDEN],
    f"{LAYER}.self_attn.q_proj.weight": [HEAD, HIDDEN],
    f"{LAYER}.self_attn.k_proj.weight": [HEAD, HIDDEN],
    f"{LAYER}.self_attn.v_proj.weight": [HEAD, HIDDEN],
    f"{LAYER}.self_attn.o_proj.weight": [HIDDEN, HEAD],
    f"{LAYER}.post_attention_layernorm.weight": [HIDDEN],
    f"{LAYER}.mlp.gate_proj.weight": [INTERMEDIATE, HIDDEN],
    f"{LAYER}.mlp.up_proj.weight": [INTERMEDIATE, HIDDEN],
    f"{LAYER}.mlp.down_proj.weight": [HIDDEN, INTERMEDIATE],
    "model.norm.weight": [HIDDEN],
    "lm_head.weight": [VOCABULARY, HIDDEN],
}
# What SLERP may meet. Model B is the first number times A, plus noise of the second; the cosine between
# them is in the range that follows.
RELATED = {
    f"{LAYER}.self_attn.k_proj.weight": (1.2, 0.005, (0.9997, 1.0)),
    f"{LAYER}.self_attn.o_proj.weight": (1.2, 0.03, (0.99, 0.9993)),
    f"{LAYER}.post_attention_layernorm.weight": (-1.2, 0.005, (-1.0, -0.9997)),
    f"{LAYER}.input_layernorm.weight": (0.0, 0.0, (0.0, 0.0)),
}
SHARES = [0.25, 0.5, 0.75]
# No two magnitudes of differences are closer, and no weighted sum is nearer to zero.
MIN_GAP = 2e-5


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


def plain(tensor):
    """The shortest decimals of a float32 tensor, without negative zeros."""
    assert tensor.dtype == np.float32
    return [float(str(x)) + 0.0 for x in tensor.reshape(-1)]


def random_stream(name):
    """A generator of its own for each use, so that a new tensor changes no other."""
    digest = hashlib.sha256(f"{SEED} {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


# ------------------------------------------------------------------------------------------ models


def cosine(a, b):
    """Between two tensors; 0 where one is zero."""
    norms = np.linalg.norm(a.astype(float)) * np.linalg.norm(b.astype(float))
    return float((a.astype(float) * b).sum() / norms) if norms else 0.0


def draw(name, shape, attempt):
    """A tensor of the base and of both models."""
    random = random_stream(f"{name}, {attempt}")
    base = random.normal(size=shape) * 0.5
    a, b = (base + random.normal(size=shape) * 0.2 for _ in range(2))
    if name in RELATED:
        factor, noise, _ = RELATED[name]
        b = factor * a + noise * random.normal(size=shape)
    else:
        # Some numbers were changed by one model only, some by none.
        a, b = (np.where(random.random(shape) < 0.2, base, x) for x in (a, b))
    return [x.round(4).astype(np.float32) for x in (base, a, b)]


def is_clear(name, base, a, b):
    """Whether no order, sign or branch is near a tie."""
    differences = [(x - base).reshape(-1) for x in (a, b)]
    for difference in differences:
        magnitudes = np.sort(abs(difference[difference != 0]))
        if len(magnitudes) > 1 and np.diff(magnitudes).min() < MIN_GAP:
            return False
    of_a, of_b = differences
    both = (of_a != 0) & (of_b != 0)
    sums = [share * of_a[both] + (1 - share) * of_b[both] for share in SHARES]
    least, largest = RELATED[name][2] if name in RELATED else (-0.95, 0.99)
    return all((abs(s) > MIN_GAP).all() for s in sums) and least <= cosine(a, b) <= largest


def make_tensors():
    """name -> tensors of the base, of model A and of model B."""
    tensors = {}
    for name, shape in SHAPES.items():
        draws = (draw(name, shape, attempt) for attempt in range(1000))
        tensors[name] = next((d for d in draws if is_clear(name, *d)), None)
        assert tensors[name] is not None, f"{name}: no draw is clear"
    differences = [(a - base, b - base) for base, a, b in tensors.values()]
    assert any(((a == 0) & (b == 0)).any() for a, b in differences), "nothing was left as it was"
    assert any(((a == 0) & (b != 0)).any() for a, b in differences), "nothing was changed by one model only"
    assert any((a * b < 0).any() for a, b in differences), "no signs differ"
    return tensors


def save_models(tensors, folder):
    """The three as checkpoints."""
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        head_dim=HEAD,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        tie_word_embeddings=False,
        dtype="float32",
    )
    for index, model in enumerate(("base", "a", "b")):
        config.save_pretrained(folder / model)
        save_file(
            {name: three[index] for name, three in tensors.items()},
            folder / model / "model.safetensors",
            metadata={"format": "pt"},
        )


# ------------------------------------------------------------------------------------------- cases


def configuration(case, folder):
    """The case as mergekit spells it."""
    share = case["share"]
    base, a, b = (str(folder / model) for model in ("base", "a", "b"))
    top = {"merge_method": case["method"], "dtype": "float32"}
    weights = [{"model": a, "parameters": {"weight": share}}, {"model": b, "parameters": {"weight": 1 - share}}]
    if case["method"] == "linear":
        return {**top, "models": weights, "parameters": {"normalize": case["normalize"]}}
    if case["method"] == "slerp":
        return {**top, "models": [{"model": a}, {"model": b}], "base_model": a, "parameters": {"t": 1 - share}}
    for model in weights:
        model["parameters"]["density"] = case["density"]
    shared = {"normalize": case["normalize"], "lambda": case["lambda"]}
    return {**top, "models": weights, "base_model": base, "parameters": shared}


def cases():
    """All cases; what a method does not have is at the value that does nothing."""
    rest = {"density": 1.0, "normalize": True, "lambda": 1.0}
    for method in ("linear", "slerp"):
        for share in (0.0, *SHARES, 1.0):
            yield {"method": method, "share": share, **rest}
    for scale in (1.0, 0.7):
        for density in (0.5, 1.0):
            for normalize in (True, False):
                for share in SHARES:
                    numbers = {"density": density, "normalize": normalize, "lambda": scale}
                    yield {"method": "ties", "share": share, **numbers}
    # A tenth of 7 numbers is none, and mergekit keeps one.
    yield {"method": "ties", "share": 0.5, "density": 0.1, "normalize": True, "lambda": 1.0}


def merged(case, folder):
    """The tensors of the merge."""
    options = MergeOptions(device="cpu", copy_tokenizer=False, write_model_card=False, quiet=True)
    with tempfile.TemporaryDirectory() as out:
        run_merge(MergeConfiguration.model_validate(configuration(case, folder)), out, options)
        return load_file(Path(out) / "model.safetensors")


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "fixtures" / "merges.json")
    arguments = parser.parse_args()
    have = {name: version(name) for name in PACKAGES}
    assert have == PACKAGES, f"{have} installed, {PACKAGES} pinned"
    for name in (None, "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    tensors = make_tensors()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        save_models(tensors, Path(folder))
        for case in cases():
            want = merged(case, Path(folder))
            assert want.keys() == tensors.keys(), case
            # Which model the share is of.
            if case["share"] in (0.0, 1.0):
                index = 1 if case["share"] == 1.0 else 2
                assert all(np.array_equal(want[name], tensors[name][index]) for name in tensors), case
            rows.append({**case, "want": {name: plain(want[name]) for name in tensors}})
    value = {
        "source": f"mergekit {version('mergekit')}",
        "note": "float32. share: of model A. slerp: t is 1 - share, from A to B.",
        "python": platform.python_version(),
        "packages": have,
        "tensors": {
            name: {"shape": SHAPES[name], "base": plain(base), "a": plain(a), "b": plain(b)}
            for name, (base, a, b) in tensors.items()
        },
        "cases": rows,
    }
    write_json(arguments.out, value)
    print(f"{arguments.out}: {len(rows)} cases, {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
