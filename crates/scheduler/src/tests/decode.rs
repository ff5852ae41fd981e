//! What a pod takes of its node.

use super::{pod, pod_with};
use serde_json::{Value, json};

fn check(pod_value: &Value, cpu: i64, memory: i64) {
    let template = pod(pod_value).template;
    assert_eq!((template.requests.cpu, template.requests.memory), (cpu, memory), "{pod_value}");
}

fn container(name: &str, cpu: &str) -> Value {
    json!({ "name": name, "resources": { "requests": { "cpu": cpu, "memory": "10" } } })
}

fn sidecar(name: &str, cpu: &str) -> Value {
    let mut sidecar = container(name, cpu);
    sidecar["restartPolicy"] = "Always".into();
    sidecar
}

#[test]
fn requests_are_those_of_the_time_that_takes_most() {
    let containers = json!([container("a", "1"), container("b", "500m")]);
    check(&pod_with("web", &json!({ "containers": containers })), 1500, 20);
    let init = json!([container("i", "2"), container("j", "1")]);
    check(&pod_with("web", &json!({ "containers": containers, "initContainers": init })), 2000, 20);
    // The second init container runs beside the sidecar that was started before it.
    let init = json!([container("i", "1"), sidecar("s", "300m"), container("j", "2")]);
    check(&pod_with("web", &json!({ "containers": containers, "initContainers": init })), 2300, 30);
    let init = json!([sidecar("s", "300m")]);
    check(&pod_with("web", &json!({ "containers": containers, "initContainers": init })), 1800, 30);
    check(&pod_with("web", &json!({ "containers": containers, "overhead": { "cpu": "250m" } })), 1750, 20);
    let whole = json!({ "requests": { "cpu": "3" } });
    check(&pod_with("web", &json!({ "containers": containers, "resources": whole })), 3000, 20);
}

#[test]
fn a_resize_takes_the_larger_until_it_is_done() {
    let mut pod = pod_with("web", &json!({ "cpu": "1", "memory": "10" }));
    pod["status"]["containerStatuses"] = json!([{ "name": "c", "allocatedResources": { "cpu": "2" },
        "resources": { "requests": { "cpu": "1500m" } } }]);
    check(&pod, 2000, 10);
    pod["status"]["containerStatuses"][0]["allocatedResources"]["cpu"] = "500m".into();
    check(&pod, 1500, 10);
    pod["status"]["conditions"] =
        json!([{ "type": "PodResizePending", "status": "True", "reason": "Infeasible" }]);
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "9".into();
    check(&pod, 1500, 0);

    let mut whole = pod_with("web", &json!({ "resources": { "requests": { "cpu": "1", "memory": "10" } } }));
    whole["status"]["allocatedResources"] = json!({ "cpu": "2" });
    whole["status"]["resources"] = json!({ "requests": { "cpu": "1500m" } });
    check(&whole, 2000, 10);
    whole["status"]["allocatedResources"] = json!({ "cpu": "500m" });
    check(&whole, 1500, 10);
}

#[test]
fn pods_of_one_template_share_it() {
    let mut templates = crate::pod::Templates::default();
    let mut share = |name: &str, cpu: &str| {
        let pod = pod(&pod_with(name, &json!({ "cpu": cpu })));
        templates.share((*pod.template).clone())
    };
    let (one, two, other) = (share("one", "1"), share("two", "1000m"), share("three", "2"));
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    assert!(!std::sync::Arc::ptr_eq(&one, &other));
}

#[test]
fn nonsense_is_refused_or_ignored_but_never_panics() {
    for (spec, fails) in [
        (json!({ "containers": null, "affinity": null, "tolerations": null }), false),
        (json!({ "cpu": "many" }), false),
        (json!({ "overhead": { "cpu": 1 } }), false),
        (json!({ "containers": "none" }), true),
        (json!({ "priority": "high" }), true),
    ] {
        let object = super::object(&pod_with("web", &spec));
        assert_eq!(crate::decode::pod(&object).is_err(), fails, "{spec}");
    }
}
