"""`token create|list|revoke`."""

from __future__ import annotations

from support.clispace import Space


def test_create_list_revoke(space: Space) -> None:
    assert "aucun jeton" in space.run("token", "list").out
    made = space.run("token", "create", "Labo", "-s", "directory", "--days", "30", "--json")
    assert made.code == 0 and made.json["token"].startswith("mss_") and made.json["scopes"] == ["directory"]
    shown = space.run("token", "create", "RH", "--scope", "scim")
    assert shown.out.strip().startswith("mss_") and "copiez-le" in shown.err
    listed = space.run("token", "list")
    assert "Labo" in listed.out and made.json["token"] not in listed.out + space.run("token", "list", "--json").out
    assert space.run("token", "revoke", str(made.json["id"])).code == 0
    assert [one["label"] for one in space.run("token", "list", "--json").json["tokens"]] == ["RH"]
    assert "JETON-INCONNU" in space.run("token", "revoke", "7").err
    assert "JETON-PORTEE" in space.run("token", "create", "x", "-s", "root").err
