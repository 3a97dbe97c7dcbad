//! Picture files to 8-bit RGB: the one decoder, which evaluation, training, `chat` and `inspect` share.
//!
//! Does not know models or sizes they want, nor which question a picture belongs to. What is done to a file, in order:
//! 1. The header is checked against limits before memory is taken.
//! 2. Every channel becomes one of 8 bits: 1, 2 and 4-bit gray is stretched to 0..=255; of 16-bit color the high byte
//!    counts, but 16-bit gray is clipped at 255, which is what Pillow's `convert("RGB")` does to it.
//! 3. RGBA is put on white. Any other transparency is dropped, and a transparent pixel keeps the color stored under it:
//!    gray with alpha, palettes with transparent colors, one transparent color.
//! 4. The picture is turned as its EXIF orientation says.
//!
//! Decisions:
//! - The peers do not agree on alpha. `qwen-vl-utils` (the published model's own loader, which verl calls) and vLLM put RGBA
//!   on white; `load_image` of transformers, SGLang, EasyR1, LLaMA-Factory and the tables of VLMEvalKit drop alpha, and so
//!   turn a drawing in black on nothing into a black picture. White is put where both `qwen-vl-utils` and vLLM put it;
//!   since June 2026 vLLM alone (#44974) puts any other transparency on white too.
//! - EXIF: transformers turns and so does vLLM since then, `qwen-vl-utils` and SGLang do not. A person who wrote or
//!   reads a question sees the picture turned, so it is turned.
//! - A JPEG that is cut short is refused, as by Pillow; its decoder here would paint what is missing gray.
//! - Color profiles and gamma are ignored, as by the peers. An orientation that stands only in XMP is ignored
//!   too, which Pillow would follow.
//! - Only the two decoders that are named here are called, so that a picture is the same whichever formats of the
//!   crate `image` another part of a build switches on.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use synergy_hint::hint;

/// The largest number of pixels of a picture: Pillow warns of decompression bombs from there on.
const PIXELS_MAX: u64 = 89_478_485;

/// The longest side, in pixels.
const SIDE_MAX: u32 = 32_768;

/// The largest size of a decoded picture and of a file, in bytes.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Types of color in the header of a PNG.
const GRAY: u8 = 0;
const RGB: u8 = 2;
const RGBA: u8 = 6;

/// Reads the picture in the file `path`, as RGB.
///
/// # Errors
/// If the file cannot be read; see also [`decode`]. The error names the file.
pub fn read(path: &Path) -> Result<RgbImage> {
    let picture = bytes(path).and_then(|bytes| decode(&bytes));
    picture.with_context(|| format!("failed to read picture `{}`", path.display()))
}

/// Encodes `picture` as a PNG file in memory: upright, 8-bit RGB, without alpha, so that whoever decodes it sees what
/// was decoded here.
///
/// # Errors
/// If the picture has no pixels.
pub fn to_png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png);
    written.context("failed to encode a picture as PNG")?;
    Ok(bytes)
}

