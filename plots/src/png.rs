//! SVG to PNG with the one bundled font.
//!
//! No system fonts are read: the same drawing gives the same pixels on every machine.

use crate::PlotError;
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree};

const FONT: &[u8] = include_bytes!("fonts/DejaVuSans-subset.ttf");
const FAMILY: &str = "DejaVu Sans";

/// More pixels than this on a side are refused.
const LARGEST: f32 = 20_000.0;

/// Renders an SVG document on white. At `scale` 1 a figure has 96 pixels an inch, so 3 is about
/// right for print.
///
/// # Errors
/// If the document is no SVG, or the image would be empty or larger than 20 000 pixels on a side.
pub fn png(svg: &str, scale: f32) -> Result<Vec<u8>, PlotError> {
    let mut options = Options {
        font_family: FAMILY.to_owned(),
        ..Options::default()
    };
    let fonts = options.fontdb_mut();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    let tree = Tree::from_str(svg, &options)?;
    let width = (tree.size().width() * scale).ceil();
    let height = (tree.size().height() * scale).ceil();
    let refused = PlotError::Size { width, height };
    let usable = |length: f32| (1.0..=LARGEST).contains(&length);
    if !usable(width) || !usable(height) {
        return Err(refused);
    }
    let mut image = Pixmap::new(width as u32, height as u32).ok_or(refused)?;
    image.fill(Color::WHITE);
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut image.as_mut(),
    );
    image
        .encode_png()
        .map_err(|error| PlotError::Encode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='30mm' height='10mm' \
        viewBox='0 0 300 100'><text x='10' y='60' font-size='60' \
        font-family='DejaVu Sans, Verdana, sans-serif'>µ 20 ms</text></svg>";

    #[test]
    fn text_leaves_ink_without_any_system_font() {
        let bytes = png(WORDS, 2.0).unwrap();
        let image = Pixmap::decode_png(&bytes).unwrap();
        // 30 mm at 96 px an inch are 113.4 px, twice that is 226.8.
        assert_eq!((image.width(), image.height()), (227, 76));
        let dark = image
            .pixels()
            .iter()
            .filter(|pixel| pixel.red() < 128)
            .count();
        assert!(dark > 200, "{dark} dark pixels");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(png("no svg", 1.0), Err(PlotError::Svg(_))));
        assert!(matches!(png(WORDS, 0.0), Err(PlotError::Size { .. })));
        assert!(matches!(png(WORDS, f32::NAN), Err(PlotError::Size { .. })));
    }
}
