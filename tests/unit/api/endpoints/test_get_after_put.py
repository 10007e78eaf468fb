"""A reader gets what was uploaded: the whole service, with its ledger, over real HTTP."""

from testkit.memorybucket import PIECE
from tests.files import bytes_of
from tests.serving import running
from tests.unit.api.expectations import assert_problem, three

CONTENT = bytes_of(2 * PIECE + 100)


async def test_the_file_comes_back_when_it_was_uploaded_by_either_way() -> None:
    async with running(three()) as service, service.client() as client:
        headers = {"content-type": "text/x-test", "x-amz-meta-colour": "blue"}
        receipts = [
            (await client.put("/files/a/b%20c", content=CONTENT, headers=headers)).json(),
            (await client.post("/upload", files={"file": ("Grüße.txt", CONTENT, "text/x-test")})).json(),
        ]
        for receipt in receipts:
            path = f"/files/{receipt['key']}"
            answer = await client.get(path)
            assert (answer.status_code, answer.content) == (200, CONTENT)
            assert answer.headers["etag"] == f'"{receipt["sha256"]}"'
            assert answer.headers["content-type"] == "text/x-test"
            assert (await client.get(path, headers={"range": "bytes=-9"})).content == CONTENT[-9:]
            assert (await client.head(path)).headers["content-length"] == str(len(CONTENT))
            again = (await client.get(f"/receipts/{receipt['id']}")).json()
            assert again.pop("created_at") <= again.pop("stored_at")
            assert again == receipt
        assert (await client.get("/files/a/b%20c")).headers["x-amz-meta-colour"] == "blue"
        listed = (await client.get("/files")).json()
        assert listed["next"] is None
        by_key = sorted(receipts, key=lambda receipt: str(receipt["key"]))
        assert [file["id"] for file in listed["files"]] == [receipt["id"] for receipt in by_key]
        assert (await client.get("/files?limit=1")).json()["next"] == listed["files"][0]["key"]


async def test_there_is_nothing_to_read_when_the_upload_failed() -> None:
    async with running(three(refuses_put=9)) as service, service.client() as client:
        failed = await client.put("/files/k", content=b"content")
        assert failed.status_code == 502
        assert_problem(await client.get("/files/k"), 404, "file_not_found")
        assert_problem(await client.get(f"/receipts/{failed.json()['id']}"), 404, "file_not_found")
        assert (await client.get("/files")).json() == {"files": [], "next": None}
