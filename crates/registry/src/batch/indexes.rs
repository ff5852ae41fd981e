//! Lists of indexes such as `0,2-4`.
//!
//! Answers to upstream's `pkg/apis/batch/validation`; the texts of what is wrong are upstream's.

/// First and last of an interval.
fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |part: &str| {
        let digits = part.strip_prefix('+').unwrap_or(part);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = if plain { digits.parse::<i64>().ok() } else { None };
        let number = number.ok_or_else(|| format!("cannot convert string to integer for index: {part:?}"))?;
        if number >= completions { Err(format!("too large index: {part:?}")) } else { Ok(number) }
    };
    let first = number(parts[0])?;
    let Some(last) = parts.get(1) else { return Ok((first, first)) };
    let last = number(last)?;
    if first >= last {
        return Err(format!("non-increasing order, previous: {first}, current: {last}"));
    }
    Ok((first, last))
}

/// How many indexes a list has.
///
/// # Errors
/// What is wrong with the list.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut before) = (0, None);
    for one in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = interval(one, completions)?;
        if let Some(before) = before.filter(|before| *before >= first) {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

/// An index that is in both lists.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|one| interval(one, completions).ok()).collect()
    };
    let (one, other) = (intervals(one), intervals(other));
    let (mut left, mut right) = (0, 0);
    while let (Some(a), Some(b)) = (one.get(left), other.get(right)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 {
            left += 1;
        } else {
            right += 1;
        }
    }
    None
}
