//! Times as AWS writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-21T12:00:00Z`, also with a fraction or an offset (RFC 3339).
pub fn parse(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let punctuated = bytes.len() >= 20
        && text.is_ascii()
        && [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')]
            .iter()
            .all(|&(at, c)| bytes[at] == c)
        && matches!(bytes[10], b'T' | b't' | b' ');
    if !punctuated {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = &text[from..to];
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let rest = &text[19..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        zone if zone.len() == 6 && &zone[3..4] == ":" => {
            let (h, m): (i64, i64) = (zone[1..3].parse().ok()?, zone[4..].parse().ok()?);
            match &zone[..1] {
                "+" => h * 60 + m,
                "-" => -(h * 60 + m),
                _ => return None,
            }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    u64::try_from(seconds)
        .ok()
        .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days since 1970-01-01; years begin in March, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_their_spellings() {
        let of = |text: &str| {
            let time = parse(text)?.duration_since(UNIX_EPOCH).ok()?;
            Some(time.as_secs())
        };
        assert_eq!(of("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(of("2000-02-29T12:34:56Z"), Some(951_827_696));
        assert_eq!(of("2026-11-21T12:00:00.123Z"), Some(1_795_262_400));
        assert_eq!(of("2026-11-21T14:00:00+02:00"), Some(1_795_262_400));
        assert_eq!(of("2026-11-21T05:30:00-06:30"), Some(1_795_262_400));
        for wrong in [
            "",
            "soon",
            "2026-13-01T00:00:00Z",
            "2026-11-21T12:00:00",
            "1969-12-31T23:59:59Z",
            "2026-11-21T12:00:00é",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
