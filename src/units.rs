//! Numbers for people: a few digits and the prefix of their thousands.

/// At most three digits and the prefix of the thousands, as in `1.5 G`; a unit can follow. 0, NaN and infinities get no
/// prefix.
pub fn metric(value: f64) -> String {
    const PREFIXES: [(f64, &str); 9] = [
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1.0, ""),
        (1e-3, "m"),
        (1e-6, "u"),
        (1e-9, "n"),
    ];
    if value == 0.0 || !value.is_finite() {
        return format!("{value} ");
    }
    // What rounds to 1000 of one prefix is 1 of the next.
    let (unit, prefix) = PREFIXES.into_iter().find(|(unit, _)| value.abs() >= 0.9995 * unit).unwrap_or((1e-9, "n"));
    let value = value / unit;
    let decimals = if value.abs() < 9.995 {
        2
    } else if value.abs() < 99.95 {
        1
    } else {
        0
    };
    let digits = format!("{value:.decimals$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits} {prefix}")
}

/// Bytes in units of 1024, as in `1.5 MiB`.
pub fn memory(bytes: usize) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|&(unit, _)| bytes as u64 >= unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_numbers_have_three_digits() {
        let text = |value: f64| metric(value);
        assert_eq!(
            [1.5e9, 1e10, 123.4e6, 999.9e3, 0.25, 1e-6].map(text),
            ["1.5 G", "10 G", "123 M", "1 M", "250 m", "1 u"]
        );
        assert_eq!([0.0, 12.34, -2e3].map(text), ["0 ", "12.3 ", "-2 k"]);
    }

    #[test]
    fn memory_counts_in_1024s() {
        assert_eq!([1023, 1024, 3 << 19, 128 << 20].map(memory), ["1023 bytes", "1.0 KiB", "1.5 MiB", "128.0 MiB"]);
    }
}
