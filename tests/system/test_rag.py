"""A RAG checkpoint serves a question from end to end: its own question encoder finds, its own generator writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
import torch
from transformers import AutoTokenizer, RagTokenForGeneration

from cli.connection import Refusal, details_of
from cli.system import System
from tests.installation import Installation
from tests.unit.seeded_encoders import write_dpr_pair
from tests.unit.seeded_generators import save_rag
from trivium.v1 import gateway_pb2, generator_pb2, indexer_pb2, retriever_pb2

pytestmark = pytest.mark.slow

QUESTION = "how many candidates are scored"
MAX_TOKENS = 8
TEXTS = {
    "reranker": "The reranker scores at most two hundred candidates.",
    "passages": "Passages travel as text once per hop.",
    "trace": "A question travels through three services, and a trace follows it.",
    "deadline": "The deadline is ten seconds unless told otherwise.",
}


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Path]]:
    folder = tmp_path_factory.mktemp("rag")
    model = folder / "rag"
    save_rag(model)
    _, passage_model = write_dpr_pair(folder / "towers")

    def encoder(prefix: str) -> dict[str, str]:
        names = {"ENCODER": "dpr", "MODEL": str(model), "PASSAGE_MODEL": str(passage_model), "DTYPE": "float32"}
        return {f"{prefix}_{name}": value for name, value in names.items()}

    system = System(
        collections_path=folder / "collections",
        settings={
            "indexer": encoder("INDEXER"),
            "retriever": encoder("RETRIEVER"),
            "reranker": {"RERANKER_CALIBRATION": "none"},
            "generator": {"GENERATOR_ENGINE": "rag-token", "GENERATOR_MODEL": str(model)},
        },
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        installation = Installation(processes, folder)
        with installation.connected():
            store(installation)
            yield installation, model


def store(installation: Installation) -> None:
    indexer = installation.stub("indexer")
    indexer.CreateCollection(indexer_pb2.CreateCollectionRequest(name="default"), timeout=60)
    requests = [
        indexer_pb2.UpsertDocumentsRequest(
            document=indexer_pb2.Document(document_id=name, title=name, sections=[indexer_pb2.Section(text=text)])
        )
        for name, text in TEXTS.items()
    ]
    assert len(list(indexer.UpsertDocuments(iter(requests), timeout=120))) == len(TEXTS)
    indexer.PublishVersion(indexer_pb2.PublishVersionRequest(collection="default"), timeout=120)


def ask(
    installation: Installation, mode: retriever_pb2.RetrievalMode, allow_sources_only: bool = False
) -> gateway_pb2.AnswerResponse:
    request = gateway_pb2.AnswerRequest(
        question=QUESTION,
        search=gateway_pb2.SearchOptions(mode=mode, top_k=3, min_index_version=1),
        sampling=generator_pb2.Sampling(max_output_tokens=MAX_TOKENS),
        allow_sources_only=allow_sources_only,
    )
    reply: gateway_pb2.AnswerResponse = installation.stub("gateway").Answer(request, timeout=60)
    return reply


def written_by_transformers(model_path: Path, sources: Sequence[gateway_pb2.Source]) -> str:
    """RAG-token's answer from these sources and their dense scores."""
    model = RagTokenForGeneration.from_pretrained(model_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path / "generator_tokenizer")
    rows = [f"{source.passage.title} / {source.passage.text} // {QUESTION}" for source in sources]
    read = tokenizer(rows, padding=True, return_tensors="pt")
    ids = model.generate(
        context_input_ids=read["input_ids"],
        context_attention_mask=read["attention_mask"],
        doc_scores=torch.tensor([[source.scores.dense_score for source in sources]]),
        n_docs=len(sources),
        num_beams=4,
        max_length=1 + MAX_TOKENS,
    )
    text: str = tokenizer.decode(ids[0], skip_special_tokens=True)
    return text


def test_the_answer_is_what_transformers_writes_from_the_sources(rag: tuple[Installation, Path]) -> None:
    installation, model = rag
    reply = ask(installation, retriever_pb2.RETRIEVAL_MODE_DENSE)
    assert len(reply.sources) == 3
    assert reply.text == written_by_transformers(model, reply.sources)
    assert reply.kind == generator_pb2.ANSWER_KIND_GENERATED
    assert not reply.report.degraded


def test_every_source_has_its_share_of_the_answer(rag: tuple[Installation, Path]) -> None:
    installation, _ = rag
    reply = ask(installation, retriever_pb2.RETRIEVAL_MODE_DENSE)
    assert [one.passage_id for one in reply.passage_weights] == [one.passage.passage_id for one in reply.sources]
    assert sum(one.weight for one in reply.passage_weights) == pytest.approx(1, abs=1e-5)


def test_a_search_without_dense_scores_says_what_the_model_lacks(rag: tuple[Installation, Path]) -> None:
    installation, _ = rag
    with pytest.raises(grpc.RpcError) as raised:
        ask(installation, retriever_pb2.RETRIEVAL_MODE_SPARSE)
    assert Refusal.of(raised.value).code == "FAILED_PRECONDITION"
    (info,) = (detail for detail in details_of(raised.value) if detail.DESCRIPTOR.name == "ErrorInfo")
    assert info.reason == "DENSE_SCORES_MISSING"


def test_sources_alone_do_where_the_request_allows_them(rag: tuple[Installation, Path]) -> None:
    installation, _ = rag
    reply = ask(installation, retriever_pb2.RETRIEVAL_MODE_SPARSE, allow_sources_only=True)
    assert reply.sources
    assert reply.reason == generator_pb2.FINISH_REASON_SOURCES_ONLY
