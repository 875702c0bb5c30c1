"""A real Thunderbird on a virtual screen, with a profile made for one IMAP account, driven over Marionette.

- The profile is new, in a folder of its own: preferences in `user.js`, our authorities in its certificate store (`certutil`),
  the password put by Thunderbird's own login manager once it runs. Nothing of the user's own Thunderbird is read or touched.
- `passwordPromptRequired` is read once before anything else: that is what makes Thunderbird look its password up without a
  dialog. A dialog would stand in the way of every script.
- No network but loopback: updates, telemetry, add-on and settings services are off.
- What it prints goes to files; the whole group of processes (xvfb-run, Xvfb, Thunderbird) ends with the test.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.marionette import Marionette

QUIET: dict[str, Any] = {
    "app.donation.eoy.version.viewed": 9999, "app.normandy.enabled": False, "app.update.disabledForTesting": True,
    "app.update.enabled": False, "browser.safebrowsing.downloads.enabled": False, "calendar.timezone.local": "UTC",
    "calendar.timezone.useSystemTimezone": False, "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False, "dom.push.connection.enabled": False,
    "extensions.getAddons.cache.enabled": False, "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False, "mail.chat.enabled": False, "mail.inappnotifications.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True, "mail.rights.version": 1, "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True, "mail.winsearch.firstRunDone": True, "mailnews.start_page.enabled": False,
    "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True, "network.proxy.type": 0, "services.settings.server": "data:,#nothing",
    "toolkit.telemetry.enabled": False, "toolkit.telemetry.server": "", "security.OCSP.enabled": 0,
    "mailnews.database.global.indexer.enabled": False, "browser.cache.disk.enable": False, "marionette.port": 0,
    "remote.log.level": "Info", "mail.biff.show_alert": False, "mail.biff.play_sound": False,
}


@dataclass(frozen=True, slots=True)
class MailAccount:
    """The account. socket: 3 TLS from the first octet, 2 STARTTLS."""

    address: str
    login: str
    password: str
    host: str
    port: int
    socket: int = 3


def account_preferences(account: MailAccount) -> dict[str, Any]:
    """Give the preferences of one IMAP account with its identity and special folders."""
    uri = f"imap://{account.login.replace('@', '%40')}@{account.host}"
    return {
        "mail.accountmanager.accounts": "account1", "mail.accountmanager.defaultaccount": "account1",
        "mail.account.account1.identities": "id1", "mail.account.account1.server": "server1",
        "mail.account.lastKey": 1,
        "mail.identity.id1.fullName": "Essai", "mail.identity.id1.useremail": account.address, "mail.identity.id1.valid": True,
        "mail.identity.id1.draft_folder": f"{uri}/Drafts", "mail.identity.id1.drafts_folder_picker_mode": "0",
        "mail.identity.id1.fcc_folder": f"{uri}/Sent", "mail.identity.id1.compose_html": False,
        "mail.server.server1.type": "imap", "mail.server.server1.hostname": account.host, "mail.server.server1.port": account.port,
        "mail.server.server1.userName": account.login, "mail.server.server1.name": account.address,
        "mail.server.server1.socketType": account.socket, "mail.server.server1.authMethod": 3,
        "mail.server.server1.login_at_startup": False, "mail.server.server1.check_new_mail": False,
        "mail.server.server1.use_idle": True,
    }


def write_profile(folder: Path, account: MailAccount, anchors: Path) -> None:
    """Make the profile: preferences and certificate store."""
    folder.mkdir(mode=0o700)
    preferences = QUIET | account_preferences(account)
    (folder / "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                                            for name, value in preferences.items()), encoding="utf-8")
    store = f"sql:{folder}"
    subprocess.run(["certutil", "-N", "-d", store, "--empty-password"], check=True, stdin=subprocess.DEVNULL, timeout=30)
    pem = anchors.read_text(encoding="ascii")
    for rank, one in enumerate(re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)):
        (folder / "anchor.pem").write_text(one + "\n", encoding="ascii")
        subprocess.run(["certutil", "-A", "-d", store, "-n", f"authority {rank}", "-t", "C,,", "-i", str(folder / "anchor.pem")],
                       check=True, stdin=subprocess.DEVNULL, timeout=30)


# What every script begins with: `args` are its arguments.
PRELUDE = """
const {MailServices} = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const {setTimeout} = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
const server = MailServices.accounts.allServers.find(one => one.type == "imap");
const win = Services.wm.getMostRecentWindow("mail:3pane");
const tabs = win.document.getElementById("tabmail");
const until = async (look, what) => {
  for (let turn = 0; turn < 500; turn++) {
    const found = await look();
    if (found) return found;
    await new Promise(done => setTimeout(done, 40));
  }
  throw new Error("never: " + what);
};
const below = folder => [...folder.subFolders].flatMap(one => [one, ...below(one)]);
const folder = name => below(server.rootFolder).find(one => one.URI.endsWith("/" + name));
const message = (name, mark) => [...folder(name).messages].find(one => one.messageId.startsWith(mark + "@"));
const pane = () => tabs.currentAbout3Pane;
const select = async one => {
  pane().threadTree.selectedIndex = pane().gDBView.findIndexOfMsgHdr(one, true);
  await until(() => pane().gDBView.getSelectedMsgHdrs()[0]?.messageId == one.messageId, "selection");
};
"""


class Thunderbird:
    """A running one."""

    def __init__(self, driver: Marionette) -> None:
        self._driver = driver

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script behind PRELUDE and give what it returns. Raises MarionetteError."""
        return self._driver.run(PRELUDE + script, *arguments)

    def discover(self, *wanted: str) -> list[str]:
        """Read the list of folders from the server until `wanted` are there, open INBOX in the window; give all names."""
        names: list[str] = self.run("""
            server.performExpand(win.msgWindow);
            await until(() => args.every(name => folder(name)), "folders");
            await until(() => pane()?.document.readyState == "complete" && pane().displayFolder, "window");
            pane().displayFolder(folder("INBOX").URI);
            await until(() => pane().gDBView, "list of messages");
            return below(server.rootFolder).map(one => decodeURIComponent(one.URI.split("/").slice(3).join("/")));""", "INBOX", *wanted)
        return names


