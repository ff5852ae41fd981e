//! What is done when a container has started and before it ends.

use super::{PODS, ask, make, path, ready, shell};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[("hooks", hooks_are_run)];

/// Notes what it is asked for in its log.
const LISTENER: &str = r#"busybox mkdir -p /www/cgi-bin
printf '#!/bin/sh\necho "$QUERY_STRING" >> /proc/1/fd/1\nprintf "Content-Type: text/plain\\r\\n\\r\\nnoted"\n' > /www/cgi-bin/note
busybox chmod +x /www/cgi-bin/note
exec httpd -f -p 8080 -h /www"#;

fn hooks_are_run(api: &Api<'_>) {
    let mut listener = shell(LISTENER);
    listener["readinessProbe"] =
        json!({ "httpGet": { "path": "/cgi-bin/note?probed", "port": 8080 }, "periodSeconds": 1 });
    make(api, "listener", &json!({ "containers": [listener] }));
    let address = ready(api, "listener")["status"]["podIP"].as_str().unwrap().to_owned();
    let log = format!("{}/log", path(api, "listener"));
    for (hook, kind) in
        [("postStart", "exec"), ("postStart", "http"), ("preStop", "exec"), ("preStop", "http")]
    {
        let word = format!("{}-{kind}", hook.to_lowercase());
        let request = format!("/cgi-bin/note?{word}");
        let action = match kind {
            "exec" => {
                json!({ "exec": { "command": ["wget", "-q", "-O-", format!("http://{address}:8080{request}")] } })
            }
            _ => json!({ "httpGet": { "host": address, "port": 8080, "path": request, "scheme": "HTTP" } }),
        };
        let mut container = shell("trap 'exit 0' TERM; while true; do sleep 1; done");
        container["lifecycle"] = json!({ hook: action });
        make(
            api,
            &word,
            &json!({ "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "containers": [container] }),
        );
        ready(api, &word);
        let noted = || api.text(&log).lines().any(|line| line == word);
        if hook == "preStop" {
            assert!(!noted());
            api.delete(&path(api, &word), &Value::Null);
            api.until(PODS, &word, Value::is_null);
            assert!(noted(), "{}", api.text(&log));
        } else {
            ask(&word, noted);
        }
    }
}
