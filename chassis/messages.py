"""What is set in messages of the contract."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def value_by_name(message: Message) -> dict[str, Any]:
    """The fields that are set, or have something where they repeat."""
    return {field.name: value for field, value in message.ListFields()}


def carry(source: Message, target: Message) -> None:
    """Give `target` what is set in `source` and what it has under the same name; what is repeated is appended.

    Fields of one name mean the same wherever messages of the contract share them, in one type.
    """
    for field, value in source.ListFields():
        if field.name not in target.DESCRIPTOR.fields_by_name:
            continue
        if field.is_repeated:
            getattr(target, field.name).MergeFrom(value)
        elif field.message_type:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)
