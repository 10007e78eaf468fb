"""What comes first whenever somebody looks after a replica: the right bucket, and no upload of the file left open."""

from file.ledger.leases import Due
from file.logic.errors import BucketMissingError
from file.logic.seams import Inventory


async def close_uploads(due: Due, inventory: Inventory) -> None:
    """Abort every upload that may be open. Raises `AccountError`."""
    if due.bucket != inventory.account.s3_bucket_name:  # what lies in this one says nothing about that one
        raise BucketMissingError(due.account, "clean", f"no longer has the bucket {due.bucket} configured")
    for upload_id in due.upload_ids:
        await inventory.abort(due.object_key, upload_id)
    if due.lost is not None:
        since, until = due.lost
        await inventory.abort_lost(due.object_key, since=since, until=until)
