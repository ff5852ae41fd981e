//! A workload that is wrong says which field is, and why.

use crate::{run, tree};
use gifee_simulation::{Workload, import};
use std::path::Path;

fn check(text: &str, expected: &str) {
    let error = Workload::read(tree(text), Path::new("/nowhere"), &[]).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some(expected), "{text}");
}

#[test]
fn the_field_that_is_wrong_is_named() {
    let known = "createNodes, failNodes, drain, createNamespaces, createPods, createAny, apply, patch, scale, delete, churn, changes, rollout, barrier, settle, sleep";
    check("{}", "the workload: missing field `steps`");
    check("{ steps: 1 }", "steps: invalid type: integer `1`, expected a sequence");
    check(
        "{ steps: [], other: 1 }",
        "other: unknown field `other`, expected one of `name`, `params`, `nodes`, `steps`, `workloadTemplate`",
    );
    check("{ steps: [{}] }", &format!("steps[0].opcode: required; one of {known}"));
    check(
        "{ steps: [{ opcode: fly }] }",
        &format!("steps[0].opcode: no operation \"fly\"; there are {known}"),
    );
    check(
        "{ steps: [{ opcode: sleep, seconds: 0 }, { opcode: createNodes }] }",
        "steps[1]: missing field `count`",
    );
    check(
        "{ steps: [{ opcode: createNodes, count: -1 }] }",
        "steps[0].count: invalid value: integer `-1`, expected usize",
    );
    check(
        "{ steps: [{ opcode: createNodes, count: 1, zones: a }] }",
        "steps[0].zones: invalid type: string \"a\", expected a sequence",
    );
    check(
        "{ steps: [{ opcode: createNodes, count: 1, size: a }] }",
        "steps[0].size: unknown field `size`, expected one of `prefix`, `zones`, `capacity`, `labels`, `labelValues`, `taints`",
    );
    check(
        "{ steps: [{ opcode: createNodes, count: $many }] }",
        "steps[0].count: no parameter \"many\" in params",
    );
    check("{ steps: [{ opcode: createAny }] }", "steps[0].template: required, here or as templatePath");
    check(
        "{ steps: [{ opcode: createAny, template: { kind: Pod } }] }",
        "steps[0].template.apiVersion: required",
    );
    check(
        "{ steps: [{ opcode: createPods, count: 1, templatePath: a.yaml }] }",
        "reading /nowhere/a.yaml: No such file or directory (os error 2)",
    );
    check(
        "{ steps: [{ opcode: createPods, count: 1, stage: Done }] }",
        "steps[0].stage: unknown variant `Done`, expected one of `Attempted`, `Scheduled`, `Ready`",
    );
    check(
        "{ steps: [{ opcode: churn, mode: recreate, templates: [{}] }] }",
        "steps[0].number: required in mode recreate, and more than 0",
    );
    check("{ steps: [{ opcode: apply }] }", "steps[0].path: required: a file with objects, or objects");
    check(
        "{ nodes: { startSeconds: -1 }, steps: [] }",
        "nodes.startSeconds: must be a number of seconds, not negative",
    );
    let unknown = Workload::read(tree("{ steps: [] }"), Path::new("."), &[("nodes".into(), 1.into())]);
    assert_eq!(unknown.err().unwrap().to_string(), "params.nodes: the workload has no such parameter");
}

#[test]
fn files_that_are_no_workload_are_named() {
    let folder = std::env::temp_dir().join(format!("gifee-simulation-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let check = |text: &str, expected: &str| {
        let path = folder.join("workload.yaml");
        std::fs::write(&path, text).unwrap();
        let error = Workload::load(&path, &[]).err().unwrap().to_string();
        assert!(error.replace(&*folder.to_string_lossy(), "").starts_with(expected), "{error}");
    };
    check("a: [b\n", "/workload.yaml: ");
    check("", "/workload.yaml: it must hold one document");
    check("steps: []\n---\nsteps: []\n", "/workload.yaml: it must hold one document");
    let path = folder.join("objects.yaml");
    std::fs::write(&path, "kind: List\nitems: [{ kind: Pod }]\n").unwrap();
    let error = import::file(&path).err().unwrap().to_string();
    assert!(error.ends_with("objects.yaml: items[0].apiVersion: required"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_is_named() {
    let check = async |text: &str, expected: &str| {
        assert_eq!(run(text).await.err().map(|error| error.to_string()).as_deref(), Some(expected));
    };
    check(
        "{ steps: [{ opcode: failNodes, zone: a }] }",
        "steps[0] (failNodes): zone: there is no node in zone \"a\"",
    )
    .await;
    check(
        "{ steps: [{ opcode: createAny, template: { apiVersion: v1, kind: Wheel } }] }",
        "steps[0] (createAny): kind: the server has no kind \"Wheel\" in \"v1\"",
    )
    .await;
    check(
        "{ steps: [{ opcode: scale, kind: deployment, name: web, replicas: 1 }] }",
        "steps[0] (scale): scaling deployment default/web: deployments.apps \"web\" not found",
    )
    .await;
}
