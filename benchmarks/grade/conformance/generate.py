"""Writes the cases of `synergy-1`: python3 benchmarks/grade/conformance/generate.py

Every case is written here by hand, grouped by rule, each rule with its nearest counter-examples. The
verdicts are what a careful reader says, not what the grader printed; a case where the two differ is a
bug of the grader. Nothing is random, so two runs write the same bytes.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
CORRECT, WRONG, UNPARSED, TRUNCATED = "correct", "wrong", "unparsed", "truncated"
COLORS = ["red", "blue", "green", "yellow"]
NUMBERS = ["3", "4", "5", "6"]
LENGTHS = ["12 cm", "15 cm", "18 cm", "21 cm"]
FORMULAS = ["$\\frac{1}{2}$", "$\\frac{1}{3}$", "$\\sqrt{2}$", "$2\\pi$"]
LABELS = ["A", "B", "C", "D", "E"]
CIRCLES = ["8\\pi", "10\\pi", "12\\pi", "14\\pi"]
COLORS_CHINESE = ["红色", "蓝色", "绿色", "黄色"]


def case(gold, response, verdict, why, choices=None, precision=None, benchmark=None):
    """One row; what a case does not have is left out."""
    row = {"gold": gold, "response": response}
    if benchmark:
        row["benchmark"] = benchmark
    if choices:
        row["choices"] = choices
    if precision is not None:
        row["precision"] = precision
    return {**row, "verdict": verdict, "why": why}


def boxed(rows, why, precision=None):
    """gold, answer and whether it is right; the answer stands in a box."""
    for gold, answer, right in rows:
        response = f"So we get $\\boxed{{{answer}}}$."
        yield case(gold, response, CORRECT if right else WRONG, why, precision=precision)


def extraction():
    """Where the answer stands."""
    for gold, response, verdict, why in [
        ("5", r"\boxed{5}", CORRECT, "a box"),
        ("5", r"First \boxed{4}, but then \boxed{5}.", CORRECT, "the last box counts"),
        ("4", r"First \boxed{4}, but then \boxed{5}.", WRONG, "the last box counts"),
        ("5", r"\boxed{5} and then \boxed{6", CORRECT, "a box that is not closed is none"),
        ("5", r"\boxed{5} \boxed{}", CORRECT, "an empty box says nothing"),
        ("5", r"\boxed{}", UNPARSED, "an empty box says nothing"),
        (r"\frac{1}{2}", r"\boxed{\frac{1}{2}}", CORRECT, "braces within a box balance"),
        ("5", r"\boxed{5", UNPARSED, "no box is closed"),
        ("5", r"$$\boxed{5}$$", CORRECT, "a displayed box"),
        ("5", r"\[ \boxed{5} \]", CORRECT, "a displayed box"),
        ("5", r"\boxed{\boxed{5}}", CORRECT, "of nested boxes the inner one"),
        ("1, 2", r"$\boxed{1}$ and $\boxed{2}$", CORRECT, "boxes with a separator between them are a list"),
        ("2", r"$\boxed{1}$ or $\boxed{2}$", WRONG, "two boxes joined by or hedge"),
        ("5", "<answer>5</answer>", CORRECT, "an answer tag"),
        ("5", "<answer>4</answer> no: <answer> 5 </answer>", CORRECT, "the last answer tag"),
        ("5", r"<answer>\boxed{5}</answer>", CORRECT, "the box within the tag"),
        ("5", r"<answer>4</answer> \boxed{5}", CORRECT, "a box goes before a tag"),
        ("5", "<answer></answer>", UNPARSED, "an empty tag says nothing"),
        ("5", "<answer>5", UNPARSED, "a tag that is not closed is none"),
        ("5", "The answer is 5.", CORRECT, "a phrase"),
        ("5", "the answer is: 5", CORRECT, "a phrase with a colon"),
        ("5", "The final answer is $5$.", CORRECT, "a phrase with a formula"),
        ("5", "Answer: 5", CORRECT, "a line"),
        ("5", "**Answer:** 5", CORRECT, "an emphasized line"),
        ("5", "**Answer**: 5", CORRECT, "an emphasized line"),
        ("5", "### Final answer\n\n5", CORRECT, "a heading with the answer below"),
        ("5", "Final Answer: 5 apples", CORRECT, "a line with a unit"),
        ("5", "Answer: 4\nI made a mistake.\nAnswer: 5", CORRECT, "the last line"),
        ("4", "Answer: 4\nI made a mistake.\nAnswer: 5", WRONG, "the last line"),
        ("5", "So the answer to the question is 5.", CORRECT, "words between answer and is"),
        ("5", "The answer should be 5", CORRECT, "should be"),
        ("5", "Therefore the correct answer must be 5.", CORRECT, "must be"),
        ("5", "The answer is 5 because 2 + 3 = 5.", CORRECT, "a reason is no answer"),
        ("5", "The answer is 5, which is odd.", CORRECT, "a remark is no answer"),
        ("5", "The answer is 5. There are 7 others.", CORRECT, "the next sentence is no answer"),
        ("2.5", "The answer is 2.5.", CORRECT, "a decimal point ends no sentence"),
        ("5", "The answer is 5\nwith 7 left", CORRECT, "a line ends the answer"),
        ("5", "The answer is x = 5.", CORRECT, "an assignment in a phrase"),
        ("5", "The answer is that the length of the side is 5 cm.", CORRECT, "the last clause"),
        ("5", "The answer is between 5 and 7.", WRONG, "a range is no number"),
        ("5", "The answer is 5 or 7.", WRONG, "two answers hedge"),
        ("5", "The answer is not 5.", WRONG, "a denial"),
        ("5", "answer: approximately 5", CORRECT, "approximately"),
        ("5", "I count 5 of them.", UNPARSED, "a number without a phrase"),
        ("5", "5", UNPARSED, "a number without a phrase"),
        ("5", "", UNPARSED, "nothing"),
        ("5", "   \n", UNPARSED, "nothing"),
        ("5", "I cannot answer this question.", UNPARSED, "a refusal"),
        ("5", "The answer", UNPARSED, "a phrase without an answer"),
        ("5", "The answer is", UNPARSED, "a phrase without an answer"),
        ("5", r"<think>maybe \boxed{4}</think> \boxed{5}", CORRECT, "after the thought"),
        ("5", r"<think>maybe \boxed{4}</think> The answer is 5.", CORRECT, "after the thought, even a phrase"),
        ("4", r"<think>maybe \boxed{4}</think> The answer is 5.", WRONG, "after the thought, even a phrase"),
        ("4", r"<think>maybe \boxed{4}</think> Done.", CORRECT, "in the thought if there is nothing after it"),
        ("red", "The answer is red.", CORRECT, "a word"),
        ("yes", "Answer: Yes.", CORRECT, "a word"),
        ("yes", "Answer: No.", WRONG, "a word"),
        ("14", "The number missing in the sequence is 14.\n\nAnswer: 14", CORRECT, "MathVista's example"),
        ("[2007, 2008]", "Answer: [2007, 2008]", CORRECT, "a list in a line"),
        ("7", "Ans: 7", CORRECT, "an abbreviated line"),
        ("7", "The answers vary between people: some say 7.", UNPARSED, "answers is another word"),
        ("7", "答案：see below\nAnswer：7", CORRECT, "a wide colon"),
        ("7", "answer = 7", CORRECT, "an equals sign"),
    ]:
        yield case(gold, response, verdict, why)


def options():
    """Letters, texts of options, and what looks like one."""
    for gold, response, verdict, why in [
        ("B", r"\boxed{B}", CORRECT, "a letter"),
        ("B", r"\boxed{C}", WRONG, "another letter"),
        ("B", r"\boxed{(B)}", CORRECT, "a letter in brackets"),
        ("B", r"\boxed{B.}", CORRECT, "a letter with a period"),
        ("B", r"\boxed{\text{B}}", CORRECT, "a letter as text"),
        ("B", r"\boxed{\textbf{B}}", CORRECT, "an emphasized letter"),
        ("B", r"\boxed{\mathrm{(B)}}", CORRECT, "a letter as text in brackets"),
        ("B", r"\boxed{b}", CORRECT, "a small letter where no option is one"),
        ("B", r"\boxed{\text{Option B}}", CORRECT, "the word option"),
        ("B", r"\boxed{B: blue}", CORRECT, "a letter and its text"),
        ("B", r"\boxed{\text{(B) blue}}", CORRECT, "a letter and its text"),
        ("B", r"\boxed{B. red}", CORRECT, "the letter goes before the text"),
        ("B", r"\boxed{blue}", CORRECT, "the text of the option"),
        ("B", r"\boxed{\text{Blue}}", CORRECT, "case does not matter"),
        ("blue", r"\boxed{B}", CORRECT, "the key is the text, the answer the letter"),
        ("blue", r"\boxed{blue}", CORRECT, "both are the text"),
        ("blue", r"\boxed{A}", WRONG, "another letter"),
        ("B", r"\boxed{red}", WRONG, "the text of another option"),
        ("B", r"\boxed{purple}", WRONG, "no option"),
        ("B", r"\boxed{E}", WRONG, "a letter beyond the options"),
        ("B", r"\boxed{B or C}", WRONG, "two letters hedge"),
        ("B", r"\boxed{A, B}", WRONG, "two letters hedge"),
        ("B", r"\boxed{AB}", WRONG, "two letters"),
        ("B", "The answer is B.", CORRECT, "a phrase"),
        ("B", "The answer is (B).", CORRECT, "a phrase"),
        ("B", "The answer is **B**.", CORRECT, "a phrase"),
        ("B", "The answer is B. blue", CORRECT, "a phrase and the text"),
        ("B", "The correct answer is option B.", CORRECT, "a phrase"),
        ("B", "Answer: B", CORRECT, "a line"),
        ("B", "Answer: (B) blue", CORRECT, "a line with the text"),
        ("B", "**Answer: B**", CORRECT, "an emphasized line"),
        ("B", "The answer is B because it is the color of the sky.", CORRECT, "a reason is no answer"),
        ("B", "The answer is blue.", CORRECT, "the text in a phrase"),
        ("B", "The answer is the blue one.", CORRECT, "the only option in the phrase"),
        ("B", "The answer is red or blue.", WRONG, "two options"),
        ("B", "The answer is not blue.", WRONG, "a denial"),
        ("B", "The answer is not B.", WRONG, "a denial"),
        ("A", "The answer is A.", CORRECT, "the letter A at the end of a sentence"),
        ("A", "The answer is A triangle.", WRONG, "the article"),
        ("A", "The answer is a blue ball.", WRONG, "the article, and another option"),
        ("B", "The answer is a blue ball.", CORRECT, "the article, and this option"),
        ("B", "The answer is between A and C.", WRONG, "a range"),
        ("B", "The correct option is B.", CORRECT, "option is"),
        ("B", "The correct choice is (B).", CORRECT, "choice is"),
        ("B", "Thinking about it.\n\nB", CORRECT, "the letter on a line of its own"),
        ("B", "Thinking about it.\n\n(B)", CORRECT, "the letter on a line of its own"),
        ("B", "Thinking about it.\n\n**B**", CORRECT, "the letter on a line of its own"),
        ("B", "Thinking about it.\n\nB.", CORRECT, "the letter on a line of its own"),
        ("B", "Thinking about it.\n\nB. blue", CORRECT, "the option as it stands in the question"),
        ("B", "Thinking about it.\n\n(B) blue", CORRECT, "the option as it stands in the question"),
        ("B", "B", CORRECT, "nothing but the letter"),
        ("B", "b", UNPARSED, "a small letter alone is a variable"),
        ("A", "A", CORRECT, "nothing but the letter"),
        ("B", "So I choose B.", CORRECT, "a cue and the letter at the end"),
        ("B", "Therefore, option B is the best match.", CORRECT, "a conclusion about an option"),
        ("B", "Hence, it is (B).", CORRECT, "a conclusion"),
        ("B", "So it must be option (B)", CORRECT, "a conclusion"),
        ("B", "It is neither (A) nor (B).", UNPARSED, "a denial"),
        ("B", "It could be (A) or (B).", UNPARSED, "two options"),
        ("B", "Options (A) and (B) look alike.", UNPARSED, "two options"),
        ("B", "(B) is too small.", UNPARSED, "a remark about an option"),
        ("A", "This is rich in vitamin A.", UNPARSED, "a letter without a cue"),
        ("A", "A dog is in the picture.", UNPARSED, "the article"),
        ("A", "I see a dog. A cat is near.", UNPARSED, "the article"),
        ("B", "The picture shows the sky.", UNPARSED, "no option"),
        ("B", "It is blue", UNPARSED, "the text of an option without a phrase"),
        ("B", "Plan B failed, so the answer is (A).", WRONG, "the phrase counts"),
        ("B", "I considered (A).\nThe right one is (B).", CORRECT, "the last sentence"),
        ("B", "<think>(A)?</think>\n(B)", CORRECT, "after the thought"),
        ("B", "It is not (B), it is wrong.", UNPARSED, "a denial"),
        ("B", "A. red\nB. blue\nC. green\nD. yellow", WRONG, "a repeated list of options ends with another one"),
        ("C", "I would select C", CORRECT, "a cue and the letter at the end"),
        ("C", "I'd go with the option **C**", CORRECT, "a cue and the letter at the end"),
        ("D", "Answer: D) yellow", CORRECT, "another bracket"),
        ("D", "Answer: [D]", CORRECT, "square brackets"),
        ("D", "Final answer: $\\text{D}$", CORRECT, "a formula"),
        ("D", "<answer>D</answer>", CORRECT, "a tag"),
        ("D", "<answer>(D) yellow</answer>", CORRECT, "a tag"),
        ("D", "<answer>yellow</answer>", CORRECT, "a tag with the text"),
    ]:
        yield case(gold, response, verdict, why, choices=COLORS)
    for gold, response, verdict, why in [
        ("B", r"\boxed{4}", CORRECT, "the value of the option"),
        ("B", r"\boxed{4.0}", CORRECT, "the value of the option in another form"),
        ("B", r"\boxed{5}", WRONG, "the value of another option"),
        ("B", r"\boxed{7}", WRONG, "no option"),
        ("4", r"\boxed{B}", CORRECT, "the key is the value"),
        ("4", r"\boxed{4}", CORRECT, "the key is the value"),
        ("B", "The answer is between 3 and 5.", WRONG, "a range of numbers is no B"),
        ("B", "The answer is 4.", CORRECT, "the value in a phrase"),
        ("B", "The answer is 4 cm.", CORRECT, "the value with a unit"),
        ("B", "The answer is 14.", WRONG, "14 is not 4"),
        ("B", "There are 4.", UNPARSED, "a number without a phrase"),
        ("B", r"\boxed{x=4}", CORRECT, "an assignment"),
        ("B", r"\boxed{B \quad 4}", WRONG, "a letter and a number make a product"),
    ]:
        yield case(gold, response, verdict, why, choices=NUMBERS)
    for gold, response, verdict, why in [
        ("A", r"\boxed{12}", CORRECT, "the unit is only in the option"),
        ("A", r"\boxed{12\text{ cm}}", CORRECT, "the unit in LaTeX"),
        ("A", r"\boxed{12 \mathrm{cm}}", CORRECT, "the unit in LaTeX"),
        ("A", r"\boxed{15\text{ cm}}", WRONG, "another option"),
        ("A", r"\boxed{12\text{ m}}", WRONG, "another unit"),
        ("12 cm", r"\boxed{A}", CORRECT, "the key is the text"),
        ("12 cm", r"\boxed{12}", CORRECT, "the key is the text"),
    ]:
        yield case(gold, response, verdict, why, choices=LENGTHS)
    for gold, response, verdict, why in [
        ("A", r"\boxed{0.5}", CORRECT, "a fraction in an option"),
        ("A", r"\boxed{1/2}", CORRECT, "a fraction in an option"),
        ("B", r"\boxed{\dfrac{1}{3}}", CORRECT, "a fraction in an option"),
        ("C", r"\boxed{2^{1/2}}", CORRECT, "a root in an option"),
        ("D", r"\boxed{2\pi}", CORRECT, "pi in an option"),
        ("D", r"\boxed{\pi}", WRONG, "another multiple of pi"),
        ("D", "Answer: $2\\pi$", CORRECT, "pi in an option"),
    ]:
        yield case(gold, response, verdict, why, choices=FORMULAS)
    for gold, response, verdict, why in [
        ("A", r"\boxed{A}", CORRECT, "options that are the labels of a picture (MathVision)"),
        ("E", r"\boxed{E}", CORRECT, "options that are the labels of a picture (MathVision)"),
        ("E", r"\boxed{(E)}", CORRECT, "options that are the labels of a picture (MathVision)"),
        ("E", r"\boxed{D}", WRONG, "options that are the labels of a picture (MathVision)"),
        ("E", "The answer is E.", CORRECT, "options that are the labels of a picture (MathVision)"),
    ]:
        yield case(gold, response, verdict, why, choices=LABELS)
    yield case("A", r"\boxed{A}", CORRECT, "labels out of order: the label is meant", choices=["B", "A"])
    yield case("A", r"\boxed{B}", WRONG, "labels out of order: the label is meant", choices=["B", "A"])
    for gold, response, verdict, why in [
        ("C", r"\boxed{\textbf{(C)}\ 12\pi}", CORRECT, "the letter and its own formula, as AMC keys write it"),
        ("C", r"\boxed{\text{(C) }12\pi}", CORRECT, "the letter and its own formula"),
        ("C", r"\boxed{\text{C. }12\pi}", CORRECT, "the letter and its own formula"),
        ("C", r"\boxed{\text{C: }12\pi}", CORRECT, "the letter and its own formula"),
        ("C", r"\boxed{\mathbf{C}\; 12\pi}", CORRECT, "a letter that a command of its own marks"),
        ("C", r"\boxed{12\pi\ \text{(C)}}", CORRECT, "the letter behind its own formula"),
        ("C", r"\boxed{12\pi \quad (C)}", CORRECT, "the letter behind its own formula"),
        (r"\textbf{(C)}\ 12\pi", r"\boxed{C}", CORRECT, "the key has letter and formula"),
        ("C", r"\boxed{\textbf{(B)}\ 10\pi}", WRONG, "another letter with its formula"),
        ("C", r"\boxed{\textbf{(B)}\ 12\pi}", WRONG, "the letter goes before the formula"),
        ("C", r"\boxed{10\pi\ \text{(C)}}", WRONG, "a letter behind the formula of another option contradicts it"),
        ("C", r"\boxed{\text{B} \text{ or } \text{C}}", WRONG, "two letters hedge"),
        ("C", r"\boxed{\text{C} + 12\pi}", WRONG, "a letter in a sum is a variable"),
    ]:
        yield case(gold, response, verdict, why, choices=CIRCLES)
    for gold, response, verdict, why in [
        ("D", "\\boxed{\\langle H\\rangle \\ll \\Delta E}\n\n**Answer: D**", CORRECT,
         "a box that is no option is a step; the line after it names one"),
        ("C", "\\boxed{\\langle H\\rangle \\ll \\Delta E}\n\n**Answer: D**", WRONG, "the line after the box names another"),
        ("D", "The energy is \\boxed{7}.\n\nSo the correct option is (D).", CORRECT,
         "a box that is no option is a step; the sentence after it names one"),
        ("D", "Answer: D\n\nTo check: \\boxed{7}", WRONG, "a box at the end is the answer, whatever stands before it"),
        ("D", "\\boxed{red}\n\nAnswer: D", WRONG, "the box names an option, and the last box counts"),
        ("D", "\\boxed{7}\n\nAnswer: 9", WRONG, "what follows the box names no option either"),
    ]:
        yield case(gold, response, verdict, why, choices=COLORS)
    for gold, response, verdict, why in [
        ("B", r"\boxed{B}", CORRECT, "a letter without options"),
        ("B", r"\boxed{(B) 12}", CORRECT, "a letter without options"),
        ("B", "Answer: B. 12", CORRECT, "a letter without options"),
        ("B", r"\boxed{C}", WRONG, "a letter without options"),
        ("B", "The best choice is B.", CORRECT, "a letter without options"),
    ]:
        yield case(gold, response, verdict, why)
    for gold, response, verdict, choices in [
        ("C", "If the answer is B then 1=2. So C.", CORRECT, COLORS), ("C", r"\boxed{(B) is wrong, (C)}", WRONG, COLORS),
        ("B", "\\boxed{x=1}\n\nAnswer: B is false", WRONG, COLORS),
        ("x=1", "\\boxed{x=1}\n\nAnswer: B is false", CORRECT, ["x=1", "x=2"]), ("B", "\\boxed{x=1}\n\nAnswer: B", CORRECT, COLORS),
        ("B", r"\boxed{B. false}", CORRECT, ["true", "false"]), ("B", r"\boxed{B: not red}", CORRECT, ["red", "not red"]),
        ("B", r"\boxed{(B) is not a square}", CORRECT, ["is a square", "is not a square"]),
        ("B", "Answer: (B) is not a square", CORRECT, ["is a square", "is not a square"]),
        ("B", "The answer is not red.", CORRECT, ["red", "not red"]), ("B", "The answer is No.", CORRECT, ["Yes", "No"]),
        ("A", r"\boxed{12}", WRONG, ["8", "10", "12 cm", "12 m"]), ("C", r"\boxed{12}", WRONG, ["8", "10", "12 cm", "12 m"]),
        ("D", r"\boxed{12}", WRONG, ["8", "10", "12 cm", "12 m"]), ("C", r"\boxed{12}", CORRECT, ["8", "10", "12", "12 m"]),
        ("D", r"\boxed{12}", WRONG, ["8", "10", "12", "12 m"]), ("C", r"\boxed{12 cm}", CORRECT, ["8", "10", "12 cm", "12 m"]),
        ("A", "The answer is 12", WRONG, ["12 cm", "12 m"]), ("12 cm", r"\boxed{12}", WRONG, ["12 cm", "12 m"]),
        ("A", r"\boxed{0.5}", WRONG, ["1/2", r"50\%"]), ("A", r"\boxed{1/2}", CORRECT, ["1/2", r"50\%"]),
        ("B", r"\boxed{B, C}", WRONG, COLORS), ("B", r"\boxed{B}\text{ is wrong}", UNPARSED, COLORS),
        ("B", r"The answer is \boxed{B}, which is wrong.", UNPARSED, COLORS), ("B", r"\boxed{B} A is wrong", CORRECT, COLORS),
        ("B", r"\boxed{B}\n\nThe other options are incorrect.", CORRECT, COLORS), ("B", r"\boxed{B\text{?}}", WRONG, COLORS),
        ("B", r"\boxed{\text{B is not correct}}", WRONG, COLORS), ("B", r"\boxed{\text{Not }B}", WRONG, COLORS),
        ("B", r"\boxed{B \rightarrow C}", WRONG, COLORS), ("B", r"\boxed{(B)\to(C)}", WRONG, COLORS),
        ("B", r"\boxed{\text{B or maybe C}}", WRONG, COLORS), ("B", r"\boxed{B \lor C}", WRONG, COLORS),
        ("B", r"\boxed{\neg B}", WRONG, COLORS), ("B", r"\boxed{\text{B. blue}}", CORRECT, COLORS),
        ("B", r"\boxed{\text{B} \text{ (blue)}}", CORRECT, COLORS), ("B", r"\boxed{B) blue}", CORRECT, COLORS),
        ("B", r"\boxed{\text{(B) blue, not red}}", CORRECT, COLORS), ("A", "The answer is 12.", WRONG, ["12 cm", "12 m", "13"]),
        ("C", "The answer is 13 cm.", CORRECT, ["12 cm", "12 m", "13"]), ("B", r"\boxed{0.5}", CORRECT, ["2", "1/2", "0.51", "3"]),
        ("A", r"\boxed{5}", WRONG, ["5 mA", "5 MA"]), ("A", r"\boxed{5\text{ mA}}", CORRECT, ["5 mA", "5 MA"]),
        ("B", r"\boxed{5\text{ mA}}", WRONG, ["5 mA", "5 MA"]), ("A", r"\boxed{x=2}", CORRECT, ["x=2", "y=2"]),
        ("A", r"\boxed{2}", WRONG, ["x=2", "y=2"]), ("A", r"\boxed{f(x)}", CORRECT, ["f(x)", "f'(x)"]),
        ("B", r"\boxed{f(x)}", WRONG, ["f(x)", "f'(x)"]), ("A", r"\boxed{CO}", CORRECT, ["CO", "Co"]),
        ("B", r"\boxed{CO}", WRONG, ["CO", "Co"]), ("B", r"\boxed{\text{Co}}", CORRECT, ["CO", "Co"]),
        ("A", r"\boxed{5}", WRONG, ["$5", "€5"]), ("B", r"\boxed{€5}", CORRECT, ["$5", "€5"]),
        ("A", r"\boxed{\$5}", CORRECT, ["$5", "€5"]), ("A", r"\boxed{$5}", CORRECT, ["$5", "€5"]),
        ("A", r"\boxed{increase}", CORRECT, ["increase", "decrease"]),
        ("A", r"\boxed{5\% increase}", CORRECT, ["5% increase", "5% decrease"]),
        ("A", r"\boxed{5\%}", WRONG, ["5% increase", "5% decrease"]), ("A", r"\boxed{[1,2)}", CORRECT, ["[1,2)", "(1,2]"]),
        ("A", r"\boxed{100000}", CORRECT, ["100000", "99999"]), ("A", r"\boxed{n=100000}", WRONG, ["n=99999", "n=100000"]),
        ("A", r"\boxed{1.0}", CORRECT, ["1", "2"]), ("A", r"\boxed{a}", CORRECT, ["a", "b"]),
    ]:
        yield case(gold, response, verdict, "an option is named where one letter stands, with nothing that denies it, or where its text alone fits", choices=choices)


def numbers():
    """Integers, decimals, separators, powers of ten."""
    yield from boxed([
        ("5", "5", True), ("5", "05", True), ("5", "+5", True), ("5", "5.", True), ("5", "5.0", True),
        ("5", "5.00", True), ("5", "-5", False), ("5", "6", False), ("5", "55", False), ("-5", "-5", True),
        ("-5", "−5", True), ("-5", "5", False), ("0", "0", True), ("0", "-0", True), ("0", "0.0", True),
        ("0", "00", True), ("5", "(5)", True), ("5", "{5}", True),
        ("5", "[5]", True), ("5", r"\text{5}", True), ("5", r"\mathbf{5}", True), ("5", "five", True),
        ("5", "Five", True), ("5", "six", False), ("12", "twelve", True), ("5", "2+3", True),
        ("5", "2+4", False), ("5", "10/2", True), ("123456789012345678", "123456789012345679", False),
    ], "integers")
    yield from boxed([
        ("2.5", "2.5", True), ("2.5", "2.50", True), ("2.5", "2.51", False), ("2.5", ".25e1", True),
        ("0.5", ".5", True), ("0.5", "0.50", True), ("0.5", "1/2", True), ("0.5", "0.6", False),
        ("3.14", "3.141", False), ("0.33", "1/3", False), ("0.3333", "1/3", True), ("0.3334", "1/3", False),
        ("1/3", "0.333333", True), ("1/3", "0.33", False), (r"\pi", "3.1416", True), (r"\pi", "3.14", False),
        (r"\pi", "3.1415", False), (r"\sqrt{2}", "1.41421", True), (r"\sqrt{2}", "1.4143", False),
        ("1.0001", "1.0002", False), ("1.23456", "1.2346", True), ("1.23456", "1.2345", False),
    ], "decimals; at least four digits may be a rounding")
    yield from boxed([
        ("1.2", "1.24", True), ("1.2", "1.25", True), ("1.2", "1.26", False), ("1.2", "1.15", True),
        ("1.2", "1.14", False), ("1.2", "1.2", True), ("1.2", "6/5", True), ("1.2", "1.3", False),
        ("0.3", "1/3", True), ("2.0", "2", True),
    ], "one decimal, as MathVista asks for", precision=1)
    yield from boxed([
        ("1.45", "1.45", True), ("1.45", "1.454", True), ("1.45", "1.46", False), ("1.45", r"\$1.45", True),
        ("3.14", r"\pi", True), ("0.33", r"\frac{1}{3}", True), ("0.33", "0.34", False),
    ], "two decimals, as MathVista asks for", precision=2)
    yield from boxed([
        ("1234", "1,234", True), ("1234", "1{,}234", True), ("1234", r"1\,234", True), ("1234", "1,235", False),
        ("1,234", "1234", True), ("1234567", "1,234,567", True), ("1234", "1, 234", False),
        ("1234", "12,34", False), ("1234.5", "1,234.5", True), ("1,234", "1.234", False),
        ("10000", r"10,\!000", True), ("1234", "1 234", False),
    ], "thousands separators")
    yield from boxed([
        ("300000", r"3\times 10^5", True), ("300000", r"3 \cdot 10^{5}", True), ("300000", "3e5", True),
        ("300000", "3*10^5", True), ("300000", "3 x 10^5", True), ("300000", "3 × 10^5", True),
        ("300000", "3E5", True), ("300000", r"3\times 10^6", False), ("0.003", r"3\times 10^{-3}", True),
        (r"3\times 10^5", "300000", True), (r"6.02\times 10^{23}", r"6.02\cdot 10^{23}", True),
        (r"6.02\times 10^{23}", r"6.03\cdot 10^{23}", False), ("1000", "10^3", True), ("2000000", "2 million", True),
        ("2000000", "2 thousand", False), ("1.5 million", "1500000", True),
    ], "powers of ten")


def fractions():
    """Fractions, mixed numbers, percentages, ratios."""
    yield from boxed([
        ("1/2", r"\frac{1}{2}", True), (r"\frac{1}{2}", "1/2", True), (r"\frac{1}{2}", r"\dfrac{1}{2}", True),
        (r"\frac{1}{2}", r"\tfrac{1}{2}", True), (r"\frac{1}{2}", r"\frac12", True), (r"\frac{1}{2}", "0.5", True),
        (r"\frac{1}{2}", r"\frac{2}{4}", True), (r"\frac{1}{2}", r"\frac{1}{3}", False),
        (r"\frac{1}{2}", r"\frac{2}{1}", False), (r"-\frac{1}{2}", r"\frac{-1}{2}", True),
        (r"-\frac{1}{2}", r"\frac{1}{-2}", True), (r"-\frac{1}{2}", r"\frac{1}{2}", False),
        (r"\frac{1}{23}", r"\frac{12}{3}", False), (r"\frac{10}{4}", "2.5", True), ("4/6", "2/3", True),
        ("7/3", "2.3333", True), ("7/3", "2.33", False), (r"\frac{22}{7}", r"\pi", False),
        (r"\frac{1}{\frac{1}{3}}", "3", True), (r"\frac{1}{0}", "0", False), ("½", "0.5", True),
    ], "fractions")
    yield from boxed([
        ("5/2", r"2\frac{1}{2}", True), ("5/2", "2 1/2", True), ("2.5", r"2\frac{1}{2}", True),
        (r"2\frac{1}{2}", "2.5", True), (r"2\frac{1}{2}", "1", False), (r"2\frac{1}{2}", r"\frac{5}{2}", True),
        (r"2\frac{1}{2}", r"\frac{21}{2}", False), ("-5/2", r"-2\frac{1}{2}", True), ("3 3/4", "3.75", True),
        ("3 3/4", "15/4", True), ("2½", "2.5", True),
    ], "mixed numbers")
    yield from boxed([
        (r"50\%", "50%", True), ("50%", "50", True), ("50%", "0.5", True), ("50%", "1/2", True),
        ("50", r"50\%", True), ("0.5", r"50\%", True), ("50%", "5", False), ("50%", "500", False),
        ("50%", r"5\%", False), ("12.5%", r"12.5\%", True), ("12.5%", "1/8", True), ("50%", "50 percent", True),
        ("50%", r"50\text{ percent}", True), ("50%", "50 cm", False),
    ], "percentages")
    yield from boxed([
        ("3:4", "3:4", True), ("3:4", "3 : 4", True), ("3:4", "4:3", False), ("12:30", "12:30", True),
        ("12:30", "12:31", False),
    ], "ratios and times are text")


def keys():
    """Keys that list right values."""
    for gold, response, verdict, why in [
        ("['24/7', '3.429']", r"\boxed{3.429}", CORRECT, "each value of the list is right"),
        ("['24/7', '3.429']", r"\boxed{\frac{24}{7}}", CORRECT, "each value of the list is right, in any form"),
        ("['24/7', '3.429']", r"\boxed{3.43}", WRONG, "none of the values"),
        ("['24/7', '3.429']", r"\boxed{24/7, 3.429, 1}", WRONG, "listing is no answer"),
        ("['24/7', '3.429']", r"\boxed{24/7, 3.429}", WRONG, "listing is no answer, even of right values"),
        ("['7', 'seven']", "The answer is seven.", CORRECT, "a word of the list"),
        ("['7', 'seven']", "The answer is eight.", WRONG, "no word of the list"),
        ("['$6', '6 dollars']", r"\boxed{\$6}", CORRECT, "an amount of the list"),
        ('["it\'s", "its"]', r"\boxed{its}", CORRECT, "texts in either quotes"),
        ("[3, 4]", r"\boxed{4}", WRONG, "a list of numbers without quotes is one answer"),
        ("[3, 4]", r"\boxed{[3, 4]}", CORRECT, "a list of numbers without quotes is one answer"),
        ("['5']", r"\boxed{5}", CORRECT, "a list of one value"),
        ("[0, 1)", r"\boxed{[0,1)}", CORRECT, "an interval is no list of values"),
        ("5", r"\boxed{5}", CORRECT, "a key that is no list"),
        ("['a' 'b']", r"\boxed{a}", WRONG, "no Python list of values: compared as it is written"),
    ]:
        yield case(gold, response, verdict, why, benchmark="mmmu")
    for gold, response, verdict, why, benchmark in [
        ("[2007, 2008]", r"\boxed{[2007, 2008]}", CORRECT, "a list of MathVista is the answer itself", "mathvista"),
        ("[2007, 2008]", r"\boxed{2007}", WRONG, "a list of MathVista is the answer itself", "mathvista"),
        ("['7', 'seven']", r"\boxed{seven}", WRONG, "only MMMU's keys list right values", "mathvision"),
    ]:
        yield case(gold, response, verdict, why, benchmark=benchmark)
    yield case("B", r"\boxed{B}", CORRECT, "a question with options has one key", choices=NUMBERS, benchmark="mmmu")


def spellings():
    """One thing in several spellings: Unicode's forms, braces and commands that change nothing."""
    yield from boxed([
        ("5", "５", True), ("5", "６", False), ("-5", "－5", True), ("12.5", "１２．５", True), ("(1,2)", "（1，2）", True),
        ("50%", "50％", True), ("3:4", "3：4", True), ("3:4", "3∶4", True), ("x=5", "x＝5", True), ("x", "𝑥", True), ("5", "𝟓", True),
        ("5 cm", "5㎝", True), ("12 m^2", "12㎡", True), ("12 m^2", "12㎥", False), ("25^\\circ C", "25℃", True),
        ("25^\\circ C", "25℉", False), ("60^\\circ", "60˚", True), ("café", "cafe\u0301", True), ("office", "oﬃce", True),
        ("5", "\ufeff5", True), ("1234", "1\u202f234", True), ("1234", "1\u00a0234", True), ("1, 2", "1，2", True), ("red", "ｒｅｄ", True),
    ], "characters that are equal by NFKC")
    yield from boxed([
        ("x^2", "x²", True), ("x2", "x²", False), ("x^{12}", "x¹²", True), ("x^{-1}", "x⁻¹", True), ("H_2O", "H₂O", True), ("H2O", "H₂O", False),
        ("x_{12}", "x₁₂", True), ("5/2", "2½", True), ("21/2", "2½", False), ("7/8", "⅞", True), ("2^{10}", "2¹⁰", True), ("210", "2¹⁰", False),
    ], "what NFKC would lose: powers, indices, mixed numbers")
    yield from boxed([
        ("1011_{2}", "1011_2", True), ("4210_{5}", "4210_5", True), ("52_8", "52_7", False), ("1011_{10}", "1011_10", True),
        ("52_{12}", "521_2", False), ("x^{10}", "x^{{10}}", True), ("x^{10}", "{x}^{10}", True), ("x^{a+b}", "x^a+b", False),
        ("2^{10}", "2^{1}0", False), ("H_{12}", "H_{1}2", False), (r"\sqrt[3]{xy}", r"\sqrt[3]{x}y", False), ("{1}0", "10", False),
        ("AB_{1}", "AB_1", True), ("AB_{1}C", "AB_1C", True), ("{red}", "red", True), (r"\{1,2\}", "{1,2}", True),
        (r"\triangle ABC", r"\triangle{ABC}", True), (r"\overline{AB}", r"\overline{AB}", True), (r"\overline{AB}", "AB", False),
    ], "braces that group nothing")
    yield from boxed([
        ("red", r"\texttt{red}", True), ("red", r"\emph{red}", True), ("red", r"\textnormal{red}", True), ("R", r"\mathbb{R}", True),
        ("v", r"\bm{v}", True), ("AB", r"\mathsf{AB}", True), ("red", r"\texttt{blue}", False), ("56", r"5\quad 6", False), ("56", "5~6", False),
    ], "commands that change only the looks")
    yield from boxed([
        (r"1, 2, \ldots, n", r"1,2,\dots,n", True), (r"1, 2, \ldots, n", "1, 2, ..., n", True), (r"1, 2, \ldots, n", "1, 2, …, n", True),
        (r"1, 2, \ldots, n", r"1,3,\dots,n", False), (r"1, 2, \ldots", "1, 2", False),
    ], "dots for what is left out")
    for gold, response, verdict in [
        ("B", r"\boxed{（B）}", CORRECT), ("B", "（B）", CORRECT), ("B", "答案：Ｂ", CORRECT), ("B", r"\boxed{Ｃ}", WRONG),
    ]:
        yield case(gold, response, verdict, "wide letters and brackets", choices=COLORS)
    yield case("B", r"\boxed{cafe\u0301}".replace("\\u0301", "\u0301"), CORRECT, "the text of an option in another form", choices=["tea", "café"])


