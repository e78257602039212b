"""Manifests to read: what a change to the chart does to them is seen in review. `python -m tests.chart.golden`."""

from __future__ import annotations

from pathlib import Path

from tests.chart.rendering import objects, rendered

FOLDER = Path(__file__).parent / "golden"

FILES = {
    "cpu-reranker.yaml": ("cpu", "reranker", ""),
    "cpu-gateway-network.yaml": ("cpu", "gateway", "Service NetworkPolicy"),
    "cpu-test.yaml": ("cpu", "tests/question", ""),
    "gpu-retriever.yaml": ("gpu", "retriever", "Deployment"),
    "keda-reranker.yaml": ("keda", "reranker", "ScaledObject"),
    "hpa-reranker.yaml": ("hpa", "reranker", "HorizontalPodAutoscaler"),
    "claims-retriever.yaml": ("claims", "retriever", "ResourceClaimTemplate Deployment"),
    "read-only-retriever.yaml": ("read-only", "retriever", "ConfigMap Deployment NetworkPolicy"),
    "without-crds-ingest.yaml": ("without-crds", "ingest", "Job"),
}
"""By file: profile, template, and kinds where not all are wanted."""


def manifests(profile: str, template: str, kinds: str) -> str:
    """The documents of a template, comments too."""
    ours = [
        text for text in rendered(profile).split("---\n") if text.startswith(f"# Source: trivium/templates/{template}.")
    ]
    wanted = [text for text in ours if not kinds or any(f"\nkind: {kind}\n" in text for kind in kinds.split())]
    assert wanted, f"{profile} has no {kinds or 'objects'} of {template}"
    return "---\n".join(text.rstrip() + "\n" for text in wanted)


def listing(profile: str) -> str:
    """One line for each object."""
    return "\n".join(sorted(f"{one['kind']} {one['metadata']['name']}" for one in objects(profile))) + "\n"


def golden() -> dict[str, str]:
    """Every golden file's text, by its name."""
    texts = {name: manifests(*arguments) for name, arguments in FILES.items()}
    return texts | {
        f"{profile}-objects.txt": listing(profile)
        for profile in ("cpu", "everything-on", "everything-off", "read-only")
    }


if __name__ == "__main__":
    for name, text in golden().items():
        (FOLDER / name).write_text(text)
