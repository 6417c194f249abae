"""Commands of tariffs and bills against a real database, as a person types them."""

import asyncio
import json
from decimal import Decimal
from itertools import pairwise

from typer.testing import CliRunner

from cloud_api.billing.bill_cli import bill_app, verify_app
from cloud_api.billing.cli import tariff_app
from tests.integration.billing.small_site import TARIFF
from tests.integration.billing.test_api import issued, people  # noqa: F401
from tests.integration.billing.test_pages import app, bills  # noqa: F401


async def test_a_tariff_is_tried_an_invoices_data_are_shown_and_a_line_is_credited(
    people,  # noqa: F811
    pool,
    database,
    monkeypatch,
    tmp_path,
):
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)

    async def run(command, *words):
        return await asyncio.to_thread(CliRunner().invoke, command, [str(word) for word in words])

    _, found = await issued(people, pool, database)
    number = found["a"]["number"]
    file = tmp_path / "dear.yaml"
    file.write_text(TARIFF.replace("1.07", "2.14"), encoding="utf-8")
    tried = await run(tariff_app, "trial", file, "--from", "2026-10", "--to", "2026-11", "--json")
    assert tried.exit_code == 0, tried.output
    content = json.loads(tried.stdout)
    assert content["months"] == ["2026-10"]
    assert Decimal(content["trial"]) == Decimal(content["today"]) + Decimal(content["difference"])
    today = {c["component"]: Decimal(c["difference"]) for c in content["components"]}
    assert today["funds"] == 0 < today["energy"]
    words = await run(tariff_app, "trial", file, "--from", "2026-10", "--to", "2026-11")
    assert "2026-10 to 2026-10, 1 months with readings" in words.stdout

    invoice = json.loads((await run(bill_app, "einvoice", number)).stdout)
    assert (invoice["invoice_type"], invoice["request_serial"], invoice["buyer_name"]) == ("82", number, "租户a")
    assert (
        Decimal(invoice["net"]) + Decimal(invoice["tax"]) == Decimal(invoice["gross"]) == Decimal(found["a"]["total"])
    )
    for line in invoice["lines"]:
        assert Decimal(line["net"]) + Decimal(line["tax"]) == Decimal(line["gross"])
        assert abs(Decimal(line["price"]) * Decimal(line["quantity"]) - Decimal(line["net"])) <= Decimal("0.01")
    header = {"seller_tax_no", "seller_name", "buyer_tax_no", "buyer_address", "buyer_phone", "buyer_bank",
              "buyer_account", "buyer_is_natural_person", "buyer_email", "buyer_mobile", "tax_included", "remark",
              "drawer", "special_business", "red_letter"}  # fmt: skip
    assert header <= set(invoice)
    assert {"name", "model", "unit", "quantity", "price", "net", "rate", "tax", "tax_code", "preference", "zero_rate",
            "deduction"} <= set(invoice["lines"][0])  # fmt: skip

    written = await run(bill_app, "credit", number, "--reason", "goodwill", "--line", "1=2.00")
    note = written.stdout.split("credit_note: ")[1].strip()
    red = json.loads((await run(bill_app, "einvoice", note)).stdout)
    assert red["red_letter"] == {"original_number": number, "reason": "goodwill", "state": None}
    assert red["gross"] == "-2.00"
    refused = await run(bill_app, "credit", number, "--reason", "r", "--line", "1=999999")
    assert refused.exit_code == 1
    assert "is left of it" in refused.output
    proof = await run(verify_app, number)
    assert (proof.exit_code, "holds" in proof.stdout) == (0, True), proof.output


async def test_a_program_reads_a_lines_evidence_and_takes_an_amount_of_it_back(people, pool, database):  # noqa: F811
    _, found = await issued(people, pool, database)
    number = found["a"]["number"]
    line = (await people["north"].get(f"/bills/{number}/lines/1", params={"day": "2026-10-14"})).json()
    assert (line["version"], line["buckets"], line["differs"]) == ("v1", [line["line"]["bucket"]], "0.000")
    assert sum(Decimal(d["quantity"]) for d in line["days"]) == Decimal(line["quantity"])
    assert abs(Decimal(line["quantity"]) - Decimal(line["line"]["quantity"])) < Decimal("0.000001")
    own = [q for q in line["intervals"] if q["counts"]]
    (day,) = [d for d in line["days"] if d["day"] == "2026-10-14"]
    assert sum(Decimal(q["quantity"]) for q in own) == Decimal(day["quantity"])
    readings = [Decimal(q["reading"]) for q in line["intervals"]]
    assert len(readings) == 96
    steps = [b - a for a, b in pairwise(readings)]
    assert steps == [Decimal(q["measured"]) for q in line["intervals"][1:]]  # The register moved by what is charged.
    assert (await people["south"].get(f"/bills/{number}/lines/1")).status_code == 404
    credit = {"reason": "goodwill", "lines": [{"line": 1, "amount": "1.50"}]}
    written = await people["finance"].post(f"/bills/{number}/credit-note", json=credit)
    assert written.status_code == 201, written.text
    note = (await people["north"].get(f"/bills/{written.json()['credit_note']}")).json()
    assert (note["total"], note["corrects"]) == ("-1.50", number)
