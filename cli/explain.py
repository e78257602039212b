"""`trivium explain`: every candidate of every leg, what became of it, and why one passage is not in the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.answer import place, printable
from cli.ask import show_footer
from cli.connection import calling, open_channel
from cli.search import LEGS, probability, rank_and_score
from cli.waterfall import waterfall
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, passage_pb2, retriever_pb2

Outcome = gateway_pb2.CandidateOutcome

LEGS_BY_MODE = {
    retriever_pb2.RETRIEVAL_MODE_HYBRID: ("dense", "bm25"),
    retriever_pb2.RETRIEVAL_MODE_DENSE: ("dense",),
    retriever_pb2.RETRIEVAL_MODE_SPARSE: ("bm25",),
}
SKIPPED = {"dense": retriever_pb2.DEGRADATION_DENSE_SKIPPED, "bm25": retriever_pb2.DEGRADATION_SPARSE_SKIPPED}
WHY_NOWHERE = {
    "dense": "however many candidates are asked for: {:,} are nearer",
    "bm25": "however many candidates are asked for: it has no word of the question, or {:,} match better",
}
COLUMNS = (*LEGS, "p", "read")
"""What stands beside the passage. `read`: the tokens that the reranker read, and how many were cut off."""


def explain(
    address: str, question: str, options: gateway_pb2.SearchOptions, passage_id: str | None, timeout_s: float
) -> gateway_pb2.ExplainResponse:
    """What the gateway's search found and what became of it. Raises CallFailed."""
    request = gateway_pb2.ExplainRequest(question=question, search=options, passage_id=passage_id)
    with calling("gateway", address), open_channel(address) as channel:
        return gateway_pb2_grpc.GatewayServiceStub(channel).Explain(request, timeout=timeout_s)


def show(response: gateway_pb2.ExplainResponse, console: Console) -> None:
    """Print the candidates by what became of them, the verdict, what was asked about, and where the time went."""
    widths = column_widths(response.candidates)
    for outcome, candidates in groupby(response.candidates, key=lambda candidate: candidate.outcome):
        console.print(Text(heading(outcome, response), style="bold"))
        console.print(candidates_table(candidates, widths))
        console.print()
    if not response.candidates:
        console.print(Text("No leg found anything.", style="yellow"))
    console.print(Text(f"Each leg finds at most {response.leg_limit:,} candidates.\n{verdict(response.evidence)}\n"))
    if response.HasField("passage"):
        passage = response.passage.candidate.passage
        console.print(Text(f"{printable(passage.passage_id)} · {place(passage)}", style="bold"))
        for reason in reasons(response):
            console.print(Padding(Text(reason), (0, 0, 0, 2), expand=False))
        console.print()
    console.print(waterfall(response.report, console.width))
    show_footer(response.report, console)


def heading(outcome: Outcome, response: gateway_pb2.ExplainResponse) -> str:
    """What became of a group of candidates."""
    search = response.search
    match outcome:
        case Outcome.CANDIDATE_OUTCOME_KEPT:
            is_reranked = retriever_pb2.DEGRADATION_RERANK_SKIPPED not in response.report.degraded
            order = f"rerank weight {search.rerank_weight:g}" if is_reranked else "without the reranker"
            return f"Kept: the first {search.top_k:,} (top_k) of the final order, {order}"
        case Outcome.CANDIDATE_OUTCOME_BEYOND_TOP_K:
            return f"Dropped: beyond top_k, {search.top_k:,}"
        case Outcome.CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES:
            return f"Dropped before the reranker: beyond num_candidates, {search.num_candidates:,}"
        case Outcome.CANDIDATE_OUTCOME_WEIGHTLESS:
            return "Dropped before the reranker: only a leg of fusion weight 0 found them"
    return "Dropped for a reason that this program is too old to know"


