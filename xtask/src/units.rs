//! Sizes and times as a person reads them.
//!
//! Does not know what is measured.

/// Writes a number of bytes with a unit: `341.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        1_000.. => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{bytes} bytes"),
    }
}

/// Writes a time in seconds: `42 s`, `3 min 05 s`.
pub(crate) fn clock(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds:02} s"),
    }
}

/// Writes rows in columns, the first to the left and the others to the left or right.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]], others_right: bool) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let cell = |(at, cell): (usize, &String)| match width(at) {
            width if others_right && at > 0 => format!("{cell:>width$}"),
            width => format!("{cell:<width$}"),
        };
        let line: Vec<_> = row.iter().enumerate().map(cell).collect();
        text += line.join("  ").trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "b"], ["abc", "1000"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows, false), "a    b\nabc  1000\n");
        assert_eq!(columns(&rows, true), "a       b\nabc  1000\n");
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!([size(7), size(1_200), size(2_500_000_000)], ["7 bytes", "1.2 kB", "2.5 GB"]);
        assert_eq!([clock(42), clock(185)], ["42 s", "3 min 05 s"]);
    }
}
