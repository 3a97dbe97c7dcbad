"""Records what the reference computes in bf16: the logits of the last position of two cases.

The model is the one that `generate.py` wrote, read as a user of `transformers` would, with
`dtype=torch.bfloat16` (CPU, eager attention, one thread): what it keeps in float32 inside a bf16 model,
such as rotary frequencies, it keeps here too. Two runs write the same bytes.

    python golden/parity/bf16.py --fixtures golden/parity/fixtures

`cargo xtask parity --regenerate` does this behind `generate.py`, with the same packages.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

# Of logits.json: words alone, and with a picture.
CASES = ["text", "picture"]
MODELS = ["model-untied", "model-tied"]


def load_model(directory, dtype):
    config = Qwen2_5_VLConfig.from_dict(json.loads((directory / "config.json").read_text()))
    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, config=config, dtype=dtype, attn_implementation="eager", output_loading_info=True
    )
    faults = {k: v for k, v in info.items() if v}
    if faults:
        raise SystemExit(f"{directory}: {faults}")
    return model.eval()


def last_logits(model, case, pictures, grids):
    arguments = {
        "input_ids": torch.tensor(case["input_ids"]),
        "attention_mask": torch.tensor(case["attention_mask"]),
    }
    if case["pictures"]:
        arguments["pixel_values"] = torch.cat([pictures[p] for p in case["pictures"]])
        arguments["image_grid_thw"] = torch.tensor([grids[p] for p in case["pictures"]])
    with torch.no_grad():
        return model(**arguments, use_cache=False).logits[:, -1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fixtures", type=Path, required=True, help="where generate.py wrote")
    fixtures = parser.parse_args().fixtures
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    recorded = load_file(fixtures / "logits.safetensors")
    pictures = load_file(fixtures / "pictures.safetensors")
    grids = json.loads((fixtures / "pictures.json").read_text())["grid_thw"]
    cases = {case["name"]: case for case in json.loads((fixtures / "logits.json").read_text())["cases"]}
    tensors = {}
    for name in MODELS:
        model = load_model(fixtures / name, torch.bfloat16)
        for case in CASES:
            logits = last_logits(model, cases[case], pictures, grids)
            assert logits.dtype == torch.bfloat16, logits.dtype
            # Every bf16 number is an f32 number too.
            tensors[f"{name}/{case}"] = logits.float().contiguous()
            apart = (logits.float() - recorded[f"{name}/{case}"][:, -1]).abs()
            print(f"{name}/{case}: {apart.mean():.5f} from float32 on average, {apart.max():.5f} at most")
    save_file(tensors, fixtures / "bf16.safetensors")


if __name__ == "__main__":
    main()
