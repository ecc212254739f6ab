//! A picture in DOT, the language of Graphviz.

use super::{Picture, State};

/// Fill and border of a box.
const fn colours(state: State) -> (&'static str, &'static str) {
    match state {
        State::Unknown => ("#f6f7f8", "#8a939c"),
        State::Done => ("#d6ecfa", "#0072b2"),
        State::Part => ("#fdebd0", "#b35c00"),
        State::None => ("#ffffff", "#8a939c"),
        State::Fails => ("#fbdada", "#c62828"),
    }
}

/// The picture's text.
#[must_use]
pub fn text(picture: &Picture) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&picture.title));
    text.push_str(
        "  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];\n",
    );
    for (place, shape) in picture.shapes.iter().enumerate() {
        let (fill, border) = colours(picture.state(shape));
        let dashed = if picture.state(shape) == State::None { ", style=\"rounded,filled,dashed\"" } else { "" };
        let label = quoted(&shape.label());
        text.push_str(&format!("  n{place} [label={label}, fillcolor=\"{fill}\", color=\"{border}\"{dashed}];\n"));
    }
    for (place, shape) in picture.shapes.iter().enumerate() {
        for from in &shape.from {
            text.push_str(&format!("  n{from} -> n{place};\n"));
        }
    }
    text.push_str("}\n");
    text
}

fn quoted(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;

    #[test]
    fn a_picture_is_boxes_and_arrows_and_any_name_is_quoted() {
        let shape = |name: &str, nodes, cached, from: &[usize]| Shape {
            name: name.to_owned(),
            nodes,
            cached,
            fails: 0,
            from: from.to_vec(),
        };
        let shapes = vec![shape("a", 1, 1, &[]), shape("b[x=\"\\\n\"]", 3, 0, &[0])];
        let text = text(&Picture { title: "t".to_owned(), shapes, states: true });
        assert!(text.starts_with("digraph \"t\" {\n"), "{text}");
        assert!(text.contains("  n0 [label=\"a\", fillcolor=\"#d6ecfa\", color=\"#0072b2\"];\n"), "{text}");
        assert!(text.contains("  n1 [label=\"b[x=\\\"\\\\ \\\"] ×3\", "), "{text}");
        assert!(text.contains("dashed") && text.ends_with("  n0 -> n1;\n}\n"), "{text}");
    }
}
