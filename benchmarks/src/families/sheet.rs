//! A contact sheet: pictures of families in one, for people to look at.
//!
//! Nothing in a run depends on it.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::canvas::PICTURE_PX;
use super::{Family, Split};
use crate::seed::Seed;

const GAP_PX: u32 = 4;

/// `per_family` pictures of each of `families` side by side, one family a row, enlarged `scale` times.
///
/// # Panics
/// If there is no family, or `per_family` or `scale` is zero.
pub fn contact_sheet(families: &[Family], seed: u64, per_family: usize, scale: u32) -> RgbImage {
    assert!(!families.is_empty(), "a sheet needs a family");
    assert!(
        per_family > 0 && scale > 0,
        "a sheet of {per_family} pictures at scale {scale} is empty"
    );
    let pitch_px = PICTURE_PX + GAP_PX;
    let width = per_family as u32 * pitch_px + GAP_PX;
    let height = families.len() as u32 * pitch_px + GAP_PX;
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([128; 3]));
    for (row, family) in families.iter().enumerate() {
        let root = Seed::root(seed).fold_in("sheet").fold_in(family.name());
        for column in 0..per_family {
            let picture = family.scene(root.at(column as u64), Split::Pretrain).render();
            let place = |i: usize| i64::from(GAP_PX) + i as i64 * i64::from(pitch_px);
            imageops::replace(&mut sheet, &picture, place(column), place(row));
        }
    }
    imageops::resize(&sheet, width * scale, height * scale, FilterType::Nearest)
}
