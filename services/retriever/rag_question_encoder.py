"""The question encoder within a RAG checkpoint, which was trained together with the generator there. Imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import DPRConfig, DPRQuestionEncoder, RagConfig

from chassis.config import ConfigError

PREFIXES = {r"^(rag\.)?question_encoder\.(?=question_encoder\.)": ""}
"""What stands before its weights' names in `RagSequenceForGeneration`, `RagTokenForGeneration` and `RagModel`."""


class RagQuestionEncoder(DPRQuestionEncoder):  # type: ignore[misc]  # transformers builds it lazily
    """For `chassis.pretrained`: loads the question encoder alone, none of the generator's weights."""

    _keys_to_ignore_on_load_unexpected = (r"^(rag\.)?generator\.",)

    @classmethod
    def from_pretrained(cls, path: Any, *arguments: Any, **options: Any) -> Any:
        return super().from_pretrained(path, *arguments, config=config_in(path), key_mapping=PREFIXES, **options)


def config_in(path: Path) -> DPRConfig | None:
    """The question encoder's configuration. None where the directory holds another model than RAG.

    Raises ConfigError: a RAG checkpoint whose questions another model encodes.
    """
    file = path / "config.json"
    if not file.is_file() or json.loads(file.read_text(encoding="utf-8")).get("model_type") != "rag":
        return None
    config = RagConfig.from_pretrained(path, local_files_only=True).question_encoder
    if not isinstance(config, DPRConfig):
        raise ConfigError(f"the question encoder at {path} is {type(config).__name__}; only DPR's are offered")
    return config
