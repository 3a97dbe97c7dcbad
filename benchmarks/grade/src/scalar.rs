//! A number that is a fraction as long as it can be, and a double afterwards.
//!
//! This module does not know text. Never panics: a fraction that overflows 128 bits keeps its double and its residues,
//! what is no fraction becomes a double, what is undefined becomes NaN.
//!
//! Fractions are kept apart exactly, doubles only where they differ by more than their errors: whether
//! two close ones are the same number is for `precise.rs` to say.

/// Two doubles may be the same number if they differ by less than this share of the larger one.
///
/// A few dozen operations on doubles lose at most some 1e-14, so what is further apart is another number.
const RELATIVE_TOLERANCE: f64 = 1e-9;

/// Two doubles so close to zero are both zero: what is left of terms near 1 that cancel.
const ABSOLUTE_TOLERANCE: f64 = 1e-12;

/// Exact powers stop here; larger exponents overflow 128 bits anyway, unless the base is 0 or ±1.
const EXPONENT_MAX: i128 = 126;

/// The largest factorial that 128 bits hold, and the largest that a double holds.
const FACTORIAL_MAX: (i128, i128) = (33, 170);

/// Wide fractions are compared by their residues modulo these primes, 2^61 - 1 and 2^61 - 31.
///
/// Two fractions with the same residues are the same, but for a chance of 2^-122.
const PRIMES: [u64; 2] = [(1 << 61) - 1, (1 << 61) - 31];

/// What a fraction leaves modulo each prime.
type Residues = [u64; 2];

/// The most digits of a number: as many as the largest double has.
const DIGITS_MAX: usize = 308;

/// The largest of the two numbers of a binomial coefficient, the smaller one being at most `n / 2`.
const BINOMIAL_MAX: (i128, i128) = (1_000_000, 300);

/// The largest number with a double factorial in a double.
const DOUBLE_FACTORIAL_MAX: i128 = 300;

/// A fraction in lowest terms with a positive denominator; a fraction that 128 bits do not hold, as a double and its
/// residues; or a double.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar {
    Exact(i128, i128),
    Wide(f64, Residues),
    Float(f64),
}

