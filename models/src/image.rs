//! Pictures to normalized patches: the image processor of Qwen2-VL.
//!
//! Does not know the tower, nor picture files, which come as pixels. It computes what the reference's slow class does on
//! Pillow, to the bit for pixels: sizes in [`ProcessorConfig::smart_resize`], resampling in `resample`. The fast class
//! of the reference resamples with another library, which moves some pixels by one level; checkpoints name either class
//! and mean the same computation, so both names are accepted.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use serde::Serialize;
use synergy_hint::{Explain as _, hint};

use crate::fields::Section;
use crate::image::resample::bicubic;
use crate::qwen2_5_vl::config::VisionConfig;
use crate::qwen2_5_vl::rope::{Grid, merge_order};

mod published;
mod resample;

/// Factor of a pixel's level, in 64 bits, before it is normalized in 32.
const RESCALE_FACTOR: f64 = 1.0 / 255.0;

/// `preprocessor_config.json`, as far as it decides the computation. Reads every published form, and
/// refuses fields by name that ask for something else; writes the fields below, which every version of
/// the reference reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessorConfig {
    /// The reference's class that computes the same.
    pub image_processor_type: String,
    /// Pictures of fewer pixels are enlarged; at least 1.
    pub min_pixels: usize,
    /// Pictures of more pixels are shrunk; at least `min_pixels`.
    pub max_pixels: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side, in patches, of the square that becomes one token.
    pub merge_size: usize,
    /// Mean of red, green and blue, on a scale from 0 to 1.
    pub image_mean: [f32; 3],
    /// Standard deviation of red, green and blue on the same scale; above 0.
    pub image_std: [f32; 3],
}

/// Normalized patches of one picture or video.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// `[grid.num_patches() * patch_values]`, row-major; a patch is laid out as channel, frame, row, column.
    pub values: Vec<f32>,
    /// Frames, rows and columns of the patches.
    pub grid: Grid,
}

impl ProcessorConfig {
    /// Returns the settings for models that are trained from scratch: mean and deviation of CLIP's training
    /// pictures, as Qwen2-VL uses them. Small pictures are enlarged to 4 x 4 tokens.
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

    /// Reads `dir/preprocessor_config.json`, or the `image_processor` of `dir/processor_config.json`,
    /// where newer versions of the reference save it.
    ///
    /// # Errors
    /// If both files are missing, or the first that exists is not JSON of this form or asks for a computation
    /// that is not implemented.
    pub fn read(dir: &Path) -> Result<ProcessorConfig> {
        let first = dir.join("preprocessor_config.json");
        let nested = dir.join("processor_config.json");
        let path = if first.exists() || !nested.exists() { first } else { nested };
        let name = path.display();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read picture processor `{name}`"))?;
        ProcessorConfig::from_json(&text)
            .with_context(|| format!("unusable picture processor `{name}`"))
    }

    /// Does the same as [`ProcessorConfig::read`] with the text of either file.
    ///
    /// # Errors
    /// See [`ProcessorConfig::read`].
    pub fn from_json(text: &str) -> Result<ProcessorConfig> {
        let mut fields = Section::parse(text)?;
        let nested = fields.object("image_processor")?;
        ProcessorConfig::take(nested.unwrap_or(fields))
    }

    /// Checks that the tower takes the patches that this processor cuts.
    ///
    /// # Errors
    /// If they differ; the error names the first field that does.
    pub fn check(&self, vision: &VisionConfig) -> Result<()> {
        for (field, ours, theirs) in [
            ("patch_size", self.patch_size, vision.patch_size),
            ("temporal_patch_size", self.temporal_patch_size, vision.temporal_patch_size),
            ("merge_size", self.merge_size, vision.spatial_merge_size),
        ] {
            ensure!(
                ours == theirs,
                hint!(
                    "`{field}` is {ours} in the processor and {theirs} in the model",
                    "the files belong to different models"
                )
            );
        }
        Ok(())
    }

