//! `postStart` and `preStop`.
//!
//! Answers to `pkg/kubelet/lifecycle/handlers.go`.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::probes::{Target, http};

/// How long a hook that calls a server waits for its answer, where the pod's grace period sets no limit.
const HTTP_LIMIT: Duration = Duration::from_secs(600);

/// Runs a hook. The error is for a person.
pub async fn run(hook: &LifecycleHandler, target: &Target<'_>) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let result =
            target.runtime.exec_sync(target.id, &command, None).await.map_err(|error| error.to_string())?;
        if result.exit_code == 0 {
            return Ok(());
        }
        let output = [result.stdout, result.stderr].concat();
        let output = String::from_utf8_lossy(&output[..output.len().min(1024)]).into_owned();
        return Err(format!("command {:?} exited with {}: {output}", command.join(" "), result.exit_code));
    }
    if let Some(action) = &hook.http_get {
        return http::hook(action, target, HTTP_LIMIT).await;
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler: none of exec, httpGet and sleep".to_owned())
}
