"""A program of the Python client: typed objects, patches, watches, a shell in a container, logs, custom objects.

Ends with an error if the server answers anything but what upstream would.
"""

import datetime

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

NAMESPACE = "python"


def refused(code, reason, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == code, error
        assert reason in error.body, error
    else:
        raise AssertionError(f"{call} was not refused")


def pods(core):
    container = client.V1Container(
        name="main", image="busybox:1", command=["sh", "-c", "echo ready; exec sleep 3600"],
        resources=client.V1ResourceRequirements(requests={"cpu": "10m", "memory": "8Mi"}))
    pod = client.V1Pod(
        metadata=client.V1ObjectMeta(name="one", labels={"app": "python"}),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0))
    created = core.create_namespaced_pod(NAMESPACE, pod)
    assert created.status.phase == "Pending" and created.spec.service_account_name == "default", created
    assert isinstance(created.metadata.creation_timestamp, datetime.datetime)
    seen = watch.Watch()
    for event in seen.stream(core.list_namespaced_pod, NAMESPACE, label_selector="app=python", timeout_seconds=60):
        if event["object"].status.phase == "Running":
            seen.stop()
    assert core.read_namespaced_pod("one", NAMESPACE).status.phase == "Running"
    said = stream(core.connect_get_namespaced_pod_exec, "one", NAMESPACE, command=["sh", "-c", "echo out; echo err >&2"],
                  stderr=True, stdin=False, stdout=True, tty=False)
    assert sorted(said.split()) == ["err", "out"], said
    shell = stream(core.connect_get_namespaced_pod_exec, "one", NAMESPACE, command=["sh"], stderr=True, stdin=True,
                   stdout=True, tty=False, _preload_content=False)
    shell.write_stdin("echo $((6 * 7)); exit 3\n")
    shell.run_forever(timeout=30)
    assert shell.read_stdout().strip() == "42" and shell.returncode == 3
    assert core.read_namespaced_pod_log("one", NAMESPACE, tail_lines=1).strip() == "ready"
    core.delete_namespaced_pod("one", NAMESPACE, grace_period_seconds=0)


def objects(core):
    data = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="data"), data={"a": "1"})
    core.create_namespaced_config_map(NAMESPACE, data)
    refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, data)
    refused(404, "NotFound", core.read_namespaced_config_map, "nothing", NAMESPACE)
    refused(422, "Invalid", core.create_namespaced_config_map, NAMESPACE,
            client.V1ConfigMap(metadata=client.V1ObjectMeta(name="Bad Name")))
    changed = core.patch_namespaced_config_map("data", NAMESPACE, {"data": {"b": "2"}})
    assert changed.data == {"a": "1", "b": "2"}, changed
    changed = core.patch_namespaced_config_map("data", NAMESPACE, [{"op": "remove", "path": "/data/a"}])
    assert changed.data == {"b": "2"}, changed
    stale = core.read_namespaced_config_map("data", NAMESPACE)
    core.patch_namespaced_config_map("data", NAMESPACE, {"data": {"c": "3"}})
    refused(409, "Conflict", core.replace_namespaced_config_map, "data", NAMESPACE, stale)
    first = core.list_namespaced_config_map(NAMESPACE, limit=1)
    assert len(first.items) == 1 and first.metadata._continue
    rest = core.list_namespaced_config_map(NAMESPACE, limit=5, _continue=first.metadata._continue)
    assert len(rest.items) >= 1 and not rest.metadata._continue
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="none=such")
    assert core.read_namespaced_config_map("data", NAMESPACE).data["c"] == "3"


def customs(api):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1}, "colour": {"type": "string", "default": "red"}}}}}
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boxes.python.example.com"},
        "spec": {"group": "python.example.com", "scope": "Namespaced",
                 "names": {"plural": "boxes", "singular": "box", "kind": "Box", "shortNames": ["bx"]},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}})
    for event in watch.Watch().stream(definitions.list_custom_resource_definition, timeout_seconds=30,
                                      field_selector="metadata.name=boxes.python.example.com"):
        conditions = event["object"].status.conditions or []
        if any(one.type == "Established" and one.status == "True" for one in conditions):
            break
    boxes = dynamic.DynamicClient(api).resources.get(api_version="python.example.com/v1", kind="Box")
    body = {"apiVersion": "python.example.com/v1", "kind": "Box", "metadata": {"name": "one"}, "spec": {"size": 2}}
    made = boxes.create(body=body, namespace=NAMESPACE)
    assert made.spec.colour == "red" and made.metadata.generation == 1, made
    plain = client.CustomObjectsApi(api)
    refused(422, "should be greater than or equal to 1", plain.patch_namespaced_custom_object, "python.example.com",
            "v1", NAMESPACE, "boxes", "one", {"spec": {"size": 0}})
    applied = boxes.server_side_apply(body={**body, "spec": {"size": 3}}, namespace=NAMESPACE, name="one",
                                      field_manager="python", force_conflicts=True)
    assert applied.spec.size == 3 and applied.metadata.generation == 2, applied
    assert len(plain.list_cluster_custom_object("python.example.com", "v1", "boxes")["items"]) == 1
    definitions.delete_custom_resource_definition("boxes.python.example.com")


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    assert client.VersionApi(api).get_code().minor == "37"
    utils.create_from_dict(api, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    objects(core)
    pods(core)
    customs(api)
    assert client.AuthenticationV1Api(api).create_self_subject_review({}).status.user_info.groups
    core.delete_namespace(NAMESPACE)
    print("python: all well")


main()
