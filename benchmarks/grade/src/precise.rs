//! Whether two expressions that are no fractions are the same number, to more digits than their numbers can differ in.
//!
//! This module does not know text. What can be a fraction stays one; roots, π and the elementary functions have so many
//! digits as the size of the numbers asks for. Nothing is proved: two different expressions that agree in all these
//! digits would be the same here, but a root of whole numbers of b bits differs from the next one in some b bits, and
//! four times as many are compared, with 64 more. Where that would take long, or where a number has no such digits (the
//! gamma function), the two are not the same.

use std::cell::RefCell;

use astro_float_num::{BigFloat, Consts, RoundingMode};

use crate::expression::Expression;
use crate::scalar::Scalar;
use crate::token::Function;
use crate::value::{Numbers, Point, Scalars};

/// Digits of functions are right but for the last few, of which there are enough.
const ROUNDING: RoundingMode = RoundingMode::None;

/// So many bits are compared, and for each bit of the largest number this many more.
const COMPARED: (usize, usize) = (64, 4);

/// So many bits are computed, and for each bit of the largest number this many more.
const COMPUTED: (usize, usize) = (128, 6);

/// Two expressions are not compared where the bits of their largest number times their nodes are more.
const WORK_MAX: usize = 1 << 14;

/// Larger exponents are computed by the logarithm.
const EXPONENT_MAX: i128 = 1 << 20;

thread_local! {
    /// The digits of π and e that were computed so far.
    static CONSTANTS: RefCell<Option<Consts>> = RefCell::new(Consts::new().ok());
}

/// Numbers of many digits.
pub(super) struct Precise<'a> {
    /// The bits of each number.
    precision: usize,
    constants: &'a mut Consts,
}

/// A fraction of 128 bits, or as many digits as are asked for.
#[derive(Debug, Clone)]
pub(super) enum Digits {
    Exact(i128, i128),
    Real(BigFloat),
}

