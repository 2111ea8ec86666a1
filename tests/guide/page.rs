//! A Markdown file, cut into what can be checked.

/// Something a page names, and the line it stands on.
#[derive(Debug, PartialEq)]
pub struct Item {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, PartialEq)]
pub enum Kind {
    /// Inline code.
    Span(String),
    /// A line of an indented block, or of a fenced one without a language.
    Line(String),
    /// A fenced block with a language, and its body.
    Code(String, String),
    /// `{{#include ...}}`, what stands behind the word.
    Include(String),
    /// Where a link or a picture leads.
    Link(String),
}

/// Everything a page names, in order.
pub fn items(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut fence: Option<(usize, String, String)> = None;
    let mut paragraph: Option<(usize, String)> = None;
    let mut indented = false;
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        if let Some(include) = line.trim().strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}")) {
            items.push(Item { line: number, kind: Kind::Include(include.trim().into()) });
        }
        if let Some(language) = line.trim_start().strip_prefix("```") {
            match fence.take() {
                None => {
                    prose(paragraph.take(), &mut items);
                    fence = Some((number, language.trim().into(), String::new()));
                }
                Some((start, language, body)) if !language.is_empty() => {
                    items.push(Item { line: start, kind: Kind::Code(language, body) });
                }
                Some(_) => {}
            }
            continue;
        }
        if let Some((_, language, body)) = &mut fence {
            body.push_str(line);
            body.push('\n');
            if language.is_empty() {
                items.push(Item { line: number, kind: Kind::Line(line.trim().into()) });
            }
            continue;
        }
        indented = line.starts_with("    ") && (indented || paragraph.is_none());
        if indented {
            items.push(Item { line: number, kind: Kind::Line(line.trim().into()) });
        } else if line.trim().is_empty() {
            prose(paragraph.take(), &mut items);
        } else {
            let (_, text) = paragraph.get_or_insert((number, String::new()));
            text.push_str(line.trim());
            text.push(' ');
        }
    }
    prose(paragraph, &mut items);
    items
}

/// The inline code and the links of a paragraph.
fn prose(paragraph: Option<(usize, String)>, items: &mut Vec<Item>) {
    let Some((line, text)) = paragraph else { return };
    // The place where docs/studio.js offers to run a kernel.
    for rest in text.split("data-kernel=\"").skip(1) {
        items.push(Item { line, kind: Kind::Span(rest.split('"').next().unwrap_or("").into()) });
    }
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            items.push(Item { line, kind: Kind::Span(part.into()) });
            continue;
        }
        for rest in part.split("](").skip(1) {
            let target = rest.split(')').next().expect("split yields at least one part");
            items.push(Item { line, kind: Kind::Link(target.into()) });
        }
    }
}

/// The names that links to a heading of the page use.
pub fn slugs(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}
