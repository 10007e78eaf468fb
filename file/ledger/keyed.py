"""Keyed hashes: of the keys of erased files, and of the accounts' names in objects.

Promises: new hashes use SECRET_KEY; hashes made with one of SECRET_KEY_FALLBACKS are recognised.
"""

from django.conf import settings
from django.utils.crypto import salted_hmac

from file.logic.accounts.hashes import AccountHashes

_ERASED_KEY = "mentum.erased-key"
_ACCOUNT_NAMES = "mentum.account-names"


def key_hashes(key: str) -> list[str]:
    """Of a file's key: with the key one can ask for an erased file; the key cannot be read from the hash.

    The first one is what is written.
    """
    return [salted_hmac(_ERASED_KEY, key, secret=secret, algorithm="sha256").hexdigest() for secret in _secrets()]


def account_hashes() -> AccountHashes:
    """The hashes that objects carry in place of the accounts' names."""
    return AccountHashes(
        [salted_hmac(_ACCOUNT_NAMES, "", secret=secret, algorithm="sha256").digest() for secret in _secrets()]
    )


def _secrets() -> list[str]:
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
