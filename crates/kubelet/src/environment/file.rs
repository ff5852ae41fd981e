//! Variables that an earlier container of the pod wrote into a file.
//!
//! Invariant: pure. A line declares one variable as `NAME='VALUE'`, where the value is what stands between the quotes,
//! over several lines too; or as `NAME=VALUE` up to the end of the line. Blank lines and lines that begin with `#` say
//! nothing. Answers to the kubelet's `pkg/kubelet/util/env`.

/// The first value that a name has in the text of a file; `None` if the name is not there.
///
/// # Errors
/// With the line that declares nothing, or does not end as it should.
pub fn find(text: &str, name: &str) -> Result<Option<String>, String> {
    let mut rest = text;
    let mut number = 1;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let said = line.trim();
        if said.is_empty() || said.starts_with('#') {
            (rest, number) = (after, number + 1);
            continue;
        }
        let Some((declared, value)) = rest.split_once('=').filter(|(declared, _)| !declared.contains('\n'))
        else {
            return Err(format!("line {number} declares no variable"));
        };
        let blank = |c: char| c.is_whitespace() && c != '\n';
        let (value, after) = match value.trim_start_matches(blank).strip_prefix('\'') {
            None => value.split_once('\n').map_or((value.trim(), ""), |(value, after)| (value.trim(), after)),
            Some(quoted) => {
                let Some((value, behind)) = quoted.split_once('\'') else {
                    return Err(format!("the value in line {number} has no closing quote"));
                };
                number += value.matches('\n').count();
                let (behind, after) = behind.split_once('\n').unwrap_or((behind, ""));
                if !behind.trim().is_empty() {
                    return Err(format!("something stands behind the value that ends in line {number}"));
                }
                (value, after)
            }
        };
        if declared.trim() == name {
            return Ok(Some(value.to_owned()));
        }
        (rest, number) = (after, number + 1);
    }
    Ok(None)
}
