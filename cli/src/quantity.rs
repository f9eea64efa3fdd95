//! Sizes and times as people write and read them.

/// Reads `256` (MiB), `128MiB` or `2GiB` into MiB.
///
/// # Errors
/// Says how to write it.
pub(crate) fn parse_memory_mib(text: &str) -> Result<u32, String> {
    let (number, unit) = split_unit(text);
    let per_unit: u32 = match unit.to_ascii_lowercase().as_str() {
        "" | "mi" | "mib" => 1,
        "gi" | "gib" => 1024,
        _ => return Err("write it in MiB or GiB, such as 256, 128MiB or 1GiB".to_owned()),
    };
    let mib = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(per_unit));
    mib.filter(|mib| *mib > 0)
        .ok_or_else(|| "it must be a whole number above 0, such as 256 or 1GiB".to_owned())
}

/// Reads `500ms`, `30s` or `2m` into milliseconds.
///
/// # Errors
/// Says how to write it.
pub(crate) fn parse_timeout_ms(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60 * 1000,
        _ => return Err("say the unit, such as 500ms, 30s or 2m".to_owned()),
    };
    let ms = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(per_unit));
    ms.filter(|ms| *ms > 0)
        .ok_or_else(|| "it must be a whole number above 0, such as 500ms or 30s".to_owned())
}

/// Reads `30s`, `10m`, `6h` or `7d` into seconds.
///
/// # Errors
/// Says how to write it.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = split_unit(text);
    let per_unit: u32 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return Err("say the unit, such as 30s, 10m, 6h or 7d".to_owned()),
    };
    let seconds = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(per_unit));
    seconds.ok_or_else(|| "it must be a whole number, such as 30s or 6h".to_owned())
}

/// A time in the largest unit that it is a whole number of: `90 s`, `6 h`.
pub(crate) fn seconds_text(seconds: u32) -> String {
    for (unit, per_unit) in [("d", 24 * 3_600), ("h", 3_600), ("min", 60)] {
        if seconds >= per_unit && seconds.is_multiple_of(per_unit) {
            return format!("{} {unit}", seconds / per_unit);
        }
    }
    format!("{seconds} s")
}

/// A size with three significant digits at most: `17 B`, `52 KiB`, `3.1 MiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit_bytes: u64 = 1024;
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if bytes < unit_bytes * 1024 {
            break;
        }
        unit_bytes *= 1024;
        unit = larger;
    }
    let tenths = bytes.saturating_mul(10) / unit_bytes;
    match tenths {
        // From 10 on, and for whole numbers, the digit behind the point says nothing.
        _ if tenths >= 100 || tenths.is_multiple_of(10) => format!("{} {unit}", tenths / 10),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// A time: `0.42 ms`, `120 ms`, `30 s`.
pub(crate) fn ms_text(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

/// A timeout as it was given: `500 ms`, `30 s`.
pub(crate) fn timeout_text(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

/// An RFC 3339 time to the second, with a space instead of the `T`.
pub(crate) fn time_text(rfc3339: &str) -> String {
    match rfc3339.get(..19) {
        Some(seconds) => seconds.replacen('T', " ", 1),
        None => rfc3339.to_owned(),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_mib_unless_said() {
        for (text, mib) in [
            ("256", 256),
            ("128MiB", 128),
            ("128 mib", 128),
            ("64Mi", 64),
            ("1GiB", 1024),
            ("2gi", 2048),
        ] {
            assert_eq!(parse_memory_mib(text), Ok(mib), "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "1.5GiB",
            "128MB",
            "128k",
            "MiB",
            "99999999999",
            "4194304GiB",
        ] {
            assert!(parse_memory_mib(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn timeouts_need_a_unit() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1 min", 60_000)] {
            assert_eq!(parse_timeout_ms(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "30",
            "0s",
            "-1s",
            "1.5s",
            "1h",
            "s",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(parse_timeout_ms(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (53_300, "52 KiB"),
            (3_300_000, "3.1 MiB"),
            (128 << 20, "128 MiB"),
            (1 << 30, "1 GiB"),
            (u64::MAX, "1677721 TiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(bytes_text(bytes), text);
        }
    }

    #[test]
    fn times_are_short() {
        assert_eq!(ms_text(0.423), "0.42 ms");
        assert_eq!(ms_text(119.6), "120 ms");
        assert_eq!(ms_text(30_000.0), "30.0 s");
        assert_eq!(timeout_text(30_000), "30 s");
        assert_eq!(timeout_text(1500), "1500 ms");
        assert_eq!(time_text("2026-10-02T12:13:14.123Z"), "2026-10-02 12:13:14");
        assert_eq!(time_text("soon"), "soon");
    }
}
