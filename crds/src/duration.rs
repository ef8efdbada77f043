//! Durations as people write them in a spec: one number and one unit.

use std::time::Duration;

/// Reads `250ms`, `5s` or `2m`; `None` for anything else. The grammar is the one that the definitions' patterns state.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.len() > 9 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_number_and_one_unit() {
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse("2m"), Some(Duration::from_mins(2)));
        for wrong in ["", "5", "s", "-5s", "5 s", "5h", "1s500ms", "1.5s", "9999999999s", "٣s"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
