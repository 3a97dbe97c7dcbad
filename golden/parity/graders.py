"""Writes fixtures/graders.json: what the graders of peers say of some 2,000 answers.

    python3 golden/parity/graders.py

makes two environments below `target/parity`, installs the two requirement files without dependencies, and
has the peers' own functions judge every row. Rows are drawn from a fixed seed.

Decisions:
- `--held-out SYNERGY` judges rows of other keys and other words, which were written after the emulations and not
  looked at for them, and prints how far `SYNERGY grade` agrees.
- Rows are drawn from lists: answer keys, answers that say the same or something else, and ways to say
  them. Nothing is drawn to suit our emulations; answers that no benchmark has are few.
- What a grader's module imports but its rules do not use is a stub: torch, pandas, judges.
- A peer that answers at random, or that would ask its judge, has read nothing: unparsed.
- VLMEvalKit of June 2025 and lmms-eval read LaTeX with latex2sympy2, which needs ANTLR 4.7; the others
  need ANTLR 4.13. Hence two environments.
- math-verify: the key is parsed as `\\boxed{key}`, a letter with StringExtractionConfig; see
  `benchmarks/grade/src/math_verify.rs`.
"""

import argparse
import hashlib
import importlib.util
import json
import platform
import random
import subprocess
import sys
import types
import venv
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SEED = 20260814
ROWS = 2100
HALVES = {
    "graders": ("graders-requirements.txt", ["mathruler", "math-verify", "vlmevalkit-2026-08"]),
    "graders-2025": ("graders-2025-requirements.txt", ["vlmevalkit-2025-07", "lmms-eval-2026-08"]),
}
PEERS = ["mathruler", "math-verify", "vlmevalkit-2025-07", "vlmevalkit-2026-08", "lmms-eval-2026-08"]

# ------------------------------------------------------------------------------------------------ rows

