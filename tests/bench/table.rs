//! The table, and the statistics in it.

/// Rows of what, required, measured, compared.
#[derive(Default)]
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    /// Adds and shows a row.
    pub(crate) fn row(
        &mut self,
        what: impl Into<String>,
        required: &str,
        measured: impl Into<String>,
        compared: impl Into<String>,
    ) {
        let row = [what.into(), required.to_owned(), measured.into(), compared.into()];
        println!("  {}: {}  ({})", row[0], row[2], row[3]);
        self.0.push(row);
    }

    /// Prints everything as one Markdown table.
    pub(crate) fn print(&self) {
        let head = ["What", "Must", "Measured", "Compared with"].map(str::to_owned);
        let width = |i: usize| self.0.iter().chain([&head]).map(|r| r[i].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        let line = |row: &[String; 4]| {
            let cells: Vec<String> = (0..4).map(|i| format!("{:<1$}", row[i], widths[i])).collect();
            println!("| {} |", cells.join(" | "));
        };
        println!();
        line(&head);
        println!("|{}|", widths.map(|w| "-".repeat(w + 2)).join("|"));
        self.0.iter().for_each(line);
    }
}

/// The middle of some values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What one value in a hundred exceeds.
pub(crate) fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}

/// A time as milliseconds.
pub(crate) fn ms(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Bytes as megabytes.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn mb(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
