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
    ], "factorials and binomial coefficients by value, of variables by the gamma function")
    yield from boxed([
        (r"x^{\frac{2}{3}}", r"\sqrt[3]{x^2}", True), (r"x^{1/3}", r"\sqrt[3]{x}", True), (r"x^{2/3}", r"\sqrt{x^3}", False), (r"\sqrt{x^2}", "x", False),
        ("(-8)^{1/3}", "-2", True),
    ], "odd roots of negative numbers are real")
    yield from boxed([
        ("0.5", r"0.5\%", False), ("0.5", r"50\%", True), (r"50\%", "0.5", True), (r"0.5\%", "0.5", False), (r"0.5\%", "0.005", True),
        ("1.5", r"1.5\%", True), (r"0.5\%", r"0.5\%", True), (r"\frac{1}{2}", r"\frac{1}{2}\%", False),
    ], "a number below 1 without the sign is a share, so the same number with the sign is a hundredth of it")


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
        algebra, words, chinese, endings, verbose,
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
