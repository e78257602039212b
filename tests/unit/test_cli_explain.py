"""What `trivium explain` prints."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.explain import show
from trivium.v1 import gateway_pb2, passage_pb2, retriever_pb2

KEPT = gateway_pb2.ExplainedCandidate(
    passage=passage_pb2.Passage(
        passage_id="guide.md#3", document_id="guide.md", title="Guide", heading_path=["Guide", "Draining"]
    ),
    scores=passage_pb2.Scores(
        dense_score=0.5, dense_rank=2, fused_score=0.016, fused_rank=4, rerank_logit=1.25, rerank_rank=1,
        rerank_probability=0.75, blended_rank=1,
    ),
    reading=gateway_pb2.RerankReading(tokens=500, truncated_tokens=12, text_characters=1_024),
    outcome=gateway_pb2.CANDIDATE_OUTCOME_KEPT,
    number=1,
)  # fmt: skip
KEPT.passage.text = "x" * 1_100
BEYOND_TOP_K = gateway_pb2.ExplainedCandidate(
    passage=passage_pb2.Passage(passage_id="other.md#0", document_id="other.md"),
    scores=passage_pb2.Scores(fused_rank=1, rerank_rank=2, blended_rank=2),
    reading=gateway_pb2.RerankReading(tokens=7, text_characters=20),
    outcome=gateway_pb2.CANDIDATE_OUTCOME_BEYOND_TOP_K,
)
BEYOND_NUM_CANDIDATES = gateway_pb2.ExplainedCandidate(
    passage=passage_pb2.Passage(passage_id="far.md#0", document_id="far.md"),
    scores=passage_pb2.Scores(bm25_score=1.5, bm25_rank=9, fused_score=0.01, fused_rank=31),
    outcome=gateway_pb2.CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES,
)
NOT_FOUND = gateway_pb2.ExplainedCandidate(
    passage=passage_pb2.Passage(passage_id="lost.md#0", document_id="lost.md"),
    outcome=gateway_pb2.CANDIDATE_OUTCOME_NOT_FOUND,
)


def response(asked: gateway_pb2.ExplainedCandidate | None = None, **explained: int) -> gateway_pb2.ExplainResponse:
    standing = passage_pb2.Scores(dense_score=0.125, dense_rank=140)
    passage = gateway_pb2.PassageExplanation(candidate=asked, standing=standing, standing_limit=2_000, **explained)
    return gateway_pb2.ExplainResponse(
        candidates=[KEPT, BEYOND_TOP_K, BEYOND_NUM_CANDIDATES],
        passage=passage if asked else None,
        evidence=gateway_pb2.EvidenceVerdict(is_sufficient=True, best_probability=0.75, threshold=0.25),
        search=gateway_pb2.SearchOptions(
            mode=retriever_pb2.RETRIEVAL_MODE_HYBRID, top_k=1, num_candidates=30, rerank_weight=0.6
        ),
        leg_limit=100,
    )


def printed(response: gateway_pb2.ExplainResponse, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(response, console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def row(lines: list[str], passage_id: str) -> str:
    (line,) = [line for line in lines if passage_id in line]
    return " ".join(line.split())


def test_every_candidate_is_a_row_below_what_became_of_it() -> None:
    lines = printed(response())
    assert [line for line in lines if line.startswith(("Kept", "Dropped"))] == [
        "Kept: the first 1 (top_k) of the final order, rerank weight 0.6",
        "Dropped: beyond top_k, 1",
        "Dropped before the reranker: beyond num_candidates, 30",
    ]
    assert row(lines, "guide.md#3") == "1 guide.md#3 2. 0.500 – 4. 0.016 1. 1.250 0.75 500 −12"
    assert row(lines, "far.md#0") == "far.md#0 – 9. 1.500 31. 0.010 – – –"
    assert "    Guide › Draining" in lines


def test_a_table_fits_a_hundred_columns_with_ids_whole() -> None:
    long = gateway_pb2.ExplainedCandidate()
    long.CopyFrom(BEYOND_NUM_CANDIDATES)
    long.passage.passage_id = "a/very/long/folder/name/and/a/file/with/a/long/name.md#1234"
    long.scores.dense_rank, long.scores.dense_score = 1_000, -0.125
    long.scores.bm25_rank, long.scores.bm25_score = 1_000, 123.456
    shown = response()
    shown.candidates.append(long)
    text = "".join(printed(shown))
    assert "…" not in text
    assert "1000. 123.456" in text


@pytest.mark.parametrize(
    ("asked", "needed", "sentences"),
    [
        pytest.param(
            KEPT,
            {},
            [
                "It is source 1.",
                "Final rank 1: the reranker ranks it 1 (weight 0.6), the retriever 4.",
                "The reranker did not read its last 12 tokens, up to character 1,024 of 1,100 of its text.",
            ],
            id="kept",
        ),
        pytest.param(
            BEYOND_TOP_K,
            {"needed_top_k": 2},
            [
                "It was among the 30 candidates, but not among the 1 best.",
                "The reranker read it whole.",
                "With --top-k 2 it is a source.",
            ],
            id="beyond-top_k",
        ),
        pytest.param(
            BEYOND_NUM_CANDIDATES,
            {"needed_num_candidates": 31},
            [
                "The reranker never read it: fusion ranks it 31, and num_candidates is 30.",
                "With --num-candidates 31 the reranker reads it.",
            ],
            id="beyond-num_candidates",
        ),
        pytest.param(
            NOT_FOUND,
            {},
            [
                "No leg found it among its 100 best.",
                "The dense leg ranks it 140, beyond the 100 that it finds (score 0.125).",
                "No num_candidates that the gateway takes brings it before the reranker.",
            ],
            id="not-found",
        ),
        pytest.param(
            BEYOND_TOP_K,
            {},
            ["No top_k that the gateway takes makes it a source."],
            id="beyond-every-top_k",
        ),
    ],
)
def test_the_passage_asked_about_is_explained_in_sentences(
    asked: gateway_pb2.ExplainedCandidate, needed: dict[str, int], sentences: list[str]
) -> None:
    lines = printed(response(asked, **needed), width=140)
    about = lines[lines.index("Answer would answer: the best p is 0.750, the threshold 0.250.") + 2 :]
    assert about[0].startswith(asked.passage.passage_id)
    said = [line.strip() for line in about[1 : about.index("")]]
    assert [one for one in said if one in sentences] == sentences
    assert any(one.startswith("The bm25 leg does not find it") for one in said)


def test_a_passage_that_the_filter_excludes_is_explained_by_that_alone() -> None:
    excluded = gateway_pb2.ExplainedCandidate(
        passage=NOT_FOUND.passage, outcome=gateway_pb2.CANDIDATE_OUTCOME_FILTERED_OUT
    )
    text = "\n".join(printed(response(excluded), width=140))
    assert "The filter does not choose it: no leg looked at it." in text
    assert "leg does not find it" not in text


def test_what_was_left_out_is_not_held_against_the_passage() -> None:
    shown = response(NOT_FOUND)
    shown.report.degraded.extend([retriever_pb2.DEGRADATION_SPARSE_SKIPPED, retriever_pb2.DEGRADATION_RERANK_SKIPPED])
    text = "\n".join(printed(shown))
    assert "The bm25 leg was left out of this search." in text
    assert "of the final order, without the reranker" in text
    assert "degraded: sparse skipped, rerank skipped" in text


def test_a_document_cannot_command_the_terminal() -> None:
    shown = response(NOT_FOUND)
    for candidate in (shown.candidates[0], shown.passage.candidate):
        candidate.passage.passage_id = candidate.passage.title = "\x1b]0;owned\x07"
    assert not {"\x1b", "\x07"} & set("".join(printed(shown)))


def test_nothing_found_is_said() -> None:
    nothing = gateway_pb2.ExplainResponse(leg_limit=100, evidence=gateway_pb2.EvidenceVerdict())
    lines = printed(nothing)
    assert lines[:3] == ["No leg found anything.", "Each leg finds at most 100 candidates.", "Answer would abstain."]
