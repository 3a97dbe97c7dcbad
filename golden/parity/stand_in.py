"""Writes a stand-in of all that profile full-3b fetches: a tiny checkpoint and tiny data sets, as a folder of a hub.

    python golden/parity/stand_in.py --out target/stand-in [--seed 7] [--rl mmk12] [--tokenizer tokenizer.json]
    python3 tests/hub/serve.py target/stand-in
    HF_ENDPOINT=<the address it prints> HF_HOME=target/stand-in-cache cargo xtask fetch full-3b

It needs the packages of requirements-stand-in.txt. Two runs with one seed write the same bytes, with the same versions
of these packages. stand-in/ is what it writes without options; `cargo xtask parity --regenerate` writes it again.

What is real: the ids of the repositories, the keys of every settings file, the names of the weights, the special tokens
and the chat template, the columns of the benchmarks. What is not: sizes, weights, vocabulary, questions, pictures.

Decisions:
- `config.json` has the keys of the published 3B model, in its flat form. Sizes are small, and ids of tokens are those of
  a small vocabulary, unless `--tokenizer` gives the real one (the same file as for generate.py): then they are the
  published ones, and the embedding has 151936 rows.
- The benchmarks are those of datasets.py, with rows repeated under other ids, levels and pictures: their columns and
  oddities stand there once. So do the columns of s1K.
- All of it is small, since it is kept: few rows, pictures of few colors, a tower half as wide as the decoder. Heads are
  32 wide, since vLLM computes no narrower ones on a CPU.
- The layouts of Eureka-Distill and MMK12 are not known at first hand. The first is written as LLaMA-Factory's
  ShareGPT, with which the study trained. The second by the columns that others name, layout `mmk12`; with `--rl easyr1`
  as EasyR1, verl's fork, has it; with `--rl mm-eureka` as MM-EUREKA's trainer reads it.
- A file that ends as a pickle lies beside the weights, and one beside the traces: they must not come.
"""

import argparse
import importlib.util
import io
import json
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

HERE = Path(__file__).parent
MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
TRACES, QUESTIONS, THOUGHTS = "JierunChen/Eureka-Distill", "FanqingM/MMK12", "simplescaling/s1K-1.1"
BENCHMARKS = {
    "mathvision": "MathVision",
    "mathvista": "MathVista",
    "mathverse": "MathVerse",
    "mmmu": "MMMU",
    "mmstar": "MMStar",
}
# To train on, to validate with, and of each benchmark: every level twice.
NUM_TRAIN, NUM_VAL, NUM_ASKED = 16, 4, 10
PICKLE = b"This must not come."
COLORS = np.array([[255, 255, 255], [220, 40, 40], [40, 70, 220], [20, 20, 20]], np.uint8)
TEMPLATE = "Please reason step by step within <think> </think> tags, and put your final answer within \\boxed{}."

