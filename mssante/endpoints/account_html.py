"""The look of the web account: pages made of escaped pieces, one style sheet, one small script for passkeys.

- `tag` escapes all text and attributes: nothing that comes from outside can become markup. Only `Markup` values pass as they are.
- No inline script or style; the script is needed for passkeys only, everything else works without.
- One column, labels on every field, a skip link, landmarks, a visible focus, light and dark by the wish of the browser.
Pure: values in, text out. Called by `endpoints/account_*.py`.
"""

from __future__ import annotations

from html import escape

from mssante.lang import language, say

VOID = frozenset({"input", "meta", "link", "br", "hr"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Piece = str | Markup | None


def tag(name: str, /, *children: Piece, **attributes: str | bool | None) -> Markup:
    """Give an element. Attributes: `_` ends a name that Python keeps (`for_`), other `_` become `-`; True: without value."""
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        shown = key.rstrip("_").replace("_", "-")
        parts.append(f" {shown}" if value is True else f' {shown}="{escape(str(value), quote=True)}"')
    parts.append(">")
    if name not in VOID:
        parts += [text(child) for child in children]
        parts.append(f"</{name}>")
    return Markup("".join(parts))


def text(piece: Piece) -> Markup:
    """Give a piece as markup: escaped unless it is some."""
    if piece is None:
        return Markup("")
    return piece if isinstance(piece, Markup) else Markup(escape(piece, quote=True))


def join(*pieces: Piece) -> Markup:
    """Give pieces one after the other."""
    return Markup("".join(text(piece) for piece in pieces))


def field(label: str, name: str, *, kind: str = "text", hint: str = "", **attributes: str | bool | None) -> Markup:
    """Give a labelled field, its hint tied to it."""
    described = f"{name}-hint" if hint else None
    return tag("p", tag("label", label, for_=name),
               tag("input", type=kind, name=name, id=name, aria_describedby=described, **attributes),
               tag("span", hint, id=described, class_="hint") if hint else None, class_="field")


def hidden(name: str, value: str) -> Markup:
    """Give a hidden field."""
    return tag("input", type="hidden", name=name, value=value)


def form(action: str, token: str, *children: Piece, **attributes: str | bool | None) -> Markup:
    """Give a form that carries the token of its session."""
    return tag("form", hidden("jeton", token), *children, method="post", action=action, **attributes)


def button(words: str, *, kind: str = "", **attributes: str | bool | None) -> Markup:
    """Give a button that sends its form. kind: `danger`, `plain`."""
    return tag("button", words, type="submit", class_=kind or None, **attributes)


def table(caption: str, head: list[str], rows: list[list[Piece]]) -> Markup:
    """Give a table with its caption and column headings."""
    return tag("div", tag("table", tag("caption", caption), tag("thead",
                                                                tag("tr", *[tag("th", one, scope="col") for one in head])),
                          tag("tbody", *[tag("tr", *[tag("td", cell) for cell in row]) for row in rows])),
               class_="scroll", tabindex="0", role="region", aria_label=caption)


def notice(words: str, *, bad: bool = False) -> Markup:
    """Give a message that screen readers say at once."""
    return tag("p", words, class_="notice bad" if bad else "notice", role="alert" if bad else "status")


def page(title: str, *body: Piece, operator: str, menu: Markup | None = None, script: bool = False) -> str:
    """Give a whole page. title: of this page; operator: whose account it is; script: it uses passkeys."""
    return "<!doctype html>\n" + tag(
        "html",
        tag("head", tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"), tag("title", f"{title} – {operator}"),
            tag("link", rel="stylesheet", href="/compte/style.css"),
            tag("script", src="/compte/cles.js", defer=True) if script else None),
        tag("body", tag("a", say("Aller au contenu", "Skip to content"), href="#contenu", class_="skip"),
            tag("header", tag("p", operator, class_="operator"), menu),
            tag("main", tag("h1", title), *body, id="contenu"),
            tag("footer", tag("p", say("Compte de messagerie MSSanté", "MSSanté mail account")))),
        lang=language())


STYLE = """
:root{color-scheme:light dark;--fond:#f6f7f9;--carte:#ffffff;--texte:#1b1f24;--faible:#4c5663;--trait:#aab2bd;--accent:#0b4f8a;
--sur:#ffffff;--danger:#a3161b;--bien:#e5f1e8;--mal:#fbe7e7}
@media (prefers-color-scheme:dark){:root{--fond:#14171b;--carte:#1d2127;--texte:#eceff3;--faible:#b4bdc9;--trait:#5d6775;
--accent:#8ec5ff;--sur:#0b1a2a;--danger:#ff9c9c;--bien:#1c3323;--mal:#40201f}}
*{box-sizing:border-box}
body{margin:0;background:var(--fond);color:var(--texte);font:1rem/1.5 system-ui,sans-serif}
header,main,footer{max-width:46rem;margin:0 auto;padding:0 1rem}
header{padding-top:1rem}
.operator{margin:0;font-weight:600}
nav ul{list-style:none;display:flex;flex-wrap:wrap;align-items:center;gap:.25rem 1rem;padding:0;margin:.5rem 0}
nav form{display:inline}
h1,h2{overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:1rem 0}
h2{font-size:1.2rem;margin:0 0 .5rem}
section{background:var(--carte);border:1px solid var(--trait);border-radius:.5rem;padding:1rem;margin:0 0 1rem}
a{color:var(--accent)}
label{display:block;font-weight:600}
fieldset{border:1px solid var(--trait);border-radius:.375rem;margin:0 0 1rem}
fieldset label{font-weight:400}
input:not([type=checkbox]):not([type=hidden]),select{width:100%;max-width:24rem;padding:.5rem;font:inherit;color:inherit;
background:var(--fond);border:1px solid var(--trait);border-radius:.375rem}
.field{margin:0 0 1rem}
.hint{display:block;color:var(--faible);font-size:.9rem}
button{font:inherit;font-weight:600;padding:.5rem 1rem;border-radius:.375rem;border:1px solid var(--accent);
background:var(--accent);color:var(--sur);cursor:pointer;min-height:2.75rem}
button.plain{background:transparent;color:var(--accent)}
button.danger{background:transparent;color:var(--danger);border-color:var(--danger)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:var(--carte);padding:.5rem}
.notice{padding:.75rem 1rem;border-radius:.375rem;background:var(--bien);border-left:.25rem solid var(--accent)}
.notice.bad{background:var(--mal);border-left-color:var(--danger)}
section>:first-child{margin-top:0}
section>:last-child{margin-bottom:0}
.scroll{overflow-x:auto;margin:0 0 1rem}
table{border-collapse:collapse;width:100%}
caption{text-align:left;color:var(--faible);padding-bottom:.25rem}
th,td{text-align:left;padding:.4rem .6rem .4rem 0;border-top:1px solid var(--trait);vertical-align:top}
.secret{font:600 1.15rem/1.6 ui-monospace,monospace;overflow-wrap:anywhere;user-select:all}
dt{font-weight:600}
dd{margin:0 0 .5rem;overflow-wrap:anywhere}
footer{color:var(--faible);font-size:.9rem}
[hidden]{display:none}
"""

SCRIPT = """
"use strict";
(function () {
  function octets(text) {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, function (one) { return one.charCodeAt(0); });
  }
  function written(buffer) {
    let plain = "";
    new Uint8Array(buffer).forEach(function (one) { plain += String.fromCharCode(one); });
    return btoa(plain).replace(/\\+/g, "-").replace(/\\//g, "_").replace(/=+$/, "");
  }
  function read(options) {
    options.challenge = octets(options.challenge);
    if (options.user) { options.user.id = octets(options.user.id); }
    ["excludeCredentials", "allowCredentials"].forEach(function (name) {
      (options[name] || []).forEach(function (one) { one.id = octets(one.id); });
    });
    return options;
  }
  function answer(made) {
    const given = made.response, response = { clientDataJSON: written(given.clientDataJSON) };
    ["attestationObject", "authenticatorData", "signature", "userHandle"].forEach(function (name) {
      if (given[name]) { response[name] = written(given[name]); }
    });
    return JSON.stringify({ id: made.id, rawId: written(made.rawId), type: made.type, response: response,
                            clientExtensionResults: {} });
  }
  document.querySelectorAll("form[data-options]").forEach(function (form) {
    const problem = form.querySelector("[data-problem]");
    if (!window.PublicKeyCredential) { return; }
    form.hidden = false;
    form.addEventListener("submit", function (event) {
      if (form.elements.reponse.value) { return; }
      event.preventDefault();
      problem.hidden = true;
      const options = { publicKey: read(JSON.parse(form.dataset.options)) };
      const asked = form.dataset.make ? navigator.credentials.create(options) : navigator.credentials.get(options);
      asked.then(function (made) {
        form.elements.reponse.value = answer(made);
        form.submit();
      }).catch(function (fault) { problem.hidden = false; problem.dataset.fault = fault.name; });
    });
  });
}());
"""
