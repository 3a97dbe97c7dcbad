"""Writes datasets/: tiny files in the layouts of published benchmarks and of training data, and what stands in them.

    python3 -m venv target/datasets
    target/datasets/bin/pip install -r golden/parity/datasets-requirements.txt
    target/datasets/bin/python golden/parity/datasets.py

Two runs write the same bytes.

Questions, answers and pictures are made up; layouts, columns and oddities are the owners':
tables by VLMEvalKit, parquet by Hugging Face's `datasets`; in datasets/training what LLaMA-Factory, TRL, EasyR1,
verl, MM-EUREKA and VLM-R1 train on, and the columns of MMK12 and s1K.

Decisions:
- What is expected is not what was written but what the owners' tools read: pandas, `ast.literal_eval`,
  pyarrow and Pillow open each file again, with the rules of VLMEvalKit for references and lists.
- Pixels are recorded of PNG pictures, whose decoding is exact; of JPEG pictures only the size.
- Training data are read with `json` and pyarrow, and what the trainers do with a row is said again here: which column
  is what, where a trainer shows pictures, what it takes for the target.
- pandas is told that only the empty cell is nothing. By default it also takes `None` and `NA` for nothing,
  which among the choices of a question are choices.
"""

import argparse
import ast
import base64
import io
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PACKAGES = dict(
    line.split("==")
    for line in (Path(__file__).parent / "datasets-requirements.txt").read_text().splitlines()
    if not line.startswith("#")
)
LETTERS = "ABCDEFGHI"
# Of s1K-1.1, all of them texts.
S1K = ["solution", "question", "cot_type", "source_type", "metadata"]
S1K += [f"{by}_{part}" for by in ("gemini", "deepseek") for part in ("thinking_trajectory", "attempt", "grade", "grade_reason")]
STUDY = {"level": "difficulty_level_for_qwen2.5_vl_7b", "pass_rate": "passrate_for_qwen2.5_vl_7b"}


