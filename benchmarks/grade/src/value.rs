//! From an expression to numbers.
//!
//! This module does not know text. One walk over the tree serves every kind of number: doubles with exact fractions, and
//! many digits (`precise.rs`).

use crate::expression::{Expression, Node, mix};
use crate::scalar::Scalar;
use crate::token::{Dialect, Function};

/// Expressions with variables are compared at so many points, the last two of them negative.
///
/// Several points are there because some lie outside of the domain, and since a root of a square is only at negative
/// ones another thing than the number.
const POINTS: usize = 7;

/// Where too few of these are in the domain, or an absolute value stands, so many others follow, at which each variable
/// has a sign of its own, and every fourth time another size.
const MORE_POINTS: usize = 24;

/// What every fourth of these is larger by: `|x - 50|` is `50 - x` below 50.
const FAR: f64 = 64.0;

const NEGATIVE_POINTS: usize = 2;

/// Where variables stand in factorials they are whole numbers from 2 up to less than this.
const WHOLE_POINTS: u64 = 13;

/// Two numbers of which what π and e leave modulo primes is made.
const PI: u64 = 3141;
const EULER: u64 = 2718;

/// What an expression can be evaluated in: doubles and exact fractions, or many digits.
pub(super) trait Numbers {
    type Number: Clone;

    fn scalar(&mut self, value: Scalar) -> Self::Number;
    /// A variable that has this value, of which only the double counts where there are no fractions.
    fn variable(&mut self, value: Scalar) -> Self::Number;
    fn pi(&mut self) -> Self::Number;
    fn euler(&mut self) -> Self::Number;
    fn negate(&mut self, a: Self::Number) -> Self::Number;
    fn add(&mut self, a: Self::Number, b: Self::Number) -> Self::Number;
    fn multiply(&mut self, a: Self::Number, b: Self::Number) -> Self::Number;
    fn divide(&mut self, a: Self::Number, b: Self::Number) -> Self::Number;
    /// A power; of a negative number too where `real` and the exponent's denominator is odd.
    fn power(&mut self, a: Self::Number, b: Self::Number, real: bool) -> Self::Number;
    fn root(&mut self, a: Self::Number, degree: Self::Number) -> Self::Number;
    fn factorial(&mut self, a: Self::Number) -> Self::Number;
    fn double_factorial(&mut self, a: Self::Number) -> Self::Number;
    fn choose(&mut self, a: Self::Number, b: Self::Number) -> Self::Number;
    fn apply(&mut self, function: Function, a: Self::Number) -> Self::Number;
    /// Hears of each number that an expression comes to on the way.
    fn seen(&mut self, _number: &Self::Number) {}
}

impl Expression {
    /// Its value, if it holds no variables.
    pub(super) fn value(&self) -> Option<Scalar> {
        let value = (!self.has_variables()).then(|| self.at(Point::NOWHERE))?;
        (!value.is_nan()).then_some(value)
    }

    /// Returns the square of the value, if that is a fraction: of products and quotients of square roots.
    pub(super) fn square(&self) -> Option<Scalar> {
        self.square_of(self.root)
    }

    fn square_of(&self, node: usize) -> Option<Scalar> {
        let value = |node: usize| self.node(node, &mut Scalars { bits: None }, Point::NOWHERE);
        let fraction = |value: Scalar| (!matches!(value, Scalar::Float(_))).then_some(value);
        if let Some(value) = fraction(value(node)) {
            return Some(value.multiply(value));
        }
        let two = |value: Scalar| value.as_integer() == Some(2);
        match self.nodes[node] {
            Node::Negate(a) => self.square_of(a),
            Node::Multiply(a, b) => Some(self.square_of(a)?.multiply(self.square_of(b)?)),
            Node::Divide(a, b) => Some(self.square_of(a)?.divide(self.square_of(b)?)),
            Node::Apply(Function::Sqrt, a) => fraction(value(a)),
            Node::Root(degree, a) if two(value(degree)) => fraction(value(a)),
            Node::Power(a, b) => {
                let twice = value(b).multiply(Scalar::integer(2));
                twice.as_integer()?;
                Some(fraction(value(a))?.power(twice))
            }
            _ => None,
        }
    }

    /// Returns the value where the variables are at a point.
    pub(super) fn at(&self, point: Point) -> Scalar {
        self.evaluate(&mut Scalars { bits: None }, point)
    }

    /// Returns whether it is another expression elsewhere, as `|x|` is `x` or `-x`: then every point counts.
    pub(super) fn bends(&self) -> bool {
        let bends = |node: &Node| matches!(node, Node::Apply(Function::Abs, _));
        self.has_variables() && self.nodes.iter().any(bends)
    }

    /// Returns how many nodes there are.
    pub(super) fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the value, among the numbers of `numbers`, where the variables are at a point.
    pub(super) fn evaluate<N: Numbers>(&self, numbers: &mut N, point: Point) -> N::Number {
        self.node(self.root, numbers, point)
    }