# An answer key, answers that say the same, and answers that do not.
OPEN = [
    ("5", ["5", "5.0", "05", "+5", "x=5", "5 cm", "5\\text{ cm}", "10/2", "\\text{5}", "5^\\circ"], ["6", "-5", "55", "5x", "5,6"]),
    ("-3", ["-3", "-3.0", "- 3", "x = -3", "-\\frac{6}{2}"], ["3", "-4", "\\pm 3"]),
    ("0", ["0", "0.0", "-0"], ["1", "10", "\\emptyset"]),
    ("1234", ["1234", "1,234", "1{,}234", "1,\\!234", "1234.0"], ["1,235", "12,34", "1 234"]),
    ("0.5", ["0.5", ".5", "1/2", "\\frac{1}{2}", "\\frac12", "50\\%", "\\dfrac{1}{2}", "0.50"], ["0.6", "2", "5", "0.05"]),
    ("2.5", ["2.5", "2.50", "5/2", "\\frac{5}{2}", "2\\frac{1}{2}"], ["2.51", "25", "2.4"]),
    ("3.14", ["3.14", "3.140", "\\frac{157}{50}"], ["3.15", "\\pi", "3.1416", "3.141"]),
    ("\\frac{1}{3}", ["\\frac{1}{3}", "1/3", "\\frac{2}{6}", "\\dfrac{1}{3}", "\\tfrac13", "0.333333"], ["\\frac{1}{2}", "0.33", "3", "\\frac{3}{1}"]),
    ("7/4", ["7/4", "\\frac{7}{4}", "1.75", "\\frac74", "14/8"], ["4/7", "1.7", "7"]),
    ("2\\sqrt{3}", ["2\\sqrt{3}", "2\\sqrt3", "\\sqrt{12}", "2 \\sqrt{3}", "2\\cdot\\sqrt{3}"], ["3\\sqrt{2}", "\\sqrt{3}", "3.46", "2\\sqrt{2}"]),
    ("\\sqrt{2}", ["\\sqrt{2}", "\\sqrt2", "\\frac{2}{\\sqrt{2}}", "1.414214"], ["2", "1.41", "\\sqrt{3}"]),
    ("12\\pi", ["12\\pi", "12 \\pi", "\\pi\\cdot 12", "4\\pi\\cdot 3", "12\\pi\\text{ cm}^2"], ["12", "6\\pi", "37.7", "12\\pi^2"]),
    ("50\\%", ["50\\%", "50%", "50", "0.5", "1/2"], ["5\\%", "0.05", "500"]),
    ("60^\\circ", ["60^\\circ", "60^{\\circ}", "60", "60\\text{ degrees}"], ["30^\\circ", "120", "\\frac{\\pi}{3}"]),
    ("12 cm", ["12 cm", "12", "12\\text{ cm}", "12\\,\\text{cm}"], ["13 cm", "1.2", "21"]),
    ("(1,2)", ["(1,2)", "(1, 2)", "\\left(1,2\\right)", "1,2"], ["(2,1)", "[1,2]", "(1,3)", "(1,2,3)"]),
    ("[1,2]", ["[1,2]", "[1, 2]", "\\left[1,2\\right]"], ["(1,2)", "[2,1]", "[1,2)"]),
    ("\\{1,2\\}", ["\\{1,2\\}", "\\{2,1\\}", "1,2", "\\{1, 2\\}"], ["\\{1,3\\}", "\\{1\\}", "3"]),
    ("1, 2", ["1, 2", "1,2", "2, 1"], ["1", "1, 3", "1, 2, 3"]),
    ("2x+1", ["2x+1", "1+2x", "2x + 1", "2\\cdot x+1", "y=2x+1"], ["2x-1", "2x", "x+1", "2y+1"]),
    ("x^2-1", ["x^2-1", "x^{2}-1", "(x-1)(x+1)", "-1+x^2"], ["x^2+1", "x-1", "x^2"]),
    ("x=5", ["x=5", "5", "x = 5"], ["x=6", "y=5", "6"]),
    ("x>3", ["x>3", "x > 3", "(3,\\infty)", "3<x"], ["x<3", "x\\geq 3", "3"]),
    ("(-\\infty,3)", ["(-\\infty,3)", "(-\\infty, 3)", "x<3"], ["(-\\infty,3]", "(3,\\infty)", "3"]),
    ("3:4", ["3:4", "3 : 4"], ["4:3", "3", "0.7"]),
    ("3\\times 10^5", ["3\\times 10^5", "3\\times 10^{5}", "300000", "3 \\cdot 10^5"], ["3\\times 10^6", "30000", "3"]),
    ("red", ["red", "Red", "\\text{red}", "\\text{ red }"], ["blue", "red ball", "\\text{blue}"]),
    ("Yes", ["Yes", "yes", "\\text{Yes}"], ["No", "no", "\\text{No}"]),
    ("AB", ["AB", "\\text{AB}"], ["CD", "BC", "A"]),
    ("isosceles", ["isosceles", "\\text{isosceles}", "Isosceles"], ["right", "\\text{scalene}"]),
]
CHOICES = [
    (["red", "blue", "green", "yellow"], "red blue green yellow purple".split()),
    (["3", "4", "5", "6"], "3 4 5 6 7 4.0 \\frac{8}{2}".split()),
    (["12 cm", "15 cm", "18 cm", "21 cm"], ["12 cm", "15", "18\\text{ cm}", "21 cm", "30 cm"]),
    (["\\frac{1}{2}", "\\frac{1}{3}", "\\sqrt{2}", "2\\pi", "0"], ["\\frac{1}{2}", "0.5", "1/3", "\\sqrt2", "2\\pi", "\\pi"]),
    (["A", "B", "C", "D", "E"], "A B C D E".split()),
    (["The dog is running", "The cat is sleeping", "Both are eating"], ["The dog is running", "the cat is sleeping", "Both are eating", "neither"]),
]
# The answer stands for `@`.
SAYS_OPEN = [
    "\\boxed{@}", "So the answer is $\\boxed{@}$.", "$$\\boxed{@}$$", "Step 1: 7. Step 2: 9.\n\\[\\boxed{@}\\]",
    "We get \\boxed{@}", "The answer is @.", "The answer is $@$.", "The final answer is $@$.", "Answer: @", "@", "**Answer:** @",
    "First \\boxed{9}, then \\boxed{@}.", "<think>1+1=2</think>\n\\boxed{@}", "Answer: $@$", "It is @", "Therefore, $@$",
]
SAYS_LETTER = [
    "#", "(#)", "#.", "The answer is #.", "The answer is (#).", "The correct answer is **#**.", "Answer: #", "\\boxed{#}",
    "\\boxed{\\text{#}}", "So the answer is $\\boxed{#}$.", "# is right", "Option #", "I think it is (#) because it looks like that.",
    "A closer look shows that (#) fits.", "The correct option is #", "**#**", "# or (A)", "#: it is clear from the picture",
    "Looking at all of the options one after the other, # is what remains of them in the end", "answer is #, not C",
    "<think>maybe (C)</think> #", "The figure shows A and B.\nAnswer: #",
]
SAYS_TEXT = ["@", "The answer is @.", "\\boxed{@}", "It is @", "#. @", "(#) @", "The answer is (#) @", "Answer: #) @", "I would say that @ is right here."]
SAYS_NOTHING = [
    "I cannot tell.", "", "Cannot determine the answer", "Sorry, I can't help with images of people yet.", "None of these.",
    "There is no way to know this from the picture alone.", "Z", "\\boxed{}", "hmm", "It depends.",
]
# Other keys and other ways to say them, which nobody looked at while the emulations were written: `--held-out`.
HELD_OUT_OPEN = [
    ("17", ["17", "17.0", "\\text{17}", "x = 17", "17\\,\\text{m}", "34/2"], ["18", "1.7", "-17", "17x"]),
    ("0.25", ["0.25", "1/4", "\\frac{1}{4}", "25\\%", ".25", "\\tfrac{1}{4}"], ["0.3", "4", "0.025"]),
    ("-\\frac{2}{5}", ["-\\frac{2}{5}", "-2/5", "-0.4", "\\frac{-2}{5}", "-\\frac{4}{10}"], ["\\frac{2}{5}", "-\\frac{5}{2}", "0.4"]),
    ("10000", ["10000", "10,000", "10^4", "10{,}000", "1\\times 10^4"], ["1000", "10,00", "100000"]),
    ("3\\sqrt{5}", ["3\\sqrt{5}", "\\sqrt{45}", "3 \\sqrt 5", "3\\sqrt5"], ["5\\sqrt{3}", "6.7", "3\\sqrt{6}"]),
    ("\\frac{\\pi}{6}", ["\\frac{\\pi}{6}", "\\pi/6", "\\frac{1}{6}\\pi", "\\dfrac{\\pi}{6}"], ["\\frac{\\pi}{3}", "6\\pi", "30^\\circ"]),
    ("45^\\circ", ["45^\\circ", "45", "45 degrees", "45^{\\circ}"], ["54", "45.5", "135^\\circ"]),
    ("8 m", ["8 m", "8", "8\\text{ m}", "8\\ \\mathrm{m}"], ["9 m", "80", "0.8"]),
    ("(3,-4)", ["(3,-4)", "(3, -4)", "\\left(3,-4\\right)"], ["(-4,3)", "(3,4)", "[3,-4]"]),
    ("\\{0,4\\}", ["\\{0,4\\}", "\\{4, 0\\}", "0, 4"], ["\\{0\\}", "\\{0,5\\}", "4"]),
    ("[0,5]", ["[0,5]", "[0, 5]", "\\left[0,5\\right]"], ["(0,5)", "[0,5)", "[5,0]"]),
    ("3x-4", ["3x-4", "-4+3x", "3 x - 4", "y=3x-4"], ["3x+4", "4x-3", "3x"]),
    ("a^2+b^2", ["a^2+b^2", "b^2+a^2", "a^{2}+b^{2}"], ["(a+b)^2", "a+b", "a^2-b^2"]),
    ("y=2", ["y=2", "2", "y = 2"], ["x=2", "3", "y=-2"]),
    ("5:2", ["5:2", "5 : 2"], ["2:5", "2.5", "5"]),
    ("2.4\\times 10^3", ["2.4\\times 10^3", "2400", "2.4 \\cdot 10^{3}"], ["2.4", "240", "24000"]),
    ("75\\%", ["75\\%", "75%", "0.75", "75"], ["7.5", "57", "0.25"]),
    ("blue", ["blue", "Blue", "\\text{blue}"], ["green", "light blue", "\\text{red}"]),
    ("No", ["No", "no", "\\text{No}"], ["Yes", "not sure"]),
    ("triangle", ["triangle", "\\text{triangle}", "Triangle"], ["square", "rectangle"]),
]
HELD_OUT_CHOICES = [
    (["circle", "square", "triangle", "star"], "circle square triangle star hexagon".split()),
    (["10", "20", "30", "40", "50"], "10 20 30 40 50 60 30.0".split()),
    (["\\frac{3}{4}", "\\frac{4}{3}", "\\sqrt{5}", "\\pi"], ["\\frac{3}{4}", "0.75", "4/3", "\\sqrt5", "\\pi", "3"]),
    (["It rises", "It falls", "It stays the same"], ["It rises", "it falls", "It stays the same", "nothing"]),
    (["8 m", "9 m", "10 m", "11 m"], ["8 m", "9", "10\\text{ m}", "11 m", "20 m"]),
]
HELD_OUT_SAYS_OPEN = [
    "\\boxed{@}", "Hence $\\boxed{@}$ is the value.", "Thus the result is \\(\\boxed{@}\\).", "The answer is @.", "Answer: @", "@.",
    "Let me check. Wait, that is not right.\n\nSo it is \\boxed{@}.", "<think>we try 4, then 5</think>The answer is $@$.",
    "**Final Answer**\n\\[ \\boxed{@} \\]", "Therefore the final answer is @", "We find that the value equals @.",
]
HELD_OUT_SAYS_LETTER = [
    "#", "(#)", "#)", "Answer: (#)", "The answer is #", "I choose #.", "Therefore, the correct choice is (#).", "\\boxed{#}",
    "\\boxed{(#)}", "Final answer: #", "<think>B looks good, but no</think>\\boxed{#}", "Option # is correct.", "**Answer: #**",
    "It must be # since nothing else fits the picture",
]

