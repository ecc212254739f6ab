//! A picture in Mermaid, which code forges draw in Markdown.

use super::{Picture, State};

/// How boxes of a state look; such as may be read on a light and on a dark page.
const fn style(state: State) -> &'static str {
    match state {
        State::Unknown => "stroke:#8a939c",
        State::Done => "fill:#d6ecfa,stroke:#0072b2,color:#1b1f24",
        State::Part => "fill:#fdebd0,stroke:#b35c00,color:#1b1f24",
        State::None => "stroke:#8a939c,stroke-dasharray:4 3",
        State::Fails => "fill:#fbdada,stroke:#c62828,color:#1b1f24",
    }
}

/// The picture's text.
#[must_use]
pub fn text(picture: &Picture) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for (place, shape) in picture.shapes.iter().enumerate() {
        let class = picture.state(shape).class();
        text.push_str(&format!("  n{place}[\"{}\"]:::{class}\n", escaped(&shape.label())));
    }
    for (place, shape) in picture.shapes.iter().enumerate() {
        for from in &shape.from {
            text.push_str(&format!("  n{from} --> n{place}\n"));
        }
    }
    for (state, class) in State::CLASSES {
        if picture.shapes.iter().any(|shape| picture.state(shape) == state) {
            text.push_str(&format!("  classDef {class} {}\n", style(state)));
        }
    }
    text
}

/// Mermaid reads entities in quoted text, and Markdown between backticks.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' => escaped.push_str(&format!("#{};", u32::from(c))),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;

    #[test]
    fn a_picture_is_boxes_and_arrows_and_any_name_is_escaped() {
        let shape = |name: &str, cached, from: &[usize]| Shape {
            name: name.to_owned(),
            nodes: 2,
            cached,
            fails: 0,
            from: from.to_vec(),
        };
        let shapes = vec![shape("a", 2, &[]), shape("b[\"]", 1, &[0])];
        let text = text(&Picture { title: "t".to_owned(), shapes, states: true });
        let expected = "flowchart LR\n  n0[\"a ×2\"]:::done\n  n1[\"b[#34;] ×2\"]:::part\n  n0 --> n1\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("classDef done ") && !text.contains("classDef fails"), "{text}");
    }
}
