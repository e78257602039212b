"""transformers' own beam search, one step of the decoder at a time. Imports torch."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import torch
from greenlet import getcurrent, greenlet
from transformers import StoppingCriteriaList

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def search(model: PreTrainedModel, token_ids: torch.Tensor, **options: Any) -> Generator[list[int] | None, None, None]:
    """Yields None after each step of the decoder and at the end the ids of the best beam, without the start token.

    `token_ids` are the prompt, shape (1, tokens). Closing the generator ends the search and frees what it holds. To
    be resumed and closed on one thread only. What a pause leaves set of torch's modes is undone by this function's
    own, which is entered at each resumption and left at each pause.
    """
    running = greenlet(
        lambda: model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            stopping_criteria=StoppingCriteriaList([_pause]),
            return_dict_in_generate=False,
            **options,
        )
    )
    try:
        found = running.switch()
        while not running.dead:
            yield None
            found = running.switch()
        yield found[0, 1:].tolist()
    finally:
        if not running.dead:
            running.throw()


def _pause(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
    """A stopping criterion that ends nothing: it hands control back to whoever resumed the search."""
    resumed_by = getcurrent().parent
    assert resumed_by
    resumed_by.switch()
    return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
