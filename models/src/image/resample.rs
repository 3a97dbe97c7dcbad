//! Bicubic resampling of 8-bit pictures, bit for bit as Pillow does it.
//!
//! Does not know which size a picture should get. This is the arithmetic of Pillow's `Resample.c` up
//! to version 12: two passes, horizontal first, each rounded and clipped to 8 bits, weights in 22-bit
//! fixed point. Each of these decides pixels, so none is simplified. Pillow 13 runs the vertical pass
//! first where the height shrinks more than the width, which is another picture and not followed.

use std::borrow::Cow;
use std::ops::Range;

use image::RgbImage;

/// Fraction bits of a weight; what remains of 32 bits holds the sum of 255 times the weights, whose
/// magnitudes add up to less than two.
const PRECISION_BITS: u32 = 22;

/// Resamples `picture` to `width` x `height`, both at least 1. A pass whose size does not change is left out,
/// so a picture that has the size is returned as it is.
pub(crate) fn bicubic(picture: &RgbImage, width: usize, height: usize) -> Cow<'_, RgbImage> {
    let (from_width, from_height) = (picture.width() as usize, picture.height() as usize);
    let wide = if from_width == width {
        Cow::Borrowed(picture.as_raw())
    } else {
        Cow::Owned(horizontal(picture.as_raw(), from_width, &Windows::new(from_width, width)))
    };
    let pixels = if from_height == height {
        wide
    } else {
        Cow::Owned(vertical(&wide, 3 * width, &Windows::new(from_height, height)))
    };
    match pixels {
        Cow::Borrowed(_) => Cow::Borrowed(picture),
        Cow::Owned(pixels) => Cow::Owned(
            RgbImage::from_raw(width as u32, height as u32, pixels)
                .expect("both passes give 3 * width * height bytes"),
        ),
    }
}

/// The input pixels, with their weights, that make each output pixel of one axis.
struct Windows {
    spans: Vec<(Range<usize>, Range<usize>)>,
    weights: Vec<i32>,
}

impl Windows {
    /// Makes the windows that resample `from` pixels to `to`. When shrinking, the cubic is widened by the scale,
    /// so that every input pixel counts.
    fn new(from: usize, to: usize) -> Windows {
        let scale = from as f64 / to as f64;
        let widen = scale.max(1.0);
        let support = 2.0 * widen;
        let mut windows = Windows { spans: Vec::with_capacity(to), weights: Vec::new() };
        let mut row = Vec::new();
        for index in 0..to {
            let center = (index as f64 + 0.5) * scale;
            // Casts cut towards zero and negative numbers to zero, as the reference's do.
            let first = (center - support + 0.5) as usize;
            let last = ((center + support + 0.5) as usize).min(from);
            row.clear();
            row.extend((first..last).map(|x| cubic((x as f64 - center + 0.5) * (1.0 / widen))));
            // In order and uncompensated: another sum moves weights by one unit.
            let total = row.iter().fold(0.0, |sum, weight| sum + weight);
            let start = windows.weights.len();
            windows.weights.extend(row.iter().map(|weight| fixed(weight / total)));
            windows.spans.push((first..last, start..windows.weights.len()));
        }
        windows
    }

    /// Iterates over the input pixels and weights of each output pixel.
    fn iter(&self) -> impl Iterator<Item = (Range<usize>, &[i32])> {
        self.spans.iter().map(|(inputs, weights)| (inputs.clone(), &self.weights[weights.clone()]))
    }
}

/// Evaluates the cubic of Keys (1981) with a = -0.5 in the reference's order of operations.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    } else {
        0.0
    }
}

/// Rounds `weight` to fixed point, halves away from zero.
fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// The start of a sum of weighted pixels, so that cutting off its fraction rounds it.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resamples rows of RGB `pixels`, each `width` pixels wide.
fn horizontal(pixels: &[u8], width: usize, windows: &Windows) -> Vec<u8> {
    let height = pixels.len() / (3 * width);
    let mut resized = Vec::with_capacity(3 * windows.spans.len() * height);
    for row in pixels.chunks_exact(3 * width) {
        let (row, _) = row.as_chunks::<3>();
        for (inputs, weights) in windows.iter() {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[inputs].iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            resized.extend(sums.map(clip));
        }
    }
    resized
}

/// Resamples columns of `pixels`, whose rows are `row_len` bytes, whole rows at a time.
fn vertical(pixels: &[u8], row_len: usize, windows: &Windows) -> Vec<u8> {
    let mut resized = Vec::with_capacity(row_len * windows.spans.len());
    let mut sums = vec![0; row_len];
    for (inputs, weights) in windows.iter() {
        sums.fill(HALF);
        let rows = pixels[inputs.start * row_len..inputs.end * row_len].chunks_exact(row_len);
        for (row, weight) in rows.zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        resized.extend(sums.iter().map(|sum| clip(*sum)));
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let at = |c: u32| (x * 7919 + y * 104_729 + c * 1_299_709).wrapping_mul(2_654_435_761);
            image::Rgb([0, 1, 2].map(|c| (at(c) >> 24) as u8))
        })
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_copied() {
        let picture = noise(9, 5);
        assert!(matches!(bicubic(&picture, 9, 5), Cow::Borrowed(same) if *same == picture));
    }

    #[test]
    fn weights_of_a_window_add_up_to_one_and_fit_the_sum() {
        for (from, to) in [(1, 1), (1, 56), (7, 56), (300, 28), (4000, 1148), (4000, 4004), (2, 3)]
        {
            for (inputs, weights) in Windows::new(from, to).iter() {
                assert_eq!(inputs.len(), weights.len());
                let sum: i64 = weights.iter().map(|w| i64::from(*w)).sum();
                let size: i64 = weights.iter().map(|w| i64::from(*w).abs()).sum();
                assert!((sum - (1 << PRECISION_BITS)).abs() <= weights.len() as i64, "{from} {to}");
                assert!(255 * size + i64::from(HALF) < i64::from(i32::MAX), "{from} {to}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_plain_picture_stays_plain(
            (from_width, from_height) in (1u32..60, 1u32..60),
            (width, height) in (1usize..90, 1usize..90),
            color: [u8; 3],
        ) {
            let picture = RgbImage::from_pixel(from_width, from_height, image::Rgb(color));
            let resized = bicubic(&picture, width, height);
            prop_assert_eq!((resized.width(), resized.height()), (width as u32, height as u32));
            prop_assert!(resized.pixels().all(|pixel| pixel.0 == color));
        }

        #[test]
        fn a_mirrored_picture_becomes_mirrored(width in 1usize..70, height in 1usize..70) {
            use image::imageops::{flip_horizontal, flip_vertical};
            // A weight on a rounding edge may round otherwise from the other side: one level after the
            // first pass, which the second may carry to two.
            let picture = noise(31, 23);
            let straight = bicubic(&picture, width, height).into_owned();
            for flip in [flip_horizontal, flip_vertical] {
                let turned = flip(bicubic(&flip(&picture), width, height).as_ref());
                for (a, b) in straight.as_raw().iter().zip(turned.as_raw()) {
                    prop_assert!(a.abs_diff(*b) <= 2);
                }
            }
        }
    }
}
