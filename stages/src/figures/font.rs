//! The embedded font: Arimo, whose letters are as wide as those of Arial, Helvetica and Liberation Sans.
//!
//! Under the SIL Open Font License 1.1, which lies beside the files in `stages/fonts` with what was left out of them.

use std::sync::LazyLock;

use skrifa::instance::{LocationRef, Size};
use skrifa::{FontRef, MetadataProvider};

pub(super) const REGULAR: &[u8] = include_bytes!("../../fonts/Arimo-Regular.ttf");
pub(super) const BOLD: &[u8] = include_bytes!("../../fonts/Arimo-Bold.ttf");
pub(super) const ITALIC: &[u8] = include_bytes!("../../fonts/Arimo-Italic.ttf");

/// The family's name.
pub(super) const FAMILY: &str = "Arimo";

/// What a letter that the font lacks is taken to measure, in parts of the size.
const UNKNOWN: f64 = 1.0;

static FACES: LazyLock<[FontRef<'static>; 2]> =
    LazyLock::new(|| [REGULAR, BOLD].map(|bytes| FontRef::new(bytes).expect("the embedded font is whole")));

/// How wide `text` is at size 1.
pub(super) fn width(text: &str, bold: bool) -> f64 {
    let face = &FACES[usize::from(bold)];
    let (letters, metrics) = (face.charmap(), face.glyph_metrics(Size::new(1.0), LocationRef::default()));
    let advance = |c: char| letters.map(c).and_then(|glyph| metrics.advance_width(glyph)).map_or(UNKNOWN, f64::from);
    text.chars().map(advance).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_arial() {
        // Arial has 2048 units: digits measure 1139, W 1933, i 455; in bold a is 1139.
        for (text, bold, units) in
            [("0", false, 1139.0), ("W", false, 1933.0), ("ii", false, 910.0), ("a", true, 1139.0)]
        {
            assert!((width(text, bold) - units / 2048.0).abs() < 1e-3, "{text}: {}", width(text, bold));
        }
        assert!((width("字", false) - UNKNOWN).abs() < 1e-9);
    }

    #[test]
    fn every_sign_that_figures_print_is_in_the_font() {
        for bytes in [REGULAR, BOLD, ITALIC] {
            let letters = FontRef::new(bytes).unwrap().charmap();
            let missing: String =
                "AZaz09_-.,;:()%/=<>[]é±×ε−–…≥".chars().filter(|c| letters.map(*c).is_none()).collect();
            assert_eq!(missing, "");
        }
    }
}