def written():
    """Dates, scores, ranges and telephone numbers look like arithmetic and are none."""
    yield from boxed([
        ("2023-01-05", "2023-01-05", True), ("2023-01-05", "2023-05-01", False), ("2023-01-05", "2023-1-5", True),
        ("2023-01-05", "2023/01/05", True), ("2023-01-05", "2017", False), ("1/5/2023", "5/1/2023", False), ("2/4/2020", "1/2/2020", False),
        ("01/05/2023", "1/5/2023", True), ("1/5/2023", "1-5-2023", False),
    ], "a date is no subtraction and no quotient")
    yield from boxed([
        ("555-1234", "555-1234", True), ("555-1234", "-679", False), ("555-1234", "555–1234", True), ("555-0123", "555-123", False),
        ("(555) 123-4567", "(555)123-4567", True), ("(555) 123-4567", "63698", False), ("+1-555-1234567", "1-555-1234567", True),
        ("+1-555-1234567", "-1235121", False),
    ], "a telephone number is no subtraction")
    yield from boxed([
        ("10-5", "10-5", True), ("10-5", "5", False), ("5", "10-5", False), ("3-1", "4-2", False), ("10-15 km", "10-15", False),
        ("12:00", "1:00", False), ("x=10-5=5", "5", True), ("5", "10 - 5", True), ("-5", "-10+5", True), ("1.5-0.5", "1", True),
        ("10-5x", "5(2-x)", True), ("2^{10-5}", "32", True), ("5", "2+3", True), ("5", "10/2", True), ("3-1, 4-2", "3-1, 4-2", True),
    ], "a score or a range is no subtraction; with spaces, signs or other operators it is one")
    yield from boxed([
        ("2", "{5}-{3}", False), ("2", r"\text{5}-\text{3}", False), ("2", "5{-}3", False), ("2", "{5}-3", False),
        ("2", r"\mathbf{5}-\mathbf{3}", False), ("2", "{{5}}-{{3}}", False), ("2", "5{}-3", False), ("2", r"\mathrm{5}-3", False),
        ("2018", "{2023}-{01}-{04}", False), ("5", "$5K", False), ("5 km", "5 Km^2", False), ("5 L", "5 l/h", False),
        ("5", "5个的倍数", False), ("2", "5 - 3", True), ("2", "(5)-(3)", True), ("5-3", "{5}-{3}", True), ("5-3", "2", False),
        ("2", "{5}{-}{3}", False), ("2", r"5-\text{3}", False), ("2", r"\textbf{5-3}", False),
    ], "braces and text around the numbers do not make a subtraction of a score")


