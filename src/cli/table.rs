//! A table in plain text.

/// Where a column's text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Left,
    Right,
}

/// Rows under their heads, each column as wide as its widest text. The last column is not padded.
pub fn table(heads: &[(&str, Column)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let texts = rows.iter().map(|row| row[column].chars().count());
        texts.chain([heads[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |texts: &mut dyn Iterator<Item = &str>| {
        let padded = texts.zip(heads).zip(&widths).map(|((text, (_, column)), &width)| match column {
            Column::Left => format!("{text:<width$}"),
            Column::Right => format!("{text:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let head = line(&mut heads.iter().map(|(head, _)| *head));
    let lines = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let rows = [vec!["a".to_string(), "1".into()], vec!["long".into(), "100".into()]];
        let text = table(&[("name", Column::Left), ("n", Column::Right)], &rows);
        assert_eq!(text, "name    n\na       1\nlong  100");
    }
}