def picture(seed, kind="PNG", width=3, height=2):
    """A tiny picture, different for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 60} if kind == "JPEG" else {}))
    return file.getvalue()


def encoded(seed, **how):
    return base64.b64encode(picture(seed, **how)).decode()


def seen(data):
    """What is expected of a picture."""
    image = Image.open(io.BytesIO(data))
    exact = image.format == "PNG"
    return {"size": list(image.size), "pixels": image.convert("RGB").tobytes().hex() if exact else None}


# ---------------------------------------------------------------- tables by VLMEvalKit


def write_tables(out):
    def table(name, rows):
        frame = pd.DataFrame(rows)
        frame.to_csv(out / f"{name}.tsv", sep="\t", index=False)

    table(
        "MathVision",
        [
            # A tab, quotes, a line break and a backslash in one cell.
            dict(index=3, image=encoded(1), question='Say "x"\tor\n\\frac{1}{2}?', choices="['$\\\\frac{1}{2}$', \"it's\", 'tab\\there']", answer="A", category="algebra"),
            # A reference to a row behind this one, and no choices.
            dict(index=5, image="8", question="How many?", choices="[]", answer="12", category="counting"),
            dict(index=8, image=encoded(2, kind="JPEG"), question="How long, in é?", choices="[]", answer="1.50", category="metric geometry - length"),
            # A reference to a row before it.
            dict(index=9, image="3", question="Which?", choices="['A', 'B', 'C', 'D', 'E']", answer="E", category="algebra"),
        ],
    )
    table(
        "MathVista_MINI",
        [
            dict(index=1, image=encoded(3), question="Hint: none.\nQuestion: Which?", question_type="multi_choice", answer_type="text", answer="circle", answer_option="B", choices="['square', 'circle']", task="geometry problem solving", skills="['geometry reasoning']", category="math-targeted-vqa", precision=None, unit=None),
            dict(index=2, image=encoded(4), question="How much?", question_type="free_form", answer_type="float", answer="1.2", answer_option=None, choices=None, task="figure question answering", skills="['statistical reasoning', 'arithmetic reasoning']", category="general-vqa", precision=1.0, unit="m"),
            dict(index=3, image=encoded(5), question="List them.", question_type="free_form", answer_type="list", answer="[1, 2]", answer_option=None, choices="None", task="textbook question answering", skills="[]", category="general-vqa", precision=0.0, unit=None),
        ],
    )
    table(
        "MathVerse_MINI",
        [
            dict(index=1, image=encoded(6), question="As shown, AB = 3?\nChoices:\nA:1\nB:2", answer="B", problem_version="Text Dominant", query_cot="Think. AB?", question_for_eval="AB?", metadata="{'split': 'testmini', 'source': 'GeoQA', 'subject': 'Plane Geometry', 'subfield': \"it's length\"}", hint="Look."),
            dict(index=2, image=encoded(7), question=None, answer="B", problem_version="Vision Only", query_cot="According to the picture, think.", question_for_eval="AB?", metadata="{'split': 'testmini', 'source': None, 'subject': 'Functions', 'subfield': 'x'}", hint=None),
        ],
    )
    two = [encoded(8), encoded(9)]
    table(
        "MMMU_DEV_VAL",
        [
            dict(index=1, image=encoded(10), image_path="dev_Art_1_1.png", question="<image 1> Which?", A="$6", B="None", C='a "b"', D="C", E=None, F=None, G=None, H=None, I=None, answer="C", category="Art", **{"l2-category": "Art & Design"}, split="dev"),
            dict(index=2, image=str(two), image_path="['val_Art_2_1.png', 'val_Art_2_2.png']", question="<image 1> or <image 2>?", A="<image 1>", B="<image 2>", C=None, D=None, E=None, F=None, G=None, H=None, I=None, answer="A", category="Art", **{"l2-category": "Art & Design"}, split="validation"),
            # An open question has an empty A.
            dict(index=3, image="1", image_path="dev_Art_1_1.png", question="How much? <image 1>", A=None, B=None, C=None, D=None, E=None, F=None, G=None, H=None, I=None, answer="['1/8', '0.125']", category="Finance", **{"l2-category": "Business"}, split="validation"),
        ],
    )
    table(
        "MMStar",
        [
            dict(index=0, image=encoded(11), question="Which?", A="one", B="two", C="three", D="four", answer="A", category="math", l2_category="geometry"),
            dict(index=1, image=encoded(12, kind="JPEG"), question="Which\r\nnow?", A="1", B="2.50", C=None, D=None, answer="B", category="logical reasoning", l2_category="code", **{STUDY["pass_rate"]: 0.25, STUDY["level"]: "L4"}),
        ],
    )
    # What VLMEvalKit makes of a table over 1 GB: paths instead of pictures.
    (out / "one.png").write_bytes(picture(13))
    (out / "two.png").write_bytes(picture(14))
    table(
        "MMStar_local",
        [
            dict(index=0, image_path="one.png", question="Which?", A="one", B="two", C="three", D="four", answer="A", category="math", l2_category="geometry"),
            dict(index=1, image_path="['one.png', 'two.png']", question="Which now?", A="1", B="2", C=None, D=None, answer="B", category="math", l2_category="geometry"),
        ],
    )


def to_list(text):
    """A cell that is a list or a single text, as VLMEvalKit's `toliststr` has it."""
    if text.startswith("[") and text.endswith("]"):
        return [str(value) for value in ast.literal_eval(text)]
    return [text]


def known(value):
    """The value, or nothing where pandas has NaN."""
    return None if value is None or (not isinstance(value, (list, dict)) and pd.isna(value)) else value


def level(value):
    return None if known(value) is None else f"L{str(value).lower().removeprefix('level').removeprefix('l').strip().removesuffix('.0')}"


def details(row, category, problem_version=None):
    return {
        "category": known(category),
        "precision": None if known(row.get("precision")) is None else int(float(row["precision"])),
        "unit": known(row.get("unit")),
        "level": level(row.get(STUDY["level"])),
        "pass_rate": None if known(row.get(STUDY["pass_rate"])) is None else float(row[STUDY["pass_rate"]]),
        "version": problem_version,
    }


def read_table(path, name, split):
    # As texts, since pandas would make `1.50` a number; of its words for nothing only the empty one.
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values={c: [""] for c in pd.read_csv(path, sep="\t", nrows=0).columns})
    rows = frame.to_dict("records")
    cells = {row["index"]: row.get("image") for row in rows}
    samples = []
    for row in rows:
        if "image" in row:
            cell = row["image"] if len(row["image"]) > 64 else cells[row["image"]]
            assert len(cell) > 64, cell
            images = [base64.b64decode(text, validate=True) for text in to_list(cell)]
        else:
            images = [(path.parent / file).read_bytes() for file in to_list(row["image_path"])]
        choices = known(row.get("choices"))
        choices = [] if choices is None else [str(choice) for choice in ast.literal_eval(choices) or []]
        if "A" in row:
            choices = [row[letter] for letter in LETTERS if letter in row and known(row[letter]) is not None]
        question = known(row["question"]) or ""
        if known(row.get("hint")) is not None:
            question = f"Hint: {row['hint']}\n{question}"
        category = row.get("category")
        if "metadata" in row:
            category = ast.literal_eval(row["metadata"])["subject"]
        part = row.get("split", split)
        samples.append(
            {
                "id": f"{name}/{part}/{row['index']}",
                "question": question,
                "choices": choices,
                "answer": row["answer"],
                "images": [seen(image) for image in images],
                "details": details(row, category, row.get("problem_version")),
            }
        )
    return samples


