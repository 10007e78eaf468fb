"""Why a claim failed: another file has the key, or the idempotency key.

This is not on the path of most uploads, so it uses the models. It runs in the writer's thread, in its own transaction.
"""

from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from file.ledger.read.receipts import receipt_of
from file.ledger.states import ACKNOWLEDGED
from file.logic.errors import IdempotencyKeyBusyError, IdempotencyKeyReusedError, KeyBusyError, KeyTakenError
from file.logic.values import FileState, Intent, Receipt
from file.models import File

_KEPT = timedelta(hours=24)


def earlier_receipt(alias: str, intent: Intent) -> Receipt | None:
    """The receipt of the file that this request may repeat; None if the claim is possible now.

    Raises `IdempotencyKeyBusyError`, `IdempotencyKeyReusedError`, `KeyBusyError`, `KeyTakenError`.
    """
    files = File.objects.using(alias)
    if intent.idempotency_key is not None:
        same = files.filter(who=intent.who, idempotency_key=intent.idempotency_key)
        # A failed upload is no obstacle, nor one that was taken over after its process died, nor one that is too old.
        over = ~Q(state__in=[*ACKNOWLEDGED, FileState.RECEIVING])
        yesterday = Q(state__in=ACKNOWLEDGED, created_at__lt=Now() - _KEPT)
        same.filter(over | yesterday).update(idempotency_key=None)
        if (earlier := same.first()) is not None:
            if earlier.state not in ACKNOWLEDGED:
                raise IdempotencyKeyBusyError
            if earlier.name != intent.name or (intent.key_is_chosen and earlier.key != intent.key):
                raise IdempotencyKeyReusedError
            return receipt_of(earlier, list(earlier.replicas.all()))
    holder = files.filter(live=True, key=intent.key).first()
    if holder is None:
        return None
    if holder.state not in ACKNOWLEDGED:
        raise KeyBusyError
    if intent.idempotency_key is not None:
        raise KeyTakenError
    return receipt_of(holder, list(holder.replicas.all()))
