"""Times the work of `speed/main.rs` on PyTorch: transformers trains and generates, TRL does GRPO.

It does not know our code: it reads the folder that `speed --dump DIR` wrote and the kept base itself,
and prints the JSON lines that `speed --json` prints.

    cargo xtask bench --against pytorch

does all of this. By hand:

    python suite/benches/peer.py DIR [PART...]

Decisions:
- The peer must do the same work. The loss of the training step, the greedy answers and the mean length of
  sampled completions are compared with ours, and a difference is an error, not a figure.
- The peer is given what helps it: positions and patches are made ahead, its threads are all cores, its
  attention is `sdpa`, which is what transformers takes by itself, its optimizer is fused, and gradient
  checkpointing is off.
- Every part runs in a process of its own, so that one's memory is not another's.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

ROOT = Path(__file__).resolve().parents[2]
# Timed runs of a figure, after one that is not.
RUNS = 5
# Likewise for steps of GRPO, which take many times longer.
STEPS = 3
# How far losses of two implementations in 32 bits may be apart.
LOSS_TOLERANCE = 1e-3
# The share of greedy tokens that must be ours: a tie of two logits may fall either way.
SAME_ANSWERS = 0.95
# How far mean lengths of sampled completions may be apart, as a share.
SAME_LENGTH = 0.1
# Completions that TRL computes at once; more were not faster where it was measured.
MICRO_BATCH = 32
# Moves nothing: every step must start from the same weights to be the same work.
NO_LEARNING = 1e-12


def main():
    arguments = argparse.ArgumentParser(description="The work of speed/main.rs on PyTorch.")
    arguments.add_argument("folder", type=Path, nargs="?", help="what `speed --dump` wrote")
    names = ", ".join(PARTS)
    arguments.add_argument("parts", nargs="*", metavar="PART", help=f"what is in one of: {names}")
    arguments.add_argument("--names", action="store_true", help="print the names of all works")
    arguments.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.names:
        print("\n".join(PARTS))
        return
    if asked.folder is None:
        arguments.error("the folder is missing")
    if not asked.here:
        for name in PARTS:
            if not asked.parts or any(part in name for part in asked.parts):
                command = [sys.executable, __file__, str(asked.folder), name, "--here"]
                if code := subprocess.run(command).returncode:
                    sys.exit(code)
        return
    # Libraries print as well; what is not a figure goes to standard error.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from transformers.utils import logging

    logging.set_verbosity_error()
    work = json.loads((asked.folder / "work.json").read_text(encoding="utf-8"))
    for figure, program, values, unit in PARTS[asked.parts[0]](asked.folder, work):
        line = {
            "figure": figure,
            "program": program,
            "value": round(statistics.median(values), 3),
            "unit": unit,
            "low": round(min(values), 3),
            "high": round(max(values), 3),
            "machine": machine(),
            "commit": commit(),
        }
        print(json.dumps(line), file=lines, flush=True)


# ------------------------------------------------------------------------------ training and decoding


def train(folder, work):
    """One update on a batch of SFT, padded to a rectangle."""
    import torch
    from safetensors.torch import load_file

    settings = work["train"]
    model = checkpoint(kept(work)).train()
    freeze(model, work)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=settings["optimizer"]["learning_rate"],
        betas=(settings["optimizer"]["beta_1"], settings["optimizer"]["beta_2"]),
        eps=settings["optimizer"]["epsilon"],
        weight_decay=settings["optimizer"]["weight_decay"],
        fused=True,
    )
    batch = load_file(folder / "train.safetensors")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), settings["optimizer"]["max_grad_norm"]
        )
        optimizer.step()
        return loss.item()

    loss, ours = step(), settings["loss"]
    if abs(loss - ours) > LOSS_TOLERANCE:
        sys.exit(f"error: the loss is {loss} here and {ours} in speed/main.rs: not the same work")
    yield "train step", "pytorch", [settings["num_tokens"] / t for t in times(step)], "tokens/s"


def decode(folder, work, place=0):
    """Greedy answers of one length to prompts with a picture each, in one batch."""
    import torch
    from safetensors.torch import load_file

    model = checkpoint(kept(work)).eval()
    batch = load_file(folder / ["decode.safetensors", "decode_long.safetensors"][place])
    ours = batch.pop("answers")
    num_new = work["decode"]["num_new_tokens"][place]
    end = model.generation_config.eos_token_id[0]

    @torch.inference_mode()
    def run():
        return model.generate(
            **batch,
            do_sample=False,
            max_new_tokens=num_new,
            min_new_tokens=num_new,
            pad_token_id=end,
        )

    answers = run()[:, batch["input_ids"].shape[1] :]
    # Up to our end token: after it we go on with it, the peer must not draw it.
    open_ = torch.cumsum((ours == end).int(), dim=1) == 0
    same = (answers == ours)[open_].float().mean().item()
    print(f"{same:.1%} of {open_.sum().item()} greedy tokens are the same", file=sys.stderr)
    if same < SAME_ANSWERS:
        sys.exit(f"error: {same:.1%} of the greedy tokens are those of speed/main.rs: not the same work")
    figure = ["decoding", f"decoding, {num_new} tokens"][place]
    yield figure, "pytorch", [answers.numel() / t for t in times(run)], "tokens/s"


def decode_long(folder, work):
    """The same with answers as long as long ones are."""
    yield from decode(folder, work, 1)


def kept(work):
    """The folder of the kept base."""
    return ROOT / work["model"]["path"]


def checkpoint(path):
    """The model in this folder."""
    import torch
    from transformers import AutoModelForImageTextToText

    # `eager` PyTorch: nothing is compiled. Loading says nothing about speed.
    return AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)


def freeze(model, work):
    """Turns gradients off where a name of the published layout starts with a pattern."""
    frozen = 0
    for name, parameter in model.named_parameters():
        if any(name.removeprefix("model.").startswith(pattern) for pattern in work["freeze"]):
            parameter.requires_grad_(False)
            frozen += 1
    if not frozen:
        sys.exit("error: nothing is frozen: parameters have other names in this version")


# ---------------------------------------------------------------------------------------------- GRPO


def grpo(folder, work):
    """One step of GRPO with pictures, as TRL does it, and the most memory it takes."""
    cap, length = work["grpo"]["spec"]["max_completion_tokens"], work["grpo"]["mean_length"]
    yield "GRPO step", "trl", in_pictures(folder, work, checkpoint(kept(work)), cap, length), "s"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield "GRPO step, peak memory", "trl", [peak / 1e6], "MB"


def grpo_long(folder, work):
    """The same with answers as long as long ones are, from the random weights of speed/main.rs."""
    cap, length = work["long"]["max_completion_tokens"], work["long"]["mean_length"]
    model = checkpoint(folder / "random")
    yield f"GRPO step, {cap} tokens", "trl", in_pictures(folder, work, model, cap, length), "s"


def in_pictures(folder, work, model, cap, length):
    """Seconds of each step of GRPO on the questions with pictures."""
    from datasets import Dataset, Image
    from transformers import AutoProcessor

    questions = work["grpo"]["questions"]
    rows = {
        "prompt": [[{"role": "user", "content": q["text"]}] for q in questions],
        "image": [str(folder / "pictures" / q["picture"]) for q in questions],
        "answer": [q["answer"] for q in questions],
    }
    dataset = Dataset.from_dict(rows).cast_column("image", Image())
    processor = AutoProcessor.from_pretrained(kept(work), padding_side="left")
    # The base's vocabulary has no token for videos; the processor would count another one.
    processor.video_token_id = model.config.video_token_id
    freeze(model, work)
    return grpo_times(model, processor, dataset, work, cap, length)


def text(folder, work):
    """The same without pictures, from random weights in the shape of the base's decoder."""
    import torch
    from datasets import Dataset
    from transformers import AutoConfig, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    path = kept(work)
    questions = work["text"]["questions"]
    dataset = Dataset.from_dict({"prompt": [q["text"] for q in questions], "answer": [""] * len(questions)})
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    for question in questions:
        if len(tokenizer(question["text"])["input_ids"]) != question["num_tokens"]:
            sys.exit("error: a prompt has another length than in speed/main.rs: not the same work")
    base = AutoConfig.from_pretrained(path).get_text_config()
    shape = Qwen2Config(
        vocab_size=base.vocab_size,
        hidden_size=base.hidden_size,
        intermediate_size=base.intermediate_size,
        num_hidden_layers=base.num_hidden_layers,
        num_attention_heads=base.num_attention_heads,
        num_key_value_heads=base.num_key_value_heads,
        max_position_embeddings=base.max_position_embeddings,
        rms_norm_eps=base.rms_norm_eps,
        rope_theta=base.rope_theta,
        initializer_range=base.initializer_range,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(1)
    # TRL reads the reference model from a folder.
    with tempfile.TemporaryDirectory() as saved:
        Qwen2ForCausalLM(shape).save_pretrained(saved)
        model = Qwen2ForCausalLM.from_pretrained(saved, dtype=torch.float32)
        cap, length = work["text"]["max_completion_tokens"], work["text"]["mean_length"]
        seconds = grpo_times(model, tokenizer, dataset, work, cap, length)
    yield "GRPO step, text only", "trl", seconds, "s"


def grpo_times(model, processing_class, dataset, work, cap, mean_length):
    """Seconds of each step of GRPO: rollouts of all questions, then its updates.

    `mean_length` is that of the completions of speed/main.rs.
    """
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    spec = work["grpo"]["spec"]
    objective, reward = spec["objective"], work["grpo"]["reward"]
    optimizer = work["grpo"]["optimizer"]
    num_updates = spec["num_mini_batches"]
    completions = spec["batch_size"] * spec["num_generations"]
    stamps, lengths = [], []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            stamps.append(time.perf_counter())

        def on_log(self, args, state, control, logs, **_):
            lengths.append(logs["completions/mean_length"])

    with tempfile.TemporaryDirectory() as folder:
        arguments = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            shuffle_dataset=False,
            # One step is `num_updates` updates, each over its share of the completions.
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=completions // num_updates // MICRO_BATCH,
            generation_batch_size=completions,
            num_generations=spec["num_generations"],
            max_steps=num_updates * (1 + STEPS),
            max_completion_length=cap,
            temperature=spec["temperature"],
            top_p=1.0,
            top_k=0,
            # As here, no answer holds a picture: random weights would draw one now and then.
            generation_kwargs={"suppress_tokens": pictures(model)},
            beta=objective["beta"],
            # Its default multiplies the KL term by the ratio.
            use_bias_correction_kl=False,
            epsilon=objective["clip_low"],
            epsilon_high=objective["clip_high"],
            loss_type="grpo",
            scale_rewards="group",
            num_iterations=1,
            reward_weights=[reward["accuracy_weight"], reward["format_weight"]],
            learning_rate=NO_LEARNING,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            adam_beta1=optimizer["beta_1"],
            adam_beta2=optimizer["beta_2"],
            adam_epsilon=optimizer["epsilon"],
            weight_decay=optimizer["weight_decay"],
            max_grad_norm=optimizer["max_grad_norm"],
            seed=1,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=[accuracy, form],
            args=arguments,
            train_dataset=dataset,
            processing_class=processing_class,
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    if abs(lengths[-1] - mean_length) > SAME_LENGTH * mean_length:
        sys.exit(
            f"error: completions have {lengths[-1]:.1f} tokens on average and {mean_length:.1f} in "
            "speed/main.rs: not the same work"
        )
    ends = stamps[num_updates - 1 :: num_updates]
    return [end - start for start, end in zip(ends, ends[1:])]


def pictures(model):
    """The tokens that stand for pictures and videos, or begin one; none in a model of text."""
    names = ("vision_start_token_id", "image_token_id", "video_token_id")
    return [place for name in names if (place := getattr(model.config, name, None)) is not None] or None


def said(completion):
    """The text of a completion, of a conversation or plain."""
    if isinstance(completion, str):
        return completion
    content = completion[0]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def accuracy(completions, answer, **_):
    """1 where the last box holds the answer."""
    right = []
    for completion, want in zip(completions, answer):
        _, box, rest = said(completion).rpartition("\\boxed{")
        right.append(float(bool(box) and rest.partition("}")[0].strip().lower() == want.lower()))
    return right


def form(completions, **_):
    """1 where a thought stands before a box."""
    texts = map(said, completions)
    return [float(t.startswith("<think>") and "\\boxed{" in t.partition("</think>")[2]) for t in texts]


# ------------------------------------------------------------------------------------------- measuring


def times(run):
    """Seconds of each run. One has already been made, and is not timed."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def machine():
    """Processor and cores, in the words of speed/main.rs."""
    name = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def commit():
    """Versions stand for the peer's commit."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ["torch", "transformers", "trl"])


# Named as in speed/main.rs.
PARTS = {
    "grpo/step": grpo,
    "grpo/long answers": grpo_long,
    "grpo/text only": text,
    "train/step": train,
    "decode/64 sequences": decode,
    "decode/64 long answers": decode_long,
}

if __name__ == "__main__":
    main()
