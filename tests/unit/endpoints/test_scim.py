"""SCIM 2.0 over HTTP: joiners, leavers, groups, filters, versions, and attempts to get more than is offered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support.clock import FakeClock

from mssante.endpoints.scim import MAX_BODY, ScimEndpoint
from mssante.errors import InputFault
from mssante.model.delegation import NewDelegation, Right
from mssante.model.identifiers import luhn_ok
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.protocol.scim.schemas import MAX_RESULTS, USER_SCHEMA
from mssante.protocol.scim.values import HOLDER, PATCH_OP, USER
from mssante.services.apitokens import ApiTokens
from mssante.services.scim import ScimDesk, ScimSettings
from mssante.services.scim_documents import NAMES, PLAIN
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.open import StorageOptions, open_stores
from mssante.topics.provisioning import TokenDoor, check_person

DOMAIN = "hopital.mssante.fr"
TEAM = f"accueil@{DOMAIN}"
RPPS = "10001234567"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Gate:
    """The API tokens of the tests: one good one."""

    async def admit(self, authorization: str) -> str:
        return "scim:essai" if authorization == "Bearer bon" else ""


def check_holder(value: str) -> None:
    if value != RPPS:
        raise InputFault("wrong", rule="RPPS-CLE")


class Desk:
    """A client with a good token, and the stores behind."""

    def __init__(self, stores: Stores, client: TestClient[Any, Any]) -> None:
        self.stores = stores
        self.client = client

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        answer = await self.client.request(method, "/scim/v2" + path, json=body, headers={"Authorization": "Bearer bon", **headers})
        text = await answer.text()
        return answer.status, (await answer.json(content_type=None) if text else None), answer.headers

    async def join(self, who: str = "lea", **more: Any) -> Any:
        status, made, _ = await self.ask("POST", "/Users", joiner(who, **more))
        assert status == 201, made
        return made

    async def account(self, login: str) -> Any:
        return await self.stores.database.read(lambda tx: self.stores.accounts.account_by_login(tx, login))

    async def box(self, address: str) -> Any:
        found = await self.stores.database.read(lambda tx: self.stores.accounts.mailboxes_by_address(tx, [address]))
        return found[0] if found else None

    async def team(self) -> list[tuple[str, str]]:
        box = await self.box(TEAM)
        rows = await self.stores.database.read(lambda tx: self.stores.delegations.of_mailboxes(tx, [box.id]))
        return [(one.login, one.granted_by) for one in rows if not one.own]


def joiner(who: str = "lea", **more: Any) -> dict[str, Any]:
    return {"schemas": [USER, HOLDER], "userName": f"{who}@{DOMAIN}", "externalId": f"E-{who}",
            "name": {"givenName": who.title(), "familyName": "Essai"}, "emails": [{"value": f"{who}@{DOMAIN}", "primary": True}],
            HOLDER: {"holderId": RPPS}, **more}


_template: list[bytes] = []


async def template(folder: Path) -> bytes:
    """Give the octets of a database with a team box, a person and a box of another domain; made once."""
    if not _template:
        stores = open_stores(f"sqlite:///{folder}/t.db", folder / "blobs", StorageOptions(readers=1))

        def unit(tx: Any) -> None:
            boxes = stores.accounts.create_mailboxes(tx, [
                NewMailbox(TEAM, MailboxType.ORG, NOW), NewMailbox(f"chef@{DOMAIN}", MailboxType.PER, NOW),
                NewMailbox("autre@ailleurs.mssante.fr", MailboxType.ORG, NOW)])
            stores.accounts.create_accounts(tx, [("chef", "x", (boxes[1].id,))])

        await stores.database.write(unit)
        stores.close()
        _template.append((folder / "t.db").read_bytes())
    return _template[0]


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr("mssante.services.scim.hash_secret", lambda secret: "unused")  # argon2 is tested elsewhere
    (tmp_path / "m.db").write_bytes(await template(tmp_path))
    stores = open_stores(f"sqlite:///{tmp_path}/m.db", tmp_path / "blobs", StorageOptions(readers=1))
    endpoint = ScimEndpoint(ScimDesk(stores, FakeClock(NOW), ScimSettings(frozenset({DOMAIN})), check_holder), Gate())
    application = web.Application()
    application.add_routes(endpoint.routes())
    client = TestClient(TestServer(application))
    await client.start_server()
    yield Desk(stores, client)
    await client.close()
    stores.close()


# ------------------------------------------------------------------------------------------ the door


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer mauvais", "Basic Ym9u", "bon"])
@pytest.mark.parametrize("path", ["/Users", "/ServiceProviderConfig", "/nulle/part"])
async def test_nothing_without_a_token(desk: Desk, authorization: str, path: str) -> None:
    status, body, headers = await desk.ask("GET", path, Authorization=authorization)
    assert (status, body["status"], headers["WWW-Authenticate"]) == (401, "401", 'Bearer realm="scim"')


async def test_the_server_tells_what_it_is(desk: Desk) -> None:
    _, config, headers = await desk.ask("GET", "/ServiceProviderConfig")
    assert (config["patch"]["supported"], config["bulk"]["supported"], config["etag"]["supported"]) == (True, False, True)
    assert headers["Content-Type"].startswith("application/scim+json")
    for path in ("/Schemas", "/ResourceTypes"):
        _, page, _ = await desk.ask("GET", path)
        for one in page["Resources"]:
            assert (await desk.ask("GET", f"{path}/{one['id']}"))[1] == one
        assert (await desk.ask("GET", f"{path}/absent"))[0] == 404
        assert (await desk.ask("GET", f'{path}?filter=id eq "x"'))[0] == 403
    assert [(await desk.ask(method, path))[0] for method, path in (
        ("GET", "/Me"), ("POST", "/Bulk"), ("DELETE", "/Users"), ("GET", "/x"))] == [501, 501, 405, 404]


async def test_schemas_name_what_is_kept_and_nothing_else() -> None:
    writable = {one["name"] for one in USER_SCHEMA["attributes"] if one["mutability"] == "readWrite"}
    assert writable == {"userName", "name", "emails", "active", *PLAIN} - {"externalId"}
    assert {one["name"] for one in USER_SCHEMA["attributes"][1]["subAttributes"]} == set(NAMES)


@pytest.mark.parametrize(("body", "kind", "status"), [
    (b"{", "invalidSyntax", 400), (b"[]", "invalidSyntax", 400), (b"[" * 5000, "invalidSyntax", 400), (b"{}", "invalidValue", 400),
    (b'"' + b"x" * MAX_BODY + b'"', "", 413)])
async def test_a_bad_body_is_told(desk: Desk, body: bytes, kind: str, status: int) -> None:
    answer = await desk.client.post("/scim/v2/Users", data=body, headers={
        "Authorization": "Bearer bon", "Content-Type": "application/scim+json"})
    found = await answer.json(content_type=None)
    assert (answer.status, found.get("scimType", "")) == (status, kind)
    plain = await desk.client.post("/scim/v2/Users", data=b"{}", headers={"Authorization": "Bearer bon", "Content-Type": "text/plain"})
    assert plain.status == 415


# ------------------------------------------------------------------------------------------ joiners and leavers


async def test_a_joiner_gets_a_login_and_a_mailbox(desk: Desk) -> None:
    made = await desk.join()
    assert (made["active"], made[HOLDER]) == (True, {"holderId": RPPS, "mailbox": f"lea@{DOMAIN}"})
    account, box = await desk.account(f"lea@{DOMAIN}"), await desk.box(f"lea@{DOMAIN}")
    assert account.enabled
    assert account.mailbox_ids == (box.id,)
    assert (box.type, box.state, box.holder_id) == (MailboxType.PER, MailboxState.ACTIVE, RPPS)
    status, again, headers = await desk.ask("GET", f"/Users/{made['id']}")
    assert (status, again["userName"], headers["ETag"]) == (200, f"lea@{DOMAIN}", again["meta"]["version"])
    assert (await desk.ask("GET", f"/Users/{made['id']}", **{"If-None-Match": headers["ETag"]}))[0] == 304
    events = await desk.stores.database.read(lambda tx: desk.stores.journal.recent(tx, kind="mailbox_changed"))
    assert events[0].payload["by"] == "scim:essai"


async def test_a_leaver_is_disabled_loses_delegations_and_keeps_the_mail(desk: Desk) -> None:
    made = await desk.join()
    box = await desk.box(TEAM)
    await desk.ask("PUT", f"/Groups/{box.id}", {"members": [{"value": made["id"]}]})
    assert await desk.team() == [(f"lea@{DOMAIN}", "scim:essai")]
    status, changed, _ = await desk.ask("PATCH", f"/Users/{made['id']}", {"schemas": [PATCH_OP], "Operations": [
        {"op": "Replace", "path": "active", "value": "False"}]})
    assert (status, changed["active"], "groups" in changed) == (200, False, False)
    assert not (await desk.account(f"lea@{DOMAIN}")).enabled
    assert (await desk.box(f"lea@{DOMAIN}")).state is MailboxState.SUSPENDED
    assert await desk.team() == []
    status, changed, _ = await desk.ask("PUT", f"/Users/{made['id']}", joiner(active=True))
    assert (status, changed["active"]) == (200, True)
    assert (await desk.account(f"lea@{DOMAIN}")).enabled
    assert (await desk.box(f"lea@{DOMAIN}")).state is MailboxState.ACTIVE
    assert await desk.team() == [], "delegations are given again by somebody, not by coming back"
    assert (await desk.ask("DELETE", f"/Users/{made['id']}"))[0] == 204
    assert (await desk.ask("GET", f"/Users/{made['id']}"))[0] == 404
    assert not (await desk.account(f"lea@{DOMAIN}")).enabled
    assert (await desk.box(f"lea@{DOMAIN}")).state is MailboxState.SUSPENDED
    assert (await desk.ask("POST", "/Users", joiner()))[0] == 409, "another person never gets the mailbox of who left"


async def test_a_closed_mailbox_is_not_opened_by_coming_back(desk: Desk) -> None:
    made = await desk.join()
    await desk.ask("PUT", f"/Users/{made['id']}", joiner(active=False))
    await desk.stores.database.write(lambda tx: desk.stores.accounts.set_mailbox_state(tx, f"lea@{DOMAIN}", MailboxState.CLOSED))
    await desk.ask("PUT", f"/Users/{made['id']}", joiner(active=True))
    assert (await desk.box(f"lea@{DOMAIN}")).state is MailboxState.CLOSED


async def test_a_login_made_again_by_somebody_else_is_not_scims(desk: Desk) -> None:
    made, login, box = await desk.join(), f"lea@{DOMAIN}", await desk.box(TEAM)

    def again(tx: Any) -> None:
        desk.stores.accounts.delete_account(tx, login)
        desk.stores.accounts.create_accounts(tx, [(login, "x", (desk.stores.accounts.mailboxes_by_address(tx, [login])[0].id,))])

    await desk.stores.database.write(again)
    off = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    assert (await desk.ask("PATCH", f"/Users/{made['id']}", off))[0] == 404
    assert (await desk.ask("PUT", f"/Groups/{box.id}", {"members": [{"value": made["id"]}]}))[0] == 400
    assert (await desk.ask("DELETE", f"/Users/{made['id']}"))[0] == 204
    assert (await desk.account(login)).enabled
    assert await desk.team() == []


async def test_a_rename_keeps_the_mailbox_and_takes_old_rights_away(desk: Desk) -> None:
    made = await desk.join()
    box = await desk.box(TEAM)
    await desk.stores.database.write(lambda tx: desk.stores.rights.put(tx, box.inbox_id, f"lea@{DOMAIN}", "lr"))
    status, changed, _ = await desk.ask("PATCH", f"/Users/{made['id']}", {"schemas": [PATCH_OP], "Operations": [
        {"op": "replace", "value": {"userName": f"lea.nouveau@{DOMAIN}", "name.familyName": "Nouveau"}}]})
    assert (status, changed["name"]["familyName"], changed[HOLDER]["mailbox"]) == (200, "Nouveau", f"lea@{DOMAIN}")
    assert await desk.account(f"lea@{DOMAIN}") is None
    assert (await desk.account(f"lea.nouveau@{DOMAIN}")).mailbox_ids == ((await desk.box(f"lea@{DOMAIN}")).id,)
    assert await desk.stores.database.read(lambda tx: desk.stores.rights.of_folder(tx, box.inbox_id)) == []


# ------------------------------------------------------------------------------------------ attempts to get more


@pytest.mark.parametrize("more", [
    {"userName": "chef"}, {"userName": "CHEF"}, {"emails": [{"value": f"chef@{DOMAIN}"}]}, {"emails": [{"value": TEAM}]},
    {"emails": [{"value": f"Accueil@{DOMAIN.upper()}"}]}])
async def test_what_exists_is_never_taken_over(desk: Desk, more: dict[str, Any]) -> None:
    status, body, _ = await desk.ask("POST", "/Users", joiner(**more))
    assert (status, body["scimType"]) == (409, "uniqueness")
    assert (await desk.account("chef")).enabled
    _, page, _ = await desk.ask("GET", "/Users")
    assert page["totalResults"] == 0, "nor shown"


@pytest.mark.parametrize("more", [
    {"password": "secret"}, {"roles": [{"value": "admin"}]}, {"entitlements": [{"value": "x"}]}, {"secret_hash": "x"},
    {"mailbox_ids": [1]}, {"groups": [{"value": "1"}]}, {"id": "pirate"}, {"type": "ORG"}, {"quota_bytes": 0}, {"_created": "x"},
    {HOLDER: {"holderId": RPPS, "mailbox": f"chef@{DOMAIN}", "state": "purged"}}, {"meta": {"version": "x"}}])
async def test_attributes_that_are_not_offered_do_nothing(desk: Desk, more: dict[str, Any]) -> None:
    made = await desk.join(**more)
    assert made["id"] != "pirate"
    assert not set(made) & {"password", "roles", "entitlements", "secret_hash", "mailbox_ids", "groups", "type", "quota_bytes", "_created"}
    assert made[HOLDER] == {"holderId": RPPS, "mailbox": f"lea@{DOMAIN}"}
    assert len((await desk.account(f"lea@{DOMAIN}")).mailbox_ids) == 1


@pytest.mark.parametrize(("operation", "status", "kind"), [
    ({"op": "replace", "path": "id", "value": "x"}, 400, "mutability"),
    ({"op": "replace", "path": "meta.version", "value": "x"}, 400, "mutability"),
    ({"op": "add", "path": "groups", "value": [{"value": "1"}]}, 400, "mutability"),
    ({"op": "replace", "path": f"{HOLDER}:holderId", "value": "10009999999"}, 400, "mutability"),
    ({"op": "replace", "path": "userName", "value": "chef"}, 409, "uniqueness"),
    ({"op": "replace", "path": "userName", "value": ""}, 400, "invalidValue"),
    ({"op": "remove", "path": "userName"}, 400, "invalidValue"),
    ({"op": "replace", "path": "active", "value": "peut-être"}, 400, "invalidValue"),
    ({"op": "replace", "path": 'emails[type eq "absent"].value', "value": "x"}, 400, "noTarget"),
    ({"op": "remove"}, 400, "noTarget"), ({"op": "explode", "path": "title"}, 400, "invalidSyntax"),
    ({"op": "replace", "path": "a b c", "value": "x"}, 400, "invalidPath"),
    ({"op": "replace", "path": "title", "value": {"a": 1}}, 400, "invalidValue"),
    ({"op": "replace", "path": "title", "value": "x\r\ny"}, 400, "invalidValue"),
    ({"op": "replace", "path": "title", "value": "x" * 600}, 400, "invalidValue")])
async def test_a_patch_that_may_not_be(desk: Desk, operation: dict[str, Any], status: int, kind: str) -> None:
    made = await desk.join()
    found, body, _ = await desk.ask("PATCH", f"/Users/{made['id']}", {"schemas": [PATCH_OP], "Operations": [
        {"op": "replace", "path": "title", "value": "avant"}, operation]})
    assert (found, body["scimType"]) == (status, kind)
    assert (await desk.ask("GET", f"/Users/{made['id']}"))[1] == made, "all or nothing"


@pytest.mark.parametrize("more", [
    {HOLDER: {}}, {HOLDER: {"holderId": "10009999999"}}, {"emails": [], "userName": "lea"}, {"emails": [{"value": "lea@gmail.com"}], "userName": "l"},
    {"emails": [{"value": f"postmaster@{DOMAIN}"}]}, {"emails": "x"}, {"emails": [{"value": "a@b", "primary": True}] * 2},
    {"emails": [{"value": "a@b"}] * 21}, {"name": []}, {"userName": "a b"}, {"userName": "x" * 255}, {"userName": 3}])
async def test_a_joiner_that_cannot_be(desk: Desk, more: dict[str, Any]) -> None:
    status, body, _ = await desk.ask("POST", "/Users", joiner(**more))
    assert (status, body["scimType"]) == (400, "invalidValue")


async def test_groups_are_the_org_boxes_of_the_domains_and_leave_others_alone(desk: Desk) -> None:
    made, left = await desk.join("lea"), await desk.join("tom", active=False)
    box, other = await desk.box(TEAM), await desk.box("autre@ailleurs.mssante.fr")
    personal = await desk.box(f"chef@{DOMAIN}")
    await desk.stores.database.write(lambda tx: desk.stores.delegations.give(tx, [NewDelegation(
        desk.stores.delegations.people(tx, ["chef"])["chef"].account_id, box.id, frozenset({Right.OPEN}), granted_by="cli:x")]))
    _, page, _ = await desk.ask("GET", "/Groups")
    assert [(one["displayName"], "members" in one) for one in page["Resources"]] == [(TEAM, False)]
    for wrong in (other.id, personal.id, "0", "abc", "9" * 30):
        assert (await desk.ask("PUT", f"/Groups/{wrong}", {"members": [{"value": made["id"]}]}))[0] == 404
    for wrong in ([{"value": left["id"]}], [{"value": "absent"}], [{}], "x", [{"value": "x"}] * 1001):
        assert (await desk.ask("PUT", f"/Groups/{box.id}", {"members": wrong}))[0] == 400
    add = {"schemas": [PATCH_OP], "Operations": [{"op": "Add", "path": "members", "value": [{"value": made["id"]}]}]}
    status, group, _ = await desk.ask("PATCH", f"/Groups/{box.id}", add)
    assert (status, [one["value"] for one in group["members"]]) == (200, [made["id"]])
    assert (await desk.ask("GET", f"/Users/{made['id']}"))[1]["groups"][0]["display"] == TEAM
    remove = {"schemas": [PATCH_OP], "Operations": [{"op": "remove", "path": f'members[value eq "{made["id"]}"]'}]}
    assert "members" not in (await desk.ask("PATCH", f"/Groups/{box.id}", remove))[1]
    await desk.ask("PATCH", f"/Groups/{box.id}", add)
    await desk.ask("PUT", f"/Groups/{box.id}", {"members": []})
    assert await desk.team() == [("chef", "cli:x")]
    assert [(await desk.ask(method, path))[0] for method, path in (("POST", "/Groups"), ("DELETE", f"/Groups/{box.id}"))] == [405, 405]


# ------------------------------------------------------------------------------------------ searches, versions


@pytest.mark.parametrize(("text", "names"), [
    (f'userName eq "LEA@{DOMAIN}"', ["lea"]), ('externalId eq "E-tom"', ["tom"]), ('userName sw "l"', ["lea"]),
    ('name.familyName co "ssai" and not (userName sw "tom")', ["ines", "lea"]), ("active eq false", ["ines"]),
    ('emails[primary eq true and value co "tom"]', ["tom"]), (f'{HOLDER}:holderId eq "{RPPS}"', ["ines", "lea", "tom"]),
    (f'{USER}:userName ew "fr" or title pr', ["ines", "lea", "tom"]), ('emails co "tom@"', ["tom"]), ("title pr", []),
    ('userName eq "x\' OR 1=1 --"', []), ('userName eq "%"', []), ('id eq "*"', []), ('userName ne null and active ne true', ["ines"])])
async def test_filters(desk: Desk, text: str, names: list[str]) -> None:
    for name in ("lea", "tom"):
        await desk.join(name)
    await desk.join("ines", active=False)
    status, page, _ = await desk.ask("GET", "/Users?filter=" + text.replace("%", "%25").replace(" ", "%20"))
    assert status == 200, page
    assert sorted(one["userName"].partition("@")[0] for one in page["Resources"]) == names


@pytest.mark.parametrize("text", [
    "userName", "userName eq", "userName eq x", 'userName zz "x"', '(userName eq "x"', 'userName eq "x")', "((((((((((a pr))))))))))",
    " or ".join(["a pr"] * 40), "x" * 3000, "a-b.c.d pr", 'emails[value eq "x"', "not", "userName eq " + "[" * 100, '"'])
async def test_a_wrong_filter_is_told(desk: Desk, text: str) -> None:
    status, body, _ = await desk.ask("GET", "/Users?filter=" + text.replace(" ", "%20"))
    assert (status, body["scimType"]) == (400, "invalidFilter")


async def test_pages_and_selected_attributes(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        await desk.join(name)
    _, page, _ = await desk.ask("GET", "/Users?startIndex=2&count=1")
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (3, 2, 1)
    assert (await desk.ask("GET", "/Users?startIndex=-5&count=-1"))[1]["itemsPerPage"] == 0
    assert (await desk.ask("GET", f"/Users?count={MAX_RESULTS * 10}"))[1]["itemsPerPage"] == 3
    assert (await desk.ask("GET", "/Users?count=x"))[0] == 400
    _, page, _ = await desk.ask("GET", "/Users?attributes=name.givenName,userName&count=1")
    (one,) = page["Resources"]
    assert (set(one), set(one["name"])) == ({"schemas", "id", "userName", "name"}, {"givenName"})
    _, page, _ = await desk.ask("GET", "/Users?excludedAttributes=emails,id&count=1")
    assert "emails" not in page["Resources"][0]
    assert "id" in page["Resources"][0]


async def test_a_search_may_stand_in_a_body(desk: Desk) -> None:
    await desk.join()
    for path, count in (("/Users/.search", 1), ("/Groups/.search", 1)):
        status, page, _ = await desk.ask("POST", path, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
                                                        "attributes": ["id"], "startIndex": 1, "count": 5, "filter": "id pr"})
        assert (status, page["totalResults"], set(page["Resources"][0])) == (200, count, {"schemas", "id"})


async def test_a_change_of_what_changed_meanwhile_is_refused(desk: Desk) -> None:
    made = await desk.join()
    old = made["meta"]["version"]
    status, changed, _ = await desk.ask("PUT", f"/Users/{made['id']}", joiner(title="Cadre"), **{"If-Match": old})
    assert status == 200
    assert changed["meta"]["version"] != old
    for method, body in (("PUT", joiner()), ("PATCH", {"schemas": [PATCH_OP], "Operations": [
            {"op": "add", "path": "title", "value": "x"}]}), ("DELETE", None)):
        assert (await desk.ask(method, f"/Users/{made['id']}", body, **{"If-Match": old}))[0] == 412
    assert (await desk.ask("DELETE", f"/Users/{made['id']}", **{"If-Match": f'{old}, {changed["meta"]["version"]}'}))[0] == 204


# ------------------------------------------------------------------------------------------ the topic, with real tokens


async def test_the_topic_serves_bearers_of_a_token_of_scope_scim(desk: Desk) -> None:
    tokens = ApiTokens(desk.stores, FakeClock(NOW))
    good, other = await tokens.create("SIH", ["scim"], days=10), await tokens.create("LPS", ["directory"], days=10)
    door = TokenDoor(ApiTokens(desk.stores, FakeClock(NOW)))
    assert [await door.admit(f"Bearer {text}") for text in (good.text, other.text, "x", "")] == ["scim:SIH", "", "", ""]


@pytest.mark.parametrize("number", ["10001234560", "130025265", "x", ""])
def test_a_number_that_names_nobody_is_refused(number: str) -> None:
    with pytest.raises(InputFault) as caught:
        check_person(number)
    assert caught.value.rule.startswith("TITULAIRE-")


def test_a_number_with_its_check_digit_is_taken() -> None:
    body = "1000123456"
    (good,) = [body + str(digit) for digit in range(10) if luhn_ok(body + str(digit))]
    check_person(good)