NAMES = ["mathvision", "mathvista", "mmmu", "mmstar", "mathverse", "other"]


def rows(held_out):
    """[key, answer, way to say it, options, precision, benchmark], no two alike."""
    draw = random.Random(SEED)
    found, seen = [], set()
    keys, says_open, says_letter = (
        (HELD_OUT_OPEN, HELD_OUT_SAYS_OPEN, HELD_OUT_SAYS_LETTER) if held_out else (OPEN, SAYS_OPEN, SAYS_LETTER)
    )
    choices, each = (HELD_OUT_CHOICES, 260) if held_out else (CHOICES, 170)

    def add(gold, response, options, precision, benchmark):
        row = (gold, response, options, precision, benchmark)
        if row not in seen:
            seen.add(row)
            found.append(row)

    for gold, same, other in keys:
        for answer in same + other:
            for say in draw.sample(says_open, 11 if held_out else 7):
                decimals = 1 if gold in ("0.5", "2.5") else 2 if gold == "3.14" else None
                add(gold, say.replace("@", answer), -1, decimals, draw.choice(NAMES[:3] + NAMES[4:]))
    for index, (texts, answers) in enumerate(choices):
        letters = "ABCDEFGH"[: len(texts)]
        for _ in range(each):
            gold = draw.choice(letters)
            letter = draw.choice([gold, gold, *letters])
            if draw.random() < 0.6:
                response = draw.choice(says_letter).replace("#", letter)
            else:
                text = texts[letters.index(letter)] if draw.random() < 0.6 else draw.choice(answers)
                response = draw.choice(SAYS_TEXT).replace("#", letter).replace("@", text)
            add(gold, response, index, None, draw.choice(NAMES))
        for response in SAYS_NOTHING:
            add(draw.choice(letters), response, index, None, draw.choice(NAMES))
    draw.shuffle(found)
    assert held_out or len(found) >= ROWS, len(found)
    return found[:ROWS]


