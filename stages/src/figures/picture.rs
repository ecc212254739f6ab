//! An SVG document as pixels, with the embedded font and none of the machine's.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::font;

/// Pixels an inch in print.
const DPI: f32 = 300.0;
/// What SVG calls an inch.
const SVG_DPI: f32 = 96.0;
/// Larger drawings get fewer pixels an inch: 160 MB of them are enough.
const PIXELS_MAX: f32 = 4e7;

static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    for bytes in [font::REGULAR, font::BOLD, font::ITALIC] {
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(bytes)));
    }
    fonts.set_sans_serif_family(font::FAMILY);
    Arc::new(fonts)
});

/// The drawing as a PNG of 300 pixels an inch.
///
/// # Errors
/// When the text is no SVG, or too large to hold.
pub(super) fn png(svg: &str) -> Result<Vec<u8>, String> {
    let options = Options { font_family: font::FAMILY.to_owned(), fontdb: Arc::clone(&FONTS), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| format!("the drawing is no SVG: {e}"))?;
    let (width, height) = (tree.size().width(), tree.size().height());
    let scale = (DPI / SVG_DPI).min((PIXELS_MAX / (width * height)).sqrt());
    let (columns, rows) = ((width * scale).round() as u32, (height * scale).round() as u32);
    let mut pixels =
        Pixmap::new(columns, rows).ok_or_else(|| format!("a picture of {columns} x {rows} pixels cannot be drawn"))?;
    // The ground of the drawing may end inside the last pixel.
    pixels.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| format!("writing PNG: {e}"))
}
