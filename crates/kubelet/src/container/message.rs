//! What a container leaves behind.
//!
//! Answers to `getTerminationMessage`.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// At most so much of the file is read.
const MESSAGE_BYTES: u64 = 4096;
/// At most so much of the log stands in for it.
const LOG_BYTES: u64 = 2048;
const LOG_LINES: usize = 80;

/// The message in a file; or the end of the log, if that was asked for, the container failed, and the file is empty.
pub fn termination_message(file: &Path, log: Option<&Path>) -> String {
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open(file) {
        // What cannot be read is not there.
        let _ = file.take(MESSAGE_BYTES).read_to_end(&mut text);
    }
    if text.is_empty()
        && let Some(log) = log
    {
        return tail(log).unwrap_or_default();
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The last lines of a log without what the log adds to them.
fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    // Twice as much, since each line carries a timestamp.
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LOG_BYTES)))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
    lines.reverse();
    let mut message = String::new();
    for line in lines {
        let mut words = line.splitn(4, ' ').skip(2);
        let (Some(tag), Some(text)) = (words.next(), words.next()) else { continue };
        message.push_str(text);
        // The end of a partial line is the log's, not the container's.
        if !tag.starts_with('P') {
            message.push('\n');
        }
    }
    let excess = message.len().saturating_sub(usize::try_from(LOG_BYTES).unwrap_or(usize::MAX));
    let start = (excess..message.len()).find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    Ok(message.split_off(start))
}
