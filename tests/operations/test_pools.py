"""The work-pool templates and the image: schema, rendering of the variables, what a run gets."""

import asyncio
import json
import re

import jsonschema
import pytest
from docker.types import HostConfig
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessJobConfiguration
from pydantic import BaseModel

from flows.serve import DEPLOYMENTS, HOME

POOLS = {path.stem: json.loads(path.read_text()) for path in (DEPLOYMENTS / "pools").iterdir()}
GPU = {"driver": "nvidia", "count": 1, "capabilities": [["gpu"]]}
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[KMGT]i)?")


class DockerFields(BaseJobConfiguration):
    """The fields that the Docker worker (prefect-docker 0.7) reads of a job."""

    image: str
    image_pull_policy: str
    networks: list[str]
    network_mode: str | None = None
    auto_remove: bool
    volumes: list[str]
    stream_output: bool
    mem_limit: str | None = None
    container_create_kwargs: dict


class KubernetesFields(BaseJobConfiguration):
    """The fields that the Kubernetes worker (prefect-kubernetes 0.8) reads of a job."""

    namespace: str
    job_manifest: dict
    job_watch_timeout_seconds: int | None = None
    pod_watch_timeout_seconds: int
    stream_output: bool


FIELDS: dict[str, type[BaseModel]] = {
    "process": ProcessJobConfiguration,
    "docker": DockerFields,
    "kubernetes": KubernetesFields,
}


def rendered(kind: str, **values: object):
    jsonschema.validate(values, POOLS[kind]["variables"] | {"required": []})
    made = FIELDS[kind].from_template_and_values(POOLS[kind], values, client=object())
    return asyncio.run(made)


def placeholders(part: object) -> set[str]:
    return set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(part)))


def test_there_is_a_template_for_each_kind_of_pool():
    assert POOLS.keys() == FIELDS.keys()


@pytest.mark.parametrize("kind", FIELDS)
class TestTemplate:
    def test_its_variables_are_a_schema_that_its_defaults_fit(self, kind):
        schema = POOLS[kind]["variables"]
        jsonschema.Draft202012Validator.check_schema(schema)
        for name, variable in schema["properties"].items():
            assert variable["description"].endswith("."), name
            if "default" in variable:
                jsonschema.validate(variable["default"], variable)

    def test_every_variable_is_used_and_every_placeholder_is_a_variable(self, kind):
        variables = POOLS[kind]["variables"]["properties"]
        assert placeholders(POOLS[kind]["job_configuration"]) == variables.keys()

    def test_its_job_has_the_fields_of_its_worker(self, kind):
        assert POOLS[kind]["job_configuration"].keys() <= FIELDS[kind].model_fields.keys()

    def test_nothing_is_left_to_fill_in(self, kind):
        made = rendered(kind, image="vardax:cuda") if kind != "process" else rendered(kind)
        assert placeholders(made.model_dump(mode="json")) == set()

    def test_a_wrong_value_is_refused(self, kind):
        wrong = {"process": {"env": 1}, "docker": {"shared_memory": "lots"}}
        with pytest.raises(jsonschema.ValidationError):
            rendered(kind, **wrong.get(kind, {"gpus": -1}))

    def test_variables_of_a_run_join_those_of_the_pool(self, kind):
        made = rendered(kind, env={"VARDAX_STORES": "s3://bucket/stores"})
        expected = POOLS[kind]["variables"]["properties"]["env"]["default"]
        assert made.env == expected | {"VARDAX_STORES": "s3://bucket/stores"}


def test_docker_understands_the_request_for_a_gpu():
    made = rendered("docker", image="vardax:cuda", device_requests=[GPU])
    options = made.container_create_kwargs
    assert options["user"] == "1000:1000"
    host = HostConfig(
        version="1.50", shm_size=options["shm_size"], device_requests=options["device_requests"]
    )
    assert host["ShmSize"] == 2 * 2**30
    assert host["DeviceRequests"][0]["Count"] == 1
    assert host["DeviceRequests"][0]["Capabilities"] == [["gpu"]]
    assert made.volumes == ["vardax:/vardax", "vardax-compiled:/compiled"]


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_kubernetes_job_asks_for_its_node(gpus):
    selector = {"accelerator": "h100"}
    job = rendered("kubernetes", gpus=gpus, node_selector=selector, shared_memory="4Gi")
    manifest = job.job_manifest
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "Job")
    pod = manifest["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["nodeSelector"] == selector
    (container,) = pod["containers"]
    for amounts in container["resources"].values():
        assert amounts["nvidia.com/gpu"] == gpus
        assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values()), amounts
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    assert mounts["compiled"] == job.env["JAX_COMPILATION_CACHE_DIR"]
    assert mounts["root"] == job.env["VARDAX_ROOT"]
    assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    # A retry by Kubernetes would run the flow a second time beside Prefect's.
    assert manifest["spec"]["backoffLimit"] == 0


class TestImage:
    TEXT = (DEPLOYMENTS / "Dockerfile").read_text()

    def test_what_it_copies_is_there_and_not_ignored(self):
        sources = [
            name
            for line in re.findall(r"^COPY (.+)$", self.TEXT, re.MULTILINE)
            for name in line.split()[:-1]
        ]
        kept = {line[1:] for line in (HOME / ".dockerignore").read_text().split() if line[0] == "!"}
        assert set(sources) == kept
        assert {"vardax_core", "flows", "deployments", "datasets"} <= kept
        for name in sources:
            assert (HOME / name).exists(), name

    def test_it_installs_the_versions_that_were_tested(self):
        installs = re.findall(r"pip install (.*)", self.TEXT)
        assert installs
        assert all("--constraint constraints.txt" in options for options in installs)

    def test_its_places_are_those_of_the_templates(self):
        env = POOLS["kubernetes"]["variables"]["properties"]["env"]["default"]
        for name in ("VARDAX_ROOT", "JAX_COMPILATION_CACHE_DIR"):
            assert f"{name}={env[name]}" in self.TEXT

    def test_it_names_no_registry(self):
        (image,) = re.findall(r"^FROM (\S+)$", self.TEXT, re.MULTILINE)
        assert "/" not in image
        assert "." not in image.split(":")[0]
        assert "index-url" not in self.TEXT

    def test_it_does_not_run_as_root(self):
        assert re.search(r"^USER vardax$", self.TEXT, re.MULTILINE)
