//! JPEG and PNG bytes to pixels. A file that was cut off is an error, never a half-grey image.
//!
//! JPEG is decoded by the scalar integer code of `zune-jpeg` in its strict mode: the vector code is chosen by the
//! machine, and bytes must not be. Knows nothing of files, classes or data sets.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Most pixels a side; a data set of larger images is a mistake, or an attack by one small file.
const MAX_SIDE: u32 = 8192;

/// 8-bit pixels, row-major, channels innermost (1 or 3).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub bytes: Vec<u8>,
}

impl Picture {
    /// The pixels as [channels, H, W]: grey is repeated, colour is weighted by ITU-R BT.601 (as in PIL's `L`).
    pub(super) fn planes(&self, channels: usize) -> Vec<u8> {
        let pixels = self.bytes.chunks_exact(self.channels);
        match (self.channels, channels) {
            (1, _) => self.bytes.repeat(channels),
            (_, 1) => pixels.map(|rgb| luma([rgb[0], rgb[1], rgb[2]])).collect(),
            _ => (0..channels).flat_map(|channel| pixels.clone().map(move |rgb| rgb[channel])).collect(),
        }
    }
}

fn luma([red, green, blue]: [u8; 3]) -> u8 {
    // Weights of 299, 587 and 114 thousandths in 16-bit fixed point, rounded; they add up to 65536.
    ((19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000) >> 16) as u8
}

/// Decodes a JPEG or PNG, told by its first bytes.
///
/// A JPEG has no checksum: damage that leaves as many valid codes as there are blocks gives wrong pixels.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    match bytes {
        [] => Err("the file is empty".to_owned()),
        [0xff, 0xd8, ..] => decode_jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
        _ => Err("neither a JPEG nor a PNG".to_owned()),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    super::jpeg::check(bytes).map_err(|problem| format!("corrupt JPEG: {problem}"))?;
    let corrupt = |e: zune_jpeg::errors::DecodeErrors| format!("corrupt JPEG: {e}");
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_use_unsafe(false)
        .set_max_width(MAX_SIDE as usize)
        .set_max_height(MAX_SIDE as usize);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(corrupt)?;
    let channels = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => 1,
        Some(ColorSpace::YCbCr | ColorSpace::RGB) => 3,
        other => return Err(format!("a JPEG in the colour space {other:?}; grey or RGB was expected")),
    };
    let output = if channels == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let pixels = decoder.decode().map_err(corrupt)?;
    let (width, height) = decoder.dimensions().ok_or("corrupt JPEG: no size")?;
    if pixels.len() != width * height * channels {
        return Err(format!("corrupt JPEG: {} bytes for {height} x {width} x {channels}", pixels.len()));
    }
    Ok(Picture { height, width, channels, bytes: pixels })
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| format!("corrupt PNG: {e}"))?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let grey = matches!(
        image,
        DynamicImage::ImageLuma8(_)
            | DynamicImage::ImageLumaA8(_)
            | DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
    );
    // An alpha channel is dropped.
    let (channels, bytes) = if grey { (1, image.into_luma8().into_raw()) } else { (3, image.into_rgb8().into_raw()) };
    Ok(Picture { height, width, channels, bytes })
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    /// A colourful gradient: no two neighbouring blocks are equal.
    fn gradient(height: usize, width: usize) -> Vec<u8> {
        (0..height * width).flat_map(|i| [(i * 7 % 256) as u8, (i / 3 % 256) as u8, (255 - i % 256) as u8]).collect()
    }

    fn jpeg(height: usize, width: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90)
            .write_image(&gradient(height, width), width as u32, height as u32, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    fn png(bytes: &[u8], height: usize, width: usize, color: ExtendedColorType) -> Vec<u8> {
        let mut out = Vec::new();
        image::codecs::png::PngEncoder::new(&mut out).write_image(bytes, width as u32, height as u32, color).unwrap();
        out
    }

    #[test]
    fn a_png_gives_its_exact_pixels() {
        let pixels = gradient(5, 9);
        let picture = decode(&png(&pixels, 5, 9, ExtendedColorType::Rgb8)).unwrap();
        assert_eq!(picture, Picture { height: 5, width: 9, channels: 3, bytes: pixels });
    }

    #[test]
    fn planes_put_channels_outermost_and_weigh_colours_for_grey() {
        let picture = Picture { height: 1, width: 2, channels: 3, bytes: vec![255, 0, 0, 10, 20, 30] };
        assert_eq!(picture.planes(3), [255, 10, 0, 20, 0, 30]);
        // 0.299 * 255 = 76.2; 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15.
        assert_eq!(picture.planes(1), [76, 18]);
        let grey = Picture { height: 1, width: 2, channels: 1, bytes: vec![4, 5] };
        assert_eq!(grey.planes(3), [4, 5, 4, 5, 4, 5]);
    }

    #[test]
    fn a_jpeg_is_close_to_what_was_encoded() {
        let flat = vec![200_u8; 32 * 32];
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95).write_image(&flat, 32, 32, ExtendedColorType::L8).unwrap();
        let picture = decode(&bytes).unwrap();
        assert_eq!((picture.height, picture.width, picture.channels), (32, 32, 1));
        assert!(picture.bytes.iter().all(|&value| value.abs_diff(200) <= 2));
    }

    #[test]
    fn a_jpeg_or_png_cut_off_at_any_byte_is_refused() {
        for whole in [jpeg(16, 24), png(&gradient(16, 24), 16, 24, ExtendedColorType::Rgb8)] {
            assert!(decode(&whole).is_ok());
            // The last chunk of a PNG (12 bytes) carries nothing that the decoder waits for.
            let shortest_accepted = (0..whole.len()).find(|&length| decode(&whole[..length]).is_ok());
            assert!(shortest_accepted.is_none_or(|length| whole[0] == 0x89 && length + 12 >= whole.len()));
        }
    }

    #[test]
    fn a_jpeg_that_ends_properly_but_lacks_data_is_refused() {
        let whole = jpeg(48, 32);
        for missing in 20..whole.len() / 2 {
            let mut bytes = whole[..whole.len() - 2 - missing].to_vec();
            bytes.extend([0xff, 0xd9]);
            assert!(decode(&bytes).is_err_and(|e| e.contains("corrupt JPEG")), "{missing} bytes are missing");
        }
    }

    #[test]
    fn a_jpeg_overwritten_with_zeros_or_with_more_data_than_blocks_is_refused() {
        let whole = jpeg(48, 32);
        let mut zeros = whole.clone();
        zeros[whole.len() / 2..whole.len() / 2 + 300].fill(0);
        assert!(decode(&zeros).unwrap_err().contains("damaged data"));
        let mut longer = whole[..whole.len() - 2].to_vec();
        longer.extend([0x55, 0x55, 0xff, 0xd9]);
        assert!(decode(&longer).unwrap_err().contains("more follows after the last block"));
    }

    #[test]
    fn entropy_data_overwritten_by_a_marker_is_refused() {
        let mut bytes = jpeg(32, 32);
        let middle = bytes.len() / 2 + 100;
        bytes[middle..middle + 2].copy_from_slice(&[0xff, 0xc4]);
        assert!(decode(&bytes).unwrap_err().contains("corrupt JPEG"));
    }

    #[test]
    fn empty_and_foreign_files_are_named_as_such() {
        assert_eq!(decode(b"").unwrap_err(), "the file is empty");
        assert_eq!(decode(b"GIF89a").unwrap_err(), "neither a JPEG nor a PNG");
    }
}