# ---------------------------------------------------------------- parquet by Hugging Face

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(seed, path="picture.png", **how):
    return {"bytes": picture(seed, **how), "path": path}


def write_parquet(out):
    def file(name, fields, rows, images, **how):
        schema = pa.schema(fields)
        # How `datasets` says which columns are pictures; a reader must not need it.
        features = {column: {"_type": "Image"} for column in images}
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        rows = [{field.name: row.get(field.name) for field in schema} for row in rows]
        how = {"compression": "snappy", "write_statistics": False, "store_schema": False, **how}
        path = out / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), path, **how)

    text, texts = pa.string(), pa.list_(pa.string())
    study = [(STUDY["pass_rate"], pa.float64()), (STUDY["level"], pa.string())]
    mathvision = [("id", text), ("question", text), ("options", texts), ("image", text), ("decoded_image", IMAGE), ("answer", text), ("solution", text), ("level", pa.int64()), ("subject", text)]
    rows = [
        dict(id="4", question="Which?\n<image1>", options=["A", "B"], image="images/4.jpg", decoded_image=image(20, kind="JPEG", path="4.jpg"), answer="B", solution=None, level=2, subject="algebra"),
        dict(id="5", question="How many?\n<image1>", options=[], image="images/5.jpg", decoded_image=image(21, path=None), answer="42", solution="So.", level=5, subject="counting"),
        dict(id="7", question="How \"long\"?", options=["it's", "1,5"], image="images/7.jpg", decoded_image=image(22), answer="A", solution=None, level=1, subject="arithmetic"),
    ]
    # Two row groups, so that rows are counted in their group.
    file("mathvision/test-00000-of-00001", mathvision, rows, ["decoded_image"], row_group_size=2)
    for row, rate, name in zip(rows, [0.75, 0.0, 0.3125], ["1", "5", "3"]):
        row |= {STUDY["pass_rate"]: rate, STUDY["level"]: name}
    file("mathvision_with_difficulty_level/test-00000-of-00001", mathvision + study, rows, ["decoded_image"], compression="zstd")

    metadata = pa.struct([("category", text), ("context", text), ("grade", text), ("img_height", pa.int64()), ("img_width", pa.int64()), ("language", text), ("skills", texts), ("source", text), ("split", text), ("task", text)])
    meta = dict(category="math-targeted-vqa", context="synthetic scene", grade="daily life", img_height=2, img_width=3, language="english", skills=["arithmetic reasoning"], source="CLEVR-Math", split="testmini", task="math word problem")
    mathvista = [("pid", text), ("question", text), ("image", text), ("decoded_image", IMAGE), ("choices", texts), ("unit", text), ("precision", pa.float64()), ("answer", text), ("question_type", text), ("answer_type", text), ("metadata", metadata), ("query", text)]
    rows = [
        dict(pid="1", question="How much?", image="images/1.jpg", decoded_image=image(23), choices=None, unit="$", precision=2.0, answer="1.20", question_type="free_form", answer_type="float", metadata=meta, query="Hint: ..."),
        dict(pid="2", question="Which?", image="images/2.jpg", decoded_image=image(24), choices=["Yes", "No"], unit=None, precision=None, answer="No", question_type="multi_choice", answer_type="text", metadata=meta | {"category": "general-vqa", "skills": []}, query="Hint: ..."),
    ]
    file("mathvista/testmini-00000-of-00001-725687bf7a18d64b", mathvista, rows, ["decoded_image"])
    for row, rate, name in zip(rows, [1.0, 0.125], [1, 4]):
        row |= {STUDY["pass_rate"]: rate, STUDY["level"]: name}
    numbers = [(STUDY["pass_rate"], pa.float64()), (STUDY["level"], pa.int64())]
    file("mathvista_with_difficulty_level/testmini-00000-of-00001", mathvista + numbers, rows, ["decoded_image"])

    metadata = pa.struct([("split", text), ("source", text), ("subject", text), ("subfield", text)])
    meta = dict(split="testmini", source="GeoQA", subject="Plane Geometry", subfield="Length")
    mathverse = [("sample_index", text), ("problem_index", text), ("problem_version", text), ("question", text), ("image", IMAGE), ("answer", text), ("question_type", text), ("metadata", metadata), ("query_wo", text), ("query_cot", text), ("question_for_eval", text)]
    rows = [
        dict(sample_index="1", problem_index="1", problem_version="Text Dominant", question="AB?\nChoices:\nA:1\nB:2", image=image(25), answer="A", question_type="multi-choice", metadata=meta, query_wo="Answer. AB?", query_cot="Think. AB?", question_for_eval="AB?"),
        dict(sample_index="5", problem_index="1", problem_version="Vision Only", question="", image=image(26), answer="A", question_type="multi-choice", metadata=meta, query_wo="According to the picture, answer.", query_cot="According to the picture, think.", question_for_eval="AB?"),
        dict(sample_index="6", problem_index="2", problem_version="Text Only", question="CD?", image=None, answer="2\\sqrt{3}", question_type="free-form", metadata=meta | {"subject": "Solid Geometry"}, query_wo="CD?", query_cot="Think. CD?", question_for_eval="CD?"),
    ]
    file("mathverse/testmini-00000-of-00001", mathverse, rows, ["image"])
    for row, rate, name in zip(rows, [0.5, 0.0625, None], ["L2", "Level 5", None]):
        row |= {STUDY["pass_rate"]: rate, STUDY["level"]: name}
    file("mathverse_with_difficulty_level/testmini-00000-of-00001", mathverse + study, rows, ["image"])

    images = [f"image_{number}" for number in range(1, 8)]
    mmmu = [("id", text), ("question", text), ("options", text), ("explanation", text), *[(name, IMAGE) for name in images], ("img_type", text), ("answer", text), ("topic_difficulty", text), ("question_type", text), ("subfield", text)]
    rows = [
        dict(id="validation_Art_Theory_1", question="<image 1> or <image 2>?", options="['<image 1>', \"it's <image 2>\"]", explanation="", image_1=image(27), image_2=image(28), img_type="['Paintings']", answer="B", topic_difficulty="Easy", question_type="multiple-choice", subfield="Art"),
        dict(id="validation_Finance_2", question="How much? <image 1>", options="[]", explanation="", image_1=image(29), img_type="['Tables']", answer="['1/8', '0.125']", topic_difficulty="Hard", question_type="open", subfield="Finance"),
    ]
    file("mmmu/validation-00000-of-00001", mmmu, rows, images)
    for row, rate, name in zip(rows, [0.8125, 0.1875], ["L1", "L4"]):
        row |= {STUDY["pass_rate"]: rate, STUDY["level"]: name}
    file("mmmu_with_difficulty_level/validation-00000-of-00001", mmmu + study, rows, images)

    meta = pa.struct([("source", text), ("split", text), ("image_path", text)])
    rows = [
        dict(index=0, question="Which?\nOptions: A: one, B: two, C: three, D: four", image=picture(30), answer="A", category="math", l2_category="geometry", meta_info=dict(source="MMMU", split="val", image_path="images/0.jpg")),
        dict(index=1, question="Which now?\nOptions: A: 1, B: 2", image=picture(31, kind="JPEG"), answer="B", category="logical reasoning", l2_category="code", meta_info=dict(source="AI2D", split="test", image_path="images/1.jpg")),
    ]
    mmstar = [("index", pa.int64()), ("question", text), ("image", pa.binary()), ("answer", text), ("category", text), ("l2_category", text), ("meta_info", meta)]
    # Here the picture is bytes and no struct; two files of one split.
    file("mmstar/val-00000-of-00002", mmstar, rows[:1], [])
    file("mmstar/val-00001-of-00002", mmstar, rows[1:], [], compression="none")
    for row, rate, name in zip(rows, [0.6875, 0.3125], ["L2", "L3"]):
        row |= {STUDY["pass_rate"]: rate, STUDY["level"]: name, "image": {"bytes": row["image"], "path": None}}
    mmstar[2] = ("image", IMAGE)
    file("mmstar_with_difficulty_level/val-00000-of-00001", mmstar + study, rows, ["image"])


