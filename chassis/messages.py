"""Messages of the contract that tell the same of one thing."""

from __future__ import annotations

from google.protobuf.message import Message


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
