"""Records what one version of transformers makes of checkpoints that `synergy export` wrote: ids and greedy answers.

    python golden/parity/readers.py --model nano=DIR --model small=DIR --out FILE

Version 5 builds the tokenizer of a known class in its own code and looks at `tokenizer.json` for the vocabulary only, so
a checkpoint may have other ids there than in version 4: `cargo xtask parity --regenerate` runs this script with the
packages of requirements.txt and with those of requirements-transformers-5.txt. Everything is loaded as a user does, with
the picture processor that the version takes by itself, on the CPU in float32.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, GenerationConfig

PICTURES = Path(__file__).parent / "fixtures" / "processor"
NUM_TOKENS = 40
# Two implementations may take either of two tokens that are closer than this.
MIN_GAP = 1e-3

# What cuts differ about: spaces before digits and signs, several digits, line ends, contractions, marks that combine.
TEXTS = [
    " 2", "12 + 30 = 42", " 3.14159", "a1 b2", "It's 10% of 2,000.", "x\n\n  y\t z ", "\r\n", "n\u0303 \u00f1",
    "\u4f60\u597d\uff0c1\u4e2a", "\U0001f642\u200d\U0001f9ed", "\\boxed{7}</think>", " \\frac{1}{2}", "ÿ", "<|video_pad|>",
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Go up 2 from b2.<|im_end|>",
]  # fmt: skip
QUESTIONS = [
    ("What is the sum of a1 and b2?", ["rgb.png"], "image"),
    ("Count the red cells.", ["wide.png"], "image_url"),
    ("Start at a1 and go right 2. Where are you?", ["grey.png"], "key"),
    ("Compare.", ["rgb_exact.png", "tall.png"], "image"),
    ("What is 2 + 3?", [], "image"),
]


def part(form):
    """One picture as a request may have it."""
    return {
        "image": {"type": "image"},
        "image_url": {"type": "image_url", "image_url": {"url": "data:,"}},
        "key": {"image": "picture.png"},
    }[form]


def read(directory):
    """The ids of all texts and the answers to all questions."""
    tokenizer, processor = AutoTokenizer.from_pretrained(directory), AutoProcessor.from_pretrained(directory)
    plain = Tokenizer.from_file(str(directory / "tokenizer.json"))
    config = json.loads((directory / "config.json").read_text())
    assert tokenizer.convert_tokens_to_ids("<|video_pad|>") == config["video_token_id"]
    tokens = []
    for text in TEXTS:
        ids = plain.encode(text).ids
        for reader in (tokenizer, processor.tokenizer):
            batch = reader(text)
            assert batch["input_ids"] == ids, (type(reader).__name__, text, batch["input_ids"], ids)
            assert set(batch) == {"input_ids", "attention_mask"}, set(batch)
        tokens.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)})

    model, info = AutoModelForImageTextToText.from_pretrained(directory, dtype="auto", output_loading_info=True)
    assert not any(info.values()), info
    assert model.dtype == torch.float32, "the type that the files say"
    assert model.generation_config.eos_token_id == [config["eos_token_id"]], model.generation_config
    model.eval()
    answers = []
    for question, files, form in QUESTIONS:
        content = [part(form) for _ in files] + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        prompt = processor.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        images = [Image.open(PICTURES / file).convert("RGB") for file in files] or None
        batch = processor(text=[prompt], images=images, return_tensors="pt")
        settings = GenerationConfig(do_sample=False, max_new_tokens=NUM_TOKENS, pad_token_id=0)
        with torch.no_grad():
            made = model.generate(**batch, generation_config=settings, eos_token_id=model.generation_config.eos_token_id, return_dict_in_generate=True, output_logits=True)
        top = torch.stack(made.logits, 1)[0].topk(2).values
        new = made.sequences[0, batch["input_ids"].shape[1] :].tolist()
        answers.append(
            {
                "question": question,
                "images": files,
                "input_ids": batch["input_ids"][0].tolist(),
                "answer": processor.tokenizer.decode(new, skip_special_tokens=True),
                "smallest_gap": float(f"{(top[:, 0] - top[:, 1]).min():.4g}"),
            }
        )
        assert answers[-1]["smallest_gap"] > MIN_GAP, answers[-1]
    return {"tokenizer": type(processor.tokenizer).__name__, "tokens": tokens, "answers": answers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    pairs = [model.split("=", 1) for model in arguments.model]
    models = {name: read(Path(directory)) for name, directory in pairs}
    note = f"Ids and greedy answers, at most {NUM_TOKENS} tokens, of checkpoints that `synergy export` wrote (readers.py)."
    made = {"note": note, "transformers": transformers.__version__, "torch": torch.__version__, "models": models}
    arguments.out.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.out}: {len(models)} models read by transformers {transformers.__version__}")


if __name__ == "__main__":
    sys.exit(main())
