"""transformers' own beam search, one step of the decoder at a time. Imports torch.

A search has a thread of its own, which runs only while whoever resumes the search waits: at any time one of the two
works. What torch keeps by thread (modes, and where an error's trace ends) is so each one's own.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch
from transformers import StoppingCriteriaList

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "search"
"""Of each thread."""


def search(model: PreTrainedModel, token_ids: torch.Tensor, **options: Any) -> Generator[list[int] | None, None, None]:
    """Yields None after each step of the decoder and at the end the ids of the best beam, without the start token.

    `token_ids` are the prompt, shape (1, tokens). Closing the generator ends the search and frees what it holds.
    """
    searching = _Search(model, token_ids, options)
    try:
        while (found := searching.go_on()) is None:
            yield None
        yield found
    finally:
        searching.leave()


class _Left(BaseException):
    """Nobody waits for the search any more."""


class _Search:
    """A call of `generate` that stops at each step until it is told to go on."""

    def __init__(self, model: PreTrainedModel, token_ids: torch.Tensor, options: dict[str, Any]) -> None:
        self._orders: SimpleQueue[bool] = SimpleQueue()
        """Whether to go on after a step."""
        self._outcomes: SimpleQueue[list[int] | BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(model, token_ids, options), name=NAME, daemon=True)

    def go_on(self) -> list[int] | None:
        """One step; the ids where it was the last. Raises what the search failed of."""
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._orders.put(True)
        outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def leave(self) -> None:
        """End the search, wherever it is."""
        if self._thread.ident is not None:
            self._orders.put(False)
            self._thread.join()

    def _run(self, model: PreTrainedModel, token_ids: torch.Tensor, options: dict[str, Any]) -> None:
        try:
            with torch.inference_mode():
                found = model.generate(
                    token_ids,
                    attention_mask=torch.ones_like(token_ids),
                    stopping_criteria=StoppingCriteriaList([self._pause]),
                    return_dict_in_generate=False,
                    **options,
                )
            self._outcomes.put(found[0, 1:].tolist())
        except _Left:
            pass
        except BaseException as error:  # whatever it is, somebody waits for it
            self._outcomes.put(error)

    def _pause(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """A stopping criterion that ends nothing: it hands control back to whoever resumed the search."""
        self._outcomes.put(None)
        if not self._orders.get():
            raise _Left
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
