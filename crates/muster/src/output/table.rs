//! Tables that fit the terminal.

use comfy_table::{ContentArrangement, Table, presets};

use crate::output::Printer;

/// A table without borders; the last column takes what is left of the width.
pub(crate) fn table<R>(printer: &Printer, header: &[&str], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(printer.width()).unwrap_or(u16::MAX));
    table.set_header(header.iter().map(ToString::to_string).collect::<Vec<String>>());
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<String>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// `340 ms`, `4.2 s`, `3 min`, `5 h`, `2 d`: one glance.
pub(crate) fn duration(ms: u128) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..86_400_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// `820 kB`, `12 MB`, `3.4 GB`: one glance.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

/// How long ago a moment was.
pub(crate) fn age(since: muster_types::Timestamp) -> String {
    let ms = muster_types::Timestamp::now().duration_since(since).as_millis();
    duration(u128::try_from(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (number, text) in [(1, "1 kB"), (820_000, "820 kB"), (12_900_000, "12 MB"), (3_450_000_000, "3.4 GB")] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_are_short() {
        for (ms, text) in [(0, "0 ms"), (999, "999 ms"), (4_250, "4.2 s"), (90_000, "1 min"), (7_200_000, "2 h")] {
            assert_eq!(duration(ms), text);
        }
    }
}
