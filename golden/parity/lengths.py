"""Writes fixtures/lengths.json: what answers earn by their length, by ms-swift's own classes.

    cargo xtask parity --regenerate

runs this beside losses.py. Two runs write the same bytes.

Decisions:
- ms-swift asks for torch, transformers and much else; its two classes need nothing but Python. So its wheel is fetched
  without what it depends on, and the classes are taken out of their file with a stand-in for the class above them.
- DAPO's soft punishment has no end there: an answer longer than the cap would pay more. None is.
"""

import argparse
import ast
import json
import sys
import tempfile
import types
from pathlib import Path

from wheels import fetched

WHEEL = "ms-swift==4.6.0"
SHA256 = "8888ca2b88681aeabffc981f289ffc3e4fa6e4da7f83e885114ec0edbe8d99ea"
FILE = "swift/rewards/orm.py"
CAP = 512
LENGTHS = [0, 1, 17, 128, 255, 256, 257, 383, 384, 385, 450, 511, 512]
BUFFERS = [128, 512, 1]
# The defaults there, and some of our own.
VALUES = [{"right": [1.0, 0.5], "wrong": [-0.5, 0.0]}, {"right": [2.0, 0.25], "wrong": [-1.0, -0.125]}]


def classes(folder):
    """CosineReward and SoftOverlong."""
    with fetched(folder, WHEEL, SHA256) as archive:
        text = archive.read(FILE).decode()
    wanted = ("CosineReward", "SoftOverlong")
    parts = [part for part in ast.parse(text).body if isinstance(part, ast.ClassDef) and part.name in wanted]
    assert len(parts) == len(wanted), f"{FILE} lacks one of {wanted}"

    class ORM:
        def __init__(self, args):
            pass

    space = {"ORM": ORM, **{name: getattr(__import__("typing"), name) for name in ("List", "Optional", "Union")}}
    exec(compile(ast.Module(parts, type_ignores=[]), FILE, "exec"), space)
    return [space[name] for name in wanted]


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "fixtures" / "lengths.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cosine, overlong = classes(folder)
    answers = [[0] * length for length in LENGTHS]
    cases = []
    for buffer in BUFFERS:
        # It refuses a buffer of the whole length, whose formula is the same.
        settings = types.SimpleNamespace(soft_max_length=CAP + 1, soft_cache_length=buffer)
        rule = overlong(settings)
        rule.soft_max_length = CAP
        found = rule(["" for _ in answers], response_token_ids=answers)
        cases.append({"length": {"kind": "overlong", "buffer": buffer, "weight": 1.0}, "accuracy": 0.0, "adds": found})
    for values in VALUES:
        settings = types.SimpleNamespace(
            cosine_min_len_value_wrong=values["wrong"][0],
            cosine_max_len_value_wrong=values["wrong"][1],
            cosine_min_len_value_correct=values["right"][0],
            cosine_max_len_value_correct=values["right"][1],
            cosine_max_len=CAP,
        )
        for accuracy in (1.0, 0.0):
            rule = cosine(settings, accuracy_orm=lambda completions, solution, **_: [accuracy] * len(completions))
            found = rule(["" for _ in answers], None, response_token_ids=answers)
            adds = [value - accuracy for value in found]
            cases.append({"length": {"kind": "cosine", **values}, "accuracy": accuracy, "adds": adds})
    note = "adds: what an answer of so many tokens earns in addition to its accuracy, where accuracy weighs 1."
    lines = ",\n".join(f"    {json.dumps(case)}" for case in cases)
    head = f'  "note": {json.dumps(note)},\n  "source": {json.dumps(WHEEL)},\n  "max_completion_tokens": {CAP},\n'
    text = f'{{\n{head}  "num_tokens": {json.dumps(LENGTHS)},\n  "cases": [\n{lines}\n  ]\n}}\n'
    arguments.out.write_text(text, encoding="utf-8")
    print(f"{arguments.out}: {len(cases)} cases")


if __name__ == "__main__":
    sys.exit(main())