# ---------------------------------------------------------------------------------------------- graders


class Stub(types.ModuleType):
    """A module that has everything and does nothing."""

    __path__ = []
    __all__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock()
        setattr(self, name, value)
        return value


def stub(*names):
    """Puts stubs where they are not installed."""
    for name in names:
        sys.modules.setdefault(name, Stub(name))


def package(name):
    """A package without its `__init__`, so that only what is asked for is imported."""
    spec = importlib.util.find_spec(name)
    module = types.ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = module
    return Path(module.__path__[0])


def load(name, path):
    """A module from its file."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def code(right):
    """c or w."""
    return "c" if right else "w"


def letter_index(gold):
    return ord(gold) - ord("A")


def mathruler_judge():
    from mathruler.grader import extract_boxed_content, grade_answer

    def judge(row):
        answer = extract_boxed_content(row["response"])
        # Without a box the peer compares the word None.
        return "u" if answer == "None" else code(grade_answer(answer, row["gold"]))

    return judge


def math_verify_judge():
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify

    def judge(row):
        config = [LatexExtractionConfig(), ExprExtractionConfig()]
        gold = "\\boxed{" + row["gold"] + "}"
        if row["choices"]:
            config.append(StringExtractionConfig(strings=tuple("ABCDEFGH"[: len(row["choices"])])))
            gold = row["gold"]
        found = parse(row["response"], config)
        return code(verify(parse(gold, config), found)) if found else "u"

    return judge


def vlmevalkit_judge():
    stub("pandas", "timeout_decorator", "vlmeval.smp", "vlmeval.smp.log", "vlmeval.smp.file")
    # Without the guard of 30 seconds: no row takes one.
    sys.modules["timeout_decorator"].timeout = lambda *_, **__: lambda function: function
    root = package("vlmeval")
    matching = load("vlmeval.utils.matching_util", root / "utils" / "matching_util.py")
    utils = Stub("vlmeval.utils")
    utils.can_infer, utils.__all__ = matching.can_infer, ["can_infer"]
    sys.modules["vlmeval.utils"] = utils
    for name in ("vlmeval.dataset", "vlmeval.dataset.utils"):
        stub(name)
    mathvision = load("vlmeval.dataset.utils.mathv", root / "dataset" / "utils" / "mathv.py")
    mathvista = load("vlmeval.dataset.utils.mathvista", root / "dataset" / "utils" / "mathvista.py")

    def check(module, line):
        fetched = module.post_check(line, prefetch=True)
        if not fetched or fetched == "Z":
            return "u"
        return code(module.post_check({**line, "res": fetched}, prefetch=False))

    def judge(row):
        gold, texts, response = row["gold"], row["choices"], row["response"]
        benchmark = row["benchmark"]
        if benchmark == "mathverse":
            return "u"
        if benchmark == "mathvista":
            line = {"prediction": response, "answer": gold, "answer_option": gold, "choices": repr(texts)}
            line["question_type"] = "multi_choice" if texts else "free_form"
            line["answer_type"] = "text" if texts else answer_type(gold)
            return check(mathvista, line)
        if not texts and benchmark != "mmmu" or benchmark == "mathvision":
            return check(mathvision, {"prediction": response, "answer": gold, "choices": repr(texts)})
        if not texts:
            texts, gold = [gold, "Other Answers"], "A"
        found = matching.can_infer(response, dict(zip("ABCDEFGH", texts)))
        return "u" if not found or found == "Z" else code(found == gold)

    return judge


def answer_type(gold):
    """The type that MathVista's data set would name."""
    for name, read in (("integer", int), ("float", float)):
        try:
            read(gold)
        except ValueError:
            continue
        return name
    return "list"


