"""Keys pressed in the To field of a Thunderbird compose window until the address stands there as a recipient.

`TYPE` is a script for `support.thunderbird.Thunderbird.run`: what is typed, the address that is awaited; it gives the suggestions
that were shown and the recipients that stand in the field.
"""

from __future__ import annotations

TYPE = """
    const make = (id, kind) => Cc["@mozilla.org/messengercompose/" + id + ";1"].createInstance(kind);
    const params = make("composeparams", Ci.nsIMsgComposeParams);
    params.composeFields = make("composefields", Ci.nsIMsgCompFields);
    params.identity = MailServices.accounts.allIdentities[0];
    params.type = Ci.nsIMsgCompType.New;
    const ready = new Promise(done => Services.obs.addObserver(function opened(window) {
      Services.obs.removeObserver(opened, "domwindowopened");
      window.addEventListener("compose-editor-ready", () => done(window), {once: true});
    }, "domwindowopened"));
    MailServices.compose.OpenComposeWindowWithParams(null, params);
    const compose = await ready;
    const field = compose.document.getElementById("toAddrInput");
    field.focus();
    const keyboard = Cc["@mozilla.org/text-input-processor;1"].createInstance(Ci.nsITextInputProcessor);
    if (!keyboard.beginInputTransactionForTests(compose)) throw new Error("no keyboard");
    const press = key => {
      const event = new compose.KeyboardEvent("", key);
      keyboard.keydown(event);
      keyboard.keyup(event);
    };
    for (const letter of args[0]) {
      press({key: letter});
      await new Promise(done => setTimeout(done, 60));
    }
    const shown = await until(() => field.controller.searchStatus >= Ci.nsIAutoCompleteController.STATUS_COMPLETE_NO_MATCH
      && field.value.includes(args[1]) && Array.from({length: field.controller.matchCount}, (_, at) => field.controller.getValueAt(at)),
      "suggestions");
    press({key: "Enter", code: "Enter", keyCode: compose.KeyboardEvent.DOM_VK_RETURN});
    const pills = await until(() => {
      const found = [...compose.document.querySelectorAll("mail-address-pill")].map(one => one.emailAddress);
      return found.length && found;
    }, "recipient");
    return [shown, pills];"""
