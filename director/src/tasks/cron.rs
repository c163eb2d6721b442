//! Cron lines as rufus-scheduler reads them: `[second] minute hour day month
//! weekday [zone]`. Pure: time is an argument.

use time::{Duration, OffsetDateTime, UtcOffset};

/// When something runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The numbers that fit, as bits; and whether the line said `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    any: bool,
}

/// Farthest that a line is looked ahead: leap days come every four years.
const HORIZON: Duration = Duration::days(4 * 366);

impl Cron {
    /// Reads a line; an error says what was expected.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut parts: Vec<&str> = line.split_whitespace().collect();
        if let Some(zone) = parts.last()
            && zone.chars().next().is_some_and(char::is_alphabetic)
            && parts.len() > 5
        {
            if !["UTC", "Z", "GMT", "Etc/UTC"].contains(zone) {
                return Err(format!("time zone '{zone}' in '{line}', expected UTC"));
            }
            parts.pop();
        }
        let second = match parts.len() {
            5 => Field {
                bits: 1,
                any: false,
            },
            6 => Field::parse(parts.remove(0), 0, 59)?,
            count => return Err(format!("{count} fields in '{line}', expected 5 or 6")),
        };
        let mut weekday = Field::parse(parts[4], 0, 7)?;
        // Sunday is 0 and 7.
        weekday.bits |= weekday.bits >> 7;
        Ok(Self {
            second,
            minute: Field::parse(parts[0], 0, 59)?,
            hour: Field::parse(parts[1], 0, 23)?,
            day: Field::parse(parts[2], 1, 31)?,
            month: Field::parse(parts[3], 1, 12)?,
            weekday,
        })
    }

    /// The first time after `now` that fits; `None` if there is none, as for
    /// the 31st of February.
    pub(super) fn next(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let end = now + HORIZON;
        let mut time = now.to_offset(UtcOffset::UTC) + Duration::SECOND;
        time -= Duration::nanoseconds(i64::from(time.nanosecond()));
        while time < end {
            let midnight = time.date().midnight().assume_utc();
            if !self.fits_day(time) {
                time = midnight + Duration::DAY;
            } else if !self.hour.has(time.hour()) {
                time = midnight + Duration::hours(i64::from(time.hour()) + 1);
            } else if !self.minute.has(time.minute()) {
                time += Duration::seconds(60 - i64::from(time.second()));
            } else if !self.second.has(time.second()) {
                time += Duration::SECOND;
            } else {
                return Some(time);
            }
        }
        None
    }

    /// Day of month or of week, whichever was given; either if both were.
    fn fits_day(&self, time: OffsetDateTime) -> bool {
        let day = self.day.has(time.day());
        let weekday = self.weekday.has(time.weekday().number_days_from_sunday());
        let fits = match (self.day.any, self.weekday.any) {
            (false, false) => day || weekday,
            _ => day && weekday,
        };
        fits && self.month.has(u8::from(time.month()))
    }
}

impl Field {
    fn parse(text: &str, least: u8, most: u8) -> Result<Self, String> {
        let bad = || format!("'{text}', expected numbers from {least} to {most}");
        let number = |text: &str| {
            text.parse::<u8>()
                .ok()
                .filter(|n| (least..=most).contains(n))
                .ok_or_else(bad)
        };
        let mut bits = 0;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => {
                    (range, step.parse().ok().filter(|s| *s > 0).ok_or_else(bad)?)
                }
                None => (item, 1),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (least, most),
                Some((first, last)) => (number(first)?, number(last)?),
                None if item.contains('/') => (number(range)?, most),
                None => (number(range)?, number(range)?),
            };
            if first > last {
                return Err(bad());
            }
            for number in (first..=last).step_by(step) {
                bits |= 1 << number;
            }
        }
        Ok(Self {
            bits,
            any: text == "*",
        })
    }

    fn has(self, number: u8) -> bool {
        self.bits & (1 << number) != 0
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn lines_of_upstreams_director() {
        let now = datetime!(2026-01-31 23:14:05.5 UTC);
        for (line, next) in [
            ("0 0,30 * * * * UTC", datetime!(2026-01-31 23:30:00 UTC)),
            ("*/5 * * * * UTC", datetime!(2026-01-31 23:15:00 UTC)),
            ("0 0 7 * * * UTC", datetime!(2026-02-01 07:00:00 UTC)),
            ("0 0 0 */7 * * UTC", datetime!(2026-02-01 00:00:00 UTC)),
            ("0 * * * * UTC", datetime!(2026-02-01 00:00:00 UTC)),
            ("* * * * * *", datetime!(2026-01-31 23:14:06 UTC)),
            ("10-20/5 14 23 * * *", datetime!(2026-01-31 23:14:10 UTC)),
            ("0 0 29 2 *", datetime!(2028-02-29 00:00:00 UTC)),
            ("0 12 * * 7", datetime!(2026-02-01 12:00:00 UTC)),
            ("0 12 15 * 1", datetime!(2026-02-02 12:00:00 UTC)),
        ] {
            assert_eq!(Cron::parse(line).unwrap().next(now), Some(next), "{line}");
        }
        assert_eq!(Cron::parse("0 0 31 2 *").unwrap().next(now), None);
    }

    #[test]
    fn bad_lines_say_what_was_expected() {
        for (line, error) in [
            ("* * *", "3 fields in '* * *', expected 5 or 6"),
            ("60 * * * *", "'60', expected numbers from 0 to 59"),
            ("*/0 * * * *", "'*/0', expected numbers from 0 to 59"),
            ("* 5-1 * * *", "'5-1', expected numbers from 0 to 23"),
            (
                "0 0 * * * Europe/Berlin",
                "time zone 'Europe/Berlin' in '0 0 * * * Europe/Berlin', expected UTC",
            ),
        ] {
            assert_eq!(Cron::parse(line), Err(error.to_owned()), "{line}");
        }
    }
}
