"""Finance enters a tariff on a page: proved while it grows, refused with the field named, put in force from a day."""

import re
from html.parser import HTMLParser

from cloud_api.billing.service import find_tariff
from cloud_api.billing.tariff_file import load_dumped, load_tariff
from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from tests.integration.billing.test_pages import app, bills, sign_in  # noqa: F401 (fixtures)
from tests.unit.billing.test_tariff_form import TEMPLATES

DRAFTS = "/console/tariff-drafts"


class Inputs(HTMLParser):
    """What a browser would send of a form when its plain submit button is pressed."""

    def __init__(self):
        super().__init__()
        self.fields, self.select, self.inside = {}, None, False

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "form":
            self.inside = found.get("id") == "tariff-form"
        if not self.inside:
            return
        if tag == "input" and (found.get("type") != "checkbox" or "checked" in found):
            self.fields.setdefault(found["name"], []).append(found.get("value") or "")
        if tag == "select":
            self.select, self.fields[found["name"]] = found["name"], []
        if tag == "option" and self.select and ("selected" in found or not self.fields[self.select]):
            self.fields[self.select] = [found.get("value") or ""]

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = False
        if tag == "select":
            self.select = None


def fields_of(text):
    reader = Inputs()
    reader.feed(text)
    assert reader.fields, text
    return reader.fields


async def press(client, fields, do, **changes):
    return await client.post(DRAFTS, data=fields | changes | {"do": do})


async def recorded(pool, code):
    async with transaction(pool, SYSTEM) as conn:
        organisation = (await (await conn.execute("SELECT id FROM organisation")).fetchone())[0]
        return load_dumped((await find_tariff(conn, organisation, code))["content"])


async def test_every_template_that_goes_through_the_page_is_recorded_as_it_is(app, bills, pool):  # noqa: F811
    finance = await sign_in(app, "finance")
    for path in TEMPLATES:
        fields = fields_of((await finance.get(f"{DRAFTS}/new?template={path.stem}")).text)
        kept = await press(finance, fields, "save")
        assert kept.status_code == 303
        fields = fields_of((await finance.get(kept.headers["location"])).text)
        used = await press(finance, fields, "tenants")
        assert used.status_code == 303, re.findall(r'<ul class="lines">.*?</ul>', used.text, re.DOTALL)
        tariff = load_tariff(path).tariff
        newest = await recorded(pool, tariff.tariff)
        assert newest.name == tariff.name
        assert newest.versions[-1] == tariff.versions[-1]
        assert (await finance.get(kept.headers["location"])).status_code == 404


async def test_a_hole_and_an_overlap_are_named_by_the_kind_of_day_while_the_form_is_edited(app, bills):  # noqa: F811
    finance = await sign_in(app, "finance")
    fields = fields_of((await finance.get(f"{DRAFTS}/new?template=two-part-demand")).text)
    hours = next(n for n, v in fields.items() if n.endswith(".hours") and v == ["16:00-23:00"])
    proof = await finance.post(f"{DRAFTS}/proof", data=fields, headers={"HX-Request": "true"})
    assert "Every minute of" in proof.text
    proof = await finance.post(f"{DRAFTS}/proof", data=fields | {hours: "17:00-23:30"}, headers={"HX-Request": "true"})
    assert "season Spring and autumn, day type any: 16:00-17:00 is in no bucket" in proof.text
    assert "23:00-23:30 is in Peak and in Flat" in proof.text
    assert "<html" not in proof.text


async def test_what_cannot_be_read_is_refused_beside_its_field_and_the_draft_is_kept(app, bills):  # noqa: F811
    finance = await sign_in(app, "finance")
    fields = fields_of((await finance.get(f"{DRAFTS}/new?template=single-price")).text)
    refused = await press(finance, fields, "tenants", **{"components.0.price": "0,7x"})
    assert refused.status_code == 422
    assert re.search(r'id="field-components.0.price".*?aria-invalid="true".*?is not a number', refused.text, re.DOTALL)
    assert fields_of(refused.text)["components.0.price"] == ["0,7x"]
    assert "single-price" in (await finance.get("/console/tariffs")).text
    again = await press(finance, fields_of(refused.text), "tenants", **{"components.0.price": "0,75"})
    assert again.status_code == 303


async def test_rows_are_added_and_removed_without_a_script(app, bills):  # noqa: F811
    finance = await sign_in(app, "finance")
    fields = fields_of((await finance.get(f"{DRAFTS}/new")).text)
    here = (await press(finance, fields, "add:components")).headers["location"]
    fields = fields_of((await finance.get(here)).text)
    assert fields["components.1.kind"] == ["energy"]
    here = (await press(finance, fields, "remove:components.1")).headers["location"]
    assert "components.1.kind" not in fields_of((await finance.get(here)).text)


async def test_a_new_version_ends_the_one_before_it_on_its_first_day(app, bills, pool):  # noqa: F811
    finance = await sign_in(app, "finance")
    fields = fields_of((await finance.get(f"{DRAFTS}/new?template=single-price")).text)
    await press(finance, fields, "tenants")
    fields = fields_of((await finance.get(f"{DRAFTS}/new?tariff=single-price")).text)
    changes = {"valid_from": "2027-02-01", "version": "dearer", "components.0.price": "0.80"}
    used = await press(finance, fields, "tenants", **changes)
    assert used.status_code == 303, used.text
    tariff = await recorded(pool, "single-price")
    assert [(v.version, str(v.valid_from), str(v.valid_to)) for v in tariff.versions] == [
        ("demo", "2020-01-01", "2027-02-01"),
        ("dearer", "2027-02-01", "None"),
    ]


async def test_a_draft_is_tried_as_if_it_had_always_been_in_force(app, bills):  # noqa: F811
    finance = await sign_in(app, "finance")
    fields = fields_of((await finance.get(f"{DRAFTS}/new?template=single-price")).text)
    changes = {"valid_from": "2030-01-01", "components.0.price": "9"}
    tried = await press(finance, fields, "trial", **changes)
    page = await finance.get(tried.headers["location"])
    assert "Tenants would have paid" in page.text


async def test_only_finance_enters_tariffs(app, bills):  # noqa: F811
    guard = await sign_in(app, "guard")
    assert (await guard.get(f"{DRAFTS}/new")).status_code == 403