    /// Returns the text of `preprocessor_config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a config is plain data") + "\n"
    }

    /// Computes height and width after smart resize: multiples of `patch_size x merge_size`, between
    /// `min_pixels` and `max_pixels`, aspect ratio kept as near as that allows.
    ///
    /// # Errors
    /// If one side is more than 200 times the other, or zero; the reference refuses these too.
    pub fn smart_resize(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let factor = self.patch_size * self.merge_size;
        let (long, short) = (height.max(width), height.min(width));
        ensure!(
            short > 0 && long <= short.saturating_mul(200),
            hint!(
                "picture of {width} x {height} pixels is too thin",
                "the longer side may be 200 times the shorter one"
            )
        );
        let (h, w, f) = (height as f64, width as f64, factor as f64);
        // Python's round, which the reference uses, sends halves to the even neighbor. A side may
        // become zero here; the picture is then too small and enlarged below.
        let nearest = |x: f64| (x / f).round_ties_even() * f;
        let pixels = nearest(h) * nearest(w);
        let (h, w) = if pixels > self.max_pixels as f64 {
            let beta = (h * w / self.max_pixels as f64).sqrt();
            let down = |x: f64| ((x / beta / f).floor() * f).max(f);
            (down(h), down(w))
        } else if pixels < self.min_pixels as f64 {
            let beta = (self.min_pixels as f64 / (h * w)).sqrt();
            let up = |x: f64| (x * beta / f).ceil() * f;
            (up(h), up(w))
        } else {
            (nearest(h), nearest(w))
        };
        Ok((h as usize, w as usize))
    }

    /// Cuts `picture`, which stands for all frames of its patches.
    ///
    /// # Errors
    /// See [`ProcessorConfig::smart_resize`].
    pub fn patches(&self, picture: &RgbImage) -> Result<Patches> {
        self.video_patches(std::slice::from_ref(picture))
    }

    /// Cuts a video: each patch spans `temporal_patch_size` of `frames`, the last frame repeated
    /// where some are missing. Frames are resized as pictures are; the limits hold for each.
    ///
    /// # Errors
    /// If there is no frame or they differ in size; see [`ProcessorConfig::smart_resize`].
    pub fn video_patches(&self, frames: &[RgbImage]) -> Result<Patches> {
        let first =
            frames.first().explain(|| hint!("a video has no frames", "give at least one frame"))?;
        if let Some(index) = frames.iter().position(|f| f.dimensions() != first.dimensions()) {
            let (size, other) = (first.dimensions(), frames[index].dimensions());
            bail!(hint!(
                (
                    "frame 1 of the video has {} x {} pixels and frame {} has {} x {}",
                    size.0,
                    size.1,
                    index + 1,
                    other.0,
                    other.1
                ),
                "all frames must have one size"
            ));
        }
        let (height, width) = self.smart_resize(first.height() as usize, first.width() as usize)?;
        let (side, depth) = (self.patch_size, self.temporal_patch_size);
        let grid = Grid { t: frames.len().div_ceil(depth), h: height / side, w: width / side };
        let tables = self.tables();
        let mut values = Vec::with_capacity(grid.num_patches() * 3 * depth * side * side);
        for group in frames.chunks(depth) {
            let group: Vec<_> = group.iter().map(|frame| bicubic(frame, width, height)).collect();
            for (row, column) in merge_order(Grid { t: 1, ..grid }, self.merge_size) {
                for (channel, table) in tables.iter().enumerate() {
                    for frame in 0..depth {
                        let pixels = group[frame.min(group.len() - 1)].as_raw();
                        for y in 0..side {
                            let start = (row * side + y) * width + column * side;
                            values.extend(
                                (start..start + side)
                                    .map(|p| table[usize::from(pixels[3 * p + channel])]),
                            );
                        }
                    }
                }
            }
        }
        Ok(Patches { values, grid })
    }

    /// Tabulates, for each channel, the normalized value of each level of a pixel.
    fn tables(&self) -> [[f32; 256]; 3] {
        let mut tables = [[0.0; 256]; 3];
        for (table, (mean, std)) in
            tables.iter_mut().zip(self.image_mean.iter().zip(&self.image_std))
        {
            for (level, value) in table.iter_mut().enumerate() {
                *value = ((level as f64 * RESCALE_FACTOR) as f32 - mean) / std;
            }
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use image::imageops::rotate90;
    use proptest::prelude::*;
    use safetensors::{SafeTensors, tensor::TensorView};
    use serde_json::Value;

    use super::*;
    use crate::tests::fixtures::{json, nano, path as fixture};

    fn processor() -> ProcessorConfig {
        ProcessorConfig::preset(&nano(300).vision_config)
    }

    fn number(value: &Value) -> usize {
        value.as_u64().unwrap() as usize
    }

    fn numbers(value: &Value) -> Vec<usize> {
        value.as_array().unwrap().iter().map(number).collect()
    }

    fn within(min_pixels: usize, max_pixels: usize) -> ProcessorConfig {
        ProcessorConfig { min_pixels, max_pixels, ..processor() }
    }

    /// A picture that the fixtures keep as a tensor [h, w, 3].
    fn pixels(tensors: &SafeTensors, name: &str) -> RgbImage {
        let tensor = tensors.tensor(name).unwrap();
        let [height, width, 3] = *tensor.shape() else { panic!("{name} is no picture") };
        RgbImage::from_raw(width as u32, height as u32, tensor.data().to_vec()).unwrap()
    }

    fn floats(tensor: &TensorView) -> Vec<f32> {
        tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// `painted` of golden/parity/generate.py, which the pictures of the model's fixtures are.
    fn painted(width: i64, height: i64, seed: i64) -> RgbImage {
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let (x, y) = (i64::from(x), i64::from(y));
            let inside = (x - width / 2).abs() * 3 < width && (y - height / 3).abs() * 4 < height;
            let green = (3 * x * x + x * y + 2 * y * y) / (2 + seed) % 256;
            image::Rgb(if inside {
                [(250 - 7 * seed) as u8, (10 + 5 * seed) as u8, 128]
            } else {
                [(x * 255 / (width - 1)) as u8, green as u8, (y * 255 / (height - 1)) as u8]
            })
        })
    }

    #[test]
    fn sizes_are_those_of_the_reference() {
        let file: Value = json("processor/smart_resize.json");
        let cases = file["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 40);
        for case in cases {
            let p = within(number(&case["min_pixels"]), number(&case["max_pixels"]));
            let size = p.smart_resize(number(&case["height"]), number(&case["width"]));
            match case.get("resized_hw") {
                Some(expected) => {
                    let (height, width) = size.unwrap();
                    assert_eq!(vec![height, width], numbers(expected), "{case}");
                }
                None => assert!(size.is_err(), "{case}"),
            }
        }
    }

    #[test]
    fn sizes_are_multiples_of_a_token_within_the_bounds() {
        let p = processor();
        assert_eq!(p.smart_resize(112, 112).unwrap(), (112, 112));
        assert_eq!(p.smart_resize(64, 64).unwrap(), (112, 112));
        let (h, w) = p.smart_resize(3000, 1000).unwrap();
        assert!(h % 28 == 0 && w % 28 == 0 && h * w <= p.max_pixels && h > 2 * w, "{h} {w}");
        assert!(p.smart_resize(usize::MAX, 1).is_err());
    }

    #[test]
    fn picture_files_become_the_pixels_of_the_reference() {
        let bytes = fs::read(fixture("processor/resized.safetensors")).unwrap();
        let resized = SafeTensors::deserialize(&bytes).unwrap();
        let file: Value = json("processor/processor.json");
        let pictures = file["pictures"].as_array().unwrap();
        assert_eq!(pictures.len(), 14);
        for case in pictures {
            let name = case["file"].as_str().unwrap();
            let path = fixture("processor").join(name);
            let picture = synergy_picture::read(&path).unwrap();
            let (height, width) = (picture.height() as usize, picture.width() as usize);
            assert_eq!(vec![height, width], numbers(&case["size_hw"]), "{name}");
            let p = within(number(&case["min_pixels"]), number(&case["max_pixels"]));
            let (height, width) = p.smart_resize(height, width).unwrap();
            assert_eq!(vec![height, width], numbers(&case["resized_hw"]), "{name}");
            let Patches { grid, .. } = p.patches(&picture).unwrap();
            assert_eq!(vec![grid.t, grid.h, grid.w], numbers(&case["image_grid_thw"]), "{name}");
            if name.ends_with(".png") {
                let found = bicubic(&picture, width, height);
                // Of the reference's two loaders the one that puts RGBA on white is followed.
                let entry = match case["pil_mode"].as_str() {
                    Some("RGBA") => format!("{name} on white"),
                    _ => name.to_owned(),
                };
                assert!(*found == pixels(&resized, &entry), "{entry}: pixels differ");
            }
        }
        let gray16 = synergy_picture::read(&fixture("processor/grey16.png")).unwrap();
        assert_eq!(gray16, pixels(&resized, "grey16.png decoded"));
    }

    #[test]
    fn a_jpeg_differs_by_the_noise_of_its_decoder_alone() {
        // Two decoders may round the inverse cosine transform and the color conversion differently.
        const NOISE_MAX: u8 = 3;
        let bytes = fs::read(fixture("processor/resized.safetensors")).unwrap();
        let resized = SafeTensors::deserialize(&bytes).unwrap();
        let decoded = pixels(&resized, "exif6.jpg decoded");
        let found = synergy_picture::read(&fixture("processor/exif6.jpg")).unwrap();
        let noise = rotate90(&decoded)
            .as_raw()
            .iter()
            .zip(found.as_raw())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(noise <= Some(NOISE_MAX), "{noise:?}");
        for (name, picture) in
            [("exif6.jpg", rotate90(&decoded)), ("exif6.jpg not turned", decoded)]
        {
            let expected = pixels(&resized, name);
            let size = (expected.width() as usize, expected.height() as usize);
            assert!(*bicubic(&picture, size.0, size.1) == expected, "{name}: pixels differ");
        }
    }

    #[test]
    fn patches_are_those_of_the_reference_to_the_bit() {
        let bytes = fs::read(fixture("processor/pixel_values.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let published = within(56 * 56, 28 * 28 * 16384);
        for name in ["rgb_exact.png", "tiny.png"] {
            let picture = synergy_picture::read(&fixture("processor").join(name)).unwrap();
            let patches = published.patches(&picture).unwrap();
            assert_eq!(patches.values, floats(&tensors.tensor(name).unwrap()), "{name}");
        }
        let bytes = fs::read(fixture("pictures.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let grids = &json::<Value>("pictures.json")["grid_thw"];
        for (name, width, height, seed) in [("a", 140, 84, 6), ("b", 56, 56, 0), ("c", 84, 56, 1)] {
            let patches =
                within(784, 28 * 28 * 1280).patches(&painted(width, height, seed)).unwrap();
            assert_eq!(patches.values, floats(&tensors.tensor(name).unwrap()), "{name}");
            let Grid { t, h, w } = patches.grid;
            assert_eq!(vec![t, h, w], numbers(&grids[name]), "{name}");
        }
    }

    #[test]
    fn video_patches_are_those_of_the_reference() {
        // The reference has a class of its own for videos, which folds scaling and normalizing into one
        // step: (level - 255 mean) / (255 std) in 32 bits rounds differently.
        const ROUNDING_MAX: f32 = 1e-6;
        let bytes = fs::read(fixture("pictures.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let frames = [1, 3, 4, 6].map(|seed| painted(56, 56, seed));
        let patches = within(784, 28 * 28 * 1280).video_patches(&frames).unwrap();
        assert_eq!(patches.grid, Grid { t: 2, h: 4, w: 4 });
        assert_eq!(json::<Value>("pictures.json")["grid_thw"]["v"], serde_json::json!([2, 4, 4]));
        let expected = floats(&tensors.tensor("v").unwrap());
        assert_eq!(patches.values.len(), expected.len());
        for (found, expected) in patches.values.iter().zip(&expected) {
            assert!((found - expected).abs() <= ROUNDING_MAX, "{found} {expected}");
        }
    }

    #[test]
    fn a_video_of_odd_length_ends_on_its_last_frame_twice() {
        let p = processor();
        let frames = [1, 2, 3].map(|seed| painted(120, 110, seed));
        let [_, _, last] = &frames;
        let odd = p.video_patches(&frames).unwrap();
        let even = p.video_patches(&[&frames[..], std::slice::from_ref(last)].concat()).unwrap();
        assert_eq!(odd, even);
        assert_eq!(odd.grid.t, 2);
        assert_eq!(odd.values[odd.values.len() / 2..], p.patches(last).unwrap().values);
    }

    #[test]
    fn frames_of_unequal_size_and_empty_videos_are_refused() {
        let p = processor();
        let error = p.video_patches(&[painted(56, 56, 0), painted(56, 84, 0)]).unwrap_err();
        assert!(format!("{error:#}").contains("frame 2 has 56 x 84"), "{error:#}");
        assert!(p.video_patches(&[]).is_err());
        assert!(p.patches(&RgbImage::new(0, 0)).is_err());
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

    #[test]
    fn patches_of_112_pixels_are_those_that_small_models_were_trained_on() {
        // Every level in every channel.
        let picture = RgbImage::from_fn(112, 112, |x, y| {
            let level = (112 * y + x) as u8;
            image::Rgb([level, level.wrapping_add(85), !level])
        });
        let p = processor();
        let patches = p.patches(&picture).unwrap();
        // The formula before exactness was asked for: scaled in 32 bits.
        let mut before = Vec::new();
        for (row, column) in merge_order(Grid { t: 1, h: 8, w: 8 }, 2) {
            for channel in 0..3 {
                for pixel in (0..2 * 14 * 14).map(|i| i % (14 * 14)) {
                    let (x, y) = (14 * column + pixel % 14, 14 * row + pixel / 14);
                    let level = picture.get_pixel(x as u32, y as u32).0[channel];
                    before.push(
                        (f32::from(level) / 255.0 - p.image_mean[channel]) / p.image_std[channel],
                    );
                }
            }
        }
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&patches.values), bits(&before));
    }

    #[test]
    fn the_kept_config_reads_and_writes_as_it_was() {
        let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/base/small"));
        let config = ProcessorConfig::read(dir).unwrap();
        assert_eq!(config, processor());
        let text = fs::read_to_string(dir.join("preprocessor_config.json")).unwrap();
        assert_eq!(config.to_json(), text);
    }

    #[test]
    fn a_processor_is_also_found_inside_processor_config() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("processor_config.json");
        let text = serde_json::json!({
            "image_processor": serde_json::to_value(processor()).unwrap(),
            "processor_class": "Qwen2_5_VLProcessor",
        });
        fs::write(path, text.to_string()).unwrap();
        assert_eq!(ProcessorConfig::read(folder.path()).unwrap(), processor());
    }

    #[test]
    fn an_unusable_config_is_one_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preprocessor_config.json");
        for (text, cause) in [
            (None, "failed to read"),
            (Some("{"), "not a whole JSON object"),
            (Some("[]"), "not a whole JSON object"),
            (Some(r#"{"do_resize": false}"#), "`do_resize` `false` is not implemented"),
        ] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let error = synergy_hint::text(&ProcessorConfig::read(folder.path()).unwrap_err());
            assert!(error.contains(cause), "{error}");
            assert!(error.contains("preprocessor_config.json"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn patches_of_frames_depend_on_those_frames_only(
            (width, height) in (100i64..140, 100i64..140),
            seeds in proptest::collection::vec(0i64..20, 1..6),
            other in 20i64..30,
        ) {
            let p = processor();
            let frames: Vec<_> = seeds.iter().map(|seed| painted(width, height, *seed)).collect();
            let alone: Vec<Patches> = frames.iter().map(|f| p.patches(f).unwrap()).collect();
            // Another order, with another picture in between, and each picture from a copy.
            for (frame, before) in frames.iter().zip(&alone).rev() {
                p.patches(&painted(height, width, other)).unwrap();
                prop_assert_eq!(&p.patches(&frame.clone()).unwrap(), before);
            }
            // In a video each pair of frames is what it is by itself.
            let video = p.video_patches(&frames).unwrap();
            let size = video.values.len() / video.grid.t;
            for (pair, values) in frames.chunks(2).zip(video.values.chunks(size)) {
                prop_assert_eq!(&p.video_patches(pair).unwrap().values[..], values);
            }
        }

        #[test]
        fn patches_hold_every_pixel_once_per_frame(seed in 0i64..20) {
            let p = processor();
            let picture = painted(140, 112, seed);
            let tables = p.tables();
            let mut expected: Vec<f32> = picture
                .pixels()
                .flat_map(|pixel| [0, 1, 2].map(|c| tables[c][usize::from(pixel.0[c])]))
                .flat_map(|value| [value; 2])
                .collect();
            let mut found = p.patches(&picture).unwrap().values;
            expected.sort_by(f32::total_cmp);
            found.sort_by(f32::total_cmp);
            prop_assert_eq!(found, expected);
        }
    }
}
