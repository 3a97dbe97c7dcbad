//! Picture to normalised patches: the image processor of Qwen2-VL.
//!
//! Does not know the tower. Resampling is `image`'s Catmull-Rom, the cubic closest to PIL's.

use anyhow::{Result, ensure};
use image::RgbImage;
use image::imageops::{FilterType, resize};
use serde::{Deserialize, Serialize};

use crate::config::VisionConfig;
use crate::rope::{Grid, merge_order};

/// `preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorConfig {
    pub image_processor_type: String,
    pub min_pixels: usize,
    pub max_pixels: usize,
    pub patch_size: usize,
    pub temporal_patch_size: usize,
    pub merge_size: usize,
    pub image_mean: [f32; 3],
    pub image_std: [f32; 3],
}

/// Patches of one picture, `[grid.num_patches() * patch_dim]` row-major; a patch is laid out as
/// channel, frame, row, column.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    pub values: Vec<f32>,
    pub grid: Grid,
}

impl ProcessorConfig {
    /// Mean and deviation of CLIP's training pictures, as Qwen2-VL uses them; small pictures are
    /// enlarged to 4 x 4 tokens.
    pub fn preset(vision: &VisionConfig) -> ProcessorConfig {
        let side = 4 * vision.patch_size * vision.spatial_merge_size;
        ProcessorConfig {
            image_processor_type: "Qwen2VLImageProcessor".into(),
            min_pixels: side * side,
            max_pixels: 16 * side * side,
            patch_size: vision.patch_size,
            temporal_patch_size: vision.temporal_patch_size,
            merge_size: vision.spatial_merge_size,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// Height and width after smart resize: multiples of `patch_size x merge_size`, between
    /// `min_pixels` and `max_pixels`, aspect ratio kept as near as that allows.
    ///
    /// # Errors
    /// If one side is more than 200 times the other, as the reference refuses too.
    pub fn smart_resize(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let factor = self.patch_size * self.merge_size;
        let (long, short) = (height.max(width), height.min(width));
        ensure!(
            short > 0 && long <= 200 * short,
            "picture of {width} x {height} pixels is too thin"
        );
        let (h, w, f) = (height as f64, width as f64, factor as f64);
        // Python's round, which the reference uses, sends halves to the even neighbour.
        let nearest = |x: f64| ((x / f).round_ties_even() * f).max(f);
        let (round_h, round_w) = (nearest(h), nearest(w));
        let pixels = round_h * round_w;
        let (rh, rw) = if pixels > self.max_pixels as f64 {
            let beta = (h * w / self.max_pixels as f64).sqrt();
            (((h / beta / f).floor() * f).max(f), ((w / beta / f).floor() * f).max(f))
        } else if pixels < self.min_pixels as f64 {
            let beta = (self.min_pixels as f64 / (h * w)).sqrt();
            ((h * beta / f).ceil() * f, (w * beta / f).ceil() * f)
        } else {
            (round_h, round_w)
        };
        Ok((rh as usize, rw as usize))
    }

    /// Patches of `picture`.
    ///
    /// # Errors
    /// See [`ProcessorConfig::smart_resize`].
    pub fn patches(&self, picture: &RgbImage) -> Result<Patches> {
        let (height, width) =
            self.smart_resize(picture.height() as usize, picture.width() as usize)?;
        let same = (picture.height() as usize, picture.width() as usize) == (height, width);
        let resized = if same {
            None
        } else {
            Some(resize(picture, width as u32, height as u32, FilterType::CatmullRom))
        };
        let pixels = resized.as_ref().unwrap_or(picture).as_raw();
        let side = self.patch_size;
        let grid = Grid { t: 1, h: height / side, w: width / side };
        let mut table = [[0f32; 256]; 3];
        for (channel, row) in table.iter_mut().enumerate() {
            for (value, slot) in row.iter_mut().enumerate() {
                *slot = (value as f32 / 255.0 - self.image_mean[channel]) / self.image_std[channel];
            }
        }
        let mut values =
            Vec::with_capacity(grid.num_patches() * 3 * self.temporal_patch_size * side * side);
        for (row, column) in merge_order(grid, self.merge_size) {
            for (channel, table) in table.iter().enumerate() {
                for _ in 0..self.temporal_patch_size {
                    for y in 0..side {
                        let start = (row * side + y) * width + column * side;
                        values.extend(
                            (start..start + side).map(|p| table[pixels[3 * p + channel] as usize]),
                        );
                    }
                }
            }
        }
        Ok(Patches { values, grid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, SpecialIds, VlmConfig};

    fn processor() -> ProcessorConfig {
        let ids = SpecialIds { image: 1, vision_start: 2, vision_end: 3, bos: 4, eos: 4 };
        ProcessorConfig::preset(&VlmConfig::preset(Preset::Nano, 300, ids).vision_config)
    }

    #[test]
    fn sizes_are_multiples_of_a_token_within_the_bounds() {
        let p = processor();
        assert_eq!(p.smart_resize(112, 112).unwrap(), (112, 112));
        assert_eq!(p.smart_resize(64, 64).unwrap(), (112, 112));
        let (h, w) = p.smart_resize(3000, 1000).unwrap();
        assert!(h % 28 == 0 && w % 28 == 0 && h * w <= p.max_pixels && h > 2 * w, "{h} {w}");
        assert!(p.smart_resize(1, 201).is_err());
    }

    #[test]
    fn a_patch_holds_its_own_pixels_and_both_frames_are_equal() {
        let picture = RgbImage::from_fn(112, 112, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let p = processor();
        let patches = p.patches(&picture).unwrap();
        assert_eq!(patches.grid, Grid { t: 1, h: 8, w: 8 });
        let dim = 3 * 2 * 14 * 14;
        // Third patch in order is row 1, column 0; its first red value is pixel (0, 14).
        let third = &patches.values[2 * dim..3 * dim];
        let red = |value: f32| (value / 255.0 - p.image_mean[0]) / p.image_std[0];
        assert!((third[0] - red(0.0)).abs() < 1e-6 && (third[13] - red(13.0)).abs() < 1e-6);
        let green = (14.0 / 255.0 - p.image_mean[1]) / p.image_std[1];
        assert!((third[2 * 196] - green).abs() < 1e-6);
        assert_eq!(third[..196], third[196..392]);
    }
}
