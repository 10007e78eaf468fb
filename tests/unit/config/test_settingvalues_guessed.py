"""`check` refuses a SECRET_KEY and tokens that can be guessed, and accepts random ones."""

import json
import random
import string

import pytest

from mentumfileupload.config.settingvalues import EXAMPLES, MIN_SECRET_KEY_LENGTH, MIN_TOKEN_LENGTH, guess_fault
from mentumfileupload.config.uploadsettings import read_settings

GUESSABLE = [
    *("x", "secret", "0123456789abcde", "a" * 16, "ab" * 20, "abc" * 20, "password" * 7, "passwordpassword1"),
    *("1234567890123456", "0123456789" * 5, "abcdefghijklmnopqrstuvwxyz", string.ascii_letters + string.digits),
    *("zyxwvutsrqponmlkjihg", "aaaaaaaaaaaaaaaaaaaaaaaaa1", "0000111122223333", "changemechangeme", "deadbeefdeadbeef"),
    *("acegikmoqsuwy02468", "django-insecure-4f#k2!x9q@w7e$r5t%y3u^i1o&p0a*s8d", *EXAMPLES),
]


@pytest.mark.parametrize("secret", GUESSABLE)
def test_it_is_a_fault_when_it_can_be_guessed(secret: str) -> None:
    project = read_settings({"UPLOAD_TOKENS": json.dumps({"me": secret}), "SECRET_KEY": secret})
    for name in ("UPLOAD_TOKENS", "SECRET_KEY"):
        (fault,) = [fault for fault in project.faults if fault.startswith(f"{name}: ")]
        assert "can be guessed" in fault or "is shorter than" in fault or "is an example" in fault
        assert len(secret) < 8 or secret not in fault
    assert not project.upload.tokens


@pytest.mark.parametrize("alphabet", ["0123456789abcdef", string.ascii_lowercase, string.ascii_letters + string.digits])
@pytest.mark.parametrize(
    ("length", "minimum"), [(16, MIN_TOKEN_LENGTH), (32, MIN_TOKEN_LENGTH), (50, MIN_SECRET_KEY_LENGTH)]
)
def test_it_is_no_fault_when_it_is_random(alphabet: str, length: int, minimum: int) -> None:
    drawn = random.Random(13)  # noqa: S311 - the same texts in every run
    assert not any(guess_fault("".join(drawn.choices(alphabet, k=length)), minimum) for _ in range(300))