IDS = {"mathvision": "id", "mathvista": "pid", "mathverse": "sample_index", "mmmu": "id", "mmstar": "index"}


def write_codecs(out):
    """The same rows in every codec that pyarrow writes, with a picture each."""
    folder = out / "codecs"
    folder.mkdir(exist_ok=True)
    picture = {"bytes": (out / "one.png").read_bytes(), "path": "one.png"}
    rows = [dict(q=f"How many apples are {i} apples and {i} apples?", a=2 * i, p=picture) for i in range(12)]
    table = pa.Table.from_pylist(rows, pa.schema([("q", pa.string()), ("a", pa.int64()), ("p", IMAGE)]))
    for codec in ("none", "snappy", "gzip", "brotli", "lz4", "zstd"):
        pq.write_table(table, folder / f"{codec}.parquet", compression=codec, write_statistics=False, store_schema=False)


def read_parquet(folder, name):
    samples = []
    for path in sorted(folder.glob("*.parquet")):
        split = path.stem.split("-")[0]
        for row in pq.read_table(path).to_pylist():
            columns = [f"image_{number}" for number in range(1, 8)] if "image_1" in row else ["decoded_image" if "decoded_image" in row else "image"]
            cells = [row[column] for column in columns if row[column] is not None]
            images = [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
            choices = row.get("options", row.get("choices")) or []
            choices = ast.literal_eval(choices) if isinstance(choices, str) else choices
            category = row.get("subject", row.get("category"))
            if "metadata" in row:
                category = row["metadata"].get("category", row["metadata"].get("subject"))
            if name == "mmmu":
                category = "_".join(row["id"].split("_")[1:-1])
            problem_version = row.get("problem_version")
            question = row["question"] or (row["query_wo"] if problem_version == "Vision Only" else "")
            samples.append(
                {
                    "id": f"{name}/{split}/{row[IDS[name]]}",
                    "question": question,
                    "choices": choices,
                    "answer": row["answer"],
                    "images": [seen(data) for data in images],
                    "details": details(row, category, problem_version),
                }
            )
    return samples


# ---------------------------------------------------------------- training data

USER, ASSISTANT = "user", "assistant"


def message(role, content):
    return {"role": role, "content": content}


def part(text=None, **picture):
    return {"type": "image", **picture} if text is None else {"type": "text", "text": text}


def write_training(out):
    (out / "images").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(["one.png", "two.jpg", "three.png"]):
        kind = "JPEG" if name.endswith("jpg") else "PNG"
        (out / "images" / name).write_bytes(picture(40 + number, kind=kind))
    one, two, three = "images/one.png", "images/two.jpg", "images/three.png"

    def json_array(name, rows, **how):
        (out / name).write_text(json.dumps(rows, **how) + "\n")

    def jsonl(name, rows):
        (out / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def parquet(name, fields, rows, images=()):
        features = {column: {"_type": "Image"} for column in images}
        schema = pa.schema(fields).with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = out / name
        path.parent.mkdir(exist_ok=True)
        table = pa.Table.from_pylist([{field.name: row.get(field.name) for field in schema} for row in rows], schema)
        pq.write_table(table, path, compression="snappy", write_statistics=False, store_schema=False, row_group_size=2)

    # LLaMA-Factory, as `mllm_demo.json` is written, and with the names of ShareGPT.
    thought = "<think>First {see}, \"then\" think.\nWait, [1].</think> So \\boxed{\\frac{1}{2}}."
    json_array(
        "sharegpt.json",
        [
            {"conversations": [{"from": "human", "value": "<image>Which is é?"}, {"from": "gpt", "value": thought}], "images": [one]},
            {"conversations": [{"from": "human", "value": "Here <image>, and\n<image>?"}, {"from": "gpt", "value": "None is."}], "images": [two, three], "system": "Be \u4f60\u597d short."},
            {"conversations": [{"from": "system", "value": "Think."}, {"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "\\boxed{1}, no, \\boxed{2}"}], "images": []},
        ],
        indent=2,
    )
    jsonl(
        "sharegpt.jsonl",
        [
            {"messages": [message(USER, "<image>Who?"), message(ASSISTANT, "They are \\boxed{A}.")], "images": [one]},
            {"messages": [message("system", "Look."), message(USER, "<image> or <image>?"), message(ASSISTANT, "The second.")], "images": [one, two]},
        ],
    )

    # TRL: conversations for SFT, with and without parts, and as plain texts; prompts with targets for GRPO.
    jsonl(
        "trl-messages.jsonl",
        [
            {"messages": [message(USER, [part(), part("Which?")]), message(ASSISTANT, [part("It is \\boxed{3}.")])], "image": one},
            {"messages": [message("system", "Look."), message(USER, "What?"), message(ASSISTANT, "This.")], "images": [two, three]},
            {"messages": [message(USER, [part("See "), part(image=three), part(" and "), part(), part("?")]), message(ASSISTANT, "\\boxed{x}")], "images": [one]},
        ],
    )
    jsonl(
        "trl-prompt.jsonl",
        [
            {"prompt": [message(USER, "Which?")], "completion": [message(ASSISTANT, "So \\boxed{7}.")], "images": [one]},
            {"prompt": "The sky is", "completion": " blue."},
            {"prompt": [message("system", "Think."), message(USER, [part(), part("How many?")])], "image": two, "solution": "Three, so $\\boxed{3}$."},
            {"prompt": "2 + 3?", "answer": 5, "level": "easy"},
            {"prompt": [message(USER, "3 + 4?")], "completion": [message(ASSISTANT, "It is \\boxed{8}.")], "solution": "7"},
        ],
    )
    text = pa.string()
    plain = pa.list_(pa.struct([("role", text), ("content", text)]))
    parted = pa.list_(pa.struct([("role", text), ("content", pa.list_(pa.struct([("type", text), ("text", text)])))]))
    rows = [
        dict(messages=[message(USER, [part(), part("Which?")]), message(ASSISTANT, [part("One: \\boxed{1}.")])], images=[image(43)]),
        dict(messages=[message(USER, [part(), part(), part("Which?")]), message(ASSISTANT, [part("Two.")])], images=[image(44), image(45, kind="JPEG", path=None)]),
        dict(messages=[message(USER, [part("1 + 1?")]), message(ASSISTANT, [part("\\boxed{2}")])], images=[]),
    ]
    parquet("trl-messages.parquet", [("messages", parted), ("images", pa.list_(IMAGE))], rows, ["images"])
    rows = [
        dict(image=image(46), problem="How long?", solution="$12$", prompt=[message("system", "Think."), message(USER, "How long?")]),
        dict(image=image(47, kind="JPEG"), problem="How wide?", solution="<think>See.</think> \\boxed{4}", prompt=[message("system", "Think."), message(USER, "How wide?")]),
    ]
    fields = [("image", IMAGE), ("problem", text), ("solution", text), ("prompt", plain)]
    # Two shards, whose rows have no ids.
    parquet("trl-grpo/train-00000-of-00002.parquet", fields, rows[:1], ["image"])
    parquet("trl-grpo/train-00001-of-00002.parquet", fields, rows[1:], ["image"])

    # EasyR1, as `geometry3k` is written, and as JSON with paths.
    rows = [
        dict(images=[image(48, path=None)], problem="<image>Find $x$.", answer="3"),
        dict(images=[image(49, path=None), image(50, path=None)], problem="<image> and <image>: how much more?", answer="2 \\sqrt { 3 }"),
        dict(images=[], problem="1 + 1?", answer="2"),
    ]
    parquet("easyr1.parquet", [("images", pa.list_(IMAGE)), ("problem", text), ("answer", text)], rows, ["images"])
    json_array("easyr1.json", [{"id": 17, "problem": "<image>Find it.", "answer": "4", "images": [one]}, {"id": 18, "problem": "2 + 2?", "answer": 4}])

    # verl, as its `geo3k` example is written.
    extra = pa.struct([("answer", text), ("index", pa.int64()), ("question", text), ("split", text)])
    reward = pa.struct([("ground_truth", text), ("style", text)])
    fields = [("data_source", text), ("prompt", plain), ("images", pa.list_(IMAGE)), ("ability", text), ("reward_model", reward), ("extra_info", extra)]
    rows = [
        dict(data_source="geometry3k", prompt=[message(USER, "<image>Find $x$. Think.")], images=[image(51, path=None)], ability="math", reward_model=dict(style="rule", ground_truth="3"), extra_info=dict(split="train", index=0, answer="3", question="<image>Find $x$.")),
        dict(data_source="geometry3k", prompt=[message("system", "Think."), message(USER, "1.50 / 3?")], images=None, ability="math", reward_model=dict(style="rule", ground_truth="0.50"), extra_info=dict(split="train", index=1, answer="0.50", question="1.50 / 3?")),
    ]
    parquet("verl.parquet", fields, rows, ["images"])

    # MMK12, by the columns that others name; whether its questions have marks is not known.
    fields = [("id", text), ("question", text), ("answer", text), ("subject", text), ("image", IMAGE)]
    rows = [
        dict(id="a1", question="As in the picture, find $x$.", answer="3", subject="math", image=image(52, path=None)),
        dict(id="b2", question="Of <image>, which?\nA. one\nB. two", answer="B", subject="physics", image=image(53, kind="JPEG")),
        dict(id="c3", question="1 + 1?", answer="2", subject="math", image=None),
    ]
    parquet("mmk12.parquet", fields, rows, ["image"])

    # s1K-1.1, by the columns that others read: a solution is worked out or a bare value. One file for each trace.
    kept = dict(cot_type="math", metadata="{'level': 'it\\'s 5'}", gemini_grade="No", gemini_grade_reason="It stops.", deepseek_grade="Yes", deepseek_grade_reason="The same.")
    rows = [
        dict(question="How many roots has $x^2 = 4$?", solution="Or \\boxed{3}? As $x = \\pm 2$, \\boxed{2}.", source_type="made/up", gemini_thinking_trajectory="One, $2$.", gemini_attempt="So \\boxed{1}.", deepseek_thinking_trajectory="First 2.\n\nWait, -2 too.", deepseek_attempt="**Both**: \\boxed{2}", **kept),
        dict(question="Find é:\né + 1 = 145.", solution=" 144\n", source_type="made/up 2", gemini_thinking_trajectory="Less one.\n", gemini_attempt="144", deepseek_thinking_trajectory=" Okay. ", deepseek_attempt="It is 144.\n", **kept),
    ]
    parquet("s1k.parquet", [(column, text) for column in S1K], rows, [])
    jsonl("s1k.jsonl", rows)

    # MM-EUREKA and VLM-R1.
    jsonl(
        "mm-eureka.jsonl",
        [
            {"id": "0", "message": json.dumps([message(USER, [part(image=one), part('How "many"?\n')])]), "answer": "3"},
            {"id": "b1", "message": json.dumps([message("system", "Think."), message(USER, [part("See "), part(image=two), part(" and "), part(image=f"file://{three}"), part(".")])], indent=1), "answer": "\\frac{1}{2}"},
            {"id": "2", "message": json.dumps([message(USER, "é: 1 + 1?")]), "answer": "2"},
        ],
    )
    jsonl(
        "vlm-r1.jsonl",
        [
            {"id": 1, "image": one, "conversations": [{"from": "human", "value": "<image>What is the volume?"}, {"from": "gpt", "value": "10 mL"}]},
            {"id": 2, "image": [one, two], "conversations": [{"from": "human", "value": "Which is larger?"}, {"from": "gpt", "value": "<answer> B </answer>"}]},
            {"id": 3, "image": [three, two], "conversations": [{"from": "human", "value": "Of <image> and <image>?"}, {"from": "gpt", "value": 12.5}]},
            {"id": 4, "conversations": [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": "2"}]},
        ],
    )


def last_box(text):
    """The content of the box that opens last."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin:at].strip()
    return None


def read_training(path, layout):
    """The rows as the trainer has them."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    rows = []
    for file in files:
        if file.suffix == ".parquet":
            rows += pq.read_table(file).to_pylist()
        elif file.suffix == ".json":
            rows += json.loads(file.read_text())
        else:
            rows += [json.loads(line) for line in file.read_text().splitlines()]

    def load(value):
        if isinstance(value, dict):
            return value["bytes"]
        return (path.parent / value.removeprefix("file://")).read_bytes()

    samples = []
    for number, row in enumerate(rows, 1):
        pictures = row.get("images", row.get("image")) or []
        pictures = [load(value) for value in (pictures if isinstance(pictures, list) else [pictures])]
        turns = row.get("conversations") or row.get("messages") or row.get("prompt") or row.get("problem") or row.get("question")
        if layout == "mm-eureka":
            turns = json.loads(row["message"])
        if isinstance(turns, str):
            turns = [message(USER, turns)]
        completion = row.get("completion") or []
        turns = turns + ([message(ASSISTANT, completion)] if isinstance(completion, str) else completion)
        said, shown = {"system": row.get("system")}, []
        for turn in turns:
            role = {"human": USER, "gpt": ASSISTANT}.get(turn.get("from", turn.get("role")), turn.get("role", turn.get("from")))
            content = turn.get("content", turn.get("value"))
            if isinstance(content, list):
                texts = []
                for piece in content:
                    if piece["type"] == "image":
                        shown.append(load(piece["image"]) if piece.get("image") else None)
                    texts.append("<image>" if piece["type"] == "image" else piece["text"])
                content = "".join(texts)
            elif isinstance(content, str):
                shown += [None] * content.count("<image>")
            said[role] = content if isinstance(content, str) else str(content)
        if layout in ("trl", "vlm-r1", "mmk12") and not shown:
            said[USER] = "<image>" * len(pictures) + said[USER]
            shown = [None] * len(pictures)
        rest = iter(pictures)
        images = [next(rest) if picture is None else picture for picture in shown]
        assert next(rest, None) is None and (said[USER] + (said["system"] or "")).count("<image>") == len(images), row
        response = said.get(ASSISTANT, "")
        answer = last_box(response) or ""
        if layout == "trl":
            solution = row.get("solution")
            solution = None if solution is None else last_box(solution) or solution
            target = row.get("answer", solution)
            answer = answer if target is None else str(target)
        elif layout == "vlm-r1":
            answer, response = response.replace("<answer>", "").replace("</answer>", "").strip(), ""
        elif layout == "verl":
            answer = row["reward_model"]["ground_truth"]
        elif layout in ("easyr1", "mm-eureka", "mmk12"):
            answer = str(row["answer"])
        elif layout in ("s1k-deepseek", "s1k-gemini"):
            by = layout.removeprefix("s1k-")
            response = f"<think>\n{row[f'{by}_thinking_trajectory']}\n</think>\n\n{row[f'{by}_attempt']}"
            answer = last_box(row["solution"]) or row["solution"].strip()
        samples.append(
            {
                "id": f"set/train/{row.get('id', f'{number:06}')}",
                "question": f"{said['system']}\n\n{said[USER]}" if said["system"] else said[USER],
                "answer": answer,
                "response": response,
                "images": [seen(data) for data in images],
            }
        )
    return samples


TRAINING = {
    "sharegpt.json": "sharegpt",
    "sharegpt.jsonl": "sharegpt",
    "trl-messages.jsonl": "trl",
    "trl-prompt.jsonl": "trl",
    "trl-messages.parquet": "trl",
    "trl-grpo": "trl",
    "easyr1.parquet": "easyr1",
    "easyr1.json": "easyr1",
    "verl.parquet": "verl",
    "mm-eureka.jsonl": "mm-eureka",
    "vlm-r1.jsonl": "vlm-r1",
    "mmk12.parquet": "mmk12",
    "s1k.parquet": "s1k-deepseek",
    "s1k.jsonl": "s1k-gemini",
}


TABLES = {
    "MathVision": ("mathvision", "test"),
    "MathVista_MINI": ("mathvista", "testmini"),
    "MathVerse_MINI": ("mathverse", "testmini"),
    "MMMU_DEV_VAL": ("mmmu", None),
    "MMStar": ("mmstar", "val"),
    "MMStar_local": ("mmstar", "val"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "datasets")
    out = parser.parse_args().out
    for package, wanted in PACKAGES.items():
        assert version(package) == wanted, f"{package} is {version(package)}, not {wanted}"
    out.mkdir(parents=True, exist_ok=True)
    write_tables(out)
    write_parquet(out)
    write_codecs(out)
    cases = {}
    for table, (name, split) in TABLES.items():
        cases[f"{table}.tsv"] = {"name": name, "samples": read_table(out / f"{table}.tsv", name, split)}
    for folder in sorted(path for path in out.iterdir() if path.is_dir() and path.name not in ("codecs", "training")):
        name = folder.name.removesuffix("_with_difficulty_level")
        cases[folder.name] = {"name": folder.name, "samples": read_parquet(folder, name)}
    text = json.dumps({"packages": PACKAGES, "cases": cases}, ensure_ascii=False, indent=None, separators=(",", ":"))
    # One line a sample, so that a change can be read.
    (out / "expected.json").write_text(text.replace('{"id":', '\n{"id":') + "\n")
    training = out / "training"
    write_training(training)
    trained = {path: {"layout": layout, "samples": read_training(training / path, layout)} for path, layout in TRAINING.items()}
    text = json.dumps({"packages": PACKAGES, "cases": trained}, ensure_ascii=False, indent=None, separators=(",", ":"))
    (training / "expected.json").write_text(text.replace('{"id":', '\n{"id":') + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{len(cases) + len(trained)} files and folders, {size} bytes")


if __name__ == "__main__":
    main()