/// Reads a picture file, still encoded. The error does not name it.
///
/// # Errors
/// If the file cannot be read, or is larger than any picture.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let open = || -> std::io::Result<(File, u64)> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let unreadable = |error| anyhow!(hint!("{error}", "check the path and its permissions"));
    let (file, length) = open().map_err(unreadable)?;
    ensure!(
        length <= BYTES_MAX,
        hint!(
            "{length} bytes are too many, the limit is {BYTES_MAX}",
            "check that it is a picture"
        )
    );
    let mut bytes = Vec::new();
    // What is no regular file has no length and may never end.
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Decodes `bytes`, a PNG or a JPEG, to RGB. The error does not name the picture, which only the caller knows.
///
/// # Errors
/// If `bytes` are not such a picture, are damaged or cut short, or the picture is larger than the limits.
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        Ok(format) => bail!(hint!("{format:?} pictures are not supported", "convert it to PNG")),
        Err(_) => bail!(hint!("the content is not a picture", "pictures are PNG or JPEG files")),
    };
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    let num_pixels = u64::from(width) * u64::from(height);
    ensure!(
        num_pixels <= PIXELS_MAX && decoder.total_bytes() <= BYTES_MAX,
        hint!(
            "{width} x {height} pixels are too many, the limit is {PIXELS_MAX} pixels and {BYTES_MAX} \
         bytes",
            "shrink the picture first"
        )
    );
    let orientation = match format {
        ImageFormat::Png => png_orientation(bytes),
        _ => decoder.orientation().map_err(explain)?,
    };
    // The decoder would paint what is missing gray; Pillow refuses.
    ensure!(
        format == ImageFormat::Png || jpeg_has_an_end(bytes),
        hint!("the file is cut short", "copy or download it again")
    );
    let decoded = DynamicImage::from_decoder(decoder).map_err(explain)?;
    // Bit depth and color type of the header, which always comes first.
    let (depth, color) = match bytes.get(24..26) {
        Some(&[depth, color]) if format == ImageFormat::Png => (depth, color),
        _ => (8, RGB),
    };
    let picture = to_rgb(decoded, depth == 16 && color == GRAY, color == RGBA)?;
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Makes the cause and a hint of an error of the decoder.
fn explain(error: ImageError) -> anyhow::Error {
    match error {
        ImageError::Limits(_) => anyhow!(hint!(
            "more than {SIDE_MAX} pixels on a side or {BYTES_MAX} bytes to decode",
            "shrink the picture first"
        )),
        error => {
            anyhow!(hint!(("{}", error.to_string().replace('\n', " ")), "copy or export it again"))
        }
    }
}