def exact():
    """Values that need more than 64 bits, never end, or are products."""
    long = "123456789012345678901234567890"
    yield from boxed([
        ("18446744073709551616", "18446744073709551616", True), ("18446744073709551616", "18446744073709551617", False),
        ("18446744073709551616", "2^{64}", True), (long, long[:-1] + "1", False), (long + long, long + long[:-1] + "1", False),
        (long + long, "0" + long + long, True), ("1361129467683753853853498429727072845824", "2^{130}", True),
        ("1361129467683753853853498429727072845825", "2^{130}", False), ("2^{500}", "4^{250}", True), ("2^{500}", "2^{500}+1", False),
        ("1" + "0" * 40, "10^{40}", True), ("1" + ",000" * 14, "10^{42}", True), ("123456789.123456789123456789", "123456789.123456789123456788", False),
        ("50!", "50!+1", False), ("30!/28!", "870", True), ("100!/98!", "9900", True), (r"\frac{1}{3^{90}}", "3^{-90}", True),
    ], "numbers beyond 64 bits keep their digits")
    yield from boxed([
        (r"1.\overline{3}", r"\frac{4}{3}", True), (r"1.\overline{3}", "4/3", True), (r"1.\overline{3}", "1.3", False), (r"0.1\overline{6}", "1/6", True),
        (r"0.1\overline{6}", "0.1666...", True), (r"0.\overline{142857}", "1/7", True), (r"0.\bar{3}", "1/3", True), (r"0.\dot{3}", "1/3", True),
        (r"0.\dot{1}4285\dot{7}", "1/7", True), ("0.(3)", "1/3", True), ("0.333...", "1/3", True), (r"0.333\ldots", "1/3", True), ("0.12", "0.1212...", False),
        ("4/33", "0.1212...", True), (r"0.\overline{9}", "1", True), (r"1.\overline{3}", "1.3333", True), (r"0.\overline{3}", r"0.\overline{6}", False),
        ("1.5", "0.5(3)", True),
    ], "repeating decimals by value")
    yield from boxed([("3.14", "3.14...", True), ("red", "red...", True)], "dots that show no repetition are punctuation")
    yield from boxed([
        (r"\frac{n!}{2}", "n!/2", True), ("n!", "n(n-1)!", True), ("n!", "(n-1)!", False), ("(n+1)!/n!", "n+1", True), ("2n!", "(2n)!", False),
        ("7!!", "105", True), ("5!", "120", True), (r"\binom{5}{2}", "10", True), (r"\binom{5}{2}", r"\frac{5!}{2!3!}", True),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}", True), (r"\binom{5}{2}", r"\binom{5}{3}", True), (r"\binom{5}{2}", r"\binom{5}{1}", False),
    ], "factorials and binomial coefficients by value, with whole numbers for variables")
    yield from boxed([
        (r"x^{\frac{2}{3}}", r"\sqrt[3]{x^2}", True), (r"x^{1/3}", r"\sqrt[3]{x}", True), (r"x^{2/3}", r"\sqrt{x^3}", False), (r"\sqrt{x^2}", "x", False),
        ("(-8)^{1/3}", "-2", True),
    ], "odd roots of negative numbers are real")
    yield from boxed([
        ("0.5", r"0.5\%", False), ("0.5", r"50\%", True), (r"50\%", "0.5", True), (r"0.5\%", "0.5", False), (r"0.5\%", "0.005", True),
        ("1.5", r"1.5\%", True), (r"0.5\%", r"0.5\%", True), (r"\frac{1}{2}", r"\frac{1}{2}\%", False),
    ], "a number below 1 without the sign is a share, so the same number with the sign is a hundredth of it")
    yield from boxed([
        ("n=99999", "n=100000", False), ("p=104729", "p=104730", False), ("1234567890 cm", "1234567891 cm", False),
        ("1234567890x", "1234567891x", False), (r"\sqrt{1234567891}", r"\sqrt{1234567890}", False),
        ("x=123456789012345678901", "x=123456789012345678902", False), ("x=123456789012345678901", "x=123456789012345678901", True),
        (r"\sqrt{1234567891}", r"\sqrt{1234567891}\text{ cm}", True), (r"\sqrt[3]{1234567891}", r"\sqrt[3]{1234567890}", False),
        (r"\pi 1234567891", r"\pi 1234567890", False), (r"1234567891\pi", r"1234567890\pi", False),
        (r"1234567891\pi", r"2469135782\pi/2", True), ("y=1234567890x+1", "y=1234567891x+1", False),
        ("y=1234567890x+1", "y-1=1234567890x", True), ("2x+3y=100000", "2x+3y=100001", False),
        ("x^2+y^2=1000000", "x^2+y^2=1000001", False), ("x^2+y^2=1000000", "2x^2+2y^2=2000000", True),
        (r"\ln 1234567891", r"\ln 1234567890", False), ("e^{20}+1", "e^{20}", False), (r"10^{12}+\pi", r"10^{12}+\pi+1", False),
        (r"\log_2 1234567891", r"\log_2 1234567890", False), (r"\sqrt{2}+10^{20}", r"\sqrt{2}+10^{20}+1", False),
        (r"\sqrt{123456789012345678901234567890123456789012345}", r"\sqrt{123456789012345678901234567890123456789012346}", False),
        ("123456789012345678901234567890123456789012345x", "123456789012345678901234567890123456789012346x", False),
        ("n=123456789012345678901234567890123456789012345", "n=123456789012345678901234567890123456789012346", False),
        ("n=123456789012345678901234567890123456789012345", "123456789012345678901234567890123456789012345", True),
        ("10^{60}", "10^{60}+2305843009213693951", False), ("10^{60}x", "(10^{60}+2305843009213693951)x", False),
        (r"\frac{123456789}{1000000007}x", r"\frac{123456788}{1000000007}x", False),
        (r"1234567890\sqrt{2}", r"1234567891\sqrt{2}", False), ("2^{100}x", "4^{50}x", True), ("2^{100}x", "(2^{100}+1)x", False),
        ("100000!", "100001!", False), ("25!x", "(25!+1)x", False), ("(1234567890,1)", "(1234567891,1)", False),
        (r"\{1234567890,1\}", r"\{1234567891,1\}", False), ("(x+10^{20})-10^{20}", "x", True),
        (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}", True), (r"\sqrt{12}", r"2\sqrt{3}", True),
        (r"\sin 75^\circ", r"\frac{\sqrt6+\sqrt2}{4}", True), (r"\tan 22.5^\circ", r"\sqrt2-1", True),
        (r"\arctan 1", r"\frac{\pi}{4}", True), (r"\ln 8", r"3\ln 2", True), ("e^{2}", r"\exp(2)", True),
        (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1", True), (r"\cos 36^\circ", r"\frac{1+\sqrt5}{4}", True),
        (r"\sin 2x", r"2\sin x\cos x", True), (r"\sin^2 x", r"1-\cos^2 x", True), ("x^{1234567890}", "x^{1234567891}", False),
        ("1.0000000001x", "1.0000000002x", False), ("1.00000000012", "1.00000000013", False),
        (r"\sqrt{1.0000000001}", r"\sqrt{1.0000000002}", False), ("x>1234567890", "x>1234567891", False),
        ("1234567890 m/s", "1234567891 m/s", False), ("1234567890%", "1234567891%", False),
        (r"\begin{pmatrix}1234567890\\1\end{pmatrix}", r"\begin{pmatrix}1234567891\\1\end{pmatrix}", False),
        (r"\binom{40}{20}x", "137846528820x", True), (r"\binom{40}{20}x", "137846528821x", False),
        ("n!+123456789012", "n!+123456789013", False), (r"\frac{n!}{(n-2)!}", "n(n-1)", True),
        (r"\binom{n}{k}", r"\frac{n!}{k!(n-k)!}", True), (r"\binom{n}{k}", r"\binom{n}{n-k}", True), ("(2n)!", "2n!", False),
        ("2^n+n!", "n!+2^n", True), ("1234567890^n", "1234567891^n", False), ("f=99999", "f=100000", False),
        (r"\frac{\sqrt{3}}{3}", "0.57735", True), ("|1234567890-x|", "|1234567891-x|", False),
        (r"x=\frac{-b+\sqrt{b^2-4ac}}{2a}", r"x=\frac{-b}{2a}+\frac{\sqrt{b^2-4ac}}{2a}", True),
        (r"\frac{a}{b}=\frac{c}{d}", "ad=bc", False), (r"\angle=60.000000001^\circ", r"\angle=60.000000002^\circ", False),
        (r"1234567890 \angle", r"1234567891 \angle", False), (r"\frac{123456789012}{7}", r"\frac{123456789013}{7}", False),
        ("2^{31}-1", "2^{31}", False), ("y=2^{40}x", "y=(2^{40}+1)x", False), ("x^2-1000000x", "x^2-1000001x", False),
        (r"x=\sqrt{1000000007}", r"x=\sqrt{1000000008}", False), (r"\sqrt{1000000007} cm", r"\sqrt{1000000008} cm", False),
        (r"(\sqrt{1000000007}, 1)", r"(\sqrt{1000000008}, 1)", False), ("x<1234567890", "x<1234567891", False),
        (r"x\in(1234567890,\infty)", r"x\in(1234567891,\infty)", False), ("1234567890:1", "1234567891:1", False),
        (r"\log 1000000007", r"\log 1000000008", False), (r"\frac{1}{1000000007}", r"\frac{1}{1000000008}", False),
        ("0.0000000001", "0.0000000002", False), ("10^{-13}", "10^{-14}", False), (r"10^{-13}\pi", r"10^{-14}\pi", False),
        (r"\sin(10^{-13})", r"\sin(10^{-14})", False), ("10^{-20}x", "10^{-21}x", False), (r"\sqrt{2}+10^{-13}", r"\sqrt{2}", False),
        ("x+10^{-13}", "x", False), (r"\sqrt{x}+10^{-13}", r"\sqrt{x}", False), ("y=x+10^{-13}", "y=x", False),
        ("100!+1", "100!", False), (r"\frac{100!+1}{100!}", "1", False), (r"\sqrt{10^{40}+1}", "10^{20}", False),
        ("1000000007^2", "1000000007^2+1", False), (r"\pi^{20}", r"\pi^{20}+1", False), ("e^{30}", "e^{30}+1", False),
        (r"\sqrt[5]{1234567891}", r"\sqrt[5]{1234567890}", False), ("1234567891^{1/7}", "1234567890^{1/7}", False),
        ("1234567891^{0.3}", "1234567890^{0.3}", False), (r"\cos 1234567891", r"\cos 1234567890", False),
        ("1234567891!", "1234567890!", False), (r"\binom{1000000}{3}", r"\binom{1000000}{3}+1", False),
        ("3.14159265358979", r"\pi+10^{-5}", False), ("x^3=1000000007", "x^3=1000000008", False),
        ("a_{1000000007}", "a_{1000000008}", False), (r"99999 \text{ apples}", r"100000 \text{ apples}", False),
        ("99999x+1=0", "100000x+1=0", False), ("5x=99999", "5x=100000", False), ("2n=199998", "n=100000", False),
        (r"\frac{x}{99999}", r"\frac{x}{100000}", False),
    ], "whole numbers and fractions stay exact in equations, with units, variables, roots and functions")
    yield from boxed([
        ("|x|", "x", False), ("x", "|x|", False), ("2|x|", "2x", False), ("|x|^3", "x^3", False), (r"\frac{|x|}{2}", r"\frac{x}{2}", False),
        ("|x+1|", "x+1", False), ("|x-50|", "50-x", False), ("|x-5|", "5-x", False), ("|a-b|", "a-b", False), ("y=|x|", "y=x", False),
        ("y=|x-2|", "y=2-x", False), ("|x|^2", "x^2", True), ("|x-5|", "|5-x|", True), ("|2x|", "2|x|", True), (r"\sqrt{x^2}", "|x|", True),
        ("y=|x|", "y=|-x|", True), ("|a-b|", "|b-a|", True), ("|ab|", "|a||b|", True),
    ], "an absolute value is another expression where what it holds is negative")


def solutions():
    """Inequalities that are joined by words."""
    yield from boxed([
        (r"(-\infty,-1)\cup(1,\infty)", r"x<-1 \text{ or } x>1", True), (r"(-\infty,-1)\cup(1,\infty)", r"x>1 \text{ or } x<-1", True),
        (r"(-\infty,-1)\cup(1,\infty)", r"x\le -1 \text{ or } x>1", False), (r"(-\infty,-1)\cup(1,\infty)", r"x<-1 \text{ and } x>1", False),
        (r"(-\infty,-1)\cup(1,\infty)", r"x<-1 \lor x>1", True), (r"(-\infty,-1)\cup(1,\infty)", r"x<-1 \cup x>1", True),
        (r"(1,3)", r"x>1 \text{ and } x<3", True), (r"[1,3)", r"x\ge 1 \land x<3", True), (r"(1,3)", r"x>1 \text{ or } x<3", False),
        (r"(2,\infty)", r"x>1 \text{ and } x>2", True), (r"x<-1 \text{ or } x>1", r"(-\infty,-1)\cup(1,\infty)", True),
    ], "or makes a union of inequalities, and their intersection")


def matrices():
    """Matrices, vectors, and what is compared as text."""
    ones = r"\begin{pmatrix} 1/2 & 2 \\ 3 & 4 \end{pmatrix}"
    yield from boxed([
        (ones, r"\begin{pmatrix} 0.5 & 2 \\ 3 & 4 \end{pmatrix}", True), (ones, r"\begin{bmatrix}\frac{1}{2}&2\\3&4\end{bmatrix}", True),
        (ones, r"\begin{pmatrix} 1/2 & 3 \\ 2 & 4 \end{pmatrix}", False), (ones, r"\begin{pmatrix} 1/2 & 2 & 3 & 4 \end{pmatrix}", False),
        (ones, r"\left[\begin{array}{cc} 0.5 & 2 \\ 3 & 4 \\ \end{array}\right]", True), (ones, r"A = \begin{pmatrix} 0.5 & 2 \\ 3 & 4 \end{pmatrix}", True),
        (ones, r"\frac{1}{2}\begin{pmatrix} 1 & 4 \\ 6 & 8 \end{pmatrix}", True), (ones, r"-\begin{pmatrix} 1/2 & 2 \\ 3 & 4 \end{pmatrix}", False),
        (r"\begin{pmatrix} x+1 & y \end{pmatrix}", r"\begin{pmatrix} 1+x & y \end{pmatrix}", True),
    ], "matrices entry by entry")
    yield from boxed([
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1, 2)", True), ("(1, 2)", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\langle 1, 2 \rangle", True), (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(2, 1)", False),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}", False),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\{1, 2\}", False),
    ], "a column or a row is the tuple of its entries, but a column is no row")
    yield from boxed([
        (r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", True),
        (r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", "-2", False),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}^T", r"\begin{pmatrix} 1 & 2 \end{pmatrix}", False),
        (r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 1.0 & 2 \\ 3 \end{pmatrix}", False),
    ], "refused: determinants, transposes and tables that are no rectangle have no value here, only their text is compared")


def chinese():
    """Conclusions and units as Chinese benchmarks write them."""
    for gold, response, verdict, why in [
        ("5", "答案是5。", CORRECT, "答案是"), ("5", "所以答案为：5", CORRECT, "答案为"), ("5", "答案：5", CORRECT, "答案 with a colon"),
        ("5", "【答案】5\n【解析】2+3=5", CORRECT, "答案 in brackets"), ("5", "因此，答案是 $5$，因为2+3=5。", CORRECT, "a reason is no answer"),
        ("5", "答案应该是5", CORRECT, "应该是"), ("6", "答案是5。", WRONG, "another answer"), ("5", "答案是5或6。", WRONG, "two answers hedge"),
        ("5", "答案见下。", UNPARSED, "a word without an answer"), ("5", "一共有5个。", UNPARSED, "a number without a phrase"),
        ("5", "答案是4。不对，重新算。答案是5。", CORRECT, "the last one counts"), ("红色", "答案是红色。", CORRECT, "a word"),
        ("红色", "答案是蓝色。", WRONG, "another word"), ("5", "最终答案：\\boxed{5}", CORRECT, "the box goes first"),
    ]:
        yield case(gold, response, verdict, why)
    for gold, response, verdict, why in [
        ("B", "故选B。", CORRECT, "故选"), ("B", "故选：B．", CORRECT, "故选 with a colon"), ("B", "故选（B）", CORRECT, "a letter in brackets"),
        ("B", "因此选择B。", CORRECT, "选择"), ("B", "所以选 B", CORRECT, "选"), ("B", "答案选B", CORRECT, "答案选"), ("B", "答案是B选项。", CORRECT, "the word option behind the letter"),
        ("B", "正确选项是B。", CORRECT, "选项是"), ("B", "选项B正确。", CORRECT, "a conclusion about an option"), ("B", "所以B正确。", CORRECT, "a conclusion about an option"),
        ("B", "【答案】B\n【解析】天空是蓝色的。", CORRECT, "答案 in brackets"), ("B", "答案是蓝色。", CORRECT, "the text of the option"),
        ("B", "答案是（B）蓝色。", CORRECT, "letter and text"), ("B", r"\boxed{B选项}", CORRECT, "the word option behind the letter"),
        ("B", r"\boxed{选B}", CORRECT, "选 within the box"), ("B", "故选C。", WRONG, "another letter"), ("B", "答案是B或C。", WRONG, "two letters hedge"),
        ("B", "故选A、B。", WRONG, "two letters hedge"), ("B", "不能选B。", UNPARSED, "a denial"), ("B", "选项B是错误的。", UNPARSED, "a denial"),
        ("B", "选项B是蓝色。", UNPARSED, "a mention"), ("B", "图B中有三个球。", UNPARSED, "a letter without a cue"),
        ("B", "排除A和C，故选B。", CORRECT, "what is ruled out stands before"), ("D", "A错误，B错误，C错误，故选D", CORRECT, "what is ruled out stands before"),
    ]:
        yield case(gold, response, verdict, why, choices=COLORS_CHINESE)
    yield from boxed([
        ("5", "5厘米", True), ("5 cm", "5厘米", True), ("5厘米", "5 cm", True), ("5厘米", "5", True), ("5厘米", "5米", False), ("5厘米", "6厘米", False),
        ("12平方厘米", "12 cm^2", True), ("12平方厘米", r"12\text{ cm}^2", True), ("12平方厘米", "12厘米", False), ("12立方米", "12 m^3", True),
        ("12立方米", "12平方米", False), ("60千米/时", "60 km/h", True), ("5米每秒", "5 m/s", True), ("3小时", "3 hours", True), ("3小时", "3分钟", False),
        ("20元", "20", True), ("20元", "¥20", True), ("20元", r"\$20", False), ("60°", "60度", True), ("25摄氏度", "25℃", True), ("6", "6个", True),
        ("6个", "6只", False), ("5千克", "5公斤", True), ("5", "五", True), ("5", "约5", True), ("5", "5以上", False), ("5", "5或6", False), ("1, 2", "1和2", True),
        ("x=1, x=2", "x=1或x=2", True),
    ], "Chinese units; as in English, one that only one side names is ignored")
    yield from boxed([
        ("30000", "3万", True), ("30000", "3万元", True), ("150000000", "1.5亿", True), ("30000", "3", False), ("3万", "30000", True), ("3", "3万", False),
    ], "万 and 亿")
    yield from boxed([
        ("5", "5千", False), ("5", "5百", False), ("5", "5万", False), ("5", "5十", False), ("5", "5百万", False), ("5", "5成", False),
        ("5", "5折", False), ("5", "5打", False), ("5", "5的平方", False), ("5", "5的阶乘", False), ("5", "5的倍数", False), ("5", "5开方", False),
        ("5", "5次方", False), ("5", "5的立方", False), ("5", "5的平方根", False), ("5", "5平方", False), ("5", "5对", False), ("5", "5双", False),
        ("5", "5半", False), ("5", "5分之一", False), ("5", "5倒数", False), ("5", "5的相反数", False), ("5", "5%的增长", False), ("5", "5亿", False),
        ("5", "5千五百", False), ("5", "5十个", False), ("2", "二分之一", False), ("7", "7折", False), ("7", "7成半", False), ("7", "7的", False),
        ("7", "7次幂", False), ("7", "7减", False), ("6", "6的一半", False), ("6", "六十", False), ("50", "五", False), ("15000", "一万零五", False),
        ("1", "三分之一", False), ("5000", "5千", True), ("500", "5百", True), ("50000", "5万", True), ("50", "5十", True),
        ("5000000", "5百万", True), ("5500", "5千5百", True), ("35000", "3万5千", True), ("120000000", "1亿2千万", True), ("50", "五十", True),
        ("123", "一百二十三", True), ("10005", "一万零五", True), ("1/3", "三分之一", True), (r"50\%", "百分之五十", True), ("0.5", "5成", True),
        ("60", "5打", True), ("5", "5千米", True), ("5", "5千克", True), ("5 km", "5千米", True), ("5 kg", "5千克", True), ("5000", "5千元", True),
        ("5000", "5千人", True), ("500", "500米", True), ("500", "5百米", True), ("6", "6个苹果", True), ("6", "6名学生", True), ("6", "6倍", True),
        ("3", "3条对角线", True), ("12", "12平方厘米", True), ("5 mPa", "5毫帕", True), ("5 kW", "5千瓦", True), (r"10\Omega", "10欧姆", True),
        ("3 cm", "3 厘米", True),
    ], "scales, numerals and operations are no units: a unit is in the list or counted by a measure word")


def units():
    """Units, degrees, money."""
    yield from boxed([
        ("5", "5 cm", True), ("5", r"5\text{ cm}", True), ("5", r"5\,\mathrm{cm}", True), ("5 cm", "5", True),
        ("5 cm", "5 cm", True), ("5 cm", "5 centimeters", True), ("5 cm", "5 m", False), ("5 cm", "6 cm", False),
        ("5 cm", "50 mm", False), ("5", "5 apples", True), ("5 apples", "5 oranges", False),
        ("12", r"12\text{ cm}^2", True), ("12", r"12\ \text{cm}^{2}", True), ("12 cm^2", r"12\text{ cm}^2", True),
        ("12 cm^2", "12 square centimeters", True), ("12 cm^2", r"12\text{ cm}^3", False), ("12", "12 square units", True),
        ("60", "60 km/h", True), ("60 km/h", "60 km/h", True), ("60 km/h", "60 m/s", False), ("60", "60 mph", True),
        ("5", "5 years old", True), ("5", "5 or 6 years", False), ("5", "5 more than 3", False), ("5", "about 5", True),
        (r"5\sqrt{2}", r"5\sqrt{2}\text{ cm}", True), (r"\frac{1}{2}", r"\frac{1}{2}\text{ m}", True),
        (r"2\pi", r"2\pi\text{ cm}", True), ("10", "10 N", True), ("10 N", "10 J", False), ("10", r"10\Omega", True),
        ("3", "3 hours", True), ("3 hours", "3 h", True), ("3 hours", "3 minutes", False), ("25", r"25^\circ C", True),
    ], "units")
    yield from boxed([
        ("60", r"60^\circ", True), ("60", r"60^{\circ}", True), ("60", "60°", True), ("60", "60 degrees", True),
        (r"60^\circ", "60", True), (r"60^{\circ}", r"60^\circ", True), (r"60^\circ", r"61^\circ", False),
        (r"60^\circ", r"\frac{\pi}{3}", True), (r"60^\circ", r"\frac{\pi}{6}", False), (r"30^\circ", "30 cm", False),
        (r"\angle A = 60^\circ", "60", True), ("0.5", r"\sin 30^\circ", True),
    ], "degrees")
    yield from boxed([
        ("5", r"\$5", True), (r"\$5", "5", True), (r"\$5", r"\$5.00", True), (r"\$5", "5 dollars", True),
        (r"\$5", r"\$6", False), ("1234", r"\$1,234", True), ("5", "€5", True), (r"\$5", "€5", False),
        ("-5", r"-\$5", True),
    ], "money")
    yield from boxed([
        ("5", r"5 \text{ squared}", False), ("5", r"5 \text{ cubed}", False), ("5", r"5 \text{ factorial}", False),
        ("5", r"5 \text{ tenths}", False), ("5", r"5 \text{ halves}", False), ("5", r"5 \text{ dozen}", False),
        ("5", r"5 \text{ pairs}", False), ("5", r"5 \text{ thirds}", False), ("5", "5 dozens", False), ("5", "5 couples", False),
        ("5", "5 lakh", False), ("5", "5 billion", False), ("5", "5 percentiles", False), ("5", r"5 \text{ hundredths}", False),
        ("5", "5 gross", False), ("5", r"5 \text{ doubled}", False), ("5", r"5 \text{ mod } 3", False), ("5", "5 crore", False),
        ("5", r"\text{5 squared}", False), ("5", "5 square root", False), ("5", "5 to the power 2", False), ("60", "5 dozen", True),
        ("25", "5 squared", True), ("25", r"5 \text{ squared}", True), ("125", "5 cubed", True), ("120", r"5 \text{ factorial}", True),
        ("1/2", "5 tenths", True), ("5/2", "5 halves", True), ("3/4", "3 quarters", True),
    ], "words that make another number of the one before them are no units")
    yield from boxed([
        ("5 mA", "5 MA", False), ("5 mPa", "5 MPa", False), ("5 mW", "5 MW", False), ("5 nm", "5 Nm", False), ("5 mg", "5 Mg", False),
        ("5 Gb", "5 GB", False), (r"5 \text{ mA}", r"5 \text{ MA}", False), (r"\text{CO}", r"\text{Co}", False), ("CO", "Co", False),
        ("5 Ω", "5 ω", False), (r"5 \Omega", r"5 \omega", False), ("Ω", "ω", False), (r"\Delta", r"\delta", False), ("Δ", "δ", False),
        ("5 meV", "5 MeV", False), ("5 mHz", "5 MHz", False), ("5 ms", "5 mS", False), ("5 s", "5 S", False), ("5 t", "5 T", False),
        ("5 g", "5 G", False), ("5 h", "5 H", False), ("5 m", "5 M", False), ("5 kb", "5 kB", False),
        (r"\frac{m}{M}", r"\frac{M}{m}", False), ("Mv", "mV", False), (r"\frac{mv}{M+m}", r"\frac{Mv}{M+m}", False),
        ("r+R", "R+R", False), ("6", "6 fold increase of 2", False), ("5 kPa", "5 Pa", False), ("5 GHz", "5 MHz", False),
        ("5 kJ", "5 J", False), ("5 μm", "5 mm", False), ("5 μs", "5 ms", False), ("5 um", "5 nm", False), ("5 kΩ", "5 Ω", False),
        ("5 kWh", "5 kW", False), ("5 Wh", "5 W", False), ("5 m/s", "5 m/s^2", False), ("5 eV", "5 keV", False), ("5 AM", "5 PM", False),
        ("5 am", "5 pm", False), ("5 A", "5 a.m.", False), ("5 K", "5 k", False), ("5 Bq", "5 B", False), ("5 mA", "5 milliamps", True),
        ("5 mA", r"5\,\mathrm{mA}", True), ("5 MPa", "5 megapascals", True), ("5 km", "5 KM", True), ("5 kg", "5 KG", True),
        ("5 cm", "5 CM", True), ("5 mL", "5 ml", True), ("5 Nm", r"5\text{ N m}", True), ("5 N·m", "5 Nm", True), ("5 V", "5 v", True),
        ("10 Ω", "10 ohms", True), ("5 L", "5 l", True), ("5 hours", "5 hrs", True), ("100 km/h", "100 kph", True),
        ("60 mph", "60 miles/h", True), ("60 mph", "60 mi/h", True), ("2x", "2x", True), ("25", "25℃", True), ("5 pounds", "5 lb", True),
        ("5", "5 meters", True), ("5 MB", "5 megabytes", True), ("2", "2.", True), ("5 N", "5 n", True), ("20%", "20 percent", True),
    ], "symbols count in their case, names in any")
    yield from boxed([
        ("$5", "€5", False), ("€5", "$5", False), ("$5", "£5", False), ("5 dollars", "5 euros", False), ("$5.50", "€5.50", False),
        ("$5, $6", "€5, €6", False), (r"\$5", "¥5", False), ("₹5", "$5", False), ("US$5", "€5", False), ("-$5", "$5", False),
        ("$5", "€5.00", False), ("5 cents", "5 dollars", False), ("5%", "5‰", False), ("$5", r"\$5", True), ("$5", "5", True),
        ("$5", "5 dollars", True), ("5", "$5$", True), ("$5$", "5", True), ("$5.50", "5.5", True), ("x^2", "$x^2$", True),
        ("1, 2", "$1$, $2$", True),
    ], "a dollar sign before an amount is a currency, two around a formula are not")
    yield from boxed([
        (r"5\%\text{ increase}", r"5\%\text{ decrease}", False), ("5% increase", "5% decrease", False),
        ("5 km north", "5 km south", False), ("5 m up", "5 m down", False), ("5 apples left", "5 apples right", False),
        ("5 red apples", "5 green apples", False), ("north", "south", False), ("5 m east", "5 m west", False),
        ("5 degrees north", "5 degrees south", False), ("10 km/h faster", "10 km/h slower", False),
        (r"5\%\text{ increase}", r"5\%", True), ("5 km north", "5 km", True), ("5 km north", "5 kilometers north", True),
        ("5 apples", "5 red apples", True),
    ], "directions and adjectives that contradict each other")
    yield from boxed([
        ("5", "5 1/2 cm", False), ("5", "5 in 6", False), ("5", "5000 thousandths of", False),
    ], "what else is no unit, and units that differ")


def radicals():
    """Roots, pi, powers, functions."""
    yield from boxed([
        (r"\sqrt{2}", r"\sqrt2", True), (r"2\sqrt{3}", r"\sqrt{12}", True), (r"2\sqrt{3}", r"2\sqrt{2}", False),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True), (r"\sqrt{16}", "4", True), (r"\sqrt{16}", "-4", False),
        (r"\sqrt[3]{8}", "2", True), (r"\sqrt[3]{8}", r"\sqrt{8}", False), (r"1+\sqrt{2}", r"\sqrt{2}+1", True),
        (r"1+\sqrt{2}", r"1-\sqrt{2}", False), (r"\sqrt{2}\cdot\sqrt{3}", r"\sqrt{6}", True), ("√2", r"\sqrt{2}", True),
        ("3√2", r"3\sqrt{2}", True), (r"\sqrt{2}", "2^{1/2}", True), (r"\sqrt{2}", "2^{0.5}", True),
        ("2^{10}", "1024", True), ("2^10", "1024", True), ("2^{10}", "2^9", False), ("5!", "120", True), ("5!", "5", False),
        (r"2\pi", r"2 \pi", True), (r"2\pi", "2π", True), (r"2\pi", r"\pi", False), (r"\frac{\pi}{2}", r"0.5\pi", True),
        (r"4\pi", r"\pi\cdot 2^2", True), (r"2\pi", "6.28", False), (r"2\pi", "6.2832", True), (r"\log_2 8", "3", True),
        (r"\ln e", "1", True), (r"\sin(\frac{\pi}{6})", "1/2", True), (r"|{-3}|", "3", True), (r"e^2", "e^2", True),
        (r"e^2", "e^3", False), (r"\frac{3+\sqrt{5}}{2}", r"\frac{\sqrt{5}+3}{2}", True),
        (r"\frac{3+\sqrt{5}}{2}", r"\frac{3-\sqrt{5}}{2}", False), (r"\left(\frac{1}{2}\right)^2", r"\frac{1}{4}", True),
    ], "roots, pi, powers and functions")


def structures():
    """Tuples, intervals, sets, lists, equations."""
    yield from boxed([
        ("(1,2)", "(1, 2)", True), ("(1,2)", r"\left(1,2\right)", True), ("(1,2)", "(2,1)", False), ("(1,2)", "(1,3)", False),
        ("(1,2)", "(1,2,3)", False), ("(1,2)", "1, 2", True), ("(1,2)", "2, 1", False), ("(1/2, 3)", "(0.5, 3)", True),
        ("(1,2,3)", "(1,2,3)", True), (r"(\sqrt{4}, 1)", "(2,1)", True), ("(1,234)", "(1,234)", True), ("(1,234)", "1234", False),
        ("(0,0)", "0", False), ("(x,y)", "(x,y)", True), ("A(1,2)", "A(1,2)", True),
    ], "tuples")
    yield from boxed([
        ("[1,2]", "[1,2]", True), ("[1,2]", "(1,2)", False), ("[1,2)", "[1,2)", True), ("[1,2)", "(1,2]", False),
        ("[1,2)", r"\left[1, 2\right)", True), (r"(-\infty, 3)", r"(-\infty,3)", True), (r"(-\infty, 3)", r"(-\infty,3]", False),
        (r"(3,\infty)", r"(3,+\infty)", True), (r"(3,\infty)", "x>3", True), (r"[3,\infty)", r"x\ge 3", True),
        (r"(3,\infty)", r"x\ge 3", False), ("x>3", r"(3,\infty)", True), ("1<x<2", "(1,2)", True), ("1<x<2", "[1,2]", False),
        (r"1\le x<2", "[1,2)", True), ("x<3", r"(-\infty,3)", True), ("x<3", "3>x", True), ("x<3", "x>3", False),
        (r"[1,2]\cup[3,4]", r"[1,2] \cup [3,4]", True), (r"[1,2]\cup[3,4]", r"[3,4]\cup[1,2]", True),
        (r"[1,2]\cup[3,4]", "[1,4]", False), (r"x\in[1,2]", "[1,2]", True), ("[2007, 2008]", "[2007, 2008]", True),
        ("[2007, 2008]", "2007, 2008", True), ("[2007, 2008]", "[2008, 2007]", False), ("[1, 2, 3]", "[1, 2, 3]", True),
        ("[1, 2, 3]", "[1, 3, 2]", False), ("[1.2, 1.3]", "[1.20, 1.30]", True),
    ], "intervals and lists in brackets")
    yield from boxed([
        (r"\{1,2\}", r"\{2,1\}", True), (r"\{1,2\}", r"\{1,3\}", False), (r"\{1,2\}", "1, 2", True), (r"\{1,2\}", "2, 1", True),
        ("1, 2", "2, 1", True), ("1, 2", "1 and 2", True), ("1, 2", "1 or 2", True), ("1, 2", "1", False), ("1", "1, 2", False),
        ("1, 2", "1, 2, 3", False), (r"\{1,2\}", "(1,2)", False), (r"\pm 3", "3, -3", True), (r"\pm 3", "-3, 3", True),
        (r"\pm 3", "3", False), ("3, -3", r"\pm 3", True), (r"1\pm\sqrt{2}", r"1+\sqrt{2}, 1-\sqrt{2}", True),
        ("x=1, x=2", "1, 2", True), (r"x=1 \text{ or } x=2", "2, 1", True), ("1/2, 3", "3, 0.5", True),
        ("red, blue", "red, blue", True), ("red, blue", "blue, red", False), ("Mars, Venus", "Mars and Venus", True),
    ], "sets and lists")
    yield from boxed([
        ("5", "x=5", True), ("x=5", "5", True), ("x=5", "x = 5", True), ("x=5", "y=5", False), ("x=5", "x=6", False),
        ("5", "x=6", False), ("5", "AB = 5", True), ("5", r"\text{Area} = 5", True), ("5", "x = 2+3 = 5", True),
        ("5", "2+3=5", True), ("y=2x+1", "y=1+2x", True), ("y=2x+1", "2x+1", True), ("y=2x+1", "y-2x=1", True),
        ("y=2x+1", "y=2x-1", False), ("2x+3y=6", "4x+6y=12", True), ("2x+3y=6", "2x+3y=7", False), ("x^2+y^2=4", "y^2+x^2=4", True),
        ("5", r"\approx 5", True), (r"\pi", r"\pi \approx 3.14", True), ("x = 5 cm", "5", True), ("f(x)=2x", "2x", True),
        ("x_1=2", "2", True), (r"x \neq 3", r"x\neq 3", True), (r"x \neq 3", "x=3", False),
        ("x^2=0", "10^{12}y=0", False), ("10^{12}y=0", "x^2=0", False),
    ], "assignments and equations")
    yield from boxed([
        (r"p \lor q", r"p \land q", False), (r"x=1 \lor x=2", r"x=1 \land x=2", False), (r"p \wedge q", r"p \vee q", False),
        ("p ∧ q", "p ∨ q", False), (r"p \text{ and } q", r"p \text{ or } q", False), ("red and blue", "red or blue", False),
        (r"p \lor q", r"p \lor q", True), (r"p \lor q", "p ∨ q", True), (r"p \land q", "p and q", True),
        (r"x=1 \lor x=2", r"x=1 \text{ or } x=2", True), (r"x=1 \lor x=2", "1, 2", True),
    ], "signs of logic are what they say; and and or between solutions are not told apart, between words they are")
    yield from boxed([
        (r"1\pm\sqrt{2}", r"1\mp\sqrt{2}", False), (r"\pm 3", r"\mp 3", False), (r"x=\pm 3", r"x=\mp 3", False),
        (r"a\pm b\mp c", r"a\mp b\pm c", False), ("±3", "∓3", False), (r"1\mp\sqrt{2}", r"1-\sqrt{2}, 1+\sqrt{2}", True),
        (r"x=\pm 3", "x=3, x=-3", True), (r"\pm 3", r"\{3,-3\}", True), (r"\frac{-3\pm\sqrt5}{-2}", r"\frac{3\pm\sqrt5}{2}", True),
        (r"a\pm b\mp c", r"a\pm b\mp c", True), (r"\pm 2", "2", False), (r"\mp 2", "-2", False),
    ], "both values of a sign; a minus above a plus is the other order")
    yield from boxed([
        (r"x\in A", "x=A", False), (r"x \in B", "x = B", False), ("x∈A", "x=A", False), (r"x\in\{1,2\}", "x=1, 2", True),
        (r"x\in\{1,2\}", r"\{1,2\}", True), (r"x \in \mathbb{R}", r"\mathbb{R}", True), (r"x\in(1,2)", "1<x<2", True),
        (r"x\in\mathbb{N}", "x=N", False), (r"x\in\{1\}", "x=2", False), (r"x \in [1,2]", "x = 1", False),
    ], "what a variable is in is no value of it")
    yield from boxed([
        ("f'(x)", "f(x)", False), ("y'=2x", "y=2x", False), ("y=2x", "y'=2x", False), ("f''(x)", "f'(x)", False), ("x'+1", "x+1", False),
        (r"f^{\prime}(x)", "f(x)", False), ("A'", "A", False), ("y''=x", "y'=x", False), ("f(x)=2x", "f'(x)=2x", False),
        ("x′", "x", False), ("A'B'", "AB", False), ("x_1=2", "x_2=2", False), ("f'(x)=2x", "f'(x)=2x", True),
        ("f'(x)=2x", r"f^{\prime}(x)=2x", True), ("f'(x)=2x", "y'=2x", True), ("f'(x)=2x", "2x", True), ("y=2x", "f(x)=2x", True),
        ("f'(x)+1", "1+f'(x)", True), ("x'", "x′", True), ("'red'", "red", True), ("f'(2)", "f(2)", False), ("g'(x)=1", "g(x)=1", False),
        ("y'+y=0", "y+y=0", False), (r"\frac{dy}{dx}", "y'x", False), (r"\dot{x}", "x", False), (r"\hat{x}", "x", False),
        (r"\bar{x}", "x", False), (r"\vec{v}", "v", False), ("x^*", "x", False),
    ], "a prime belongs to the name")
    yield from boxed([
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "[1,2)", False), (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2]", False),
        ("1, 2", "[1,2)", False), ("[1,2)", "1,2", False), ("1<x<2", "1,2", False), ("(1,2]", "1,2", False),
        ("(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}", True), ("[1,2]", "1, 2", True), (r"\{1,1,2\}", r"\{1,2\}", True),
        ("(1,2,3)", "[1,2,3]", True), (r"\begin{bmatrix}1&2\end{bmatrix}", "(1,2]", False),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"1<x\le 2", False), ("(1,2)", r"1<x\le2", False), ("1,2", "(1,2]", False),
        ("[1,2]", "[1,2)", False), ("{1,2}", "(1,2)", False),
    ], "an interval that is open at one end is no list and no vector")
    yield from boxed([
        ("1,2,3", "3,2,1,1", False), ("1,1,2", "1,2,2", False), ("1,2", "1,2,2", False), ("1,1,2", "1,2", False),
        ("x=1, x=1, x=2", "x=1, x=2", False), ("1,2,2", "2,1,2", True), ("1,2", r"\{2,1\}", True), ("1, 1", "1", False),
        ("1,2,3", "1,2,3,3", False), (r"\{1,2\}", "1,2,2", False), (r"\{1,2\}", r"\{1,2,3\}", False), (r"\{1,2\}", "1,1,2", False),
    ], "a list says how often, a set does not")


