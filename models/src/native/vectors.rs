//! Vectors of the width that the machine has, for loops that the compiler alone does not put into them.
//!
//! Does not know what is computed. Lanes hold different results, or [`LANES`] partial sums of one, whatever the width: so
//! every width gives the same bits.

pub(super) use pulp::Simd;
use pulp::{Arch, WithSimd};

/// Partial sums of a reduction, and the numbers of the widest vector: what is laid out for vectors comes in multiples of it.
pub(super) const LANES: usize = 16;

/// Computes `operation` in the widest vectors of this machine.
pub(super) fn widest<R>(operation: impl WithSimd<Output = R>) -> R {
    Arch::new().dispatch(operation)
}

/// Makes a function whose body is compiled once for every width, and picked at run time; `S` are the machine's vectors.
macro_rules! in_widest {
    ($(#[$meta:meta])* $visible:vis fn $name:ident<S>($simd:ident: S $(, $argument:ident: $type:ty)* $(,)?)
     $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visible fn $name($($argument: $type),*) $(-> $result)? {
            struct Operation<T>(T);
            impl pulp::WithSimd for Operation<($($type,)*)> {
                type Output = in_widest!(@result $($result)?);

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, $simd: S) -> Self::Output {
                    let Operation(($($argument,)*)) = self;
                    $body
                }
            }
            $crate::native::vectors::widest(Operation(($($argument,)*)))
        }
    };
    (@result) => { () };
    (@result $result:ty) => { $result };
}
pub(super) use in_widest;

/// Replaces every number of a slice: `map!(simd, numbers, |x| …)`. A macro, as are the others here: a closure would be
/// compiled for the narrowest machine, and each of its operations called.
macro_rules! map {
    ($simd:ident, $numbers:expr, |$x:ident| $made:expr) => {{
        let (whole, rest) = S::as_mut_simd_f32s($numbers);
        for place in whole {
            let $x = *place;
            *place = $made;
        }
        if !rest.is_empty() {
            let $x = $simd.partial_load_f32s(rest);
            let made = $made;
            $simd.partial_store_f32s(rest, made);
        }
    }};
}
pub(super) use map;

/// Replaces every number of a slice and sums what stands there then: `map_and_sum!(simd, numbers, |x| …)`.
macro_rules! map_and_sum {
    ($simd:ident, $numbers:expr, |$x:ident| $made:expr) => {{
        let mut sums = [$simd.splat_f32s(0.0); LANES];
        let (blocks, rest) = $numbers.as_chunks_mut::<LANES>();
        for block in blocks {
            for (place, sum) in S::as_mut_simd_f32s(block).0.iter_mut().zip(&mut sums) {
                let $x = *place;
                *place = $made;
                *sum = $simd.add_f32s(*sum, *place);
            }
        }
        map!($simd, &mut *rest, |$x| $made);
        rest.iter().fold(sum_of::<S>(&sums), |total, x| total + x)
    }};
}
pub(super) use map_and_sum;

/// Adds [`LANES`] partial sums, which fill the first vectors of `sums`.
#[inline(always)]
pub(super) fn sum_of<S: Simd>(sums: &[S::f32s; LANES]) -> f32 {
    let mut all = [0.0; LANES];
    S::as_mut_simd_f32s(&mut all).0.copy_from_slice(&sums[..LANES / S::F32_LANES]);
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            all[i] += all[i + half];
        }
        half /= 2;
    }
    all[0]
}

/// The largest number; minus infinity if there is none. NaN counts for nothing.
#[inline(always)]
pub(super) fn largest<S: Simd>(simd: S, numbers: &[f32]) -> f32 {
    let mut most = simd.splat_f32s(f32::NEG_INFINITY);
    let (whole, rest) = S::as_simd_f32s(numbers);
    for x in whole {
        // Of NaN and a number x86 takes the second, others the number.
        most = simd.max_f32s(*x, most);
    }
    rest.iter().copied().fold(simd.reduce_max_f32s(most), f32::max)
}

/// Added to a number that is then a float of whole numbers, whose last bits are those of `2^n`'s exponent.
const TO_EXPONENT: f32 = 12_582_912.0 + 127.0;

/// Computes `e^x` to two units in the last place: 2^n times a polynomial on half a binary logarithm around zero
/// (the coefficients of Cephes' `expf`). Below -87 and above 88 it stays constant.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    macro_rules! all {
        ($x:expr) => {
            simd.splat_f32s($x)
        };
    }
    let x = simd.min_f32s(simd.max_f32s(x, all!(-87.0)), all!(88.0));
    let rounded = simd.mul_add_f32s(x, all!(std::f32::consts::LOG2_E), all!(TO_EXPONENT));
    let n = simd.sub_f32s(rounded, all!(TO_EXPONENT));
    let r = simd.mul_add_f32s(n, all!(-0.693_359_4), x);
    let r = simd.mul_add_f32s(n, all!(2.121_944_4e-4), r);
    let p = simd.mul_add_f32s(all!(1.987_569_1e-4), r, all!(1.398_2e-3));
    let p = simd.mul_add_f32s(p, r, all!(8.333_452e-3));
    let p = simd.mul_add_f32s(p, r, all!(4.166_579_6e-2));
    let p = simd.mul_add_f32s(p, r, all!(0.166_666_65));
    let p = simd.mul_add_f32s(p, r, all!(0.5));
    let p = simd.mul_add_f32s(simd.mul_f32s(r, r), p, simd.add_f32s(r, all!(1.0)));
    let bits = simd.transmute_u32s_f32s(rounded);
    let power = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    in_widest! {
        fn exponentials<S>(simd: S, numbers: &mut [f32]) {
            map!(simd, numbers, |x| exp(simd, x));
        }
    }

    #[test]
    fn exponentials_are_right_to_two_units_in_the_last_place() {
        let all: Vec<f32> = (-870_000..=800_000).map(|i| i as f32 * 1e-4).collect();
        let mut got = all.clone();
        exponentials(&mut got);
        for (x, got) in all.iter().zip(&got) {
            let (got, want) = (f64::from(*got), f64::from(*x).exp());
            assert!(
                (got - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want,
                "{x}: {got} {want}"
            );
        }
        let mut ends = [-1e9, f32::NEG_INFINITY, 1e9];
        exponentials(&mut ends);
        assert!(ends[0] < 1e-37 && ends[1] < 1e-37 && ends[2].is_finite());
    }

    #[test]
    fn every_width_gives_the_same_bits() {
        struct All<'a>(&'a mut [f32]);
        impl WithSimd for All<'_> {
            type Output = [f32; 2];

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> [f32; 2] {
                let most = largest(simd, self.0);
                [most, map_and_sum!(simd, self.0, |x| exp(simd, x))]
            }
        }
        for len in [1, 15, 16, 47, 200] {
            let numbers: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let (mut wide, mut narrow) = (numbers.clone(), numbers);
            let found = [widest(All(&mut wide)), All(&mut narrow).with_simd(pulp::Scalar)];
            assert_eq!(found[0].map(f32::to_bits), found[1].map(f32::to_bits), "{len}");
            assert_eq!(wide, narrow, "{len}");
        }
    }
}
