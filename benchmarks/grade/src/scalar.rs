//! A number that is exact as long as that is cheap, and a double afterwards.
//!
//! This module does not know text. Never panics: what overflows becomes a double, what is undefined becomes NaN.

/// Two doubles are the same number if they differ by less than this share of the larger one.
///
/// A few dozen operations on doubles lose at most some 1e-14; the closest pairs that answer keys tell
/// apart differ by 1e-6 or more, so the bound is far from both.
pub(super) const RELATIVE_TOLERANCE: f64 = 1e-9;

/// Two doubles so close to zero are both zero: what is left of terms near 1 that cancel.
const ABSOLUTE_TOLERANCE: f64 = 1e-12;

/// Exact powers stop here; larger exponents overflow 128 bits anyway, unless the base is 0 or ±1.
const EXPONENT_MAX: i128 = 126;

/// The largest factorial that 128 bits hold, and the largest that a double holds.
const FACTORIAL_MAX: (i128, i128) = (33, 170);

/// A fraction in lowest terms with a positive denominator, or a double.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar {
    Exact(i128, i128),
    Float(f64),
}

impl Scalar {
    pub(super) const NAN: Scalar = Scalar::Float(f64::NAN);

    pub(super) fn integer(value: i128) -> Scalar {
        Scalar::Exact(value, 1)
    }

    /// Returns the fraction in lowest terms; NaN if the denominator is 0.
    pub(super) fn fraction(numerator: i128, denominator: i128) -> Scalar {
        if denominator == 0 {
            return Scalar::NAN;
        }
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs());
        let (Ok(divisor), true) =
            (i128::try_from(divisor), numerator != i128::MIN && denominator != i128::MIN)
        else {
            return Scalar::Float(numerator as f64 / denominator as f64);
        };
        let sign = denominator.signum();
        Scalar::Exact(sign * (numerator / divisor), sign * (denominator / divisor))
    }

    /// Makes a number of a result of doubles: an infinite one has overflowed and is not a number.
    fn float(value: f64) -> Scalar {
        if value.is_finite() { Scalar::Float(value) } else { Scalar::NAN }
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Scalar::Exact(numerator, denominator) => numerator as f64 / denominator as f64,
            Scalar::Float(value) => value,
        }
    }

    pub(super) fn is_nan(self) -> bool {
        matches!(self, Scalar::Float(value) if value.is_nan())
    }

    /// Returns the value if it is a whole number that is known exactly.
    pub(super) fn as_integer(self) -> Option<i128> {
        match self {
            Scalar::Exact(numerator, 1) => Some(numerator),
            _ => None,
        }
    }

    pub(super) fn negate(self) -> Scalar {
        match self {
            Scalar::Exact(numerator, denominator) => numerator
                .checked_neg()
                .map_or(Scalar::NAN, |numerator| Scalar::Exact(numerator, denominator)),
            // An infinite endpoint stays one.
            Scalar::Float(value) => Scalar::Float(-value),
        }
    }

    pub(super) fn add(self, other: Scalar) -> Scalar {
        if let (Scalar::Exact(a, b), Scalar::Exact(c, d)) = (self, other) {
            let sum = || {
                let numerator = a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?;
                Some(Scalar::fraction(numerator, b.checked_mul(d)?))
            };
            if let Some(sum) = sum() {
                return sum;
            }
        }
        Scalar::float(self.to_f64() + other.to_f64())
    }

    pub(super) fn multiply(self, other: Scalar) -> Scalar {
        if let (Scalar::Exact(a, b), Scalar::Exact(c, d)) = (self, other)
            && let (Some(numerator), Some(denominator)) = (a.checked_mul(c), b.checked_mul(d))
        {
            return Scalar::fraction(numerator, denominator);
        }
        Scalar::float(self.to_f64() * other.to_f64())
    }

    pub(super) fn divide(self, other: Scalar) -> Scalar {
        match other {
            Scalar::Exact(0, _) => Scalar::NAN,
            Scalar::Exact(numerator, denominator) => {
                self.multiply(Scalar::fraction(denominator, numerator))
            }
            Scalar::Float(value) => Scalar::float(self.to_f64() / value),
        }
    }

    pub(super) fn power(self, exponent: Scalar) -> Scalar {
        if let Some(times) = exponent.as_integer()
            && let Scalar::Exact(numerator, denominator) = self
            && times.abs() <= EXPONENT_MAX
        {
            if times < 0 && numerator == 0 {
                return Scalar::NAN;
            }
            let raise = |base: i128| base.checked_pow(u32::try_from(times.unsigned_abs()).ok()?);
            if let (Some(numerator), Some(denominator)) = (raise(numerator), raise(denominator)) {
                return if times < 0 {
                    Scalar::fraction(denominator, numerator)
                } else {
                    Scalar::fraction(numerator, denominator)
                };
            }
        }
        if let Scalar::Exact(numerator, denominator @ 2..) = exponent
            && let Some(root) = self.exact_root(denominator)
        {
            return root.power(Scalar::integer(numerator));
        }
        Scalar::float(self.to_f64().powf(exponent.to_f64()))
    }

    /// Returns the root of a given degree; of a negative number only if the degree is odd.
    pub(super) fn root(self, degree: Scalar) -> Scalar {
        let Some(whole) = degree.as_integer() else {
            return self.power(Scalar::integer(1).divide(degree));
        };
        if let Some(root) = self.exact_root(whole) {
            return root;
        }
        let value = self.to_f64();
        match whole {
            2 => Scalar::float(value.sqrt()),
            3 => Scalar::float(value.cbrt()),
            _ if whole % 2 != 0 && value < 0.0 => Scalar::float(-(-value).powf(1.0 / whole as f64)),
            _ => Scalar::float(value.powf(1.0 / whole as f64)),
        }
    }

    /// Returns the root if it is a fraction.
    fn exact_root(self, degree: i128) -> Option<Scalar> {
        let Scalar::Exact(numerator, denominator) = self else { return None };
        let degree = u32::try_from(degree).ok().filter(|degree| (2..=8).contains(degree))?;
        let whole_root = |value: i128| {
            // A double's root is off by less than one, as long as the value is below 2^100.
            let guess = (value as f64).powf(1.0 / f64::from(degree)).round() as i128;
            (value < 1 << 100 && guess.checked_pow(degree) == Some(value)).then_some(guess)
        };
        let sign = if numerator < 0 && degree % 2 == 1 { -1 } else { 1 };
        if numerator * sign < 0 {
            return None;
        }
        Some(Scalar::fraction(sign * whole_root(numerator * sign)?, whole_root(denominator)?))
    }

    pub(super) fn factorial(self) -> Scalar {
        match self.as_integer() {
            Some(n) if (0..=FACTORIAL_MAX.0).contains(&n) => Scalar::integer((1..=n).product()),
            Some(n) if (0..=FACTORIAL_MAX.1).contains(&n) => {
                Scalar::float((1..=n).map(|factor| factor as f64).product())
            }
            _ => Scalar::NAN,
        }
    }

    pub(super) fn absolute(self) -> Scalar {
        if self.to_f64() < 0.0 { self.negate() } else { self }
    }

    pub(super) fn map(self, function: impl Fn(f64) -> f64) -> Scalar {
        Scalar::float(function(self.to_f64()))
    }

    /// Returns whether both are the same number; NaN equals nothing.
    ///
    /// Fractions are compared exactly, doubles within `RELATIVE_TOLERANCE`.
    pub(super) fn same(self, other: Scalar) -> bool {
        if let (Scalar::Exact(a, b), Scalar::Exact(c, d)) = (self, other) {
            return a == c && b == d;
        }
        same_doubles(self.to_f64(), other.to_f64())
    }

    /// Returns whether both are the same number once both are rounded to so many decimals.
    ///
    /// The bound is half a unit of the last place, a hair wider so that doubles at the edge are in.
    pub(super) fn same_at(self, other: Scalar, decimals: u32) -> bool {
        let unit = 10f64.powi(-i32::try_from(decimals.min(300)).unwrap_or(300));
        (self.to_f64() - other.to_f64()).abs() <= 0.5 * unit * (1.0 + RELATIVE_TOLERANCE)
    }
}

