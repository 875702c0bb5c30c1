"""Thunderbird with Pro Santé Connect: its own OAuth 2 (authorization code with PKCE, in its own window), toward the lab's provider.

- The provider is made known as an extension's manifest key `oauth_provider` does it: by `OAuth2Providers.registerProvider`, before
  the first connection. A professional has no list of providers to fill: Thunderbird ships one, and extensions add to it.
- The person's part is played in the page that Thunderbird shows: somebody of the lab is chosen there and the button is pressed.
- What Thunderbird was told is read from its own state: its window, its login manager, the folders it could list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.marionette import Marionette, MarionetteError
from support.thunderbird import MailAccount, Thunderbird, account_preferences, launched, write_profile

HOST = "127.0.0.1"  # Thunderbird looks providers up by names that hold a dot
OAUTH2 = 10  # nsMsgAuthMethod.OAuth2


@dataclass(frozen=True, slots=True)
class Provider:
    """What Thunderbird needs to know of a provider. issuer: address of its realm."""

    issuer: str
    client: str = "lab-lps"

    @property
    def connect(self) -> str:
        return f"{self.issuer}/protocol/openid-connect"


PRELUDE = """
const {OAuth2Providers} = ChromeUtils.importESModule("resource:///modules/OAuth2Providers.sys.mjs");
const {OAuth2Module} = ChromeUtils.importESModule("resource:///modules/OAuth2Module.sys.mjs");
const asking = () => [...Services.wm.getEnumerator(null)].find(one => one.location.href.endsWith("/browserRequest.xhtml"));
const known = async () => (await Services.logins.searchLoginsAsync({origin: "oauth://psc.lab"})).length;
const inbox = () => folder("INBOX");
"""


class TokenThunderbird(Thunderbird):
    """A running one whose account logs in by token."""

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script behind both preludes."""
        return super().run(PRELUDE + script, *arguments)

    def register(self, provider: Provider) -> None:
        """Make the provider known."""
        self.run("""
            win.told = [];  // dialogs are put away by Marionette: what they said is noted first
            Services.obs.addObserver(one => win.told.push(one.Dialog?.args?.text ?? ""), "common-dialog-loaded");
            OAuth2Providers.registerProvider({name: "psc.lab", clientId: args[1], authorizationEndpoint: args[0] + "/auth",
              tokenEndpoint: args[0] + "/token", redirectionEndpoint: "http://localhost", usePKCE: true, useExternalBrowser: false},
              [args[2]], "openid scope_all");""", provider.connect, provider.client, HOST)

    def connect(self) -> None:
        """Have it read the folders: it asks for a token first."""
        self.run("server.performExpand(win.msgWindow);")

    def choose(self, person: str) -> str:
        """Be `person` in the window that asks who one is; give that window's title."""
        title: str = self.run("""
            const shown = await until(() => asking(), "window of the provider");
            const frame = await until(() => shown.document.getElementById("requestFrame"), "frame");
            await until(() => frame.currentURI?.spec.startsWith("https:") && !frame.webProgress.isLoadingDocument, "page");
            const title = shown.document.title;
            frame.messageManager.loadFrameScript("data:,(" + encodeURIComponent(`(() => {
              const form = content.document.querySelector("form");
              form.querySelector("select").value = "${args[0]}";
              form.querySelector("button").click();
            })()`) + ")", false);
            await until(() => !asking() || asking() != shown, "end of the window");
            return title;""", person)
        return title

    def outcome(self, seconds: float = 20, *, known: bool = True) -> str:
        """Wait for what comes of a login: `yes` (the server's folders are there), or the words of the dialog that it shows.

        known False: the folders were there before, a dialog is awaited.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found: str = self.run('return args[0] && folder("Archive") ? "yes" : win.told.pop() || (asking() ? "asked again" : "");', known)
            except MarionetteError as fault:
                if "alert" not in str(fault):
                    raise
                found = ""
            if found:
                return found
            time.sleep(0.2)
        return "nothing"

    def send(self, recipient: str, mark: str) -> str:
        """Send a letter from the account's identity; give `yes`, or the words of the dialog that it shows."""
        try:
            found: str = self.run("""
                const make = (id, kind) => Cc["@mozilla.org/messengercompose/" + id + ";1"].createInstance(kind);
                const params = make("composeparams", Ci.nsIMsgComposeParams);
                params.composeFields = make("composefields", Ci.nsIMsgCompFields);
                Object.assign(params.composeFields, {to: args[0], subject: args[1], body: args[1]});
                params.identity = MailServices.accounts.allIdentities[0];
                params.format = Ci.nsIMsgCompFormat.PlainText;
                params.type = Ci.nsIMsgCompType.New;
                const letter = MailServices.compose.initCompose(params, null);
                win.told.length = 0;
                try {
                  await letter.sendMsg(Ci.nsIMsgCompDeliverMode.Now, params.identity, "account1", null, null);
                  return "yes";
                } catch (fault) {
                  return win.told[0] || String(fault);
                }""", recipient, mark)
        except MarionetteError as fault:
            if "alert" not in str(fault) and "dialog" not in str(fault):
                raise
            found = self.said()
        return " ".join(found.split())

    def said(self) -> str:
        """Give the words of the last dialog; others that come meanwhile are put away."""
        for _ in range(20):
            try:
                if found := self.run("return win.told.pop();"):
                    return str(found)
            except MarionetteError as fault:
                if "alert" not in str(fault) and "dialog" not in str(fault):
                    raise
            time.sleep(0.1)
        return ""

    def show(self, token: str, left: int = 3600) -> None:
        """Have it hold an access token that it takes for good for `left` seconds more, at its next connection."""
        self.run("""
            const module = new OAuth2Module();
            module.initFromMail(server);
            module._oauth.accessToken = args[0];
            module._oauth.tokenExpires = Date.now() + args[1] * 1000;
            server.closeCachedConnections();""", token, left)

    def token(self) -> str:
        """Give the access token that it holds."""
        found: str = self.run("""
            const module = new OAuth2Module();
            module.initFromMail(server);
            return module._oauth.accessToken;""")
        return found

    def kept(self) -> int:
        """Give how many refresh tokens its login manager keeps."""
        found: int = self.run("return await known();")
        return found


@contextmanager
def token_thunderbird(folder: Path, account: MailAccount, submission: int, anchors: Path) -> Iterator[TokenThunderbird]:
    """Start it with an account that logs in by OAuth 2 for IMAP and for sending (TLS from the first octet)."""
    profile = folder / "profile"
    write_profile(profile, account, anchors)
    preferences = account_preferences(account) | {
        "mail.server.server1.authMethod": OAUTH2, "mail.smtpservers": "smtp1", "mail.smtp.defaultserver": "smtp1",
        "mail.smtpserver.smtp1.hostname": account.host, "mail.smtpserver.smtp1.port": submission,
        "mail.smtpserver.smtp1.authMethod": OAUTH2, "mail.smtpserver.smtp1.try_ssl": 3, "mail.smtpserver.smtp1.type": "smtp",
        "mail.smtpserver.smtp1.username": account.login, "mail.identity.id1.smtpServer": "smtp1", "mail.identity.id1.doFcc": False,
        "mail.account.lastKey": 1, "mailnews.oauth.loglevel": "Debug"}
    with (profile / "user.js").open("a", encoding="utf-8") as file:
        file.writelines(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
    with launched(folder, profile) as port:
        driver = Marionette(port)
        try:
            yield TokenThunderbird(driver)
        finally:
            driver.close()
