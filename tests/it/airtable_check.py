"""A real client of Airtable's (pyairtable) against an endpoint: is it what that client takes for Airtable?

usage: airtable_check.py truth URL TOKEN BASE OTHER_TOKEN     asserts, on an empty base without a tight rate limit
       airtable_check.py patience URL TOKEN BASE TABLE        more requests than the limit allows; the client's own retries must do
       airtable_check.py read URL TOKEN BASE TABLE            prints the table's records (by field name) as JSON
"""

import json
import sys

import requests
from pyairtable import Api, retry_strategy
from pyairtable.models.schema import DateTimeFieldSchema, NumberFieldSchema

DATE_TIME = {"timeZone": "utc", "dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}}


def refused(status, kind, call, *arguments, **options):
    """The call must fail as pyairtable fails on Airtable's own refusals."""
    try:
        call(*arguments, **options)
    except requests.HTTPError as error:
        body = error.response.json()
        assert error.response.status_code == status, (error.response.status_code, body)
        if isinstance(body.get("error"), dict):
            assert body["error"]["type"] == kind, body
            # The client finds the error where Airtable puts it and adds it to its own.
            assert kind in error.args[-1], error.args
        elif "errors" in body:
            assert body["errors"][0]["error"] == kind, body
        else:
            assert body["error"] == kind, body
        return
    raise AssertionError(f"not refused: {kind}")


def check_schema(base):
    assert base.schema().tables == []
    table = base.create_table(
        "Things",
        [
            {"name": "key", "type": "singleLineText"},
            {"name": "when", "type": "dateTime", "options": DATE_TIME},
            {"name": "how many", "type": "number", "options": {"precision": 0}},
        ],
        description="Made by a check",
    )
    field = table.create_field("notes", "multilineText", description="Long")
    assert field.id.startswith("fld") and field.type == "multilineText" and field.description == "Long"
    schema = base.schema(force=True).table("Things")
    assert schema.id.startswith("tbl") and schema.description == "Made by a check"
    assert [f.name for f in schema.fields] == ["key", "when", "how many", "notes"]
    assert schema.primary_field_id == schema.field("key").id
    assert isinstance(schema.field("when"), DateTimeFieldSchema)
    assert schema.field("when").options.date_format.format == "YYYY-MM-DD"
    assert isinstance(schema.field("how many"), NumberFieldSchema) and schema.field("how many").options.precision == 0
    assert schema.views[0].type == "grid"
    refused(422, "DUPLICATE_TABLE_NAME", base.create_table, "Things", [{"name": "key", "type": "singleLineText"}])
    refused(422, "DUPLICATE_OR_EMPTY_FIELD_NAME", table.create_field, "notes", "multilineText")
    refused(422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE", table.create_field, "n", "number")
    return table, schema


def check_records(table, schema):
    one = table.create({"key": "a", "how many": 1, "notes": ""})
    assert one["id"].startswith("rec") and one["createdTime"].endswith("Z")
    assert one["fields"] == {"key": "a", "how many": 1}, "empty cells are left out"
    made = table.batch_create([{"key": f"k{n:02}", "when": "2026-01-02T03:04:05Z"} for n in range(23)])
    assert len(made) == 23 and made[0]["fields"]["when"] == "2026-01-02T03:04:05.000Z"
    pages = list(table.iterate(page_size=10))
    assert [len(page) for page in pages] == [10, 10, 4]
    assert [r["fields"]["key"] for page in pages for r in page] == ["a"] + [f"k{n:02}" for n in range(23)]
    assert len(table.all(max_records=7)) == 7
    assert table.first(use_field_ids=True)["fields"][schema.field("key").id] == "a"
    refused(422, "UNKNOWN_FIELD_NAME", table.create, {"nonsense": 1})
    refused(422, "INVALID_VALUE_FOR_COLUMN", table.create, {"key": "b", "how many": "7"})
    refused(422, "INVALID_VALUE_FOR_COLUMN", table.create, {"key": 7})
    refused(422, "INVALID_VALUE_FOR_COLUMN", table.create, {"key": "b", "when": "yesterday"})
    refused(422, "INVALID_REQUEST_UNKNOWN", table.all, page_size=101)
    refused(422, "INVALID_OFFSET_VALUE", table.api.get, table.urls.records, params={"offset": "nonsense"})
    eleven = [{"fields": {"key": f"x{n}"}} for n in range(11)]
    refused(422, "INVALID_RECORDS", table.api.post, table.urls.records, json={"records": eleven})
    assert len(table.all()) == 24, "what was refused left nothing"


def check_upsert(table, schema):
    key, notes = schema.field("key").id, schema.field("notes").id
    done = table.batch_upsert(
        [{"fields": {"key": "a", "notes": "changed"}}, {"fields": {"key": "new", "how many": 3}}], key_fields=["key"]
    )
    assert len(done["updatedRecords"]) == len(done["createdRecords"]) == 1
    assert [r["fields"]["key"] for r in done["records"]] == ["a", "new"]
    assert done["records"][0]["fields"] == {"key": "a", "how many": 1, "notes": "changed"}, "PATCH keeps other cells"
    done = table.batch_upsert([{"fields": {key: "a", notes: "by id"}}], key_fields=[key], use_field_ids=True)
    assert done["records"][0]["fields"][notes] == "by id"
    done = table.batch_upsert([{"fields": {"key": "a"}}], key_fields=["key"], replace=True)
    assert done["records"][0]["fields"] == {"key": "a"}, "PUT empties other cells"
    done = table.batch_upsert([{"fields": {"key": "new", "how many": None}}], key_fields=["key"])
    assert done["records"][0]["fields"] == {"key": "new"}, "null empties a cell"
    by_id = [{"id": done["records"][0]["id"], "fields": {"how many": 4}}]
    assert table.batch_update(by_id)[0]["fields"]["how many"] == 4
    assert table.batch_upsert(by_id, key_fields=["key"])["updatedRecords"] == [by_id[0]["id"]]
    refused(422, "ROW_DOES_NOT_EXIST", table.batch_update, [{"id": "rec00000000000000", "fields": {}}])
    refused(422, "UNKNOWN_FIELD_NAME", table.batch_upsert, [{"fields": {"nope": "a"}}], key_fields=["nope"])
    before = len(table.all())
    half = [{"fields": {"key": "fine"}}, {"fields": {"key": "bad", "how many": "many"}}]
    refused(422, "INVALID_VALUE_FOR_COLUMN", table.batch_upsert, half, key_fields=["key"])
    assert len(table.all()) == before, "a write is whole or not at all"
    table.create({"key": "a"})
    refused(422, "INVALID_REQUEST_UNKNOWN", table.batch_upsert, [{"fields": {"key": "a"}}], key_fields=["key"])


def truth(url, token, base_id, other_token):
    # A slash at the end of the endpoint is what people write, and this client sends on.
    for endpoint in (url, url + "/"):
        Api(token, endpoint_url=endpoint).base(base_id).schema()
    base = Api(token, endpoint_url=url).base(base_id)
    table, schema = check_schema(base)
    check_records(table, schema)
    check_upsert(table, schema)
    refused(401, "UNAUTHORIZED", Api("patWrong", endpoint_url=url).base(base_id).schema)
    refused(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", Api(other_token, endpoint_url=url).base(base_id).schema)
    refused(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", base.table("Nothing").all)
    refused(404, "NOT_FOUND", Api(token, endpoint_url=url).table("nonsense", "Things").all)
    nobody = requests.get(f"{url}/v0/meta/bases/{base_id}/tables", timeout=10)
    assert nobody.status_code == 401 and nobody.json()["error"]["type"] == "AUTHENTICATION_REQUIRED"


def patience(url, token, base_id, table):
    impatient = Api(token, endpoint_url=url, retry_strategy=None).table(base_id, table)

    def often():
        for _ in range(200):
            impatient.all()

    refused(429, "RATE_LIMIT_REACHED", often)
    patient = retry_strategy(total=8, backoff_factor=0.2)
    assert Api(token, endpoint_url=url, retry_strategy=patient).table(base_id, table).all() == []


def read(url, token, base_id, table):
    records = Api(token, endpoint_url=url).table(base_id, table).all()
    print(json.dumps([record["fields"] for record in records]))


if __name__ == "__main__":
    {"truth": truth, "patience": patience, "read": read}[sys.argv[1]](*sys.argv[2:])
