"""The questions of a check-up, a method a check: requests as the service makes them, and what is to come of each.

Each raises `DeniedError`, `AccountError` or, for an answer that is not what it has to be, `CrossedError`; or returns in
words what works and should be looked at. They are asked in the order of `CHECKS`; later ones use what earlier ones
made. Leaves to others: which may be asked, and what is told (`checkup.py`).
"""

from contextlib import suppress

from awscrt.checksums import crc64nvme

from file.accounts.checkup.checklist import DECRYPT, ENCRYPT, is_encrypted
from file.accounts.checkup.probes import BODY, OTHER_BODY, DeniedError, Probe
from file.logic.errors import AccountError
from file.logic.values import Account, checksum_text
from file.s3.client import Answer, Call
from file.s3.errors import account_error
from file.s3.xml import objects, parse_error

_CHECKSUM = "x-amz-checksum-crc64nvme"
_DAMAGED_CODES = ("BadDigest", "XAmzContentChecksumMismatch")
_JOINED = "-joined"
_NO_VERSION = "null"
_KEEPS_VERSIONS = 'it keeps versions: remove "versions": false'
_UNCONDITIONAL = 'it ignores the condition If-None-Match: set "conditional_writes": false'
_UNCHECKED = 'it takes bytes that are not those of their CRC64NVME: set "checksums": false'
_UNCHECKED_MD5 = "it takes bytes that are not those of their Content-MD5: what is damaged on the way would be stored"
METADATA_LOST = (
    "it does not give back the metadata (x-amz-meta-*) of an object, or something before it takes them away: "
    "the service could not tell its own objects from those of others, and could not remove them"
)


class CrossedError(Exception):
    """It was allowed, and is not as it has to be. Its text is told. `cure`: the account's key to switch off."""

    def __init__(self, text: str, *, cure: str | None = None) -> None:
        self.cure = cure
        super().__init__(text)