/// Converts every channel to 8 bits and takes alpha away. `is_gray16` says that the file holds 16-bit gray, perhaps
/// with a transparent level, for which the decoder adds an alpha channel; `on_white` that alpha is the file's own.
fn to_rgb(picture: DynamicImage, is_gray16: bool, on_white: bool) -> Result<RgbImage> {
    let (width, height) = (picture.width(), picture.height());
    let high = |value: u16| (value >> 8) as u8;
    let gray = |value: u16| if is_gray16 { value.min(255) as u8 } else { high(value) };
    let flat = |[r, g, b, a]: [u8; 4]| {
        let over = |level| if on_white { over_white(level, a) } else { level };
        [r, g, b].map(over)
    };
    let pixels: Vec<u8> = match picture {
        DynamicImage::ImageRgb8(picture) => return Ok(picture),
        DynamicImage::ImageLuma8(picture) => picture.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageLumaA8(picture) => picture.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageRgba8(picture) => picture.pixels().flat_map(|p| flat(p.0)).collect(),
        DynamicImage::ImageLuma16(picture) => {
            picture.pixels().flat_map(|p| [gray(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageLumaA16(picture) => {
            picture.pixels().flat_map(|p| [gray(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(picture) => picture.pixels().flat_map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(picture) => {
            picture.pixels().flat_map(|p| flat(p.0.map(high))).collect()
        }
        other => bail!(hint!(
            ("pixels of type {:?} are not supported", other.color()),
            "convert it to PNG with 8 bits a channel"
        )),
    };
    RgbImage::from_raw(width, height, pixels).context("fewer pixels than the header says")
}

/// Mixes a level with white by its alpha, in the integers with which Pillow pastes under a mask: the quotient by 255,
/// rounded to the nearest.
fn over_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let sum = 255 * (255 - alpha) + level * alpha + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

/// Finds the orientation in the `eXIf` chunk of `png`. The decoder finds it before the pixels only, but it
/// may come after them.
fn png_orientation(png: &[u8]) -> Orientation {
    let mut rest = png.get(8..).unwrap_or_default();
    while let Some((header, tail)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(data) = tail.get(..length) else { break };
        if kind == *b"eXIf" {
            return Orientation::from_exif_chunk(data).unwrap_or(Orientation::NoTransforms);
        }
        // Four bytes of checksum follow.
        rest = tail.get(length + 4..).unwrap_or_default();
    }
    Orientation::NoTransforms
}

/// Returns whether the first picture of `jpeg` has its end marker. Segments are skipped by their length, since
/// a thumbnail inside one has an end of its own; in compressed data a marker cannot occur by chance.
fn jpeg_has_an_end(jpeg: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[marker, kind]) = jpeg.get(at..at + 2) {
        at += match (marker, kind) {
            (0xFF, 0xD9) => return true,
            // Stuffing, markers without a body and fill bytes.
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => 2,
            (0xFF, kind) if kind != 0xFF => match jpeg.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
            _ => 1,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    use super::*;

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(9 * x) as u8, (13 * y) as u8, 77]))
    }

    fn picture_of(color: [u8; 3]) -> RgbImage {
        RgbImage::from_pixel(3, 2, Rgb(color))
    }

    fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn png(picture: RgbImage) -> Vec<u8> {
        encode(&DynamicImage::ImageRgb8(picture), ImageFormat::Png)
    }

    fn jpeg() -> Vec<u8> {
        encode(&DynamicImage::ImageRgb8(picture(40, 30)), ImageFormat::Jpeg)
    }

    /// A chunk of a PNG with its checksum.
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let body = [&kind[..], data].concat();
        let crc = body.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
            })
        });
        [&(data.len() as u32).to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
    }

    /// `png` with its header's size, depth and color type changed.
    fn relabeled(png: &[u8], width: u32, height: u32, depth: u8, color: u8) -> Vec<u8> {
        let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let header = chunk(b"IHDR", &[&sizes[..], &[depth, color, 0, 0, 0]].concat());
        [&png[..8], &header, &png[33..]].concat()
    }

    /// `png` with `chunk` right behind the header, or before the end.
    fn with_chunk(png: &[u8], chunk: &[u8], late: bool) -> Vec<u8> {
        let at = if late { png.len() - 12 } else { 33 };
        [&png[..at], chunk, &png[at..]].concat()
    }

    /// EXIF that holds nothing but `orientation`.
    fn exif(orientation: u8) -> Vec<u8> {
        let entry = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
        [&b"MM\0\x2A\0\0\0\x08\0\x01"[..], &entry, &[0; 4]].concat()
    }

    /// `jpeg` with EXIF and a thumbnail.
    fn with_exif(jpeg: &[u8], orientation: u8, thumbnail: &[u8]) -> Vec<u8> {
        let body = [b"Exif\0\0", &exif(orientation)[..], thumbnail].concat();
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &body, &jpeg[2..]].concat()
    }

    fn first(bytes: &[u8]) -> [u8; 3] {
        decode(bytes).unwrap().get_pixel(0, 0).0
    }

    #[track_caller]
    fn refused(bytes: &[u8], cause: &str) {
        let result = decode(bytes).map(|picture| picture.dimensions());
        let error = synergy_hint::text(&result.unwrap_err());
        let lines: Vec<_> = error.lines().collect();
        let [line, hint] = lines[..] else { panic!("{error}") };
        assert!(line.contains(cause) && hint.starts_with("hint: "), "{error}");
    }

    #[test]
    fn color_with_alpha_is_put_on_white() {
        let pixel = |color| {
            let picture = DynamicImage::ImageRgba8(ImageBuffer::from_pixel(3, 2, Rgba(color)));
            first(&encode(&picture, ImageFormat::Png))
        };
        assert_eq!(pixel([1, 200, 30, 255]), [1, 200, 30]);
        assert_eq!(pixel([1, 200, 30, 0]), [255; 3]);
        // 255 x (255 - 128) + level x 128, over 255: 127.5 is 128, 227.39 and 142.06.
        assert_eq!(pixel([1, 200, 30, 128]), [128, 227, 142]);
        let deep = Rgba([0x01FF, 0xC8FF, 0x1EFF, 0x80FF]);
        let picture = DynamicImage::ImageRgba16(ImageBuffer::from_pixel(3, 2, deep));
        assert_eq!(first(&encode(&picture, ImageFormat::Png)), [128, 227, 142]);
    }

    #[test]
    fn mixing_with_white_is_the_quotient_rounded_to_the_nearest() {
        for (level, alpha) in (0..=255_u8).flat_map(|level| (0..=255).map(move |a| (level, a))) {
            let (l, a) = (f64::from(level), f64::from(alpha));
            let want = (255.0 * (255.0 - a) + l * a) / 255.0;
            assert_eq!(over_white(level, alpha), want.round() as u8, "{level} {alpha}");
        }
    }

    #[test]
    fn other_transparency_is_dropped_and_the_color_under_it_stays() {
        let picture = DynamicImage::ImageLumaA8(ImageBuffer::from_pixel(3, 2, LumaA([90, 3])));
        assert_eq!(first(&encode(&picture, ImageFormat::Png)), [90; 3]);
        // One transparent color, for which the decoder adds alpha.
        let color = picture_of([1, 200, 30]);
        let transparent = chunk(b"tRNS", &[0, 1, 0, 200, 0, 30]);
        assert_eq!(first(&with_chunk(&png(color), &transparent, false)), [1, 200, 30]);
    }

    #[test]
    fn what_is_encoded_is_seen_again_as_it_was() {
        let bytes = to_png(&picture(7, 4)).unwrap();
        assert_eq!(decode(&bytes).unwrap(), picture(7, 4));
        // Depth and type of color.
        assert_eq!(bytes[24..26], [8, RGB]);
        assert!(to_png(&RgbImage::new(0, 3)).is_err());
    }

    #[test]
    fn of_16_bits_gray_is_clipped_and_color_cut() {
        let png = |picture| encode(&picture, ImageFormat::Png);
        let gray = |level| DynamicImage::ImageLuma16(ImageBuffer::from_pixel(3, 2, Luma([level])));
        assert_eq!(first(&png(gray(200))), [200; 3]);
        assert_eq!(first(&png(gray(256))), [255; 3]);
        // A transparent level makes the decoder add alpha; the gray is still clipped.
        let transparent = chunk(b"tRNS", &[0, 1]);
        assert_eq!(first(&with_chunk(&png(gray(256)), &transparent, false)), [255; 3]);
        let pixel = LumaA([0x12FF, 7]);
        let picture = DynamicImage::ImageLumaA16(ImageBuffer::from_pixel(3, 2, pixel));
        assert_eq!(first(&png(picture)), [0x12; 3]);
        let pixel = Rgb([0x01FF, 0x80, 0xFFFF]);
        let picture = DynamicImage::ImageRgb16(ImageBuffer::from_pixel(3, 2, pixel));
        assert_eq!(first(&png(picture)), [1, 0, 255]);
    }

    #[test]
    fn gray_of_few_bits_is_stretched() {
        // One row of two bytes: the filter's number and the pixels, in a deflate block as they are.
        for (depth, packed, expected) in [(1, 0x80, 255), (2, 0x40, 85), (4, 0x90, 153)] {
            let pixels =
                [0x78, 0x01, 0x01, 2, 0, 0xFD, 0xFF, 0, packed, 0, packed + 2, 0, packed + 1];
            let file = png(picture(1, 1));
            let bytes = [&file[..33], &chunk(b"IDAT", &pixels), &chunk(b"IEND", &[])].concat();
            assert_eq!(first(&relabeled(&bytes, 1, 1, depth, 0)), [expected; 3], "{depth} bits");
        }
    }

    #[test]
    fn pictures_are_turned_as_exif_says_wherever_it_stands() {
        let upright = picture(7, 4);
        let turned = [
            upright.clone(),
            flip_horizontal(&upright),
            rotate180(&upright),
            flip_vertical(&upright),
            rotate90(&flip_vertical(&upright)),
            rotate90(&upright),
            rotate90(&flip_horizontal(&upright)),
            rotate270(&upright),
        ];
        let bytes = png(upright.clone());
        for (turned, orientation) in turned.iter().zip(1..) {
            let chunk = chunk(b"eXIf", &exif(orientation));
            for late in [false, true] {
                let found = decode(&with_chunk(&bytes, &chunk, late)).unwrap();
                assert_eq!(found, *turned, "orientation {orientation}, late: {late}");
            }
        }
        for unusable in [exif(0), exif(9), b"MM".to_vec()] {
            let bytes = with_chunk(&bytes, &chunk(b"eXIf", &unusable), false);
            assert_eq!(decode(&bytes).unwrap(), upright);
        }
        let plain = decode(&jpeg()).unwrap();
        let found = decode(&with_exif(&jpeg(), 8, &[])).unwrap();
        assert_eq!(found, rotate270(&plain));
    }

    #[test]
    fn the_content_decides_and_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.jpg");
        fs::write(&path, png(picture(5, 4))).unwrap();
        assert_eq!(read(&path).unwrap(), picture(5, 4));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        refused(b"", "not a picture");
        refused(b"hello, I am no picture at all", "not a picture");
        refused(b"GIF89a\x01\0\x01\0\0\0\0;", "Gif");
    }

    #[test]
    fn a_picture_cut_short_is_refused_at_any_length() {
        let (png, jpeg) = (png(picture(40, 30)), jpeg());
        // The last chunk holds nothing.
        for keep in 8..png.len() - 12 {
            refused(&png[..keep], "");
        }
        // A thumbnail has an end of its own.
        let jpeg = with_exif(&jpeg, 1, &jpeg);
        assert!(decode(&jpeg).is_ok());
        for keep in 3..jpeg.len() {
            refused(&jpeg[..keep], "");
        }
    }

    #[test]
    fn a_damaged_picture_is_an_error_and_never_a_panic() {
        let picture = png(picture(40, 30));
        for at in 8..picture.len() - 12 {
            let mut damaged = picture.clone();
            damaged[at] ^= 0x10;
            refused(&damaged, "");
        }
        for at in 0..jpeg().len() {
            let mut damaged = jpeg();
            damaged[at] ^= 0x10;
            // Compressed pixels have no checksum: some damage is another picture.
            drop(decode(&damaged));
        }
    }

    #[test]
    fn a_picture_bomb_is_refused_by_its_header() {
        let bytes = png(picture(5, 4));
        refused(&relabeled(&bytes, 40_000, 1, 8, 2), "more than 32768 pixels on a side");
        refused(&relabeled(&bytes, 1, 40_000, 8, 2), "more than 32768 pixels on a side");
        refused(&relabeled(&bytes, 10_000, 10_000, 1, 0), "10000 x 10000 pixels");
        refused(&relabeled(&bytes, 9_000, 9_000, 16, 6), "9000 x 9000 pixels");
        let mut bytes = jpeg();
        let frame = bytes.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
        refused(&bytes, "30000 x 30000 pixels");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let huge = folder.path().join("huge.png");
        File::create(&huge).unwrap().set_len(BYTES_MAX + 1).unwrap();
        let absent = folder.path().join("absent.png");
        for (path, cause) in [(&*huge, "bytes are too many"), (folder.path(), ""), (&*absent, "")] {
            let error = synergy_hint::text(&read(path).unwrap_err());
            let (line, hint) = error.split_once('\n').unwrap();
            let name = path.display().to_string();
            assert!(line.contains(&name) && line.contains(cause), "{error}");
            assert!(hint.starts_with("hint: ") && !hint.contains('\n'), "{error}");
        }
    }
}
