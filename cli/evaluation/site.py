"""Where the questions are asked: processes of our own, or ones that run already, with the corpus published."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.evaluation.failure import EvaluationFailed
from cli.evaluation.question_set import CORPUS, QuestionSet
from cli.reading.read import Reading
from cli.summary import Summary
from cli.system import System
from cli.up import inherited_settings
from cli.upload import OnProgress, Upload, upload

MAX_PASSAGES = 1_000
"""The retriever's and the gateway's limit."""
MAX_PASSAGES_ELSEWHERE = 100
"""`max_top_k` of a gateway that was started without a word about it."""
NOWHERE = "127.0.0.1:1"
"""Nobody listens there: the gateway that asks for the legs' own orders has no reranker to wait for."""

OnStatus = Callable[[str], None]


@dataclass(frozen=True)
class Site:
    """Addresses, and what they may be asked for."""

    gateway: str
    """Asked for the final order and for answers."""
    legs_gateway: str
    """Asked for the order of each leg."""
    indexer: str
    max_passages: int
    """Passages that one search may ask for."""
    collections_path: Path | None = None
    """Where collections lie, if on this machine."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings that processes of our own were started with."""


@dataclass(frozen=True)
class Published:
    """The corpus as a collection."""

    collection: str
    index_version: int
    num_documents: int
    num_passages: int
    fingerprint: dict[str, Any] | None
    """What the index was made with, from its manifest. None where that is on another machine."""


@contextmanager
def own_processes(data: Path | None, device: str, on_status: OnStatus) -> Iterator[Site]:
    """Five processes of our own and a second gateway, stopped at the end; without `data` the collections go too.

    `GATEWAY_…`, `RERANKER_…` and the like in the environment reach them, as with `trivium up`. Raises ProcessFailed.
    """
    with tempfile.TemporaryDirectory(prefix="trivium-eval-") as folder:
        path = data or Path(folder)
        on_status("starting six processes; the models take some seconds to load …")
        with _system(path, device).processes() as processes:
            final, legs = (process.address for process in processes.named("gateway"))
            environment = {name: value for ours in inherited_settings().values() for name, value in ours.items()}
            yield Site(final, legs, processes.address_of("indexer"), MAX_PASSAGES, path, environment)
            on_status("draining the processes …")


def publish(site: Site, questions: QuestionSet, language: str | None, on_progress: OnProgress) -> Published:
    """Put the corpus into a collection of its own, which its content names: what is there already is not sent again.

    Raises CallFailed, and EvaluationFailed when the index does not hold exactly the corpus.
    """
    name = collection_name(questions, language)
    readings = (Reading(document.document_id, document) for document in questions.documents())
    summary = upload(Upload(site.indexer, name, language), readings, _Unlike(), on_progress)
    _require_whole(summary, questions)
    return Published(
        collection=name,
        index_version=summary.index_version,
        num_documents=summary.num_published_documents,
        num_passages=summary.num_published_passages,
        fingerprint=_fingerprint(site.collections_path, name),
    )


def collection_name(questions: QuestionSet, language: str | None) -> str:
    """`eval-` and what stands for the corpus and its language."""
    content = f"{questions.sha256_by_file[CORPUS]} {language or ''}"
    return f"eval-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _system(path: Path, device: str) -> System:
    settings = {name: {f"{name.upper()}_LOG_LEVEL": "WARNING"} | ours for name, ours in inherited_settings().items()}
    settings["gateway"]["GATEWAY_MAX_TOP_K"] = str(MAX_PASSAGES)
    # It reports every question that it could not have reranked, as it should; here that is meant.
    settings["gateway-2"] = {"GATEWAY_RERANKER_ADDRESS": NOWHERE, "GATEWAY_LOG_LEVEL": "ERROR"}
    return System(path, replicas={"gateway": 2}, settings=settings, device=device)


class _Unlike:
    """A corpus is taken as it is: near-duplicates are not looked for."""

    def seen(self, document_id: str, text: str) -> None:
        return None


def _require_whole(summary: Summary, questions: QuestionSet) -> None:
    if summary.rejections:
        shown = "; ".join(f"{name}: {reason}" for name, reason in summary.rejections[:3])
        raise EvaluationFailed(f"the indexer refused {len(summary.rejections):,} documents: {shown}")
    expected = questions.num_documents - questions.num_empty_documents
    if summary.num_published_documents != expected:
        raise EvaluationFailed(
            f"collection {summary.collection} holds {summary.num_published_documents:,} documents, "
            f"the corpus has {expected:,} to index"
        )


def _fingerprint(collections_path: Path | None, name: str) -> dict[str, Any] | None:
    manifests = sorted((collections_path / name / "versions").glob("*/manifest.json")) if collections_path else []
    if not manifests:
        return None
    manifest = json.loads(manifests[-1].read_bytes())
    return {
        field: manifest[field] for field in ("encoder", "splitter", "analyzer", "index_factory", "library_versions")
    }
