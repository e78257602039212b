"""Turns evidence into the probability that a passage is relevant.

A calibration is a JSON file, made on judged questions for one engine and one model:

    {
        "engine": "cross-encoder",       the engine whose evidence it reads
        "model_sha256": "53aa5117…",     the model's weights, 64 hexadecimal digits
        "slope": 1.7,                    above 0
        "intercept": -0.4,
        "abstention_threshold": 0.25,    0 to 1: what the best passage must reach for an answer to be given
        "made_with": "…"                 the questions and the command, for people
    }

probability = 1 / (1 + e^-(slope · evidence + intercept))    (Platt, Probabilistic Outputs for SVMs, 1999)

The evidence is the engine's: the logit of a cross-encoder, and for late interaction what `late_interaction` says.
The one for the embedded model and late interaction lies beside this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from chassis.config import ConfigError


@dataclass(frozen=True)
class Calibration:
    """How one engine's evidence over one model's weights relates to relevance."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    engine: str
    model_sha256: str
    slope: Annotated[float, Field(gt=0)]
    intercept: float
    abstention_threshold: Annotated[float, Field(ge=0, le=1)]
    made_with: str

    def probability(self, evidence: float) -> float:
        """That a passage of this evidence is relevant. 0 to 1."""
        # The logistic function by tanh, which does not overflow.
        return 0.5 + 0.5 * math.tanh(0.5 * (self.slope * evidence + self.intercept))


SHIPPED_PATH = Path(__file__).with_name("embedded_calibration.json")


def find_calibration(name: str, engine: str, model_sha256: str) -> Calibration | None:
    """What `name` means: a file, `shipped`, or `none`. None where there is none: nothing is shipped for this model.

    Raises ConfigError.
    """
    if name == "none":
        return None
    if name == "shipped":
        shipped = read_calibration(SHIPPED_PATH)
        return shipped if (shipped.engine, shipped.model_sha256) == (engine, model_sha256) else None
    return load_calibration(Path(name), engine, model_sha256)


def load_calibration(path: Path, engine: str, model_sha256: str) -> Calibration:
    """The calibration in a file. Raises ConfigError when it is malformed or of another engine or model."""
    calibration = read_calibration(path)
    if (calibration.engine, calibration.model_sha256) != (engine, model_sha256):
        raise ConfigError(
            f"calibration {path}: made for {calibration.engine} over {calibration.model_sha256[:12]}, "
            f"not for {engine} over {model_sha256[:12]}"
        )
    return calibration


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file, whatever it is for. Raises ConfigError when it is malformed."""
    try:
        calibration = TypeAdapter(Calibration).validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"calibration {path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        faults = ((".".join(map(str, one["loc"])), one["msg"]) for one in error.errors())
        raise ConfigError(f"calibration {path}: " + "; ".join(f"{at}: {text}" for at, text in faults)) from error
    return calibration