class Asked(Exception):
    """The judge or the dice."""


def lmms_eval_judge():
    stub("yaml", "pandas", "loguru", "openai", "numpy", "PIL", "datasets", "requests", "dotenv")

    def ask(*_, **__):
        raise Asked

    sys.modules["numpy"].argmax = lambda values: values.index(max(values))
    root = package("lmms_eval")
    tasks = root / "tasks"
    for name in ("tasks", "tasks._task_utils", "tasks.mathvision", "tasks.mathvista", "tasks.mmmu", "tasks.mmstar"):
        package(f"lmms_eval.{name}")
    stub("lmms_eval.verifiers", "lmms_eval.verifiers.extractors", "lmms_eval.verifiers.openai", "lmms_eval.llm_judge")
    stub("lmms_eval.tasks._task_utils.file_utils")
    mcq = load("lmms_eval.tasks._task_utils.mcq_extract", tasks / "_task_utils" / "mcq_extract.py")
    shared = load("lmms_eval.tasks._task_utils.mmmu_mcq_utils", tasks / "_task_utils" / "mmmu_mcq_utils.py")
    shared.random = types.SimpleNamespace(choice=ask)
    mathvision = load("lmms_eval.tasks.mathvision.utils", tasks / "mathvision" / "utils.py")
    mathvista = load("lmms_eval.tasks.mathvista.mathvista_evals", tasks / "mathvista" / "mathvista_evals.py")
    mmmu = load("lmms_eval.tasks.mmmu.utils", tasks / "mmmu" / "utils.py")
    mmstar = load("lmms_eval.tasks.mmstar.utils", tasks / "mmstar" / "utils.py")
    # Not its `extract_answer`, which swallows every exception of the judge.
    evaluator = mathvista.MathVistaEvaluator()
    asked = []
    evaluator.get_chat_response = lambda *_, **__: asked.append(True) or ""

    def judge(row):
        try:
            return of_benchmark(row)
        except Asked:
            return "u"

    def of_benchmark(row):
        gold, texts, response, benchmark = row["gold"], row["choices"], row["response"], row["benchmark"]
        if benchmark == "mathverse":
            return "u"
        if benchmark == "mathvista":
            problem = {"question_type": "multi_choice" if texts else "free_form", "query": "", "choices": texts}
            problem["answer_type"] = "text" if texts else answer_type(gold)
            asked.clear()
            found = evaluator.extract_answer(response.strip(), problem, False)
            if asked or not found:
                return "u"
            decimals = row["precision"] or 0
            kind = problem["question_type"]
            found = evaluator.normalize_extracted_answer(found, texts, kind, problem["answer_type"], decimals)
            return code(evaluator.safe_equal(found, texts[letter_index(gold)] if texts else gold))
        if benchmark == "mmmu" and texts:
            index2ans, letters = shared.get_multi_choice_info(texts)
            return code(mmmu.parse_multi_choice_response(response, letters, index2ans) == gold)
        if benchmark == "mmmu":
            return code(mmmu.eval_open(gold, mmmu.parse_open_response(response)))
        if benchmark == "mmstar" and texts:
            found = mcq.extract_mcq_answer(response, choices=["A", "B", "C", "D"])
            assert mmstar.exact_match(response, gold) == float(found == gold)
            return code(found == gold) if found else "u"
        if benchmark == "mathvision" or not texts:
            result = mathvision.mathvision_process_results({"answer": gold, "options": texts}, [response])
            return code(result["mathvision_standard_eval"]["scores"][0])
        found = mcq.extract_mcq_answer(response, choices=list("ABCDEFGH"[: len(texts)]))
        return code(found == gold) if found else "u"

    return judge