/// What can be said of two numbers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    Same,
    Different,
    /// No fractions, and closer than doubles tell.
    Close,
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
        Scalar::wide(value, None)
    }

    /// As [`Scalar::float`] of a fraction whose residues are known.
    fn wide(value: f64, residues: Option<Residues>) -> Scalar {
        match residues {
            _ if !value.is_finite() => Scalar::NAN,
            Some(residues) => Scalar::Wide(value, residues),
            None => Scalar::Float(value),
        }
    }

    /// Returns a number of which nothing is known but that it is near `value`: a variable at a point.
    ///
    /// Two fractions of such numbers that are the same for every value are the same here, and no others are.
    pub(super) fn unknown(value: f64, bits: [u64; 2]) -> Scalar {
        Scalar::Wide(value, [bits[0] % PRIMES[0], bits[1] % PRIMES[1]])
    }

    /// Returns the whole number that is written with these digits; NaN if there are more than a double holds.
    pub(super) fn of_digits(digits: &[u8]) -> Scalar {
        let digits = &digits[digits.iter().take_while(|digit| **digit == b'0').count()..];
        if digits.len() > DIGITS_MAX {
            return Scalar::NAN;
        }
        let value = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
        if let Some(value) = value(digits) {
            return Scalar::integer(value);
        }
        digits.iter().fold(Scalar::integer(0), |number, digit| {
            let digit = Scalar::integer(i128::from(digit.wrapping_sub(b'0')));
            number.multiply(Scalar::integer(10)).add(digit)
        })
    }

    /// Returns the residues of a fraction; none of what is no fraction or has a prime below its line.
    fn residues(self) -> Option<Residues> {
        match self {
            Scalar::Exact(numerator, denominator) => {
                let of = |value: i128| PRIMES.map(|prime| value.rem_euclid(prime.into()) as u64);
                Some(times(of(numerator), inverse(of(denominator))?))
            }
            Scalar::Wide(_, residues) => Some(residues),
            Scalar::Float(_) => None,
        }
    }

    /// Returns the residues of both; none if one is no fraction.
    fn both(self, other: Scalar) -> Option<(Residues, Residues)> {
        let is_double = |value| matches!(value, Scalar::Float(_));
        if is_double(self) || is_double(other) {
            return None;
        }
        self.residues().zip(other.residues())
    }

    /// Returns how many bits tell this number from 0, from what is infinite and from its neighbours.
    pub(super) fn num_bits(self) -> u32 {
        match self {
            Scalar::Exact(numerator, denominator) => {
                let bits = |value: u128| u128::BITS - value.leading_zeros();
                bits(numerator.unsigned_abs()) + bits(denominator.unsigned_abs())
            }
            Scalar::Wide(value, _) | Scalar::Float(value) => {
                let size = value.abs().log2().abs();
                // Of 0 there is nothing to tell.
                if size.is_finite() { size.ceil() as u32 } else { 0 }
            }
        }
    }

    /// Returns whether this is nought for certain.
    pub(super) fn is_zero(self) -> bool {
        matches!(self, Scalar::Exact(0, _) | Scalar::Wide(_, [0, 0]))
    }

    pub(super) fn to_f64(self) -> f64 {
        match self {
            Scalar::Exact(numerator, denominator) => numerator as f64 / denominator as f64,
            Scalar::Wide(value, _) | Scalar::Float(value) => value,
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
            Scalar::Wide(value, residues) => Scalar::Wide(-value, minus(residues)),
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
        let residues = self.both(other).map(|(a, b)| plus(a, b));
        Scalar::wide(self.to_f64() + other.to_f64(), residues)
    }

    pub(super) fn multiply(self, other: Scalar) -> Scalar {
        if let (Scalar::Exact(a, b), Scalar::Exact(c, d)) = (self, other)
            && let (Some(numerator), Some(denominator)) = (a.checked_mul(c), b.checked_mul(d))
        {
            return Scalar::fraction(numerator, denominator);
        }
        let residues = self.both(other).map(|(a, b)| times(a, b));
        Scalar::wide(self.to_f64() * other.to_f64(), residues)
    }

    pub(super) fn divide(self, other: Scalar) -> Scalar {
        match other {
            _ if other.is_zero() => Scalar::NAN,
            Scalar::Exact(numerator, denominator) => {
                self.multiply(Scalar::fraction(denominator, numerator))
            }
            Scalar::Wide(value, residues) => {
                let quotient = self.residues().zip(inverse(residues)).map(|(a, b)| times(a, b));
                Scalar::wide(self.to_f64() / value, quotient)
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
        let residues = exponent.as_integer().zip(self.residues()).and_then(|(times, base)| {
            let raised = raise(base, times.unsigned_abs());
            if times < 0 { inverse(raised) } else { Some(raised) }
        });
        Scalar::wide(self.to_f64().powf(exponent.to_f64()), residues)
    }

    /// As [`Scalar::power`], but where the exponent's denominator is odd a negative number has a power, as its root has.
    pub(super) fn real_power(self, exponent: Scalar) -> Scalar {
        match exponent {
            Scalar::Exact(numerator, denominator)
                if denominator % 2 != 0 && denominator > 1 && self.to_f64() < 0.0 =>
            {
                let size = self.negate().power(exponent);
                if numerator % 2 == 0 { size } else { size.negate() }
            }
            _ => self.power(exponent),
        }
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

    /// Returns the factorial: of what is not whole the gamma function of one more.
    pub(super) fn factorial(self) -> Scalar {
        match self {
            Scalar::Exact(n, 1) if (0..=FACTORIAL_MAX.0).contains(&n) => {
                Scalar::integer((1..=n).product())
            }
            Scalar::Exact(n, 1) if (0..=FACTORIAL_MAX.1).contains(&n) => (FACTORIAL_MAX.0 + 1..=n)
                .fold(Scalar::integer(FACTORIAL_MAX.0).factorial(), |product, factor| {
                    product.multiply(Scalar::integer(factor))
                }),
            Scalar::Exact(_, 1) => Scalar::NAN,
            value => value.map(|value| libm::tgamma(value + 1.0)),
        }
    }

    /// Returns the product of every second whole number down from this one; NaN of what is not whole.
    pub(super) fn double_factorial(self) -> Scalar {
        match self.as_integer() {
            Some(n) if (0..=DOUBLE_FACTORIAL_MAX).contains(&n) => {
                (1..=n).rev().step_by(2).fold(Scalar::integer(1), |product, factor| {
                    product.multiply(Scalar::integer(factor))
                })
            }
            _ => Scalar::NAN,
        }
    }

    /// Returns how many subsets of `chosen` elements so many elements have; of what is not whole, by factorials.
    pub(super) fn choose(self, chosen: Scalar) -> Scalar {
        if let (Some(n), Some(k)) = (self.as_integer(), chosen.as_integer()) {
            if n < 0 || k < 0 || n > BINOMIAL_MAX.0 {
                return Scalar::NAN;
            }
            let k = k.min(n - k);
            if k > BINOMIAL_MAX.1 {
                return Scalar::NAN;
            }
            return (1..=k).fold(Scalar::integer(i128::from(k >= 0)), |product, factor| {
                let next = Scalar::integer(n - k + factor);
                product.multiply(next).divide(Scalar::integer(factor))
            });
        }
        let rest = self.add(chosen.negate());
        self.factorial().divide(chosen.factorial()).divide(rest.factorial())
    }

    pub(super) fn absolute(self) -> Scalar {
        if self.to_f64() < 0.0 { self.negate() } else { self }
    }

    pub(super) fn map(self, function: impl Fn(f64) -> f64) -> Scalar {
        Scalar::float(function(self.to_f64()))
    }

    /// Returns what can be said of both; NaN differs from everything.
    pub(super) fn compare(self, other: Scalar) -> Agreement {
        if let (Scalar::Exact(a, b), Scalar::Exact(c, d)) = (self, other) {
            return if a == c && b == d { Agreement::Same } else { Agreement::Different };
        }
        match self.both(other) {
            Some((a, b)) if a == b => Agreement::Same,
            Some(_) => Agreement::Different,
            None if same_doubles(self.to_f64(), other.to_f64()) => Agreement::Close,
            None => Agreement::Different,
        }
    }

    /// Returns whether nothing tells the two apart.
    #[cfg(test)]
    pub(super) fn same(self, other: Scalar) -> bool {
        self.compare(other) != Agreement::Different
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

/// Returns whether a quotient of doubles may be another one; a small one is not nought.
pub(super) fn same_ratio(a: f64, b: f64) -> bool {
    (a - b).abs() <= RELATIVE_TOLERANCE * a.abs().max(b.abs())
}

fn plus(a: Residues, b: Residues) -> Residues {
    [0, 1].map(|at| reduce(u128::from(a[at]) + u128::from(b[at]), at))
}

fn times(a: Residues, b: Residues) -> Residues {
    [0, 1].map(|at| multiply(a[at], b[at], at))
}

fn minus(residues: Residues) -> Residues {
    [0, 1].map(|at| if residues[at] == 0 { 0 } else { PRIMES[at] - residues[at] })
}

fn raise(base: Residues, exponent: u128) -> Residues {
    [0, 1].map(|at| raise_one(base[at], exponent, at))
}

/// Returns the residues that times these are 1, by Fermat's little theorem; none if one is 0.
fn inverse(residues: Residues) -> Option<Residues> {
    match residues {
        [0, _] | [_, 0] => None,
        [1, 1] => Some(residues),
        _ => Some([0, 1].map(|at| raise_one(residues[at], u128::from(PRIMES[at]) - 2, at))),
    }
}

fn raise_one(mut base: u64, mut exponent: u128, at: usize) -> u64 {
    let mut power = 1;
    while exponent > 0 {
        if exponent % 2 == 1 {
            power = multiply(power, base, at);
        }
        base = multiply(base, base, at);
        exponent /= 2;
    }
    power
}

fn multiply(a: u64, b: u64, at: usize) -> u64 {
    reduce(u128::from(a) * u128::from(b), at)
}

/// Returns the residue of a number below 2^122: 2^61 leaves as much as the prime is below it.
fn reduce(number: u128, at: usize) -> u64 {
    const LOW: u128 = (1 << 61) - 1;
    let below = (1 << 61) - u128::from(PRIMES[at]);
    let once = (number & LOW) + (number >> 61) * below;
    let twice = ((once & LOW) + (once >> 61) * below) as u64;
    if twice >= PRIMES[at] { twice - PRIMES[at] } else { twice }
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
    fn numbers_beyond_128_bits_keep_their_digits() {
        let whole = |digits: &str| Scalar::of_digits(digits.as_bytes());
        let power = Scalar::integer(2).power(Scalar::integer(130));
        assert!(matches!(power, Scalar::Wide(..)));
        // Python: 2**130.
        assert!(power.same(whole("1361129467683753853853498429727072845824")));
        assert!(!power.same(whole("1361129467683753853853498429727072845825")));
        assert!(power.negate().negate().same(power) && !power.negate().same(power));
        assert!(power.divide(power).same(Scalar::integer(1)));
        assert!(power.power(Scalar::integer(-1)).multiply(power).same(Scalar::integer(1)));
        let fifty = Scalar::integer(50).factorial();
        // Python: math.factorial(50), math.comb(200, 100).
        let digits = "30414093201713378043612608166064768844377641568960512000000000000";
        assert!(fifty.same(whole(digits)) && !fifty.same(fifty.add(Scalar::integer(1))));
        let half = Scalar::integer(200).choose(Scalar::integer(100));
        let digits = "90548514656103281165404177077484163874504589675413336841320";
        assert!(half.same(whole(digits)));
        assert!(whole(&"9".repeat(400)).is_nan());
    }

    #[test]
    fn factorials_and_roots_have_their_values() {
        let int = Scalar::integer;
        assert!(int(7).double_factorial().same(int(105)) && int(0).double_factorial().same(int(1)));
        assert!(int(5).choose(int(2)).same(int(10)) && int(5).choose(int(7)).same(int(0)));
        assert!(int(0).choose(int(0)).same(int(1)));
        // Γ(3/2) = √π / 2.
        let half = std::f64::consts::PI.sqrt() / 2.0;
        assert!(Scalar::fraction(1, 2).factorial().same(Scalar::Float(half)));
        let (two_thirds, third) = (Scalar::fraction(2, 3), Scalar::fraction(1, 3));
        assert!(Scalar::Float(-8.0).real_power(two_thirds).same(int(4)));
        assert!(Scalar::Float(-8.0).real_power(third).same(int(-2)));
        assert!(Scalar::Float(-8.0).real_power(Scalar::fraction(1, 2)).is_nan());
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
                x.power(Scalar::integer(e)), x.root(Scalar::integer(e)), x.factorial(), x.root(y),
                x.real_power(y), x.double_factorial(), x.choose(y), Scalar::integer(e).choose(x)]
            {
                value.absolute().same_at(x, 3);
                prop_assert_eq!(value.same(x), x.same(value));
            }
        }

        #[test]
        fn wide_numbers_follow_the_laws(a: i64, b: i64, c: i64) {
            let wide = |a: i64| Scalar::integer(i128::from(a)).power(Scalar::integer(3));
            let (x, y, z) = (wide(a), wide(b), wide(c));
            prop_assert!(x.add(y).same(y.add(x)));
            prop_assert!(x.multiply(y).multiply(z).same(x.multiply(y.multiply(z))));
            if a != 0 {
                prop_assert!(y.multiply(x).divide(x).same(y));
            }
        }
    }
}
