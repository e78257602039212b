"""Five commands on an empty cluster: everything Ready, documents in, a question answered from inside and outside."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.cluster.daemons import inside
from tests.cluster.layout import ROOT
from tests.cluster.load import ANSWER, search_options
from tests.cluster.questions import QUESTION
from tests.cluster.release import Release, wait_until

PROCESSES = ("gateway", "retriever", "indexer", "reranker", "generator")
CLI = "localhost/trivium-cli:0.1.0"
REQUEST = json.dumps({"question": QUESTION, "search": search_options(4)})


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_is_ready_and_was_never_killed(installed: Release, process: str) -> None:
    (pod,) = installed.pods(process)
    assert installed.ready(process).keys() == {pod["metadata"]["name"]}
    assert [container["restartCount"] for container in pod["status"]["containerStatuses"]] == [0]


def test_the_ingest_job_has_put_every_document_in(installed: Release) -> None:
    (job,) = installed.get("jobs", "-l", "app.kubernetes.io/component=ingest")["items"]
    assert job["status"]["succeeded"] == 1
    uris = {source["passage"]["uri"] for source in grpcurl(installed)["sources"]}
    print(uris)
    assert uris <= {"file:///documents/operations.md", "file:///documents/README.md"}


def test_helm_test_asks_a_question_and_checks_the_answer(installed: Release) -> None:
    output = installed.helm("test", "trivium", "--logs", "--timeout", "3m")
    print(output)
    assert "Succeeded" in output


def test_grpcurl_on_the_node_gets_a_cited_answer_with_its_trace_id(installed: Release) -> None:
    reply = grpcurl(installed)
    assert is_cited(reply)
    assert len(reply["report"]["trace_id"]) == 32
    assert {stage["stage"] for stage in reply["report"]["stages"]} == {"retriever", "reranker", "generator"}


def test_grpcurl_in_a_pod_gets_an_answer(installed: Release) -> None:
    address = f"trivium.{installed.namespace}.svc:7000"
    log = run_pod(installed, "grpcurl", "-plaintext", "-d", REQUEST, address, ANSWER.replace(".Answer", "/Answer"))
    assert is_cited(json.loads(log))


def test_ghz_in_a_pod_sees_no_failure(installed: Release) -> None:
    address = f"trivium.{installed.namespace}.svc:7000"
    options = ["--insecure", f"--call={ANSWER}", "--total=60", "--rps=3", "--concurrency=10", "--format=json"]
    told = json.loads(run_pod(installed, "ghz", *options, f"--data={REQUEST}", address))
    print(told["count"], told["statusCodeDistribution"], f"{told['average'] / 1e6:.0f} ms on average")
    assert told["statusCodeDistribution"] == {"OK": 60}


def test_a_pod_that_is_not_restricted_is_refused(installed: Release) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "careless"},
        "spec": {"containers": [{"name": "careless", "image": CLI}]},
    }
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted:latest"'):
        installed.kubectl("create", "-f", "-", data=pod)


def test_the_load_job_fails_when_an_objective_is_broken(installed: Release) -> None:
    load = {"enabled": True, "rps": 2, "durationS": 10, "maxP50Ms": 15_000, "maxP99Ms": 20_000}
    assert ended(installed, load) == "Complete"
    assert ended(installed, load | {"maxP50Ms": 1}) == "Failed"


def ended(installed: Release, load: dict[str, Any]) -> str:
    """How the chart's load Job ends with these values."""
    installed.upgrade({"load": load})
    (job,) = [job["metadata"]["name"] for job in installed.get("jobs", "-l", COMPONENT_LOAD)["items"]]

    def conditions() -> list[str]:
        return [one["type"] for one in installed.get("job", job)["status"].get("conditions", ())]

    wait_until(f"{job} ended", lambda: {"Complete", "Failed"} & {*conditions()})
    print(installed.kubectl("logs", f"job/{job}"))
    (state,) = {"Complete", "Failed"} & {*conditions()}
    return state


COMPONENT_LOAD = "app.kubernetes.io/component=load"


def is_cited(reply: Any) -> bool:
    """Whether the answer's text names one of its sources."""
    return any(f"[{source['number']}]" in reply["text"] for source in reply["sources"])


def grpcurl(installed: Release) -> Any:
    """The reply that grpcurl gets on the node, through the Service and by reflection."""
    command = inside(
        ROOT / ".tools" / "bin" / "grpcurl",
        *("-plaintext", "-d", REQUEST),
        installed.cluster_address(),
        ANSWER.replace(".Answer", "/Answer"),
    )
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def run_pod(installed: Release, name: str, *arguments: str) -> str:
    """What a program of the cli image prints in a restricted pod that runs it and ends."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": name,
        "image": CLI,
        "imagePullPolicy": "Never",
        "command": [name, *arguments],
        "securityContext": security,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
    installed.kubectl("create", "-f", "-", data=pod)
    wait_until(f"{name} ended", lambda: phase(installed, name) in ("Succeeded", "Failed"))
    log, ended_as = installed.kubectl("logs", name), phase(installed, name)
    installed.kubectl("delete", "pod", name)
    assert ended_as == "Succeeded", log
    return log


def phase(installed: Release, pod: str) -> str:
    """A pod's phase."""
    return str(installed.get("pod", pod)["status"]["phase"])
