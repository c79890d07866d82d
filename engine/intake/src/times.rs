//! The times that senders write. What is not one of them is refused, never guessed.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use jiff::tz::Offset;

use crate::DecodeError;
use crate::reading::{Place, Said};

/// RFC 3339 of any precision, also with an offset without a colon, cut to the microseconds that
/// stores keep.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    whole(text.trim().parse().ok()?)
}

/// Milliseconds since 1970 as digits.
pub(crate) fn milliseconds(digits: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(digits.trim().parse().ok()?).ok()
}

/// Time since 1970 in a unit that the number of digits tells: 10 are seconds (with or without a
/// fraction), 13 milliseconds, 16 microseconds, 19 nanoseconds. So are all times from 2001 to 2286,
/// and no number can be two of them; any other number of digits is refused.
pub(crate) fn epoch(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (digits, fraction) = match text.split_once('.') {
        Some((digits, fraction)) => (digits, Some(fraction)),
        None => (text, None),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is filled up with zeros is no time of these, whatever its length.
    let is_whole = is_digits(digits) && !digits.starts_with('0');
    if !is_whole || !fraction.is_none_or(|text| !text.is_empty() && is_digits(text)) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    match (digits.len(), fraction) {
        (10, Some(fraction)) => {
            let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
            let micros: i64 = micros.parse().ok()?;
            Timestamp::from_microsecond(number.checked_mul(1_000_000)?.checked_add(micros)?).ok()
        }
        (10, None) => Timestamp::from_second(number).ok(),
        (13, _) => Timestamp::from_millisecond(number).ok(),
        (16, _) => Timestamp::from_microsecond(number).ok(),
        (19, None) => Timestamp::from_microsecond(number / 1_000).ok(),
        _ => None,
    }
}

/// RFC 2822 and 1123, with one-digit days and whatever weekday they claim: AWS Health writes wrong
/// ones, and the date without the weekday is complete.
pub(crate) fn rfc2822(text: &str) -> Option<Timestamp> {
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    whole(parser.parse_timestamp(text.trim()).ok()?)
}

/// RFC 3339, or time since 1970 as [`epoch`] tells.
pub(crate) fn any(text: &str) -> Option<Timestamp> {
    rfc3339(text).or_else(|| epoch(text))
}

/// A date and time without an offset, as [`jiff`] writes formats, which its sender says is UTC.
pub(crate) fn utc(format: &str, text: &str) -> Option<Timestamp> {
    at_offset(format, Offset::UTC, text)
}

/// The same at an offset that somebody who knows the sender has written down.
pub(crate) fn at_offset(format: &str, offset: Offset, text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime(format, text.trim()).ok()?;
    whole(offset.to_timestamp(civil).ok()?)
}

/// The time at a place by one of the readings above; `None` where the place says nothing.
///
/// # Errors
/// [`DecodeError::Wrong`] when there is something that is no time.
pub(crate) fn at(
    place: Place<'_>,
    read: fn(&str) -> Option<Timestamp>,
) -> Result<Option<Said<'_, Timestamp>>, DecodeError> {
    if !place.is_filled() {
        return Ok(None);
    }
    let said = place.required()?;
    let at = read(said.as_str()).ok_or_else(|| said.wrong("a time as its sender documents it"))?;
    Ok(Some(said.map(|_| at)))
}

