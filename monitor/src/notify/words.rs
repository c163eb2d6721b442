//! Small phrases that several plugins say.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `90` -> `1m30s`.
pub(crate) fn duration(seconds: i64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// `1 alert`, `2 alerts`. Source: upstream's core_ext.rb.
pub(crate) fn pluralize(number: usize, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        number if singular.ends_with('y') => {
            format!("{number} {}ies", singular.trim_end_matches('y'))
        }
        number => format!("{number} {singular}s"),
    }
}

/// Seconds since the epoch -> `2026-01-31T12:00:00Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// At most so many characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(end, _)| &text[..end])
}

/// The time of day.
pub(crate) fn wall() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// What this machine is called.
pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(90_061), "1d1h1m1s");
        assert_eq!(pluralize(1, "alert"), "1 alert");
        assert_eq!(pluralize(2, "recovery"), "2 recoveries");
        assert_eq!(cut("añb", 2), "añ");
        assert_eq!(rfc3339(1_320_196_099), "2011-11-02T01:08:19Z");
    }
}
