"""An operator of kopf: a custom resource Keep, whose handlers keep a Secret for each, follow its changes, count by a
timer, and take leave of it when it goes."""

import kopf
from kubernetes import client, config


@kopf.on.startup()
def configure(settings, **_):
    config.load_kube_config()
    settings.posting.enabled = True
    settings.persistence.finalizer = "keep.example.com/finalizer"


@kopf.on.create("keep.example.com", "v1", "keeps")
def create(spec, name, namespace, patch, **_):
    body = {"metadata": {"name": f"keep-{name}"}, "stringData": {"word": spec["word"]}}
    kopf.adopt(body)
    client.CoreV1Api().create_namespaced_secret(namespace, body)
    patch.status["word"] = spec["word"]


@kopf.on.update("keep.example.com", "v1", "keeps", field="spec.word")
def update(new, name, namespace, patch, **_):
    client.CoreV1Api().patch_namespaced_secret(f"keep-{name}", namespace, {"stringData": {"word": new}})
    patch.status["word"] = new


@kopf.timer("keep.example.com", "v1", "keeps", interval=0.5, initial_delay=0.5)
def count(status, patch, **_):
    patch.status["counted"] = status.get("counted", 0) + 1


@kopf.on.delete("keep.example.com", "v1", "keeps")
def leave(name, namespace, **_):
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"left-{name}"}})