/// Cut to microseconds.
fn whole(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_microsecond(at.as_microsecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(at: Option<Timestamp>) -> String {
        at.map_or_else(|| "refused".to_owned(), |at| at.to_string())
    }

    #[test]
    fn the_unit_of_an_epoch_is_told_by_its_digits_or_refused() {
        for (text, expected) in [
            ("1733930133", "2024-12-11T15:15:33Z"),
            ("1697041043.914488", "2023-10-11T16:17:23.914488Z"),
            ("1697041043.9144889", "2023-10-11T16:17:23.914488Z"),
            ("1697041045.0", "2023-10-11T16:17:25Z"),
            ("1733930133000", "2024-12-11T15:15:33Z"),
            (" 1502709956288 ", "2017-08-14T11:25:56.288Z"),
            ("1502709956288000", "2017-08-14T11:25:56.288Z"),
            ("1502709956288000110", "2017-08-14T11:25:56.288Z"),
            ("0", "refused"),
            ("173393013", "refused"),
            ("17339301330", "refused"),
            ("-1733930133", "refused"),
            ("1733930133.5e3", "refused"),
            ("1e12", "refused"),
            ("123123123129312381923", "refused"),
            ("0000000001", "refused"),
            ("0733930133000", "refused"),
            ("1733930133.", "refused"),
            (".1733930133", "refused"),
            ("1733930133.5.5", "refused"),
            ("1733930133,5", "refused"),
            ("1,733,930,133", "refused"),
            ("1_733_930_133", "refused"),
            ("+1733930133", "refused"),
            ("0x6759b0f5aa", "refused"),
            ("1733930133s", "refused"),
            ("１７３３９３０１３３", "refused"),
            ("١٧٣٣٩٣٠١٣٣", "refused"),
            ("17339 30133", "refused"),
            ("1733930133\u{0}", "refused"),
            ("9999999999", "2286-11-20T17:46:39Z"),
            ("9223372036854775807", "2262-04-11T23:47:16.854775Z"),
            ("9999999999999999999", "refused"),
            ("", "refused"),
        ] {
            assert_eq!(shown(epoch(text)), expected, "{text}");
        }
    }

    #[test]
    fn written_times_are_read_or_refused() {
        for (text, expected) in [
            ("2022-10-31T21:42:32.8794896Z", "2022-10-31T21:42:32.879489Z"),
            ("2015-06-03T17:43:27.123+0000", "2015-06-03T17:43:27.123Z"),
            ("2026-09-14 20:18:44+09:00", "2026-09-14T11:18:44Z"),
            ("2026-09-14t11:18:44z", "2026-09-14T11:18:44Z"),
            ("2026-09-14T20:18:44+09", "2026-09-14T11:18:44Z"),
            ("20260914T201844+0900", "2026-09-14T11:18:44Z"),
            ("2026-09-14T11:18:44,351Z", "2026-09-14T11:18:44.351Z"),
            ("2026-09-14T11:18Z", "2026-09-14T11:18:00Z"),
            ("2026-09-14T20:18:44+09:00[Asia/Seoul]", "2026-09-14T11:18:44Z"),
            // A leap second is the second before it.
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2015-06-03T17:43:27", "refused"),
            ("2026-09-14", "refused"),
            ("2026-09-14T11:18:44 UTC", "refused"),
            ("2026-09-14T11:18:44 KST", "refused"),
            ("2026-09-14T24:00:00Z", "refused"),
            ("2026-09-14T11:18:61Z", "refused"),
            ("2026-02-29T00:00:00Z", "refused"),
            ("2026-09-14T11:18:44+25:60", "refused"),
            ("14/09/2026 11:18:44Z", "refused"),
            ("2026년 9월 14일 20:18:44", "refused"),
            ("２０２６-09-14T11:18:44Z", "refused"),
            ("+12026-09-14T11:18:44Z", "refused"),
            ("2026-09-14T11:18:44Z\u{0}", "refused"),
            ("2026-09-14T11:18:44.0000000000000000001Z", "refused"),
            ("2026-13-01T00:00:00Z", "refused"),
            ("yesterday", "refused"),
            ("1733930133", "refused"),
        ] {
            assert_eq!(shown(rfc3339(text)), expected, "{text}");
        }
        for (text, expected) in [
            ("Wed, 01 Feb 2023 05:02:24 GMT", "2023-02-01T05:02:24Z"),
            ("Sun, 1 Feb 2023 05:02:24 +0900", "2023-01-31T20:02:24Z"),
            ("1 Feb 2023", "refused"),
        ] {
            assert_eq!(shown(rfc2822(text)), expected, "{text}");
        }
        assert_eq!(shown(utc("%m/%d/%Y %H:%M:%S", "3/22/2019 11:03:53")), "2019-03-22T11:03:53Z");
        assert_eq!(shown(utc("%m/%d/%Y %H:%M:%S", "22/3/2019 11:03:53")), "refused");
    }
}
