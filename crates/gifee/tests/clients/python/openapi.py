"""Everything that the server publishes as OpenAPI, held against a validator that is not of this project."""

import json

from kubernetes import client, config
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator


def without_zeros(node, inside=""):
    """Kubernetes writes zero values of Go as defaults, also where an empty one is none of the allowed: they go."""
    if isinstance(node, dict):
        named = inside in ("properties", "definitions", "schemas")
        return {key: without_zeros(value, key) for key, value in node.items()
                if named or key != "default" or value not in ({}, "")}
    if isinstance(node, list):
        return [without_zeros(value) for value in node]
    return node


def read(api, path):
    path, _, query = path.partition("?")
    asked = api.param_serialize(method="GET", resource_path=path, auth_settings=["BearerToken"],
                                query_params=[tuple(one.split("=", 1)) for one in query.split("&") if one],
                                header_params={"Accept": "application/json"})
    answer = api.call_api(*asked)
    answer.read()
    return json.loads(answer.data)


def check(path, document, validator):
    wrong = [f"{path}: {'/'.join(map(str, error.absolute_path))}: {error.message}"[:500]
             for _, error in zip(range(20), validator(without_zeros(document)).iter_errors())]
    assert not wrong, "\n".join(wrong)


def main():
    config.load_kube_config()
    api = client.ApiClient()
    check("/openapi/v2", read(api, "/openapi/v2"), OpenAPIV2SpecValidator)
    groups = read(api, "/openapi/v3")["paths"]
    assert "api/v1" in groups and "apis/apps/v1" in groups, groups
    for group in groups.values():
        path = group["serverRelativeURL"]
        document = read(api, path)
        assert document["openapi"].startswith("3.0"), path
        check(path, document, OpenAPIV30SpecValidator)
    print(f"{len(groups) + 1} documents: all well")


main()
