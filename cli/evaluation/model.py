"""Which model reranks: its engine is a matter of configuration, its weights of their sha256."""

from __future__ import annotations

import os
from dataclasses import dataclass

from chassis import checkpoint
from cli.evaluation.failure import EvaluationFailed

DEFAULT_ENGINE = "late-interaction"
"""The reranker's own default."""


@dataclass(frozen=True)
class RerankerModel:
    """What a calibration is made for."""

    engine: str
    sha256: str


def find_reranker_model(engine: str = "", name: str = "") -> RerankerModel:
    """The model of that name, by default what the environment (`RERANKER_MODEL`) tells processes of our own.

    Raises ConfigError when it is not here.
    """
    engine = engine or os.environ.get("RERANKER_ENGINE", "") or DEFAULT_ENGINE
    name = name or os.environ.get("RERANKER_MODEL", "") or checkpoint.EMBEDDED
    return RerankerModel(engine, checkpoint.find(name).sha256)


def require_asked(model: RerankerModel, revision: str) -> None:
    """Raises EvaluationFailed unless the weights that answered (their sha256's first digits) are the model's."""
    if not revision or not model.sha256.startswith(revision):
        raise EvaluationFailed(
            f"cannot calibrate: the reranker runs {revision or 'no model'}, not {model.sha256[:12]}; "
            "name its model with --reranker-model"
        )