class Questions:
    """About one account, with one probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._upload = ""
        self.loses_metadata = False  # an object was looked at, and did not show it

    @property
    def _account(self) -> Account:
        return self._probe.account

    async def put(self) -> None:
        try:
            await self._probe.put()
        except DeniedError as error:
            if error.action is None and is_encrypted(self._account):
                await self._probe.put("-plain", encrypted=False)  # raises if it is not the key that is denied
                raise DeniedError("put", ENCRYPT) from error
            raise

    async def head(self) -> str | None:
        try:
            return await self._look()
        except DeniedError as error:
            if is_encrypted(self._account) and self._account.checksums:
                await self._head()  # only the checksum needs the key
                raise DeniedError("head", DECRYPT) from error
            raise

    async def head_of_nothing(self) -> None:
        answer = await self._head("-nothing", 404)
        if answer.status != 404:
            raise CrossedError("it shows an object where there is none")

    async def head_of_version(self) -> None:
        if not self._account.versions:
            await self._no_version()
            return
        await self._probe.ask(Call("head", "HEAD", self._probe.key, query=[("versionId", self._probe.version())]))

    async def get(self) -> None:
        answer = await self._probe.ask(Call("get", "GET", self._probe.key))
        if answer.body != BODY:
            raise CrossedError("it gives other bytes than were stored")

    async def list_objects(self) -> str | None:
        query = [("list-type", "2"), ("prefix", self._probe.key)]
        answer = await self._probe.ask(Call("list_objects", "GET", None, query=query))
        page = self._probe.client.understood("list_objects", objects, answer)
        return self._unlisted(page.keys)

    async def list_versions(self) -> str | None:
        if not self._account.versions:
            await self._no_versions()
            return None
        return self._unlisted([version.key for version in await self._probe.list_versions()])

    async def put_again(self) -> None:
        answer = await self._probe.put(body=OTHER_BODY, tolerate=(412, 501))
        if answer.status != 412:
            raise CrossedError(_UNCONDITIONAL, cure="conditional_writes")

    async def put_damaged(self) -> None:
        answer = await self._probe.put("-damaged", body=OTHER_BODY, announced=BODY, tolerate=(400,))
        self._refused_as_damaged("put", answer)

    async def begin(self) -> None:
        self._upload = await self._probe.begin()

    async def send(self) -> None:
        await self._probe.send(self._upload)

    async def list_parts(self) -> None:
        query = [("max-parts", "1"), ("uploadId", self._upload)]
        await self._probe.ask(Call("list_parts", "GET", self._probe.key, query=query))

    async def list_uploads(self) -> str | None:
        listed = [upload.upload_id for upload in await self._probe.list_uploads()]
        if self._upload and self._upload not in listed:
            return "it does not list an upload that is open: one whose id got lost cannot be ended"
        return None

    async def complete_again(self) -> None:
        """Under the key that the put has."""
        answer = await self._probe.complete(self._upload, tolerate=(412, 501))
        if answer.status != 412:
            raise CrossedError(_UNCONDITIONAL, cure="conditional_writes")

    async def abort(self) -> None:
        await self._probe.abort(self._upload)

    async def complete(self) -> str | None:
        upload = await self._probe.begin(_JOINED)
        await self._probe.send(upload)
        await self._probe.complete(upload)
        try:
            told = await self._look(_JOINED)
        except DeniedError:
            return None  # told by `head`
        if self.loses_metadata:
            raise CrossedError(METADATA_LOST)
        return told

    async def complete_damaged(self) -> None:
        upload = await self._probe.begin("-damaged-joined")
        await self._probe.send(upload)
        try:
            answer = await self._probe.complete(upload, announced=OTHER_BODY, tolerate=(400,))
        except AccountError as error:  # told inside of a 200
            if error.s3_code in _DAMAGED_CODES:
                return
            raise
        self._refused_as_damaged("complete", answer)

    async def delete_version(self) -> None:
        if self._account.versions:
            await self._probe.delete(version=self._probe.version())
            return
        if self._probe.is_put:
            await self._no_version()
        await self._probe.delete()

    async def delete(self) -> None:
        await self._probe.delete(_JOINED)

    async def _head(self, tail: str = "", *tolerate: int, checksum: bool = False) -> Answer:
        headers = {"x-amz-checksum-mode": "ENABLED"} if checksum else {}
        return await self._probe.ask(Call("head", "HEAD", self._probe.key + tail, headers=headers, tolerate=tolerate))

    async def _look(self, tail: str = "") -> str | None:
        """By what it shows here, the service finds its own files again and verifies them."""
        answer = await self._head(tail, checksum=self._account.checksums)
        self._probe.client.etag_of("head", answer)
        self.loses_metadata |= not self._probe.is_marked(answer)
        if answer.headers.get("content-length") != str(len(BODY)):
            raise CrossedError("it shows another size than was stored")
        if not self._account.checksums:
            return None
        shown = answer.headers.get(_CHECKSUM)
        if shown is None:
            return "it does not show the CRC64NVME of an object: `verify` compares its size only, or reads it"
        if shown != checksum_text(crc64nvme(BODY)):
            text = 'it shows another CRC64NVME than that of the whole object: set "checksums": false'
            raise CrossedError(text, cure="checksums")
        return None

    async def _no_version(self) -> None:
        """Raises `CrossedError` if the object has a version."""
        if (await self._head()).headers.get("x-amz-version-id", _NO_VERSION) != _NO_VERSION:
            raise CrossedError(_KEEPS_VERSIONS)

    async def _no_versions(self) -> None:
        """Raises `CrossedError` if the bucket keeps versions: an object shows one, or a listing, where there is one."""
        if self._probe.is_put:
            await self._no_version()
        with suppress(AccountError, DeniedError):
            listed = await self._probe.list_versions()
            if any(version.is_delete_marker or version.version_id not in (None, _NO_VERSION) for version in listed):
                raise CrossedError(_KEEPS_VERSIONS)

    def _unlisted(self, keys: list[str] | tuple[str, ...]) -> str | None:
        if self._probe.is_put and self._probe.key not in keys:
            return "it does not list an object under its own key"
        return None

    def _refused_as_damaged(self, operation: str, answer: Answer) -> None:
        if answer.status != 400:
            if not self._account.checksums:
                raise CrossedError(_UNCHECKED_MD5)
            raise CrossedError(_UNCHECKED, cure="checksums")
        code = parse_error(answer.body).code
        if code not in _DAMAGED_CODES:
            raise account_error(self._account, operation, 400, code)
