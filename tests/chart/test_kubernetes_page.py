"""docs/kubernetes.md: its commands render, and the values, settings and links that it names are there."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import yaml

from tests.chart.documentation import PAGE, commands
from tests.chart.rendering import CHART, PROCESSES, run_helm
from tests.installation import ROOT
from tools.settings import config_class

NO_VALUES = (".yaml", ".json", ".svc", ".crt", ".key", "model.sha256")
"""Files, names and keys of Secrets that look like values."""

WAITING = {"--wait": 1, "--wait-for-jobs": 1, "--timeout": 2}
"""Options of an installation, with how many words each takes, that rendering has not."""


def as_rendering(command: list[str]) -> list[str]:
    """A command that installs, as one that renders."""
    words = ["template" if word in ("install", "upgrade") else word for word in command[1:]]
    for option, length in WAITING.items():
        if option in words:
            at = words.index(option)
            del words[at : at + length]
    return words


def test_the_installation_is_five_commands_and_ends_with_a_question() -> None:
    first = commands()[:5]
    assert [command[0] for command in first] == ["kubectl", "kubectl", "kubectl", "helm", "helm"]
    assert [command[1] for command in first[3:]] == ["install", "test"]


def test_what_the_page_installs_renders_with_documents_and_a_test() -> None:
    (install,) = (command for command in commands() if command[:2] == ["helm", "install"])
    finished = run_helm(*as_rendering(install))
    assert finished.returncode == 0, finished.stderr
    objects = [one for one in yaml.safe_load_all(finished.stdout) if one]
    (job,) = (one for one in objects if one["kind"] == "Job")
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["documents"]["configMap"] == {"name": "documents"}
    (test,) = (one for one in objects if one["kind"] == "Pod")
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    images = re.findall(r"image: (\S+)", finished.stdout)
    assert len(images) >= 7
    assert all(image.startswith("registry.example.com/trivium-") for image in images)


def test_the_documents_of_the_installation_fit_into_a_config_map() -> None:
    files = [path for path in (ROOT / "docs").iterdir() if path.is_file()]
    assert len(files) >= 4
    assert sum(path.stat().st_size for path in files) < 1_000_000


def keys(values: Any, path: str = "") -> set[str]:
    """Every dotted path of the values."""
    if not isinstance(values, dict):
        return set()
    below = {f"{path}{key}": value for key, value in values.items()}
    return set(below).union(*(keys(value, f"{name}.") for name, value in below.items()))


def known_values() -> set[str]:
    """Every path that the page may use; what `workload` has, each process has too."""
    known = keys(yaml.safe_load((CHART / "values.yaml").read_text()))
    of_workload = {path.removeprefix("workload.") for path in known if path.startswith("workload.")}
    of_processes = {path.split(".", 1)[1] for path in known if path.split(".")[0] in PROCESSES and "." in path}
    return known | of_workload | of_processes | {path.rpartition(".")[2] for path in known}


def test_values_that_the_page_names_are_there() -> None:
    text = re.sub(r"^```.*?^```", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = {word.removeprefix("<process>.") for word in re.findall(r"`([\w<>.]+)`", text)}
    tops = {path.split(".")[0] for path in known_values()}
    values = {word for word in named if "." in word and word.split(".")[0] in tops and not word.endswith(NO_VALUES)}
    assert len(values) >= 15
    assert values <= known_values()


def test_figures_that_the_page_names_are_the_settings() -> None:
    text = PAGE.read_text()
    age, interval = default("reranker", "max_connection_age_s"), default("gateway", "dns_interval_s")
    assert f"| fixed replicas | {age:.0f}, the default | {interval:.0f}, the default |" in text
    assert f"longer than {default('gateway', 'default_deadline_s') / 2:.0f} s, half of what calls without a" in text


def default(process: str, name: str) -> Any:
    """A setting's default."""
    (field,) = (one for one in dataclasses.fields(config_class(process)) if one.name == name)
    return field.default


def test_links_lead_somewhere() -> None:
    text = PAGE.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 8
    for link in links:
        page, _, anchor = link.partition("#")
        assert (PAGE.parent / page).exists(), link
        assert page or anchor in anchors, link
