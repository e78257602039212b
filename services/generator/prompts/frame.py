"""The token ids around what is asked: a chat's control tokens, or those that stand around every text.

A chat template is the checkpoint's and renders text. It is rendered once, at load, with slots in place of what is
going to be said, so that no question and no passage ever passes through it: they are spliced in as ids. decision 23
"""

from __future__ import annotations

import copy
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import AddedToken

from chassis.config import ConfigError
from services.generator.prompts.prompt_template import PromptTemplate
from services.generator.prompts.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

BETWEEN = "\n\n"
"""Between the system's text and the user's where a model takes them as one."""


@dataclass(frozen=True)
class Frame:
    """What stands before and after the user's text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    lead: str
    """Text with which the user's begins."""
    encode: Callable[[Sequence[str]], list[list[int]]]
    """The ids of each text. None is a control token."""


def plain(vocabulary: Vocabulary, template: PromptTemplate) -> Frame:
    """One text: the system's, the user's, and the template's `plain_end`, within the tokenizer's control tokens."""
    system, end = vocabulary.encode([template.system, template.plain_end])
    prefix, suffix = vocabulary.control
    lead = BETWEEN if template.system else ""
    return Frame((*prefix, *system), (*end, *suffix), lead, vocabulary.encode)


def chat(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate) -> Frame:
    """What the checkpoint's chat template makes of the system's text and the user's, up to where the model answers.
    A checkpoint without a chat template gets a plain text.

    Ids are those of `apply_chat_template`: it brings its own begin-of-sequence token, or there is none.
    Raises ConfigError: the template does not give back, each once, what it is told.
    """
    vocabulary = Vocabulary(tokenizer)
    if not tokenizer.chat_template:
        return plain(vocabulary, template)
    alone = ["user"]
    skeleton = _skeleton(tokenizer, ["system", *alone] if template.system else alone) or _skeleton(tokenizer, alone)
    if skeleton is None:
        raise ConfigError("the checkpoint's chat template does not show, once, what a user says")
    (first, *between, last), (lead, *leads) = skeleton
    if not template.system:
        return Frame(tuple(first), tuple(last), lead, vocabulary.encode_within)
    (said,) = vocabulary.encode_within([lead + template.system])
    before = (*first, *said, *itertools.chain(*between))
    return Frame(before, tuple(last), leads[0] if between else BETWEEN, vocabulary.encode_within)


def _skeleton(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str]) -> tuple[list[list[int]], list[str]] | None:
    """The ids before, between and after what these say, and the spaces before each, which go with what is said. None
    where the template does not show it."""
    slots = [f"{role}{secrets.token_hex(16)}" for role in roles]
    parts = _rendered(tokenizer, list(zip(roles, slots, strict=True)))
    return _trusted(tokenizer, parts, slots) if parts else None


def _rendered(tokenizer: PreTrainedTokenizerBase, said: Sequence[tuple[str, str]]) -> list[str] | None:
    """The template's own text before, between and after what was said. None where it does not show all of it, once and
    in that order: some raise when a system speaks, some pass over it."""
    messages = [{"role": role, "content": text} for role, text in said]
    try:
        rest: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except Exception as error:  # a template raises what it likes
        logger.info("the chat template refuses", extra={"roles": [role for role, _ in said], "reason": str(error)})
        return None
    parts: list[str] = []
    for _, text in said:
        if rest.count(text) != 1:
            return None
        part, _, rest = rest.partition(text)
        parts.append(part)
    return [*parts, rest]


def _trusted(
    tokenizer: PreTrainedTokenizerBase, parts: Sequence[str], slots: Sequence[str]
) -> tuple[list[list[int]], list[str]]:
    """The ids of the parts, control tokens that they spell included, and the spaces before each slot. They are
    tokenised as one text, in which slots are tokens of their own."""
    reader = copy.deepcopy(tokenizer)
    reader.add_tokens([AddedToken(slot, special=True, normalized=False) for slot in slots])
    slot_ids = set(reader.convert_tokens_to_ids(list(slots)))
    leads = [part[len(part.rstrip(" ")) :] for part in parts[:-1]]
    text = "".join(part.rstrip(" ") + slot for part, slot in zip(parts, slots, strict=False)) + parts[-1]
    ids = reader(text, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"]
    runs: list[list[int]] = [[]]
    for token_id in ids:
        if token_id in slot_ids:
            runs.append([])
        else:
            runs[-1].append(token_id)
    return runs, leads