def algebra():
    """Polynomials and rational expressions."""
    yield from boxed([
        ("2x+1", "1+2x", True), ("2x+1", "2x-1", False), ("2x+1", "2y+1", False), ("(x+1)^2", "x^2+2x+1", True),
        ("(x+1)^2", "x^2+1", False), ("x^2-1", "(x-1)(x+1)", True), (r"\frac{x^2-1}{x-1}", "x+1", True),
        (r"\frac{1}{x}+\frac{1}{y}", r"\frac{x+y}{xy}", True), (r"\frac{1}{x}+\frac{1}{y}", r"\frac{2}{x+y}", False),
        ("2xy", "2yx", True), ("2xy", "2x+y", False), ("x^{10}", "x^10", True), ("x^{10}", "x^1 0", False), ("3a-2b", "-2b+3a", True),
        ("a^2b", "ba^2", True), (r"\sqrt{x}", "x^{1/2}", True), (r"\sqrt{x^2}", "x", False), ("x(x+1)", "x^2+x", True),
        (r"\frac{x}{2}", "0.5x", True), ("x", "X", True), ("n(n+1)/2", r"\frac{n^2+n}{2}", True), (r"\pi r^2", r"r^2\pi", True),
        (r"\pi r^2", r"2\pi r", False), (r"\theta", r"\theta", True),
        ("2^n", r"2^{n}", True), ("2^n", "n^2", False), ("-x+1", "1-x", True), ("-(x-1)", "1-x", True),
    ], "expressions with variables")
    yield from boxed([
        (r"\sqrt{1000000007} cm", r"\sqrt{1000000007}", True), ("10^{-13}", r"\frac{1}{10^{13}}", True), ("2n=199998", "n=99999", True),
        ("5x=99999", "x=19999.8", True), (r"\frac{\sqrt{6}+\sqrt{2}}{4}", r"\frac{1}{\sqrt6-\sqrt2}", True),
        (r"\sqrt{5+2\sqrt{6}}", r"\sqrt2+\sqrt3", True), (r"2\cos 20^\circ", r"2\cos\frac{\pi}{9}", True),
        (r"\log_{10} 2+\log_{10}5", "1", True), (r"\ln(x^2+2x+1)", r"\ln((x+1)^2)", True), (r"\sqrt[3]{54}", r"3\sqrt[3]{2}", True),
        ("2^{2/3}", r"\sqrt[3]{4}", True), ("8^{2/3}", "4", True), (r"\pi/4", r"\frac{\pi}{4}", True),
        ("e^{-2}", r"\frac{1}{e^2}", True), (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", True),
        (r"\frac{2}{\sqrt{3}-1}", r"\sqrt3+1", True), (r"\arcsin\frac12", r"30^\circ", True),
        (r"\frac{e^x+e^{-x}}{2}", r"\frac{e^{2x}+1}{2e^x}", True), (r"\tan x", r"\frac{\sin x}{\cos x}", True),
        (r"x\sqrt{x}", "x^{3/2}", True), (r"\frac{\ln 2}{\ln 3}", r"\log_3 2", True), ("2^{n+1}", r"2\cdot 2^n", True),
        (r"\frac{n(n+1)(2n+1)}{6}", r"\frac{2n^3+3n^2+n}{6}", True), (r"\frac{4}{3}\pi r^3", r"\frac{4\pi r^3}{3}", True),
        ("100", "100.0", True), (r"\frac{3}{4}", "0.75", True), ("12 cm^2", r"12\text{ square centimeters}", True),
        ("5 m/s^2", "5 m/s²", True), ("9.8 m/s^2", r"9.8 \text{ m/s}^2", True), (r"3\times10^8 m/s", "300000000 m/s", True),
        (r"36\pi", r"36\pi\text{ cubic inches}", True), (r"\frac{7}{2}", r"3\frac{1}{2}", True), (r"80 \text{ mph}", "80", True),
        (r"25 \text{ cents}", "25", True), ("2 hours 30 minutes", "2 hours 30 minutes", True), (r"5 \text{ units}", "5", True),
        (r"5\text{ years}", "5", True), ("5 people", "5", True), (r"\text{five}", "5", True),
        (r"(3, \frac{\pi}{2})", r"(3,\pi/2)", True), (r"90^\circ", r"\frac{\pi}{2}", True), ("x=2,y=3", "x=2, y=3", True),
        ("(2,3)", "x=2,y=3", True), ("f(x)=x^2+1", "x^2+1", True), ("y=mx+b", "y=mx+b", True), (r"-\frac{3}{2}", "-1.5", True),
        (r"\text{(C)}", "C", True), (r"20\%", "0.2", True), ("1:2", "1:2", True), ("3:00 PM", "3:00 pm", True),
        (r"5.0\times 10^{-3}\text{ m}", r"0.005\text{ m}", True), (r"\frac{5}{6}\text{ kg}", r"\frac{5}{6}", True), ("AB=5", "5", True),
        (r"\triangle ABC", r"\triangle ABC", True), (r"\text{Saturday}", "Saturday", True), (r"\$1{,}000", r"\$1000", True),
        (r"1000\text{ dollars}", r"\$1{,}000", True), ("7:3", "7:3", True), (r"x \le 3", r"x\leq 3", True),
        ("3x+4y-5=0", "6x+8y=10", True), ("No", "NO", True), ("No", "no", True), ("Red", "RED", True), ("YES", "Yes", True),
        ("Up", "up", True), (r"\pi r^2", r"\pi r^2", True), (r"\frac{m}{M}", r"\frac{m}{M}", True), ("mgh", "mgh", True),
    ], "the usual ways to write one value")


def statements():
    """What states an answer, and what only names one."""
    for gold, response, verdict in [
        ("5", "答案：不是5，而是6", WRONG), ("5", "答案是：不是5", WRONG), ("5", "答案是5是错的", UNPARSED), ("5", "答案是5吗？", UNPARSED),
        ("5", "答案是5吗", UNPARSED), ("5", "有人说答案是5，这是错的。", UNPARSED), ("5", "如果答案是5，则矛盾。", UNPARSED), ("5", "假设答案是5。", UNPARSED),
        ("5", "很多人误以为答案是5", UNPARSED), ("5", "答案不是5", UNPARSED), ("5", "错误答案是5", UNPARSED), ("5", "小明的答案是5", UNPARSED),
        ("5", "他认为答案是5", UNPARSED), ("5", "难道答案是5？", UNPARSED), ("5", "答案是5，但这不对。", UNPARSED), ("5", "答案是5。不对。", UNPARSED),
        ("5", "答案是5，显然错误", UNPARSED), ("5", "并不是说答案是5", UNPARSED), ("5", "若答案为5，则面积为负", UNPARSED), ("5", "答案是这个数不是5", WRONG),
        ("5", "答案为5不成立", UNPARSED), ("5", "我以为答案是5", UNPARSED), ("5", "答案会不会是5？", UNPARSED), ("5", "是不是答案是5", UNPARSED),
        ("5", "老师说答案是5", UNPARSED), ("5", "答案是5？", UNPARSED), ("5", "不难看出答案是5", CORRECT), ("5", "我认为答案是5", CORRECT),
        ("5", "如果x=2，答案是5", CORRECT), ("5", "若x=2，那么答案是5。", CORRECT), ("5", "所以答案是5，因为4不对。", CORRECT), ("5", "答案是5。4是错的。", CORRECT),
        ("5", "4不对，所以答案是5", CORRECT), ("5", "毫无疑问，答案是5", CORRECT), ("5", "题目的答案是5", CORRECT), ("5", "正确的答案是5", CORRECT),
        ("5", "也就是说答案是5", CORRECT), ("5", "综上所述，答案是5。", CORRECT), ("5", "答案是4吗？不，答案是5。", CORRECT), ("5", "有人说答案是4，其实答案是5。", CORRECT),
        ("5", "答案：5（不是4）", CORRECT), ("5", "答案：不是4，而是5", CORRECT), ("5", "答案不是4，答案是5", CORRECT), ("5", "答案是5，不是4。", CORRECT),
        ("5", "这说明答案是5", CORRECT), ("5", "设边长为x，答案是5", CORRECT), ("5", "由题意得答案是5", CORRECT), ("5", "排除A、C后答案是5", CORRECT),
        ("5", "经检验，答案为5", CORRECT),
    ]:
        yield case(gold, response, verdict, "said in Chinese: denied, asked, supposed or reported is not stated")
    for gold, response, verdict in [
        ("B", "答案是：不是B", WRONG), ("B", "如果答案是B，则矛盾", UNPARSED), ("B", "有人说答案是B，这是错的", UNPARSED), ("B", "很多人误以为答案是B", UNPARSED),
        ("B", "答案是B吗？", UNPARSED), ("B", "答案：B？", UNPARSED), ("B", "假设选B", UNPARSED), ("B", "如果选B，则面积为负", UNPARSED),
        ("B", "为什么选B？", UNPARSED), ("B", "不选B", UNPARSED), ("B", "小明选B", UNPARSED), ("B", "有同学选择了B", UNPARSED),
        ("B", "答案是B是错误的", UNPARSED), ("B", "选B吗？", UNPARSED), ("B", "答案是B，不对", UNPARSED), ("B", "选项B正确吗？", UNPARSED),
        ("B", "如果选项B正确，则红色也对", UNPARSED), ("B", "有人认为B正确", UNPARSED), ("B", "所以B不正确", UNPARSED), ("B", "若B正确，则A也正确。", UNPARSED),
        ("B", "难道B正确", UNPARSED), ("B", r"\boxed{不是B}", WRONG), ("B", r"\boxed{B是错的}", WRONG), ("B", r"\boxed{非B}", WRONG),
        ("B", "B是对的吗", UNPARSED), ("B", "他选了B", UNPARSED), ("B", "答案是B或者不是B", WRONG), ("B", "选B是错的", UNPARSED),
        ("B", "故选B是不对的", UNPARSED), ("B", "答案是A吗？不是。故选B", CORRECT), ("B", "A错，故选B。", CORRECT), ("B", "有人选A，但正确答案是B。", CORRECT),
        ("B", "假设选A，矛盾。故选B。", CORRECT), ("B", "如果是红色则矛盾，所以选B", CORRECT), ("B", "由此可知B正确", CORRECT), ("B", "不难看出选B", CORRECT),
        ("B", "答案是B，因为天空是蓝色的", CORRECT), ("B", "答案是B，A不对", CORRECT), ("B", "故本题选B", CORRECT), ("B", "答案选B。A项错误。", CORRECT),
        ("B", "答案：不是A，而是B", CORRECT), ("B", "我们选B", CORRECT), ("B", "正确答案为B", CORRECT), ("B", "通过排除法，选B", CORRECT),
    ]:
        yield case(gold, response, verdict, "options in Chinese: denied, asked, supposed or reported is not stated", choices=COLORS_CHINESE)
    for gold, response, verdict in [
        ("5", "The answer is 5, which is wrong.", UNPARSED), ("5", "If the answer is 5 then 1=2.", UNPARSED),
        ("5", "Is the answer is 5?", UNPARSED), ("5", "The answer is 5?", UNPARSED), ("5", "Some say the answer is 5.", UNPARSED),
        ("5", "It is not true that the answer is 5.", UNPARSED), ("5", "I don't think the answer is 5.", UNPARSED),
        ("5", "Suppose the answer is 5.", UNPARSED), ("5", "A wrong answer is 5.", UNPARSED), ("5", "His answer is 5.", UNPARSED),
        ("5", "The student's answer is 5.", UNPARSED), ("5", "John's answer is 5", UNPARSED),
        ("5", "Many people think the answer is 5, but it is not.", UNPARSED), ("5", "The answer is 5. That is wrong.", UNPARSED),
        ("5", "The answer is 5. Wait, that's not right.", UNPARSED), ("5", "The answer is not 5 but 6.", WRONG),
        ("5", "I doubt the answer is 5", UNPARSED), ("5", "Incorrect answer: 5", UNPARSED),
        ("5", "The answer is 5, but that is incorrect.", UNPARSED), ("5", "Assume that the answer is 5", UNPARSED),
        ("5", "Let us say the answer is 5", UNPARSED), ("5", "I wonder whether the answer is 5", UNPARSED),
        ("5", "According to Tom, the answer is 5.", UNPARSED), ("5", "If, however, the answer is 5, we get a contradiction.", UNPARSED),
        ("5", "The answer is 5 is false", UNPARSED), ("5", "The answer is that x cannot be 5", WRONG),
        ("5", "The answer is 5 (wrong)", UNPARSED), ("5", "It was claimed that the answer is 5", UNPARSED),
        ("5", "The answer is 5, right?", UNPARSED), ("5", "The answer is that the number is not 5.", WRONG),
        ("5", "Answer: 5 is incorrect.", UNPARSED), ("5", "One might guess the answer is 5.", UNPARSED),
        ("5", "Unless the answer is 5, we fail", UNPARSED), ("5", "If x = 2, the answer is 5.", CORRECT),
        ("5", "If x = 2 then the answer is 5.", CORRECT), ("5", "I think the answer is 5.", CORRECT),
        ("5", "We say the answer is 5", CORRECT), ("5", "There is no doubt that the answer is 5.", CORRECT),
        ("5", "According to the figure, the answer is 5.", CORRECT), ("5", "The answer is 5, which is not even.", CORRECT),
        ("5", "The answer is not 4 but 5.", CORRECT), ("5", "Some say the answer is 4. The answer is 5.", CORRECT),
        ("5", "The answer is 5. Some say the answer is 4.", CORRECT), ("5", "It is not 4, so the answer is 5", CORRECT),
        ("5", "The answer is 5, since 4 is wrong.", CORRECT), ("5", "The answer is 5. Note that 4 is wrong.", CORRECT),
        ("5", "It is not hard to see that the answer is 5", CORRECT), ("5", "Thus the answer to the question is 5.", CORRECT),
        ("5", "What is the answer? The answer is 5.", CORRECT), ("5", "**Answer:** 5\n\nThis is not 4.", CORRECT),
        ("5", "My answer is 5", CORRECT), ("5", "The final answer is: $5$.", CORRECT), ("5", "Assuming x=3, the answer is 5", CORRECT),
        ("5", "The question asks if it is even. The answer is 5", CORRECT),
        ("5", "Answer: 5\n\nIncorrect options are 4 and 6.", CORRECT), ("5", "The answer isn't 4. The answer is 5.", CORRECT),
        ("5", "I was wrong and the answer is 5", CORRECT), ("5", "The problem says that it is red, so the answer is 5", CORRECT),
        ("5", "Answer: 5\nIs this right? Yes.", CORRECT),
    ]:
        yield case(gold, response, verdict, "denied, asked, supposed or reported is not stated")
    for gold, response, verdict in [
        ("not enough information", "The answer is not enough information.", CORRECT),
        ("no solution", "The answer is no solution.", CORRECT), ("cannot be determined", "The answer is cannot be determined.", CORRECT),
        ("错误", "答案：错误", CORRECT), ("不变", "答案是不变。", CORRECT), ("False", "The answer is that the statement is false.", CORRECT),
        ("False", "Answer: False", CORRECT), ("no", "Answer: No.", CORRECT), ("不能", "答案是不能", CORRECT),
    ]:
        yield case(gold, response, verdict, "an answer may itself deny something")
    for gold, response, verdict in [
        ("B", "The answer is B, which is wrong.", UNPARSED), ("B", "If the answer is B then 1=2.", UNPARSED),
        ("B", r"\boxed{(B) is wrong, (C)}", WRONG), ("B", "Answer: B is false", UNPARSED), ("B", "Answer: B?", UNPARSED),
        ("B", "Is the answer (B)?", UNPARSED), ("B", "Some people choose B", UNPARSED), ("B", "Suppose the answer is B.", UNPARSED),
        ("B", "The answer is not B", WRONG), ("B", "The wrong option is B", UNPARSED), ("B", "Option B is wrong", UNPARSED),
        ("B", "The answer is B, but it cannot be right.", UNPARSED), ("B", r"\boxed{\text{not B}}", WRONG),
        ("B", r"\boxed{B is incorrect}", WRONG), ("B", r"\boxed{\text{(B) is not correct}}", WRONG),
        ("B", "Therefore, some choose (B).", UNPARSED), ("B", "So is it (B)?", UNPARSED),
        ("B", "If it is (B), then red is blue.", UNPARSED), ("B", "He says the correct option is B.", UNPARSED),
        ("B", "The answer is B or C", WRONG), ("B", "Therefore B is false", UNPARSED),
        ("B", "the answer is B unless the ball is red", UNPARSED), ("B", "The answer is B if red, otherwise C.", WRONG),
        ("B", "So they pick B", UNPARSED), ("B", "Could the answer be that B is correct?", UNPARSED), ("B", r"\boxed{B?}", WRONG),
        ("B", r"\boxed{(B)\text{ (wrong)}}", WRONG), ("B", "It is false that the answer is B", UNPARSED),
        ("B", "The answer is B. This is incorrect because the sky is green.", UNPARSED), ("B", "Answer: neither B nor C", WRONG),
        ("B", "I doubt that the correct choice is B", UNPARSED), ("B", "If the sky is blue, the answer is B.", CORRECT),
        ("B", "The answer is B. A is wrong.", CORRECT), ("B", "Not A. The answer is B.", CORRECT),
        ("B", "A, C and D are wrong, so the answer is B", CORRECT), ("B", "A is wrong. Therefore (B).", CORRECT),
        ("B", "Some choose A, but the answer is B.", CORRECT), ("B", "The answer is B, not A.", CORRECT),
        ("B", "The answer is B (blue), because A is wrong", CORRECT), ("B", "Is it A? No. The answer is B.", CORRECT),
        ("B", "If the answer is A then 1=2. So B.", CORRECT), ("B", "Answer: B\n\nA is incorrect.", CORRECT),
        ("B", "I believe the answer is B", CORRECT), ("B", "The correct answer is (B) blue, since red is not possible.", CORRECT),
        ("B", "Therefore, the answer must be B.", CORRECT), ("B", "Hence option B is correct", CORRECT),
    ]:
        yield case(gold, response, verdict, "options: denied, asked, supposed or reported is not stated", choices=COLORS)
    for gold, response, verdict in [
        ("5", "There were 5 apples so the answer is 5.", CORRECT), ("5", "With the data provided the answer is 5.", CORRECT),
        ("5", "Looking at the choices the answer is 5", CORRECT), ("5", "Choose the correct answer: 5", CORRECT),
        ("5", "Select the correct answer. The answer is 5", CORRECT), ("5", "My best guess is that the answer is 5", CORRECT),
        ("5", "According to Table 3, the answer is 5", CORRECT), ("5", "According to Newton's second law, the answer is 5.", CORRECT),
        ("5", "Part (a)'s answer is 5", CORRECT), ("5", "Your answer is 5", CORRECT), ("5", "The riddle's answer is 5.", CORRECT),
        ("5", "The answer is 5. It is impossible to have more.", CORRECT),
        ("5", "The answer is 5. It is impossible because of symmetry.", CORRECT),
        ("5", "The answer is 5. This is false for other shapes.", CORRECT), ("5", "The answer is 5. No other value works.", CORRECT),
        ("5", "由不等式得答案是5", CORRECT), ("5", "满足不等式的答案是5", CORRECT), ("5", "写成小数答案是5", CORRECT), ("5", "简单说来答案是5", CORRECT),
        ("5", "特别地，答案是5", CORRECT), ("5", "不过答案是5", CORRECT), ("5", "根据判别式答案是5", CORRECT), ("5", "不大于5.5的最大整数答案是5", CORRECT), ("5", "分别计算后答案是5", CORRECT), ("5", "并没有说答案是5", UNPARSED), ("5", "这不能说明答案是5", UNPARSED), ("5", "If x = 2 so the answer is 5", CORRECT),
        ("5", "If we count them, we find that the answer is 5", CORRECT), ("5", "Suppose x=1. Then the answer is 5.", CORRECT),
        ("5", "Since it is not 4 or 6, the answer is 5", CORRECT), ("5", "I said earlier that the answer is 5", CORRECT),
        ("5", "Therefore, we can say that the answer is 5", CORRECT), ("5", "Step 3: the answer is 5", CORRECT),
        ("5", "Hence we choose the answer: 5", CORRECT), ("5", "Note: the answer is 5 (not 4)", CORRECT),
        ("5", "So, the answer is 5, not 4", CORRECT), ("5", "So the answer is 5, since it is not even", CORRECT),
        ("5", "The answer is 5, but only just.", CORRECT), ("5", "The answer is 5 because 4 is wrong", CORRECT),
        ("5", "The answer is 5. Wait, no.", UNPARSED), ("5", "The answer is 5. No, that is wrong.", UNPARSED),
        ("5", "Some say, the answer is 5", UNPARSED), ("5", "小明说：答案是5", UNPARSED), ("5", "小明说，答案是5", UNPARSED),
        ("5", "Tom said: the answer is 5", UNPARSED), ("5", "The answer is 5. Hmm, this isn’t right.", UNPARSED),
        ("5", "I don’t think the answer is 5", UNPARSED), ("5", "They think the answer is 5", UNPARSED),
        ("5", "The teacher says the answer is 5", UNPARSED), ("5", "The answer is 5. Actually this is wrong.", UNPARSED),
        ("5", "答案是5。不，应该是6。", UNPARSED), ("5", "答案是5？？", UNPARSED), ("5", "If only the answer is 5", UNPARSED),
        ("5", "Supposing that the correct answer is 5", UNPARSED), ("5", "Nobody says the answer is 5", UNPARSED),
        ("5", "The answer is 5, though that is incorrect", UNPARSED),
        ("5", "It would be a mistake to think that the answer is 5", UNPARSED), ("5", "I am not sure whether the answer is 5", UNPARSED),
        ("5", "She got it wrong: her answer is 5", UNPARSED), ("5", "The answer is 5, he said.", UNPARSED), ("5", "答案是5，他说。", UNPARSED),
        ("5", "It cannot be that the answer is 5", UNPARSED), ("5", "The answer is nowhere near 5", WRONG),
        ("5", "The answer is anything but 5", WRONG), ("5", "The answer is other than 5", WRONG),
        ("5", "The answer is at least 5", WRONG), ("5", "The answer is less than 5", WRONG), ("5", "The answer is more than 5", WRONG),
        ("5", "The answer is no less than 5", WRONG), ("5", "The answer is 5 or more", WRONG),
        ("5", "The answer is roughly double 5", WRONG), ("5", "答案大于5", UNPARSED), ("5", "答案是大于5", WRONG), ("5", "答案是5以上", WRONG),
        ("5", "答案是至少5", WRONG), ("5", "答案是5的两倍", WRONG), ("5", "答案是5左右", WRONG), ("5", "The answer is twice 5", WRONG),
        ("5", "The answer is the square of 5", WRONG), ("5", "The answer is that there are not 5", WRONG),
        ("5", "The answer is 5 fewer than 10", WRONG), ("5", "The answer is half of 5", WRONG), ("5", "The answer is never 5", WRONG),
        ("5", "The answer is hardly 5", WRONG),
    ]:
        yield case(gold, response, verdict, "denied, asked, supposed or reported is not stated, in other words")
    for gold, response, verdict in [
        ("B", "So the answer is B. blue", CORRECT), ("B", "The answer is B. Blue is right. A is wrong.", CORRECT),
        ("B", "Answer: B. blue is not red", CORRECT), ("B", "The answer is (B), as (A) is incorrect.", CORRECT),
        ("B", "So the answer is **B**. (A) is false.", CORRECT), ("B", "Of the options, (B) is the correct answer.", CORRECT),
        ("B", "Among the choices, only B is correct, so the answer is B", CORRECT), ("B", "So we select (B).", CORRECT),
        ("B", "We pick option B", CORRECT), ("B", "Thus I would answer (B)", CORRECT), ("B", "The correct answer is B: blue", CORRECT),
        ("B", "答案：B。A项错误，C项错误。", CORRECT), ("B", "本题答案为B", CORRECT), ("B", "因此正确答案是选项B", CORRECT), ("B", "综上，选B。", CORRECT),
        ("B", "所以正确的选项是B", CORRECT), ("B", "正确答案：B", CORRECT), ("B", "参考答案：B", CORRECT), ("B", "我选B", CORRECT),
        ("B", "The answer is B, C is also possible", WRONG), ("B", "Either B or C", UNPARSED),
        ("B", "The answer is either B or C.", WRONG), ("B", "They would choose B", UNPARSED),
        ("B", "B is a trap, so B is wrong.", UNPARSED), ("B", "So the answer cannot be B", UNPARSED), ("B", "Clearly not B", UNPARSED),
        ("B", "The answer is everything except B", WRONG), ("B", "答案是除了B", WRONG), ("B", "答案非B", UNPARSED), ("B", "答案绝不是B", UNPARSED),
        ("B", "不应选B", UNPARSED), ("B", "不能选择B", UNPARSED), ("B", "排除B", UNPARSED), ("B", "B被排除", UNPARSED), ("B", "选项B错误", UNPARSED),
        ("B", "选B的人错了", UNPARSED), ("B", "很多同学选B", UNPARSED), ("B", "大家都选B", UNPARSED),
        ("B", "<think>maybe B</think> The answer is B?", UNPARSED), ("B", "The option that is wrong is B", UNPARSED),
        ("B", "Which option is B?", UNPARSED), ("B", "The incorrect option is B", UNPARSED), ("B", "All but B", UNPARSED),
        ("B", "I ruled out B", UNPARSED), ("B", "Answer: not (B)", WRONG), ("B", "Answer: (B) no, (C)", WRONG),
        ("B", "Answer: B -> C", WRONG), ("B", "Answer: B, no C", WRONG),
    ]:
        yield case(gold, response, verdict, "options: denied, asked, supposed or reported is not stated, in other words", choices=COLORS)


def words():
    """Words."""
    yield from boxed([
        ("red", "red", True), ("red", "Red", True), ("red", r"\text{red}", True), ("red", r"\text{Red}.", True),
        ("red", "blue", False), ("red", "der", False), ("red", "red ball", False), ("Yes", "yes", True), ("Yes", "No", False),
        ("New York", r"\text{New York}", True), ("New York", "York", False), ("isosceles triangle", r"\text{isosceles triangle}", True),
        ("isosceles triangle", r"\text{triangle}", False), ("AB", "AB", True), ("AB", "BA", False), ("AB", "CD", False),
        ("Monday", "**Monday**", True), ("true", "True", True), ("true", "false", False), ("café", "Café", True),
        ("H2O", r"\text{H2O}", True), ("H_2O", "H_2O", True), ("don't", "don’t", True),
    ], "words")
    for gold, response, verdict, choices in [
        ("5", r"We get $\boxed{5}$, but that is incorrect.", UNPARSED, None), ("5", r"Is it $\boxed{5}$?", UNPARSED, None),
        ("5", r"$\boxed{5}$ is wrong.", UNPARSED, None), ("4", r"We get $\boxed{4}$. Then $\boxed{5}$ is wrong.", CORRECT, None),
        ("5", r"$\boxed{5}$. Wait, that is wrong.", UNPARSED, None), ("5", r"\boxed{5}。不对。", UNPARSED, None),
        ("5", r"\boxed{5}是错的", UNPARSED, None), ("5", r"$\boxed{5}$, which is odd.", CORRECT, None),
        ("5", r"$\boxed{5}$ is the answer.", CORRECT, None), ("5", r"\[\boxed{5}\] This is not hard to check.", CORRECT, None),
        ("5", r"The answer is $\boxed{5}$. (A) is wrong.", CORRECT, None), ("5", r"$\boxed{5}$ (not 4).", CORRECT, None),
        ("5", r"The number $\boxed{5}$ is not even.", CORRECT, None), ("5", r"\boxed{5} cm", CORRECT, None),
        ("5", "The answer is $5.", CORRECT, None), ("$5", "The answer is $5.", CORRECT, None), ("$5", "The answer is €5.", WRONG, None),
        ("€5", "The answer is $5.", WRONG, None), ("$5", "The answer is $5$.", CORRECT, None),
        ("5", "The cost is $5 and the answer is $5$.", CORRECT, None), ("$1,234.50", r"\boxed{\$1234.50}", CORRECT, None),
        ("$5 and $6", r"\boxed{\$5, \$6}", CORRECT, None), ("£5", r"\boxed{\pounds 5}", CORRECT, None),
        ("5-3", r"\boxed{5-3}", CORRECT, None), ("5-3", r"\boxed{2}", WRONG, None), ("100-50 BC", r"\boxed{100-50 BC}", CORRECT, None),
        (r"x \lor y", r"\boxed{x \vee y}", CORRECT, None), (r"\pm\frac{1}{2}", r"\boxed{\pm 0.5}", CORRECT, None),
        (r"\pm\frac{1}{2}", r"\boxed{\frac12, -\frac12}", CORRECT, None), ("1, 2, 2", r"$\boxed{1}$ and $\boxed{2}$", WRONG, None),
        ("No", r"\boxed{\text{NO}}", CORRECT, None), ("no", "Answer: NO", CORRECT, None),
        ("NaCl", r"\boxed{\text{NaCl}}", CORRECT, None), ("CO_2", r"\boxed{\mathrm{CO_2}}", CORRECT, None),
        ("CO_2", r"\boxed{\mathrm{Co_2}}", WRONG, None), ("pH 7", r"\boxed{pH 7}", CORRECT, None),
        ("Pb", r"\boxed{\text{PB}}", WRONG, None), ("Fe", r"\boxed{\text{Fe}}", CORRECT, None),
        ("I", r"\boxed{\text{I}}", CORRECT, None), ("IV", r"\boxed{\text{IV}}", CORRECT, None),
    ]:
        yield case(gold, response, verdict, "amounts, signs and symbols that are words", choices=choices)


def endings():
    """Completions that were cut off: truncated, whatever they say."""
    for response in [r"\boxed{5}", "The answer is 5.", "", "so 2 + 2", r"\boxed{4}"]:
        yield {**case("5", response, TRUNCATED, "cut off at the length cap"), "finished": False}


def verbose():
    """Long completions with much that looks like an answer."""
    steps = (
        "Let us look at the figure. There are 3 squares and 5 triangles, and A is the largest of them. "
        "If we call the side x, then x = 7 would give an area of 49, which is too large. "
        "Option (A) says 3, option (C) says 5. Compare (B). A closer look shows that some overlap. "
    )
    for gold, end, verdict, choices in [
        ("4", r"Therefore the number is $\boxed{4}$.", CORRECT, None),
        ("4", "Therefore the answer is 4.", CORRECT, None),
        ("4", "Therefore there are 4 of them.", UNPARSED, None),
        ("B", r"Therefore \boxed{B}.", CORRECT, NUMBERS),
        ("B", "Therefore the answer is (B) 4.", CORRECT, NUMBERS),
        ("B", "Therefore the answer lies between 3 and 5.", UNPARSED, NUMBERS),
        ("B", "I am not sure about any of this.", UNPARSED, NUMBERS),
        ("B", "Both (A) and (B) look plausible.", UNPARSED, NUMBERS),
        ("B", "The answer is A, since 3 is right.", WRONG, NUMBERS),
        ("B", "So the correct option is B.", CORRECT, NUMBERS),
        ("A", "A square remains.", UNPARSED, NUMBERS),
        ("A", "It all depends on A.", UNPARSED, NUMBERS),
    ]:
        yield case(gold, steps + end, verdict, "a long completion", choices=choices)
        yield case(gold, f"<think>{steps}</think>\n{end}", verdict, "a long completion with a thought", choices=choices)


def main():
    """One file for each function."""
    total, seen = 0, set()
    groups = (
        extraction, options, keys, spellings, numbers, exact, fractions, written, units, radicals, structures, solutions, matrices,
        algebra, words, statements, chinese, endings, verbose,
    )
    for group in groups:
        rows = [json.dumps(row, ensure_ascii=False) for row in group()]
        for row in rows:
            assert row not in seen, row
            seen.add(row)
        (FOLDER / f"{group.__name__}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        total += len(rows)
    print(f"{total} cases")


if __name__ == "__main__":
    main()
