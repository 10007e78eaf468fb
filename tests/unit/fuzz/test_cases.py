"""The fuzzer's cases: the same for the same seed, and with everything that it knows."""

from collections import Counter

from fuzz import oddities
from fuzz.cases import Cases, Ending
from fuzz.grammar import KEPT_ID
from fuzz.mutations import OF_BYTES, STRUCTURAL
from fuzz.requests import Request, in_chunks

IDS = [f"019b{n:04}-0000-7000-8000-000000000000" for n in range(16)]
MANY = 2_500


def test_a_case_is_the_same_when_it_is_drawn_again_without_the_others() -> None:
    drawn = [Cases(5, IDS).case(number) for number in (3, 4, 5)]
    assert Cases(5, IDS).case(5) == drawn[2]
    assert Cases(6, IDS).case(5) != drawn[2]


def test_every_mutation_and_every_ending_occurs_when_many_cases_are_drawn() -> None:
    cases = [Cases(7, IDS).case(number) for number in range(MANY)]
    names = Counter(name for case in cases for name in case.mutations)
    assert {mutation.__name__ for mutation in (*STRUCTURAL, *OF_BYTES)} <= names.keys()
    assert {case.ending for case in cases} == set(Ending)
    assert any(case.of_metrics for case in cases)
    assert any(len(case.pieces) > 100 for case in cases)
    assert any(b"9" * 4_400 in case.wire for case in cases)
    assert any(b"content-length" in case.wire and b"transfer-encoding" in case.wire for case in cases)


def test_ids_of_stored_files_stand_in_the_requests_when_they_are_known() -> None:
    wires = b"".join(Cases(7, IDS).case(number).wire for number in range(MANY))
    assert IDS[0].encode() in wires
    assert KEPT_ID[:20] not in wires


def test_the_digest_of_what_is_sent_is_known_when_a_put_is_intact() -> None:
    cases = [Cases(7, IDS).case(number) for number in range(300)]
    assert any(case.contents for case in cases)
    assert all(case.methods is not None for case in cases if case.contents)


def test_lengths_with_more_digits_than_python_accepts_are_tried() -> None:
    assert {b"0" * 4_400, b"9" * 4_400} <= set(oddities.NUMBERS)


def test_a_body_is_framed_in_pieces_of_these_sizes_and_the_rest_in_one() -> None:
    request = Request(b"PUT", b"/files/a", [(b"content-length", b"9")], content=b"abcdefghi")
    request.send_in_chunks([1, 3])
    assert request.body == in_chunks(b"abcdefghi", [1, 3]) + b"\r\n" == b"1\r\na\r\n3\r\nbcd\r\n5\r\nefghi\r\n0\r\n\r\n"
    assert request.fields == [(b"transfer-encoding", b"chunked")]
