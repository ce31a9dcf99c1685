//! Numbers as people read them.

use std::time::Duration;

use crate::dataplane::LiveFlows;

/// At most four decimals, none that say nothing: `30%`, `33.3333%`, `0.1%`.
pub(super) fn percent(value: f64) -> String {
    let text = format!("{value:.4}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What is not there is a dash.
pub(super) fn maybe_percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), percent)
}

/// Powers of 1024 with one decimal: `512 B`, `1.5 KiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut name = "B";
    for unit in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = unit;
    }
    if name == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {name}")
    }
}

pub(super) fn milliseconds(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1} ms")
    } else {
        format!("{value:.0} ms")
    }
}

/// `2h 5m 1s`
pub(super) fn seconds(count: u64) -> String {
    humantime::format_duration(Duration::from_secs(count)).to_string()
}

pub(super) fn total(live: LiveFlows) -> u64 {
    live.opening + live.open + live.closing
}

/// `1 slot`, `2 slots`
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_no_idle_decimals() {
        let shown = [30.0, 0.1, 100.0 / 3.0, 0.0, 100.0].map(percent);
        assert_eq!(shown, ["30%", "0.1%", "33.3333%", "0%", "100%"]);
    }

    #[test]
    fn bytes_have_the_largest_unit_that_leaves_a_whole() {
        let shown = [0, 1023, 1024, 1536, 5 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }
}
