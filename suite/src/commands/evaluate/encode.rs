//! Pictures in memory: the bytes that tell them apart, and the files that an endpoint gets.
//!
//! Does not know what they are for. An endpoint gets every picture as the engine here would see it, since servers treat
//! transparency, orientation and 16-bit gray each in their own way.

use anyhow::{Context as _, Result};
use image::RgbImage;
use synergy_benchmarks::sample::ImageSource;

/// Returns bytes that differ where pictures do: those of the owner's file, or those of the drawn picture.
///
/// # Errors
/// If the picture cannot be read.
pub fn bytes(source: &ImageSource) -> Result<Vec<u8>> {
    let read = match source {
        ImageSource::Scene(_) | ImageSource::Grids(_) => {
            return synergy_picture::to_png(&source.load()?);
        }
        ImageSource::File(path) => synergy_picture::bytes(path),
        ImageSource::Cell(cell) => cell.bytes(),
    };
    read.with_context(|| format!("failed to read {source}"))
}

/// Decodes what [`bytes`] has read of `source`, as the engine here sees it.
///
/// # Errors
/// If it is no picture that is accepted; the error names the picture.
pub fn decoded(source: &ImageSource, bytes: &[u8]) -> Result<RgbImage> {
    synergy_picture::decode(bytes).with_context(|| format!("failed to read {source}"))
}

/// Returns the PNG of what [`bytes`] has read of `source`, as the engine here sees it: upright, without alpha, 8 bits for
/// each color.
///
/// # Errors
/// See [`decoded`].
pub fn png(source: &ImageSource, bytes: &[u8]) -> Result<Vec<u8>> {
    synergy_picture::to_png(&decoded(source, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgba, RgbaImage};
    use synergy_benchmarks::families::{Family, Split};
    use synergy_benchmarks::sample::Sample;

    #[test]
    fn a_picture_is_sent_as_the_engine_here_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let clear = |x: u32, _| Rgba([10, 200, 30, if x < 2 { 0 } else { 255 }]);
        RgbaImage::from_fn(4, 3, clear).save(&path).unwrap();
        let source = ImageSource::File(path.clone());
        assert_eq!(bytes(&source).unwrap(), std::fs::read(&path).unwrap());
        let sent = png(&source, &bytes(&source).unwrap()).unwrap();
        let sent = image::load_from_memory_with_format(&sent, ImageFormat::Png);
        let sent = sent.unwrap();
        assert!(!sent.color().has_alpha());
        assert_eq!(sent.into_rgb8(), source.load().unwrap());
    }

    #[test]
    fn a_drawn_picture_is_told_by_its_pixels_and_a_missing_file_is_an_error() {
        let sample = |seed| Sample::procedural(Family::Path, seed, Split::Test, 0, 1..=1);
        let of = |seed| bytes(&sample(seed).images[0]).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let error = bytes(&ImageSource::File("none.png".into())).unwrap_err();
        assert!(error.to_string().starts_with("failed to read picture `none.png`"));
    }
}