JUDGES = {
    "mathruler": mathruler_judge,
    "math-verify": math_verify_judge,
    "vlmevalkit-2025-07": vlmevalkit_judge,
    "vlmevalkit-2026-08": vlmevalkit_judge,
    "lmms-eval-2026-08": lmms_eval_judge,
}


def judge_half(peers):
    """Reads rows, writes what the peers of one environment say of them."""
    asked = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    verdicts = {}
    for peer in peers:
        judge = JUDGES[peer]()
        verdicts[peer] = "".join(judge(row) for row in asked)
    json.dump(verdicts, out)


# -------------------------------------------------------------------------------------------- recording


def pins(requirements):
    """Names and versions."""
    lines = (HERE / requirements).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def environment(folder, requirements):
    """Python with exactly the pinned packages; kept between runs."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", HERE / requirements]
    subprocess.run(command, check=True)
    return python


def compare(synergy, peer, asked, verdicts):
    """Prints on how many rows the emulation says what the peer says, and the first rows where it does not."""
    lines = "".join(json.dumps(row) + "\n" for row in asked)
    done = subprocess.run([synergy, "grade", "--grader", peer], input=lines, capture_output=True, text=True, check=True)
    ours = [json.loads(line)["outcome"][0] for line in done.stdout.splitlines()]
    differing = [(row, theirs, own) for row, theirs, own in zip(asked, verdicts, ours, strict=True) if theirs != own]
    print(f"{peer}: {100 * (1 - len(differing) / len(asked)):.2f} % of {len(asked)} rows")
    for row, theirs, own in differing[:12]:
        print(f"  {theirs} {own} {row['gold']!r} {row['response']!r} {row['choices']} {row['benchmark']}")


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "fixtures" / "graders.json")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "parity")
    parser.add_argument("--judge", nargs="*", help="for the environments: judge the rows of standard input")
    parser.add_argument("--held-out", metavar="SYNERGY", help="write nothing; judge other rows, and compare with this program's")
    arguments = parser.parse_args()
    if arguments.judge is not None:
        judge_half(arguments.judge)
        return
    held_out = arguments.held_out is not None
    drawn, choices = rows(held_out), HELD_OUT_CHOICES if held_out else CHOICES
    asked = [
        {"gold": gold, "response": response, "choices": choices[options][0] if options >= 0 else [], "precision": precision, "benchmark": benchmark}
        for gold, response, options, precision, benchmark in drawn
    ]
    verdicts, packages = {}, {}
    arguments.work.mkdir(parents=True, exist_ok=True)
    for folder, (requirements, peers) in HALVES.items():
        python = environment(arguments.work / folder, requirements)
        command = [python, "-W", "ignore", __file__, "--judge", *peers]
        # Sets of strings must come in one order.
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"})
        if done.returncode != 0:
            sys.exit(done.stderr[-4000:])
        verdicts.update(json.loads(done.stdout))
        packages[folder] = pins(requirements)
    if held_out:
        for peer in PEERS:
            compare(arguments.held_out, peer, asked, verdicts[peer])
        return
    lines = [
        json.dumps([gold, response, options, precision, NAMES.index(benchmark), "".join(verdicts[peer][i] for peer in PEERS)], ensure_ascii=False, separators=(",", ":"))
        for i, (gold, response, options, precision, benchmark) in enumerate(drawn)
    ]
    head = {
        "note": "rows: key, response, options, decimals, benchmark, and a verdict of each peer: c, w or u.",
        "python": platform.python_version(), "packages": packages, "peers": PEERS, "benchmarks": NAMES,
        "options": [texts for texts, _ in CHOICES],
    }
    text = json.dumps(head, indent=2, ensure_ascii=False)[:-2] + ',\n  "rows": [\n' + ",\n".join(lines) + "\n  ]\n}\n"
    arguments.out.write_text(text, encoding="utf-8")
    print(f"{arguments.out}: {len(lines)} rows, {len(text.encode()) / 1e3:.0f} kB")
    for peer in PEERS:
        counts = {c: verdicts[peer].count(c) for c in "cwu"}
        print(f"{peer}: {counts}")


if __name__ == "__main__":
    main()
