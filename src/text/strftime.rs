//! The time as templates print it.

use std::fmt::Write as _;

/// A moment as the user's clock shows it. Passed in, because a WebAssembly module has no clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Such as 2026.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl LocalTime {
    /// From seconds since 1970-01-01 00:00, already shifted to the user's time zone.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Self {
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years are counted from 1 March, so that a leap day is the last day; an era is 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = (march_month + 2) % 12 + 1;
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
            month: month as u8,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// As C's strftime prints it in the C locale; directives that it does not know stay as they are.
    #[must_use]
    pub fn format(&self, format: &str) -> String {
        let mut text = String::new();
        let mut rest = format.chars();
        while let Some(character) = rest.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut directive = rest.next();
            let unpadded = directive == Some('-');
            if unpadded {
                directive = rest.next();
            }
            let width = if unpadded { 0 } else { 2 };
            let number = |value: u8| format!("{value:0width$}");
            let hour12 = (self.hour + 11) % 12 + 1;
            match directive {
                Some('Y') => _ = write!(text, "{}", self.year),
                Some('y') => _ = write!(text, "{:02}", self.year.rem_euclid(100)),
                Some('m') => text += &number(self.month),
                Some('d') => text += &number(self.day),
                Some('e') => _ = write!(text, "{:2}", self.day),
                Some('H') => text += &number(self.hour),
                Some('I') => text += &number(hour12),
                Some('M') => text += &number(self.minute),
                Some('S') => text += &number(self.second),
                Some('p') => text += if self.hour < 12 { "AM" } else { "PM" },
                Some('B') => text += self.month_name(),
                Some('b' | 'h') => text.extend(self.month_name().chars().take(3)),
                Some('A') => text += self.weekday(),
                Some('a') => text.extend(self.weekday().chars().take(3)),
                Some('j') => _ = write!(text, "{:03}", self.day_of_year()),
                Some('F') => text += &self.format("%Y-%m-%d"),
                Some('T') => text += &self.format("%H:%M:%S"),
                Some('D') => text += &self.format("%m/%d/%y"),
                Some('%') => text.push('%'),
                other => {
                    text.push('%');
                    text.extend(unpadded.then_some('-'));
                    text.extend(other);
                }
            }
        }
        text
    }

    fn month_name(&self) -> &'static str {
        MONTHS[usize::from(self.month.clamp(1, 12)) - 1]
    }

    fn day_of_year(&self) -> u32 {
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::from(self.month.clamp(1, 12));
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        before[month - 1] + u32::from(self.day) + u32::from(leap && month > 2)
    }

    fn weekday(&self) -> &'static str {
        let before = i64::from(self.year) - 1;
        let leaps = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
        let days = before * 365 + leaps + i64::from(self.day_of_year());
        WEEKDAYS[days.rem_euclid(7) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_unix_and_back_to_text() {
        let time = LocalTime::from_unix(1_709_210_096);
        let text = time.format("%A %d %B %Y, %a %-d %b %y %H:%M:%S %I %p %j %F %% %q %-");
        assert_eq!(text, "Thursday 29 February 2024, Thu 29 Feb 24 12:34:56 12 PM 060 2024-02-29 % %q %-");
        assert_eq!(LocalTime::from_unix(0).format("%F %T %a"), "1970-01-01 00:00:00 Thu");
        assert_eq!(LocalTime::from_unix(-1).format("%F %T %-m"), "1969-12-31 23:59:59 12");
        assert_eq!(LocalTime::from_unix(951_868_800).format("%D %e"), "03/01/00  1");
    }
}