    fn node<N: Numbers>(&self, node: usize, numbers: &mut N, point: Point) -> N::Number {
        let mut of = |node: usize| self.node(node, numbers, point);
        let number = match self.nodes[node] {
            Node::Value(value) => numbers.scalar(value),
            Node::Pi => numbers.pi(),
            Node::Euler => numbers.euler(),
            Node::Variable(name) => numbers.variable(point.of(name)),
            Node::Negate(a) => {
                let a = of(a);
                numbers.negate(a)
            }
            Node::Add(a, b) => {
                let (a, b) = (of(a), of(b));
                numbers.add(a, b)
            }
            Node::Multiply(a, b) => {
                let (a, b) = (of(a), of(b));
                numbers.multiply(a, b)
            }
            Node::Divide(a, b) => {
                let (a, b) = (of(a), of(b));
                numbers.divide(a, b)
            }
            Node::Power(a, b) => {
                let (a, b) = (of(a), of(b));
                // To the peers' engine a root of a negative number is complex.
                numbers.power(a, b, self.dialect == Dialect::Own)
            }
            Node::Root(degree, a) => {
                let (degree, a) = (of(degree), of(a));
                numbers.root(a, degree)
            }
            Node::Log(base, a) => {
                let (base, a) = (of(base), of(a));
                let (base, a) = (numbers.apply(Function::Ln, base), numbers.apply(Function::Ln, a));
                numbers.divide(a, base)
            }
            Node::Factorial(a) => {
                let a = of(a);
                numbers.factorial(a)
            }
            Node::DoubleFactorial(a) => {
                let a = of(a);
                numbers.double_factorial(a)
            }
            Node::Choose(a, b) => {
                let (a, b) = (of(a), of(b));
                numbers.choose(a, b)
            }
            Node::Degrees(a) => {
                let a = of(a);
                let (pi, half) = (numbers.pi(), numbers.scalar(Scalar::fraction(1, 180)));
                let degree = numbers.multiply(pi, half);
                numbers.multiply(a, degree)
            }
            Node::Apply(function, a) => {
                let a = of(a);
                numbers.apply(function, a)
            }
        };
        numbers.seen(&number);
        number
    }
}

/// Fractions while they can be, and doubles.
pub(super) struct Scalars {
    /// The bits of the largest number so far, if they are asked for.
    pub(super) bits: Option<u32>,
}

impl Numbers for Scalars {
    type Number = Scalar;

    fn scalar(&mut self, value: Scalar) -> Scalar {
        value
    }

    fn variable(&mut self, value: Scalar) -> Scalar {
        value
    }

    fn seen(&mut self, number: &Scalar) {
        self.bits = self.bits.map(|bits| bits.max(number.num_bits()));
    }

    // Fractions of π are the same only where they are for every value of it, since it is the root of no polynomial.
    fn pi(&mut self) -> Scalar {
        Scalar::unknown(std::f64::consts::PI, [mix(PI), mix(!PI)])
    }

    fn euler(&mut self) -> Scalar {
        Scalar::unknown(std::f64::consts::E, [mix(EULER), mix(!EULER)])
    }

    fn negate(&mut self, a: Scalar) -> Scalar {
        a.negate()
    }

    fn add(&mut self, a: Scalar, b: Scalar) -> Scalar {
        a.add(b)
    }

    fn multiply(&mut self, a: Scalar, b: Scalar) -> Scalar {
        a.multiply(b)
    }

    fn divide(&mut self, a: Scalar, b: Scalar) -> Scalar {
        a.divide(b)
    }

    fn power(&mut self, a: Scalar, b: Scalar, real: bool) -> Scalar {
        if real { a.real_power(b) } else { a.power(b) }
    }

    fn root(&mut self, a: Scalar, degree: Scalar) -> Scalar {
        a.root(degree)
    }

    fn factorial(&mut self, a: Scalar) -> Scalar {
        a.factorial()
    }

    fn double_factorial(&mut self, a: Scalar) -> Scalar {
        a.double_factorial()
    }

    fn choose(&mut self, a: Scalar, b: Scalar) -> Scalar {
        a.choose(b)
    }

    fn apply(&mut self, function: Function, value: Scalar) -> Scalar {
        match function {
            Function::Sin => value.map(f64::sin),
            Function::Cos => value.map(f64::cos),
            Function::Tan => value.map(f64::tan),
            Function::Cot => value.map(|x| 1.0 / x.tan()),
            Function::Sec => value.map(|x| 1.0 / x.cos()),
            Function::Csc => value.map(|x| 1.0 / x.sin()),
            Function::ArcSin => value.map(f64::asin),
            Function::ArcCos => value.map(f64::acos),
            Function::ArcTan => value.map(f64::atan),
            Function::Ln => value.map(f64::ln),
            Function::Log => value.map(f64::log10),
            Function::Exp => value.map(f64::exp),
            Function::Sqrt => value.root(Scalar::integer(2)),
            Function::Abs => value.absolute(),
        }
    }
}

/// Where variables are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    index: usize,
    whole: bool,
}

impl Point {
    /// Where an expression without variables is evaluated.
    pub(super) const NOWHERE: Point = Point { index: 0, whole: false };

    pub(super) fn all(whole: bool) -> impl Iterator<Item = Point> {
        (0..POINTS + MORE_POINTS).map(move |index| Point { index, whole })
    }

    /// Returns whether no further point is needed where `valid` were in the domain.
    pub(super) fn is_last(self) -> bool {
        self.index + 1 >= POINTS
    }

    /// Returns where a variable is: between 0.25 and 3.25, or between the negatives of these, or at a whole number.
    fn of(self, name: u64) -> Scalar {
        let mixed = mix(name ^ mix(self.index as u64 + 1));
        if self.whole {
            return Scalar::integer((2 + mixed % (WHOLE_POINTS - 2)).into());
        }
        let unit = (mixed >> 11) as f64 / (1u64 << 53) as f64;
        let far = self.index >= POINTS && self.index % 4 == 3;
        let size = (0.25 + 3.0 * unit) * if far { FAR } else { 1.0 };
        let is_negative = match self.index {
            index if index < POINTS => index + NEGATIVE_POINTS >= POINTS,
            _ => mix(!name ^ self.index as u64).is_multiple_of(2),
        };
        let value = if is_negative { -size } else { size };
        Scalar::unknown(value, [mix(mixed), mix(!mixed)])
    }
}