def candidates_table(candidates: Iterable[gateway_pb2.ExplainedCandidate], widths: Sequence[int]) -> Table:
    """One row for each, with a dash where a leg did not see it. `widths` are those of COLUMNS, in cells."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0), expand=True)
    table.add_column("#", justify="right", style="bold cyan", width=3)
    table.add_column("passage", ratio=1, overflow="fold")
    for column, width in zip(COLUMNS, widths, strict=True):
        table.add_column(column, justify="right", width=width, no_wrap=True)
    for candidate in candidates:
        is_kept = candidate.HasField("number")
        passage = Text(printable(candidate.passage.passage_id))
        if is_kept:
            passage.append(f"\n{place(candidate.passage)}", style="dim")
        table.add_row(str(candidate.number) if is_kept else "", passage, *_numbers(candidate))
    return table


def column_widths(candidates: Iterable[gateway_pb2.ExplainedCandidate]) -> list[int]:
    """So wide that the numbers of all fit, and groups stand below each other."""
    rows = [COLUMNS, *map(_numbers, candidates)]
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _numbers(candidate: gateway_pb2.ExplainedCandidate) -> list[Text]:
    legs = [rank_and_score(candidate.scores, leg) for leg in LEGS]
    return [*legs, Text(probability(candidate.scores)), _read(candidate)]


def verdict(evidence: gateway_pb2.EvidenceVerdict) -> str:
    """Whether there would be an answer, in a sentence."""
    would = "Answer would answer" if evidence.is_sufficient else "Answer would abstain"
    if not evidence.HasField("threshold"):
        return f"{would}."
    return f"{would}: the best p is {evidence.best_probability:.3f}, the threshold {evidence.threshold:.3f}."


def reasons(response: gateway_pb2.ExplainResponse) -> Iterator[str]:
    """Why the passage that was asked about is, or is not, a source: a sentence each."""
    explained, search = response.passage, response.search
    candidate, scores = explained.candidate, explained.candidate.scores
    match candidate.outcome:
        case Outcome.CANDIDATE_OUTCOME_KEPT:
            yield f"It is source {candidate.number}."
        case Outcome.CANDIDATE_OUTCOME_BEYOND_TOP_K:
            yield f"It was among the {search.num_candidates:,} candidates, but not among the {search.top_k:,} best."
        case Outcome.CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES:
            yield (
                f"The reranker never read it: fusion ranks it {scores.fused_rank:,}, "
                f"and num_candidates is {search.num_candidates:,}."
            )
        case Outcome.CANDIDATE_OUTCOME_WEIGHTLESS:
            yield "The reranker never read it: only a leg of fusion weight 0 found it."
        case Outcome.CANDIDATE_OUTCOME_NOT_FOUND:
            yield f"No leg found it among its {response.leg_limit:,} best."
        case Outcome.CANDIDATE_OUTCOME_FILTERED_OUT:
            yield "The filter does not choose it: no leg looked at it."
            return
    if scores.HasField("blended_rank"):
        yield (
            f"Final rank {scores.blended_rank:,}: the reranker ranks it {scores.rerank_rank:,} "
            f"(weight {search.rerank_weight:g}), the retriever {_retrieved_rank(scores):,}."
        )
    yield from _legs(response)
    if candidate.HasField("reading"):
        yield _reading(candidate)
    if candidate.outcome != Outcome.CANDIDATE_OUTCOME_KEPT:
        yield _needed(response)


def _retrieved_rank(scores: passage_pb2.Scores) -> int:
    """By fused score, or by the one leg's where nothing was fused."""
    return scores.fused_rank or scores.dense_rank or scores.bm25_rank


def _legs(response: gateway_pb2.ExplainResponse) -> Iterator[str]:
    explained = response.passage
    for leg in LEGS_BY_MODE[response.search.mode]:
        if SKIPPED[leg] in response.report.degraded:
            yield f"The {leg} leg was left out of this search."
        elif explained.standing.HasField(LEGS[leg]):
            rank, score = getattr(explained.standing, f"{leg}_rank"), getattr(explained.standing, LEGS[leg])
            beyond = f", beyond the {response.leg_limit:,} that it finds" if rank > response.leg_limit else ""
            yield f"The {leg} leg ranks it {rank:,}{beyond} (score {score:.3f})."
        else:
            yield f"The {leg} leg does not find it, {WHY_NOWHERE[leg].format(explained.standing_limit)}."


def _reading(candidate: gateway_pb2.ExplainedCandidate) -> str:
    reading = candidate.reading
    if not reading.truncated_tokens:
        return "The reranker read it whole."
    text = candidate.passage.text
    where = f", up to character {reading.text_characters:,} of {len(text):,} of its text"
    return (
        f"The reranker did not read its last {reading.truncated_tokens:,} tokens"
        f"{where if reading.HasField('text_characters') else ''}."
    )


def _needed(response: gateway_pb2.ExplainResponse) -> str:
    explained = response.passage
    if explained.HasField("needed_top_k"):
        return f"With --top-k {explained.needed_top_k} it is a source."
    if explained.HasField("needed_num_candidates"):
        return f"With --num-candidates {explained.needed_num_candidates} the reranker reads it."
    without = ", in a search without what was left out" if response.report.degraded else ""
    if explained.candidate.outcome == Outcome.CANDIDATE_OUTCOME_BEYOND_TOP_K:
        return f"No top_k that the gateway takes makes it a source{without}."
    return f"No num_candidates that the gateway takes brings it before the reranker{without}."


def _read(candidate: gateway_pb2.ExplainedCandidate) -> Text:
    reading = candidate.reading
    if not candidate.HasField("reading"):
        return Text("–", style="dim")
    tokens = f"{reading.tokens:,}" if reading.HasField("tokens") else "?"
    return Text(f"{tokens} −{reading.truncated_tokens:,}", style="yellow") if reading.truncated_tokens else Text(tokens)
