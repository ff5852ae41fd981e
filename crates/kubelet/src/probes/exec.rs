//! A program in the container that ends with code 0.

use std::time::Duration;

use k8s_openapi::api::core::v1::ExecAction;

use super::{Outcome, Target};

/// At most so much of the output becomes part of an event.
const OUTPUT: usize = 10 * 1024;

pub(super) async fn run(action: &ExecAction, target: &Target<'_>, limit: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    match target.runtime.exec_sync(target.id, &command, Some(limit)).await {
        Ok(result) if result.exit_code == 0 => Outcome::Success,
        Ok(result) => {
            let mut output = result.stdout;
            output.extend(result.stderr);
            output.truncate(OUTPUT);
            Outcome::Failure(String::from_utf8_lossy(&output).trim_end().to_owned())
        }
        Err(gifee_oci::Error::Timeout { .. }) => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            limit.as_secs()
        )),
        Err(error) => Outcome::Failure(error.to_string()),
    }
}
