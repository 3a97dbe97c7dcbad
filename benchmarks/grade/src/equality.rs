//! When two expressions are the same, and when two equations.
//!
//! This module does not know text. Two expressions are the same where they are so exactly: as fractions, or to more
//! digits than their numbers can differ in (`precise.rs`). Doubles only save the time of that where two differ by much.

use crate::expression::Expression;
use crate::precise::Precise;
use crate::scalar::{Agreement, Scalar, same_ratio};
use crate::value::Point;

/// At least at so many points both sides must have values.
const POINTS_MIN: usize = 2;

/// So many points are compared to many digits, where doubles are close: a function that is nought there is nought.
const PRECISE_POINTS: usize = 2;

impl Expression {
    /// Returns whether both take the same values.
    pub(super) fn same(&self, other: &Expression) -> bool {
        if let (Some(a), Some(b)) = (self.value(), other.value()) {
            return match a.compare(b) {
                Agreement::Close if a.to_f64().is_infinite() => true,
                Agreement::Close => match (self.square(), other.square()) {
                    // Of one sign, since they are close; nought is a fraction itself.
                    (Some(a), Some(b)) => a.compare(b) == Agreement::Same,
                    _ => Precise::same(self, other, Point::NOWHERE),
                },
                agreement => agreement == Agreement::Same,
            };
        }
        if !self.has_variables() && !other.has_variables() {
            return false;
        }
        let counts = self.counts || other.counts;
        let bends = self.bends() || other.bends();
        let (mut valid, mut close) = (0, Vec::new());
        for point in Point::all(counts) {
            let (a, b) = (self.at(point), other.at(point));
            if a.is_nan() && b.is_nan() || (counts && (a.is_nan() || b.is_nan())) {
                continue;
            }
            match a.compare(b) {
                Agreement::Different => return false,
                Agreement::Close => close.push(point),
                Agreement::Same => {}
            }
            valid += 1;
            // Where all is fractions two points are as good as all, unless another fraction holds elsewhere.
            if valid == POINTS_MIN && close.is_empty() && !counts && !bends {
                return true;
            }
            if valid > POINTS_MIN && point.is_last() && !bends {
                break;
            }
        }
        // The first and the last one: of either sign.
        let ends = [close.first(), close.last()];
        let mut ends = ends.iter().flatten().take(close.len().min(PRECISE_POINTS));
        valid >= POINTS_MIN && ends.all(|point| Precise::same(self, other, **point))
    }

    /// Returns whether `self - other` is a multiple of `third - fourth`, so that two equations say the same.
    pub(super) fn same_equation(left: (&Self, &Self), right: (&Self, &Self)) -> bool {
        let sides = [left.0, left.1, right.0, right.1];
        let counts = sides.iter().any(|side| side.counts);
        let bends = sides.iter().any(|side| side.bends());
        let mut first: Option<(Point, Scalar)> = None;
        let mut close = Vec::new();
        let mut valid = 0;
        for point in Point::all(counts) {
            let difference =
                |(a, b): (&Expression, &Expression)| a.at(point).add(b.at(point).negate());
            let quotient = difference(left).divide(difference(right));
            if quotient.is_nan() || quotient.to_f64().is_infinite() {
                continue;
            }
            let Some((_, ratio)) = first else {
                first = Some((point, quotient));
                valid += 1;
                continue;
            };
            match ratio.compare(quotient) {
                // Nought by the absolute tolerance only.
                Agreement::Close if !same_ratio(ratio.to_f64(), quotient.to_f64()) => return false,
                Agreement::Different => return false,
                Agreement::Close => close.push(point),
                Agreement::Same => {}
            }
            valid += 1;
            let is_enough = close.is_empty() && !counts || point.is_last();
            if valid > POINTS_MIN && is_enough && !bends {
                break;
            }
        }
        let Some((start, ratio)) = first else { return false };
        if ratio.is_zero() || ratio.to_f64().abs() <= 0.0 {
            return false;
        }
        let mut ends = close.iter().rev().take(PRECISE_POINTS);
        ends.all(|end| Precise::same_ratio(left, right, start, *end))
    }
}