/// Returns whether two doubles are equal within the tolerances; infinities of one sign are.
pub(super) fn same_doubles(a: f64, b: f64) -> bool {
    if a.is_infinite() || b.is_infinite() {
        return a.is_infinite() && b.is_infinite() && a.is_sign_positive() == b.is_sign_positive();
    }
    let difference = (a - b).abs();
    difference <= RELATIVE_TOLERANCE * a.abs().max(b.abs()) || difference <= ABSOLUTE_TOLERANCE
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    // Most fractions are small, and 128-bit division is slow.
    if let (Ok(mut x), Ok(mut y)) = (u64::try_from(a), u64::try_from(b)) {
        while y != 0 {
            (x, y) = (y, x % y);
        }
        return u128::from(x.max(1));
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fractions_stay_exact() {
        let third = Scalar::fraction(2, -6);
        assert!(matches!(third, Scalar::Exact(-1, 3)));
        assert!(matches!(third.add(Scalar::fraction(1, 3)), Scalar::Exact(0, 1)));
        assert!(matches!(third.power(Scalar::integer(-2)), Scalar::Exact(9, 1)));
        assert!(matches!(Scalar::fraction(9, 4).root(Scalar::integer(2)), Scalar::Exact(3, 2)));
        assert!(matches!(Scalar::integer(-8).root(Scalar::integer(3)), Scalar::Exact(-2, 1)));
        assert!(matches!(Scalar::integer(8).power(Scalar::fraction(2, 3)), Scalar::Exact(4, 1)));
        assert!(matches!(Scalar::integer(5).factorial(), Scalar::Exact(120, 1)));
    }

    #[test]
    fn what_is_undefined_or_overflows_equals_nothing() {
        let zero = Scalar::integer(0);
        for nan in [
            Scalar::integer(1).divide(zero),
            zero.power(Scalar::integer(-1)),
            Scalar::integer(-4).root(Scalar::integer(2)),
            Scalar::integer(10).power(Scalar::integer(400)),
            Scalar::integer(-1).factorial(),
        ] {
            assert!(nan.is_nan() && !nan.same(nan), "{nan:?}");
        }
    }

    #[test]
    fn rounding_is_to_half_a_unit() {
        let close = |a, b, decimals| Scalar::Float(a).same_at(Scalar::Float(b), decimals);
        assert!(close(1.24, 1.2, 1) && close(1.25, 1.2, 1) && !close(1.26, 1.2, 1));
        assert!(close(7.4, 7.0, 0) && !close(7.6, 7.0, 0));
    }

    proptest! {
        #[test]
        fn arithmetic_never_panics(a: i128, b: i128, c: i128, d: i128, e in -300i128..300) {
            let (x, y) = (Scalar::fraction(a, b), Scalar::fraction(c, d));
            for value in [x.add(y), x.multiply(y), x.divide(y), x.power(y), x.negate(),
                x.power(Scalar::integer(e)), x.root(Scalar::integer(e)), x.factorial(), x.root(y)]
            {
                value.absolute().same_at(x, 3);
            }
        }
    }
}