@contextmanager
def launched(folder: Path, profile: Path, seconds: float = 45) -> Iterator[int]:
    """Start it on a virtual screen with a profile; give the port of its Marionette. The whole group of processes ends with it."""
    command = ["xvfb-run", "--auto-servernum", "thunderbird", "--profile", str(profile), "--no-remote", "--marionette",
               "--remote-allow-system-access"]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MOZ_DISABLE_CONTENT_SANDBOX": "1",
                   "TMPDIR": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1", "XAUTHORITY": str(folder / "xauthority"),
                   "MOZ_LOG": "IMAP:4", "MOZ_LOG_FILE": str(folder / "imap")}
    with (folder / "thunderbird.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment,
                                   start_new_session=True)
    try:
        yield _port(profile, process, seconds)
    except BaseException:
        time.sleep(0.5)  # its log is written a little later
        for log_file in folder.glob("imap*.moz_log"):
            print("\n".join(line[:300] for line in log_file.read_text(errors="replace").splitlines()[-80:]))
        raise
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@contextmanager
def running_thunderbird(folder: Path, account: MailAccount, anchors: Path, seconds: float = 45) -> Iterator[Thunderbird]:
    """Start it on a virtual screen; the password is known to it, the account's folders are not read yet."""
    profile = folder / "profile"
    write_profile(profile, account, anchors)
    with launched(folder, profile, seconds) as port:
        driver = Marionette(port)
        try:
            found = Thunderbird(driver)
            found.run("""
                const info = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
                info.init("imap://" + args[0], null, "imap://" + args[0], args[1], args[2], "", "");
                await Services.logins.addLoginAsync(info);
                await until(() => !server.passwordPromptRequired, "password");""", account.host, account.login, account.password)
            yield found
        finally:
            driver.close()


def _port(profile: Path, process: subprocess.Popen[bytes], seconds: float) -> int:
    """Wait for the file in which Thunderbird writes its port."""
    deadline = time.monotonic() + seconds
    file = profile / "MarionetteActivePort"
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and (text := file.read_text(encoding="ascii").strip()):
            return int(text)
        time.sleep(0.05)
    raise RuntimeError((profile.parent / "thunderbird.log").read_text(encoding="utf-8", errors="replace")[-2000:])
