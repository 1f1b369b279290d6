// Asks for the key, once: it is kept in the session, or in the browser where the reader ticks "remember".

import { key } from "./api.js";
import { h, show, text } from "./dom.js";

/** Show the form in `root`, with the problem's sentence if the last key was refused; `done` is called with a new key kept. */
export function askKey(root, sentence, done) {
  const wrong = h("p", { class: "wrong", role: "alert", id: "key-wrong" });
  const input = h("input", {
    id: "key", type: "password", autocomplete: "current-password", required: true, spellcheck: "false",
    "aria-describedby": "key-help key-wrong",
  });
  const remember = h("input", { id: "remember", type: "checkbox" });
  remember.checked = key.remembered();
  const say = (words) => show(text(wrong, words ?? ""), Boolean(words));
  say(sentence);

  const submit = (event) => {
    event.preventDefault();
    const given = input.value.trim();
    if (!/^[!-~]+$/.test(given)) {
      say("A key is printable ASCII without blanks.");
      return;
    }
    key.keep(given, remember.checked);
    done();
  };

  root.replaceChildren(
    h("form", { class: "key card", onsubmit: submit },
      h("h1", {}, "This gateway asks for its key"),
      h("p", { id: "key-help", class: "muted" },
        "It is what the operator set as ", h("code", {}, "STROP_API_KEY"), ". On the machine where ",
        h("code", {}, "make up"), " runs it is printed at start, and lies in ", h("code", {}, ".strop/key"), "."),
      h("label", { for: "key" }, "Key"),
      input,
      wrong,
      h("label", { class: "check" }, remember, " Remember it in this browser"),
      h("button", { type: "submit", class: "primary" }, "Open"),
    ),
  );
  input.focus();
}