impl Precise<'_> {
    /// Returns whether two expressions have the same value at a point.
    pub(super) fn same(a: &Expression, b: &Expression, point: Point) -> bool {
        decide(&[(a, point), (b, point)], |numbers, bits| {
            let (a, b) = (a.evaluate(numbers, point), b.evaluate(numbers, point));
            let (a, b) = (numbers.real(a), numbers.real(b));
            numbers.is_small(&a, &b, bits, true)
        })
    }

    /// Returns whether the difference of one equation's sides is the same multiple of another's at two points.
    pub(super) fn same_ratio(
        left: (&Expression, &Expression),
        right: (&Expression, &Expression),
        first: Point,
        second: Point,
    ) -> bool {
        let sides = [left.0, left.1, right.0, right.1];
        let places = [first, second].map(|point| sides.map(|side| (side, point)));
        decide(places.as_flattened(), |numbers, bits| {
            let [first, second] = [first, second].map(|point| {
                let [left, right] = [left, right].map(|(a, b)| {
                    let (a, b) = (a.evaluate(numbers, point), b.evaluate(numbers, point));
                    let b = numbers.negate(b);
                    numbers.add(a, b)
                });
                let ratio = numbers.divide(left, right);
                numbers.real(ratio)
            });
            numbers.is_small(&first, &second, bits, false)
        })
    }

    /// Returns whether two numbers agree in the bits that are compared, or are both nought where `absolute` says so.
    fn is_small(&self, a: &BigFloat, b: &BigFloat, bits: usize, absolute: bool) -> bool {
        let difference = a.sub(b, self.precision, ROUNDING);
        if difference.is_nan() || difference.is_inf() {
            return false;
        }
        if difference.is_zero() {
            return true;
        }
        let exponent = |number: &BigFloat| number.exponent().map_or(i64::MIN / 2, i64::from);
        let compared = (COMPARED.0 + COMPARED.1 * bits) as i64;
        let size = exponent(a).max(exponent(b));
        exponent(&difference) <= if absolute { size.max(0) } else { size } - compared
    }

    fn real(&self, number: Digits) -> BigFloat {
        match number {
            Digits::Exact(numerator, 1) => BigFloat::from_i128(numerator, self.precision),
            Digits::Exact(numerator, denominator) => {
                let [above, below] = [numerator, denominator]
                    .map(|whole| BigFloat::from_i128(whole, self.precision));
                above.div(&below, self.precision, ROUNDING)
            }
            Digits::Real(number) => number,
        }
    }

    /// Applies an operation to fractions, and where that gives none, to digits.
    fn both(
        &self,
        a: Digits,
        b: Digits,
        exact: impl Fn(Scalar, Scalar) -> Scalar,
        real: impl Fn(&BigFloat, &BigFloat) -> BigFloat,
    ) -> Digits {
        fraction(&a, &b, exact).unwrap_or_else(|| Digits::Real(real(&self.real(a), &self.real(b))))
    }

    /// Returns a whole number that is known as `value`, and where that does not hold its digits as a product of `factors`.
    fn whole<F: Iterator<Item = (i128, i128)>>(
        &self,
        value: Scalar,
        factors: impl FnOnce() -> F,
    ) -> Digits {
        match value {
            Scalar::Exact(a, b) => Digits::Exact(a, b),
            value if value.is_nan() => Digits::Real(nan()),
            _ => self.product(factors()),
        }
    }

    /// Multiplies whole numbers, each divided by the one beside it.
    fn product(&self, factors: impl Iterator<Item = (i128, i128)>) -> Digits {
        let one = BigFloat::from_u8(1, self.precision);
        let product = factors.fold(one, |product, (above, below)| {
            let [above, below] =
                [above, below].map(|whole| BigFloat::from_i128(whole, self.precision));
            let product = product.mul(&above, self.precision, ROUNDING);
            product.div(&below, self.precision, ROUNDING)
        });
        Digits::Real(product)
    }

    /// Returns a whole power.
    fn raise(&self, number: &BigFloat, exponent: i128) -> BigFloat {
        let Ok(times) = usize::try_from(exponent.unsigned_abs()) else { return nan() };
        let power = number.powi(times, self.precision, ROUNDING);
        if exponent < 0 { power.reciprocal(self.precision, ROUNDING) } else { power }
    }

    /// Returns the root of a whole degree; of a negative number only where that is odd.
    fn whole_root(&mut self, number: &BigFloat, degree: i128) -> BigFloat {
        if number.is_negative() && degree % 2 != 0 {
            return self.whole_root(&number.neg(), degree).neg();
        }
        match degree {
            2 => number.sqrt(self.precision, ROUNDING),
            3 => number.cbrt(self.precision, ROUNDING),
            _ if number.is_negative() => nan(),
            _ => {
                let exponent = self.real(Digits::Exact(1, degree));
                number.pow(&exponent, self.precision, ROUNDING, self.constants)
            }
        }
    }
}

