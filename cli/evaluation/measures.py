"""nDCG, MRR and recall of one ranking for each question, by trec_eval's own code.

Gains are linear: a document judged 2 is worth twice one judged 1, as in trec_eval (and unlike the exponential gains
of Burges et al., 2005). The ideal ranking and recall know every relevant document of the qrels, found or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ir_measures
from ir_measures import RR, R, nDCG

MEASURE_BY_NAME = {"ndcg@10": nDCG @ 10, "mrr@10": RR @ 10, "recall@10": R @ 10, "recall@100": R @ 100}
MEASURES = tuple(MEASURE_BY_NAME)
DEPTH = 100
"""Documents that the deepest measure looks at."""


def measure(
    gains_by_question_id: Mapping[str, Mapping[str, int]], ranking_by_question_id: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Measure → question id → value, 0 to 1. A ranking is document ids, each once, best first; an empty one is 0.
    Gains below 0 count as 0.
    """
    # trec_eval sorts by score, and equal scores by id: the rank as score keeps the order as it is.
    run = {
        question_id: {document_id: -float(rank) for rank, document_id in enumerate(ranking)}
        for question_id, ranking in ranking_by_question_id.items()
    }
    qrels = {
        question_id: {document_id: max(0, gain) for document_id, gain in gains.items()}
        for question_id, gains in gains_by_question_id.items()
    }
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in MEASURES}
    name_by_measure = {kind: name for name, kind in MEASURE_BY_NAME.items()}
    for one in ir_measures.iter_calc(list(MEASURE_BY_NAME.values()), qrels, run):
        values[name_by_measure[one.measure]][one.query_id] = float(one.value)
    return values
