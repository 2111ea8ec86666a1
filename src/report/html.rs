//! Pieces of HTML.

/// Text as it stands between tags and within quotes of attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A part of the page under a heading. `body` is HTML.
pub fn section(title: &str, body: &str) -> String {
    format!("<section><h2>{}</h2>{body}</section>", escape(title))
}

/// Rows under their heads, as text. The first column is the name of the row.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{}</th>", escape(head))).collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(i, cell)| match i {
            0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
            _ => format!("<td>{}</td>", escape(cell)),
        });
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// What opens when it is asked for. `body` is HTML.
pub fn details(summary: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>{body}</details>", escape(summary))
}

/// A number with as many digits as tell something.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_tag_or_ends_an_attribute() {
        assert_eq!(escape("<b a=\"x\" & 'y'>"), "&lt;b a=&quot;x&quot; &amp; &#39;y&#39;&gt;");
        let made = table(&["<h>"], &[vec!["<r>".into(), "<c>".into()]]) + &details("<s>", "") + &section("<t>", "");
        assert!(!["<h>", "<r>", "<c>", "<s>", "<t>"].iter().any(|raw| made.contains(raw)), "{made}");
    }

    #[test]
    fn numbers_have_a_few_digits() {
        assert_eq!([0.0, 105.614, 1.5, 1e-5, f64::NAN].map(number), ["0", "105.61", "1.5000", "1.00e-5", "NaN"]);
    }
}
