"""Signs a request again with the current time and the account's own keys: for a server behind a wrong clock.

It uses botocore's signer on purpose: the service's own code must not repair the service's signatures.
"""

from collections.abc import Iterable

from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped,unused-ignore]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped,unused-ignore]
from botocore.credentials import Credentials  # type: ignore[import-untyped,unused-ignore]

from testkit.account import StoreAccount

Headers = list[tuple[bytes, bytes]]

_OLD_SIGNATURE = (b"authorization", b"x-amz-date")
_PAYLOAD = "x-amz-content-sha256"


class _Signer(S3SigV4Auth):  # type: ignore[misc,unused-ignore]
    def payload(self, request: AWSRequest) -> str:
        """Keeps the payload hash, because the body has not arrived yet."""
        return str(request.context["payload"])


def signed_again(
    account: StoreAccount, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Headers:
    """The headers with a new signature and date."""
    kept = [(name, value) for name, value in headers if name.lower() not in _OLD_SIGNATURE]
    text = {name.decode().lower(): value.decode("latin-1") for name, value in kept}
    request = AWSRequest(method=method.decode(), url=f"http://{text['host']}{target.decode()}", headers=text)
    request.context["payload"] = text.get(_PAYLOAD, "UNSIGNED-PAYLOAD")
    credentials = Credentials(account.access_key_id, account.secret_access_key)
    _Signer(credentials, "s3", account.region_name).add_auth(request)
    new = {name: str(request.headers[name]) for name in ("Authorization", "X-Amz-Date", "X-Amz-Content-SHA256")}
    kept = [(name, value) for name, value in kept if name.lower() != _PAYLOAD.encode()]
    return [*kept, *((name.encode(), value.encode()) for name, value in new.items())]
