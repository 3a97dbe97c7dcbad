//! Picture files in memory, as they are sent to an endpoint or written into an export.
//!
//! Does not know what they are for.

use std::io::Cursor;

use anyhow::{Context as _, Result};
use image::ImageFormat;
use synergy_benchmarks::sample::ImageSource;
use synergy_hint::{Explain as _, hint};

/// A picture file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// For example `image/png`.
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
}

/// Encodes a picture as a file in memory: the owner's bytes if they are PNG or JPEG, else drawn as PNG.
///
/// # Errors
/// If the picture cannot be read.
pub fn picture(source: &ImageSource) -> Result<Picture> {
    let bytes = match source {
        ImageSource::Scene(_) | ImageSource::Grids(_) => None,
        ImageSource::File(path) => Some(std::fs::read(path).explain(|| {
            hint!(("failed to read picture `{}`", path.display()), "fetch the data again")
        })?),
        ImageSource::Cell(cell) => {
            Some(cell.bytes().with_context(|| format!("failed to read {}", cell.place))?)
        }
    };
    let known = bytes.and_then(|bytes| match image::guess_format(&bytes).ok()? {
        ImageFormat::Png => Some(Picture { media_type: "image/png", bytes }),
        ImageFormat::Jpeg => Some(Picture { media_type: "image/jpeg", bytes }),
        _ => None,
    });
    if let Some(picture) = known {
        return Ok(picture);
    }
    let mut bytes = Vec::new();
    let picture = source.load()?;
    picture
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .context("failed to encode a picture as PNG")?;
    Ok(Picture { media_type: "image/png", bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_benchmarks::families::{Family, Split};
    use synergy_benchmarks::sample::Sample;

    #[test]
    fn a_picture_is_sent_as_it_was_found_or_as_png() {
        let sample = Sample::procedural(Family::Path, 1, Split::Test, 0, 1..=1);
        let drawn = picture(&sample.images[0]).unwrap();
        assert_eq!(drawn.media_type, "image/png");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        std::fs::write(&path, &drawn.bytes).unwrap();
        assert_eq!(picture(&ImageSource::File(path)).unwrap(), drawn);
        let error = picture(&ImageSource::File(dir.path().join("none.png"))).unwrap_err();
        assert!(error.to_string().starts_with("failed to read picture `"));
    }
}
