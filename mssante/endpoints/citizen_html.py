"""The look of the citizens' page: one column of large text, made of escaped pieces, one style sheet, no script at all.

- Contrasts of 7:1 and more, text of 1.2 rem (1.8 rem in large print), lines of 38 em at most, targets of 3 rem, a visible focus,
  light and dark by the wish of the browser, nothing told by colour alone (RGAA 4, WCAG 2.2).
- Landmarks, one h1, a skip link, labels and hints tied to their fields, faults said at once.
Pure: values in, text out. Called by `endpoints/citizen_pages.py`, `citizen_site.py`.
"""

from __future__ import annotations

from mssante.endpoints.account_html import Markup, Piece, tag
from mssante.lang import language, say


def citizen_page(title: str, *body: Piece, service: str, tools: Markup | None = None, large: bool = False) -> str:
    """Give a whole page. service: the operator's name; tools: size of text, way out; large: large print."""
    return "<!doctype html>\n" + tag(
        "html",
        tag("head", tag("meta", charset="utf-8"), tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"), tag("meta", name="robots", content="noindex, nofollow"),
            tag("title", f"{title} – {say('Mes échanges de santé', 'My health messages')}"),
            tag("link", rel="stylesheet", href="/usager/style.css")),
        tag("body", tag("a", say("Aller au contenu", "Skip to content"), href="#contenu", class_="skip"),
            tag("header", tag("p", say("Mes échanges de santé", "My health messages"), class_="service"), tools),
            tag("main", tag("h1", title), *body, id="contenu", tabindex="-1"),
            tag("footer", tag("p", service), tag("p", say(
                "En cas d'urgence, n'écrivez pas ici : appelez le 15 ou le 112.",
                "In an emergency, do not write here: call 15 or 112.")))),
        lang=language(), class_="grand" if large else None)


def paragraphs(text: str) -> Markup:
    """Give a plain text as paragraphs whose lines stay."""
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    return Markup("".join(tag("p", block) for block in blocks if block.strip()))


CITIZEN_STYLE = """
:root{color-scheme:light dark;--fond:#ffffff;--carte:#f3f5f8;--texte:#14181d;--faible:#3b4450;--trait:#6b7785;--accent:#0a3f73;
--sur:#ffffff;--mal:#fdecec;--malbord:#8f1015;--bien:#e6f3ea;--mien:#eaf1fa}
@media (prefers-color-scheme:dark){:root{--fond:#101317;--carte:#1a1f26;--texte:#f2f4f7;--faible:#cdd4dd;--trait:#8b97a6;
--accent:#a9d2ff;--sur:#06182b;--mal:#3b1a1b;--malbord:#ffb0b0;--bien:#17301f;--mien:#16263a}}
*{box-sizing:border-box}
html{font-size:112.5%}
html.grand{font-size:168.75%}
body{margin:0;background:var(--fond);color:var(--texte);font:1rem/1.6 system-ui,"Segoe UI",Roboto,sans-serif}
header,main,footer{max-width:44rem;margin:0 auto;padding:0 1rem}
header{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:center;justify-content:space-between;padding-top:1rem;
border-bottom:2px solid var(--trait);padding-bottom:.75rem}
.service{margin:0;font-weight:700;font-size:1.1rem}
.outils{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center}
h1{font-size:1.6rem;line-height:1.3;margin:1.25rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;line-height:1.35;margin:1.5rem 0 .75rem;overflow-wrap:anywhere}
article h2{margin-top:0}
form{margin:0 0 1.25rem}
h3{font-size:1rem;margin:0 0 .25rem}
main:focus{outline:none}
p{margin:0 0 .75rem}
a{color:var(--accent);text-underline-offset:.2em}
ul.echanges{list-style:none;margin:0;padding:0}
ul.echanges>li{border:1px solid var(--trait);border-radius:.5rem;background:var(--carte);padding:.9rem 1rem;margin:0 0 .9rem}
ul.echanges a{font-weight:600;font-size:1.1rem;display:inline-block;padding:.2rem 0}
.qui{font-weight:600}
.quand,.etat,.hint{color:var(--faible)}
.neuf{display:inline-block;border:2px solid var(--accent);border-radius:1rem;padding:0 .6rem;font-weight:700;color:var(--accent)}
article{border:1px solid var(--trait);border-left:.4rem solid var(--trait);border-radius:.5rem;background:var(--carte);
padding:1rem;margin:0 0 1rem}
article.mien{background:var(--mien);border-left-color:var(--accent)}
.lettre p,pre.lettre{white-space:pre-wrap;overflow-wrap:anywhere;max-width:38em}
pre.lettre{font:inherit;background:var(--carte);border:1px solid var(--trait);border-radius:.5rem;padding:1rem;margin:0 0 1rem}
ul.pieces{padding-left:1.2rem;margin:.25rem 0 0}
ul.pieces li{padding:.25rem 0}
label{display:block;font-weight:700;margin:0 0 .25rem}
.hint{display:block;margin:0 0 .4rem}
input[type=text],textarea{width:100%;padding:.6rem;font:inherit;color:inherit;background:var(--fond);border:2px solid
var(--trait); border-radius:.4rem}
input[type=text]{max-width:20rem;font-size:1.2rem;letter-spacing:.08em}
input[type=file]{font:inherit;max-width:100%}
input[type=file]::file-selector-button{font:inherit;font-weight:700;padding:.5rem 1rem;min-height:3rem;margin-right:1rem;
border-radius:.4rem;border:2px solid var(--accent);background:transparent;color:var(--accent);cursor:pointer}
textarea{min-height:10rem;resize:vertical}
.field{margin:0 0 1.25rem}
button{font:inherit;font-weight:700;padding:.6rem 1.25rem;min-height:3rem;border-radius:.4rem;border:2px solid var(--accent);
background:var(--accent);color:var(--sur);cursor:pointer}
button.plain{background:transparent;color:var(--accent);padding:.3rem .9rem}
.outils form{margin:0}
:focus-visible{outline:4px solid var(--accent);outline-offset:3px}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:var(--fond);padding:.6rem;z-index:1}
.notice{padding:.8rem 1rem;border-radius:.4rem;background:var(--bien);border-left:.4rem solid var(--accent);font-weight:600}
.notice.bad{background:var(--mal);border-left-color:var(--malbord)}
.entendu{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
footer{border-top:2px solid var(--trait);margin-top:2rem;padding-top:1rem;color:var(--faible)}
"""