# The tokens that Qwen2.5 adds to its vocabulary, in the order of their ids, from 151643 to 151664.
ADDED = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
]  # fmt: skip
# Those behind the pictures' are ordinary text to a decoder that skips special tokens.
NUM_SPECIAL = 14
NUM_MERGES = 384
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def load(name):
    """A script beside this one, under another name than the package `datasets` has."""
    spec = importlib.util.spec_from_file_location(f"parity_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- rows


def random(seed, *names):
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


def sums(seed, name, count):
    """Made-up questions on a picture with their answers: (number, question, trace, answer)."""
    for number in range(count):
        a, b = random(seed, name, number).integers(2, 40, 2).tolist()
        question = f"The picture has {a} red and {b} blue squares. How many squares are there?"
        trace = f"There are {a} red squares. There are {b} blue ones. {a} + {b} = {a + b}. Wait, check: {a + b}."
        yield number, question, trace, str(a + b)


def thoughts(seed):
    """Made-up questions in words: (question, answer, the traces and attempts of two)."""
    for number in range(NUM_TRAIN):
        a, b = random(seed, "thoughts", number).integers(2, 40, 2).tolist()
        question = f"Ann has {a} squares, Ben has {b} more than Ann. How many squares has Ben?"
        deep = f"Ben has {b} more than {a}. {a} + {b} = {a + b}.\n\nWait, check: {a + b} - {b} = {a}. So it is {a + b}."
        said = {
            "deepseek_thinking_trajectory": deep,
            "deepseek_attempt": f"Ben has {a} + {b} squares: \\boxed{{{a + b}}}",
            "gemini_thinking_trajectory": f"There are {a} and {b} squares. Add them: {a + b}.",
            "gemini_attempt": f"The answer is \\boxed{{{a + b}}}.",
        }
        yield question, str(a + b), said


def write_traces(out, seed):
    """LLaMA-Factory's ShareGPT: conversations, and pictures by their paths."""
    (out / "images").mkdir(parents=True)
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        rows = []
        for number, question, trace, answer in sums(seed, split, count):
            name = f"images/{split}_{number:05}.png"
            (out / name).write_bytes(picture(seed, f"traces/{split}/{number}"))
            rows.append(
                {
                    "conversations": [
                        {"from": "human", "value": f"<image>{question}\n{TEMPLATE}"},
                        {"from": "gpt", "value": f"<think>\n{trace}\n</think>\n\nThe answer is \\boxed{{{answer}}}."},
                    ],
                    "images": [name],
                }
            )
        write_json(out / f"{split}.json", rows)


def write_questions(out, seed, data, layout):
    """Questions with targets, in one of three layouts."""
    (out / "data").mkdir(parents=True)
    for split, count in (("train", NUM_TRAIN), ("test", NUM_VAL)):
        rows = list(sums(seed, f"questions/{split}", count))
        pictures = [picture(seed, f"questions/{split}/{number}") for number, *_ in rows]
        path = out / "data" / f"{split}-00000-of-00001.parquet"
        if layout == "mm-eureka":
            (out / "images").mkdir(exist_ok=True)
            lines = []
            for (number, question, _, answer), data_of_picture in zip(rows, pictures):
                name = f"images/{split}_{number:05}.png"
                (out / name).write_bytes(data_of_picture)
                said = [{"role": "user", "content": [{"type": "image", "image": name}, {"type": "text", "text": question}]}]
                lines.append(json.dumps({"id": f"{split}{number}", "message": json.dumps(said), "answer": answer}))
            (out / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
            continue
        text = pa.string()
        if layout == "easyr1":
            fields = [("images", pa.list_(data.IMAGE)), ("problem", text), ("answer", text)]
            rows = [
                {"images": [{"bytes": image, "path": None}], "problem": f"<image>{question}", "answer": answer}
                for (_, question, _, answer), image in zip(rows, pictures)
            ]
        else:
            fields = [("id", text), ("question", text), ("answer", text), ("subject", text), ("image", data.IMAGE)]
            rows = [
                {"id": f"{split}{number}", "question": question, "answer": answer, "subject": "math", "image": {"bytes": image, "path": None}}
                for (number, question, _, answer), image in zip(rows, pictures)
            ]
        write_parquet(path, pa.Table.from_pylist(rows, pa.schema(fields)))
    if layout == "mm-eureka":
        shutil.rmtree(out / "data")


def write_thoughts(out, seed, data):
    """s1K-1.1, every second solution worked out."""
    rows = [
        said
        | {"question": question, "solution": f"Add them: \\boxed{{{answer}}}" if number % 2 else answer}
        | {"cot_type": "math", "source_type": "made up", "metadata": "{}"}
        | {f"{by}_{part}": text for by in ("gemini", "deepseek") for part, text in (("grade", "Yes"), ("grade_reason", "The same."))}
        for number, (question, answer, said) in enumerate(thoughts(seed))
    ]
    schema = pa.schema([(column, pa.string()) for column in data.S1K])
    write_parquet(out / "data" / "train-00000-of-00001.parquet", pa.Table.from_pylist(rows, schema))


def picture(seed, name):
    """Squares of few colors."""
    cells = random(seed, "picture", name).choice(len(COLORS), (7, 7), p=[0.7, 0.1, 0.1, 0.1])
    file = io.BytesIO()
    Image.fromarray(COLORS[cells].repeat(8, 0).repeat(8, 1)).save(file, "PNG")
    return file.getvalue()


def write_parquet(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy", write_statistics=False, store_schema=False, row_group_size=10)


def write_benchmarks(out, seed, data):
    """Those of datasets.py with levels, each with more rows."""
    with tempfile.TemporaryDirectory() as directory:
        data.write_parquet(Path(directory))
        for name, title in BENCHMARKS.items():
            folder = Path(directory) / f"{name}_with_difficulty_level"
            [file] = sorted(folder.glob("*.parquet"))
            table = pq.read_table(file)
            rows = [again(name, row, number, seed, data) for number, row in enumerate(cycled(table.to_pylist()))]
            place = out / "datasets" / f"JierunChen/{title}_with_difficulty_level" / "data" / file.name
            write_parquet(place, pa.Table.from_pylist(rows, table.schema))
            readme(place.parent.parent, f"{title} with difficulty levels", "cc-by-sa-4.0")


def cycled(rows):
    return [dict(rows[number % len(rows)]) for number in range(NUM_ASKED)]


def again(name, row, number, seed, data):
    """The row under another id, with another picture and a level of its own."""
    column = data.IDS[name]
    row[column] = f"{row[column].rsplit('_', 1)[0]}_{number + 1}" if name == "mmmu" else type(row[column])(number + 1)
    if row["question"]:
        row["question"] = f"({number + 1}) {row['question']}"
    passes = [14, 9, 6, 3, 1][number % 5]
    level = row[data.STUDY["level"]]
    row[data.STUDY["level"]] = number % 5 + 1 if isinstance(level, int) else f"{level or '1'}"[:-1] + str(number % 5 + 1)
    row[data.STUDY["pass_rate"]] = passes / 16
    for key, cell in row.items():
        if isinstance(cell, dict) and set(cell) == {"bytes", "path"}:
            row[key] = cell | {"bytes": picture(seed, f"{name}/{number}/{key}")}
    return row


def readme(folder, title, license):
    text = f"---\nlicense: {license}\n---\n\n# {title}\n\nA stand-in for tests: everything in it is made up.\n"
    (folder / "README.md").write_text(text)


# ---------------------------------------------------------------- checkpoint


def byte_letters():
    """The letter that stands for each byte in a byte-level vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(rest)}


def merges(corpus):
    """The most frequent pairs, one after the other; of equal ones the first in order."""
    letters = byte_letters()
    words = {}
    for word in corpus.replace(" ", "\0 ").split("\0"):
        key = tuple(letters[byte] for byte in word.encode())
        words[key] = words.get(key, 0) + 1
    found = []
    while len(found) < NUM_MERGES:
        counts = {}
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + count
        # Digits stay alone, and what is split before merging is never one.
        counts = {p: c for p, c in counts.items() if all(letter.isalpha() and letter.isascii() or letter == "Ġ" for letter in "".join(p)) and "Ġ" not in "".join(p)[1:]}
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        found.append(best)
        joined = {}
        for word, count in words.items():
            parts, at = [], 0
            while at < len(word):
                step = 2 if word[at : at + 2] == best else 1
                parts.append("".join(word[at : at + step]))
                at += step
            joined[tuple(parts)] = joined.get(tuple(parts), 0) + count
        words = joined
    return found


def small_tokenizer(seed):
    """`tokenizer.json` as published, with a vocabulary that was cut down to a few hundred entries."""
    texts = [f"{question} {trace} {TEMPLATE} The answer is" for _, question, trace, _ in sums(seed, "train", NUM_TRAIN)]
    texts += [" ".join([question, *said.values()]) for question, _, said in thoughts(seed)]
    pairs = merges(" ".join(texts))
    vocabulary = {letter: at for at, letter in enumerate(sorted(byte_letters().values()))}
    for pair in pairs:
        vocabulary.setdefault("".join(pair), len(vocabulary))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    added = [
        {"id": len(vocabulary) + at, "content": text, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": at < NUM_SPECIAL}
        for at, text in enumerate(ADDED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                level,
            ],
        },
        "post_processor": level,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [" ".join(pair) for pair in pairs],
        },
    }


def write_tokenizer(out, tokenizer):
    """Every file of the vocabulary that is published; returns the ids of the added tokens."""
    write_json(out / "tokenizer.json", tokenizer)
    write_json(out / "vocab.json", tokenizer["model"]["vocab"], indent=None)
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    (out / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{pair}\n" for pair in pairs), encoding="utf-8")
    template = (HERE / "fixtures/tokenizer/chat_template.jinja").read_text(encoding="utf-8")
    write_json(out / "chat_template.json", {"chat_template": template})
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in tokenizer["added_tokens"]}
    write_json(
        out / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": decoder,
            "additional_special_tokens": ADDED[1:NUM_SPECIAL],
            "bos_token": None,
            "chat_template": template,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 131072,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    return {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def config(ids):
    """The published `config.json` of the 3B model: every key, small sizes, and the ids of the vocabulary."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 128,
        "max_position_embeddings": 128000,
        "max_window_layers": 70,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 2,
        "num_hidden_layers": 4,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 4,
            "hidden_act": "silu",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "in_chans": 3,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [1, 3],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        # As published: more rows than there are entries.
        "vocab_size": 151936 if ids["<|endoftext|>"] == 151643 else -(-(max(ids.values()) + 1) // 64) * 64,
    }


def write_checkpoint(out, seed, tokenizer):
    out.mkdir(parents=True)
    ids = write_tokenizer(out, tokenizer)
    settings = config(ids)
    write_json(out / "config.json", settings)
    end, turn = ids["<|endoftext|>"], ids["<|im_end|>"]
    write_json(
        out / "generation_config.json",
        {
            "bos_token_id": end,
            "pad_token_id": end,
            "do_sample": True,
            "eos_token_id": [turn, end],
            "repetition_penalty": 1.05,
            "temperature": 0.000001,
            "transformers_version": "4.49.0",
        },
    )
    write_json(
        out / "preprocessor_config.json",
        {
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    readme(out, "A tiny Qwen2.5-VL", "other")
    (out / "LICENSE").write_text("A stand-in for tests: random weights.\n")
    (out / "pytorch_model.bin").write_bytes(PICKLE)

    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_dict(settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = random(seed, name).normal(0.0, 0.05, tuple(weight.shape))
            # Norms are about one, as they begin.
            weight.copy_(torch.from_numpy(drawn + 1.0 if "norm" in name or "ln_q" in name else drawn))
    model = model.to(torch.bfloat16).eval()
    size = sum(weight.numel() * 2 for weight in model.parameters())
    # With the real vocabulary the embedding is larger than all the rest, and has a shard of its own.
    rest = size - model.get_input_embeddings().weight.numel() * 2
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory, max_shard_size=rest // 3)
        for file in sorted(Path(directory).glob("model*")):
            shutil.copy(file, out / file.name)
    shards = sorted(out.glob("model-*.safetensors"))
    assert len(shards) >= 3, shards

    # As a user of transformers loads it: no key missing, none unused.
    again, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(out, dtype=torch.bfloat16, output_loading_info=True)
    assert not any(info.values()), info
    want = model.state_dict()
    assert all(torch.equal(weight, want[name]) for name, weight in again.state_dict().items())
    processor = AutoProcessor.from_pretrained(out)
    text = "<|im_start|>user\n<|vision_start|><|image_pad|>Is 12 + 30 = 42?<|im_end|>"
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text
    return len(shards), size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rl", choices=["mmk12", "easyr1", "mm-eureka"], default="mmk12", help="layout of the questions for RL")
    parser.add_argument("--tokenizer", type=Path, help="the real tokenizer.json (see generate.py)")
    options = parser.parse_args()
    out = options.out
    if out.exists():
        parser.error(f"{out} is there already")
    torch.set_num_threads(1)
    data = load("datasets")
    if options.tokenizer:
        tokenizer = json.loads(options.tokenizer.read_text(encoding="utf-8"))
        # Qwen3 added four tokens to Qwen2.5's.
        tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < 151665]
        assert [token["content"] for token in tokenizer["added_tokens"]] == ADDED, "not the vocabulary of Qwen2.5"
    else:
        tokenizer = small_tokenizer(options.seed)
    shards, size = write_checkpoint(out / "models" / MODEL, options.seed, tokenizer)
    traces, questions, words = (out / "datasets" / name for name in (TRACES, QUESTIONS, THOUGHTS))
    write_traces(traces, options.seed)
    (traces / "optimizer.pt").write_bytes(PICKLE)
    readme(traces, "Traces", "other")
    write_questions(questions, options.seed, data, options.rl)
    readme(questions, "Questions", "other")
    write_thoughts(words, options.seed, data)
    readme(words, "Questions in words", "other")
    write_benchmarks(out, options.seed, data)
    files = [path for path in out.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    print(f"{len(files)} files, {total} bytes in {out}; {size} bytes of weights in {shards} shards", file=sys.stderr)


if __name__ == "__main__":
    main()
