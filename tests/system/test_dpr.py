"""DPR's two towers, 768 wide: passages are indexed by one and found by the other, as transformers computes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, DPRContextEncoder, DPRQuestionEncoder

from cli.connection import Refusal, details_of, open_channel
from cli.system import System
from tests.installation import Installation
from tests.unit.seeded_encoders import DPR_SIZES, write_dpr_pair
from trivium.v1 import indexer_pb2, retriever_pb2, retriever_pb2_grpc

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
"""Of a score, as a share of both vectors' lengths: other kernels round otherwise."""
QUESTION = "who is the one writer of the index"
TEXTS = {
    "writer": "The index is made by one writer and read by many.",
    "passage": "A passage of the index is a piece of text.",
    "question": "The question is made of words.",
    "heron": "The heron stands in the water.",
}


@pytest.fixture(scope="module")
def dpr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, tuple[Path, Path]]]:
    """An indexer with both towers, a retriever with them, and one whose context encoder is another."""
    folder = tmp_path_factory.mktemp("dpr")
    towers, others = (write_dpr_pair(folder / name, seed, DPR_SIZES) for name, seed in (("one", 0), ("two", 7)))

    def settings(prefix: str, question: Path, passage: Path) -> dict[str, str]:
        names = {"ENCODER": "dpr", "MODEL": str(question), "PASSAGE_MODEL": str(passage), "DTYPE": "float32"}
        return {f"{prefix}_{name}": value for name, value in names.items()}

    system = System(
        collections_path=folder / "collections",
        replicas={"gateway": 0, "reranker": 0, "generator": 0, "retriever": 2},
        settings={
            "indexer": settings("INDEXER", *towers),
            "retriever-1": settings("RETRIEVER", *towers),
            "retriever-2": settings("RETRIEVER", towers[0], others[1]),
        },
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        installation = Installation(processes, folder)
        with installation.connected():
            indexer = installation.stub("indexer")
            indexer.CreateCollection(indexer_pb2.CreateCollectionRequest(name="dpr"), timeout=60)
            requests = [
                indexer_pb2.UpsertDocumentsRequest(
                    collection="dpr",
                    document=indexer_pb2.Document(
                        document_id=name, title=name, sections=[indexer_pb2.Section(text=text)]
                    ),
                )
                for name, text in TEXTS.items()
            ]
            assert len(list(indexer.UpsertDocuments(iter(requests), timeout=120))) == len(TEXTS)
            indexer.PublishVersion(indexer_pb2.PublishVersionRequest(collection="dpr"), timeout=120)
            yield installation, towers


def search(address: str) -> retriever_pb2.RetrieveResponse:
    request = retriever_pb2.RetrieveRequest(
        question=QUESTION, collection="dpr", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=1
    )
    with open_channel(address) as channel:
        reply: retriever_pb2.RetrieveResponse = retriever_pb2_grpc.RetrieverServiceStub(channel).Retrieve(
            request, timeout=60
        )
    return reply


def test_passages_are_ranked_as_transformers_ranks_them(dpr: tuple[Installation, tuple[Path, Path]]) -> None:
    installation, (question_path, passage_path) = dpr
    tokenizer = AutoTokenizer.from_pretrained(question_path)
    with torch.inference_mode():
        questions = tokenizer([QUESTION], return_tensors="pt")
        question = DPRQuestionEncoder.from_pretrained(question_path).eval()(**questions).pooler_output.numpy()
        passages = tokenizer(list(TEXTS), list(TEXTS.values()), padding=True, return_tensors="pt")
        vectors = DPRContextEncoder.from_pretrained(passage_path).eval()(**passages).pooler_output.numpy()
    assert vectors.shape == (len(TEXTS), 768)
    expected = dict(zip(TEXTS, (vectors @ question[0]).tolist(), strict=True))
    found = search(installation.processes.named("retriever")[0].address).candidates
    scores = {candidate.passage.document_id: candidate.scores.dense_score for candidate in found}
    assert list(scores) == sorted(expected, key=lambda name: -expected[name])
    lengths = np.linalg.norm(vectors, axis=1).max() * np.linalg.norm(question[0])
    np.testing.assert_allclose(
        [scores[name] for name in expected], list(expected.values()), rtol=0, atol=TOLERANCE * lengths
    )


def test_another_context_encoder_is_told_apart(dpr: tuple[Installation, tuple[Path, Path]]) -> None:
    installation, _ = dpr
    with pytest.raises(grpc.RpcError) as raised:
        search(installation.processes.named("retriever")[1].address)
    assert Refusal.of(raised.value).code == "FAILED_PRECONDITION"
    (info,) = (detail for detail in details_of(raised.value) if detail.DESCRIPTOR.name == "ErrorInfo")
    assert info.reason == "ENCODER_MISMATCH"
    assert list(info.metadata) == ["passage_weights"], info.metadata