/// Returns what `same` says with as many bits as the numbers ask for; false where they ask for too many.
fn decide(
    places: &[(&Expression, Point)],
    same: impl FnOnce(&mut Precise<'_>, usize) -> bool,
) -> bool {
    let mut scalars = Scalars { bits: Some(0) };
    for (side, point) in places {
        side.evaluate(&mut scalars, *point);
    }
    let bits = scalars.bits.map_or(0, |bits| bits as usize);
    let nodes: usize = places.iter().map(|(side, _)| side.num_nodes()).sum();
    if bits * nodes > WORK_MAX {
        return false;
    }
    CONSTANTS.with_borrow_mut(|constants| {
        let Some(constants) = constants else { return false };
        let precision = COMPUTED.0 + COMPUTED.1 * bits;
        same(&mut Precise { precision, constants }, bits)
    })
}

/// Applies an operation to two fractions; `None` where one of them, or what comes out, is no fraction.
fn fraction(
    a: &Digits,
    b: &Digits,
    operation: impl Fn(Scalar, Scalar) -> Scalar,
) -> Option<Digits> {
    let (Digits::Exact(a, b), Digits::Exact(c, d)) = (a, b) else { return None };
    match operation(Scalar::Exact(*a, *b), Scalar::Exact(*c, *d)) {
        Scalar::Exact(a, b) => Some(Digits::Exact(a, b)),
        Scalar::Wide(..) | Scalar::Float(_) => None,
    }
}

fn nan() -> BigFloat {
    BigFloat::nan(None)
}

impl Numbers for Precise<'_> {
    type Number = Digits;

    fn scalar(&mut self, value: Scalar) -> Digits {
        match value {
            Scalar::Exact(numerator, denominator) => Digits::Exact(numerator, denominator),
            // Its digits are not kept.
            Scalar::Wide(..) | Scalar::Float(_) => Digits::Real(nan()),
        }
    }

    fn variable(&mut self, value: Scalar) -> Digits {
        match value {
            Scalar::Exact(..) => self.scalar(value),
            Scalar::Wide(value, _) | Scalar::Float(value) => {
                Digits::Real(BigFloat::from_f64(value, self.precision))
            }
        }
    }

    fn pi(&mut self) -> Digits {
        Digits::Real(self.constants.pi(self.precision, ROUNDING))
    }

    fn euler(&mut self) -> Digits {
        Digits::Real(self.constants.e(self.precision, ROUNDING))
    }

    fn negate(&mut self, a: Digits) -> Digits {
        match a {
            Digits::Exact(numerator, denominator) if numerator != i128::MIN => {
                Digits::Exact(-numerator, denominator)
            }
            a => Digits::Real(self.real(a).neg()),
        }
    }

    fn add(&mut self, a: Digits, b: Digits) -> Digits {
        self.both(a, b, Scalar::add, |a, b| a.add(b, self.precision, ROUNDING))
    }

    fn multiply(&mut self, a: Digits, b: Digits) -> Digits {
        self.both(a, b, Scalar::multiply, |a, b| a.mul(b, self.precision, ROUNDING))
    }

    fn divide(&mut self, a: Digits, b: Digits) -> Digits {
        self.both(a, b, Scalar::divide, |a, b| a.div(b, self.precision, ROUNDING))
    }

    fn power(&mut self, a: Digits, b: Digits, real: bool) -> Digits {
        let power = if real { Scalar::real_power } else { Scalar::power };
        if let Some(power) = fraction(&a, &b, power) {
            return power;
        }
        let base = self.real(a);
        match b {
            Digits::Exact(times, degree) if times.abs() <= EXPONENT_MAX => {
                if degree == 1 {
                    return Digits::Real(self.raise(&base, times));
                }
                if base.is_negative() && !(real && degree % 2 != 0) {
                    return Digits::Real(nan());
                }
                let root = self.whole_root(&base, degree);
                Digits::Real(self.raise(&root, times))
            }
            b => {
                let exponent = self.real(b);
                Digits::Real(base.pow(&exponent, self.precision, ROUNDING, self.constants))
            }
        }
    }

    fn root(&mut self, a: Digits, degree: Digits) -> Digits {
        let Digits::Exact(whole, 1) = degree else {
            let exponent = self.divide(Digits::Exact(1, 1), degree);
            return self.power(a, exponent, false);
        };
        if let Some(root) = fraction(&a, &degree, Scalar::root) {
            return root;
        }
        let number = self.real(a);
        Digits::Real(self.whole_root(&number, whole))
    }

    fn factorial(&mut self, a: Digits) -> Digits {
        match a {
            Digits::Exact(n, 1) => {
                self.whole(Scalar::integer(n).factorial(), || (1..=n).map(|factor| (factor, 1)))
            }
            _ => Digits::Real(nan()),
        }
    }

    fn double_factorial(&mut self, a: Digits) -> Digits {
        match a {
            Digits::Exact(n, 1) => self.whole(Scalar::integer(n).double_factorial(), || {
                (1..=n).rev().step_by(2).map(|factor| (factor, 1))
            }),
            _ => Digits::Real(nan()),
        }
    }

    fn choose(&mut self, a: Digits, b: Digits) -> Digits {
        match (a, b) {
            (Digits::Exact(n, 1), Digits::Exact(k, 1)) => {
                self.whole(Scalar::integer(n).choose(Scalar::integer(k)), || {
                    let k = k.min(n - k);
                    (1..=k).map(move |factor| (n - k + factor, factor))
                })
            }
            _ => Digits::Real(nan()),
        }
    }

    fn apply(&mut self, function: Function, a: Digits) -> Digits {
        if function == Function::Sqrt {
            return self.root(a, Digits::Exact(2, 1));
        }
        let p = self.precision;
        let x = self.real(a);
        let constants = &mut *self.constants;
        let value = match function {
            Function::Sin => x.sin(p, ROUNDING, constants),
            Function::Cos => x.cos(p, ROUNDING, constants),
            Function::Tan => x.tan(p, ROUNDING, constants),
            Function::Cot => x.tan(p, ROUNDING, constants).reciprocal(p, ROUNDING),
            Function::Sec => x.cos(p, ROUNDING, constants).reciprocal(p, ROUNDING),
            Function::Csc => x.sin(p, ROUNDING, constants).reciprocal(p, ROUNDING),
            Function::ArcSin => x.asin(p, ROUNDING, constants),
            Function::ArcCos => x.acos(p, ROUNDING, constants),
            Function::ArcTan => x.atan(p, ROUNDING, constants),
            Function::Ln => x.ln(p, ROUNDING, constants),
            Function::Log => x.log10(p, ROUNDING, constants),
            Function::Exp => x.exp(p, ROUNDING, constants),
            Function::Sqrt | Function::Abs => x.abs(),
        };
        Digits::Real(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Dialect, tokens};

    fn parse(text: &str) -> Expression {
        Expression::parse(text, &tokens(text, Dialect::Own).unwrap(), Dialect::Own).unwrap()
    }

    fn same(a: &str, b: &str) -> bool {
        Precise::same(&parse(a), &parse(b), Point::NOWHERE)
    }

    #[test]
    fn every_function_has_its_digits() {
        for (a, b) in [
            (r"\sin 30^\circ", "1/2"),
            (r"\cos\frac{\pi}{3}", "1/2"),
            (r"\tan 45^\circ", "1"),
            (r"\cot 30^\circ", r"\sqrt{3}"),
            (r"\sec 60^\circ", "2"),
            (r"\csc 30^\circ", "2"),
            (r"\arcsin\frac{1}{2}", r"\frac{\pi}{6}"),
            (r"\arccos\frac{1}{2}", r"\frac{\pi}{3}"),
            (r"\arctan 1", r"\frac{\pi}{4}"),
            (r"\ln e^3", "3"),
            (r"\log 1000", "3"),
            (r"\log_2 8", "3"),
            (r"\exp(2)", "e^2"),
            (r"|1-\sqrt{2}|", r"\sqrt{2}-1"),
            (r"\sqrt[5]{32\pi^5}", r"2\pi"),
            (r"\sqrt[3]{-8\pi^3}", r"-2\pi"),
            (r"2^{\frac{1}{2}}", r"\sqrt{2}"),
            (r"2^{-\frac{3}{2}}", r"\frac{\sqrt{2}}{4}"),
            (r"2^{\pi}", r"e^{\pi\ln 2}"),
            (r"40!\pi", r"40\cdot 39!\pi"),
            (r"39!!\pi", r"39\cdot 37!!\pi"),
            (r"\binom{200}{100}\pi", r"\frac{200\pi}{100}\binom{199}{99}"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn what_differs_in_the_last_digit_differs() {
        for (a, b) in [
            (r"\sqrt{10^{30}+1}", r"\sqrt{10^{30}}"),
            (r"\ln(10^{30}+1)", r"\ln 10^{30}"),
            (r"\pi+10^{-60}", r"\pi"),
            // The sums of square roots that differ by the least, of whole numbers up to 100 or so.
            (r"\sqrt{10}+\sqrt{11}", r"\sqrt{5}+\sqrt{18}"),
            // Nobody compares so many digits.
            (r"\sqrt{10^{300}+1}\sqrt[3]{2}", r"\sqrt{10^{300}+1}\sqrt[3]{3}"),
            (r"\frac{1}{2}!", r"\frac{\sqrt{\pi}}{2}"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
