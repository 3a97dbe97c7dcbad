//! Pieces of text that graders look for, from which texts are made up.

use std::sync::LazyLock;

/// Pieces of answers and of what stands around them.
pub(crate) static PIECES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "\\boxed{~\\boxed{~{~}~}~\\~(~)~[~]~$~$$~**~answer~Answer: ~ is ~the answer is ~\
     final answer is ~<answer>~</answer>~</think>~\\text{~\\frac{~\\frac~\\sqrt[~\\sqrt{~^~\
     ^{~_~1~2.5~1,234~x~y~A~B~(C)~. ~\n~ or ~ and ~\\pm~=~<~>~\\cup~%~\\circ~ cm~é~−~½~|~!~\
     /~-~:~,~答案是~故选~选项~【答案】~。~（~）~５~²~℃~厘米~万~或~\\begin{pmatrix}~\\end{pmatrix}~&~\\\\~\\overline{3}~...~\\binom~!!~['~', '~']~\\textbf{(C)}~2023-01-05~\
     123456789012345678901234567890~\\left(~\\right)~\\infty~million~sin~\\log_"
        .split('~')
        .collect()
});
/// The benchmarks for which some graders have rules of their own, and one more.
pub(crate) const BENCHMARKS: [&str; 6] =
    ["mathvision", "mathvista", "mmmu", "mmstar", "mathverse", ""];
