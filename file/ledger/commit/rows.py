"""Intents and receipts as the rows that the statements take."""

import json
from collections.abc import Iterable

from file.ledger.commit.statements import Row, hexadecimal
from file.logic.values import Intent, Pending, Receipt, Stored, checksum_text


def file_row(intent: Intent) -> Row:
    wanted = {place.account: f"{place.bucket}/{place.object_key.removesuffix(intent.key)}" for place in intent.places}
    return (
        hexadecimal(intent.id),
        intent.key,
        intent.name,
        intent.content_type,
        intent.size,
        intent.sha256.hex() if intent.sha256 else None,
        json.dumps(dict(intent.metadata)),
        json.dumps(dict(intent.content_headers)) if intent.content_headers else None,
        intent.part_size,
        intent.ack,
        json.dumps(wanted),
        intent.who,
        intent.idempotency_key,
    )


def outcome_row(receipt: Receipt) -> Row:
    digests = receipt.digests
    assert digests is not None  # what is acknowledged was read to its end
    crc64nvme = checksum_text(digests.crc64nvme)
    return (hexadecimal(receipt.id), receipt.state.value, digests.size, digests.sha256.hex(), crc64nvme)


def stored_rows(receipt: Receipt) -> Iterable[Row]:
    file_id = hexadecimal(receipt.id)
    for o in receipt.outcomes:
        if isinstance(o, Stored):
            yield (file_id, o.account, o.bucket, o.object_key, o.request_id, o.etag, o.version_id, o.checked_by)


def pending_rows(receipt: Receipt) -> Iterable[Row]:
    for o in receipt.outcomes:
        if isinstance(o, Pending):
            yield (hexadecimal(receipt.id), o.account, o.bucket, o.object_key, o.request_id, o.code)
