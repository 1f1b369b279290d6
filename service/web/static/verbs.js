// What a reader may ask of a job: each verb is a button where the job's state allows it; cancel and clone ask once more.

import { newKey, post } from "./api.js";
import { h, set, show, text } from "./dom.js";
import { allows, canCertify } from "./states.js";

/** `acted(answer)` shows the job that a verb answers with: this one, changed, or a new one. */
export function verbs(path, acted, signal) {
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const plain = (verb, title) => {
    const ask = asking(path, verb, acted, wrong, signal);
    return { verb, element: h("button", { type: "button", onclick: (click) => ask(click.target) }, title) };
  };
  const cancel = dialog("cancel", "Cancel…", "Cancel this job?", "Keep it", "Cancel the job", "danger", [
    h("p", {}, "A waiting job ends at once, a running one at its next step. No adapter is made; what is stored so far stays."),
  ]);
  cancel.ask = asking(path, "cancel", acted, cancel.wrong, signal);
  const changes = h("textarea", { id: "overrides", rows: 6, spellcheck: "false", "aria-describedby": "overrides-hint" });
  const clone = dialog("clone", "Clone…", "Clone this job?", "Not now", "Queue the clone", "primary", [
    h("p", {}, "The same request is queued as a new job."),
    h("label", { for: "overrides" }, "What is to be different"), changes,
    h("p", { class: "muted", id: "overrides-hint" }, 'JSON, or nothing: {"steps": 20, "method": {"candidates": 4}}. null takes a field out.'),
  ]);
  clone.ask = asking(path, "clone", acted, clone.wrong, signal, () => changes.value.trim() || "{}");
  const all = [
    plain("pause", "Pause"), plain("resume", "Resume"), plain("retry", "Retry"), plain("certificate", "Certify"), clone, cancel,
  ];

  function update(job, files) {
    for (const { verb, element } of all) {
      show(element, verb === "certificate" ? canCertify(job, files) : allows(job, verb));
    }
  }
  const element = h("div", { class: "verbs" }, ...all.map((each) => each.element));
  return { element, wrong, dialogs: [cancel.dialog, clone.dialog], update };
}

/**
 * A POST under a key that stays the same until the gateway has answered: a click after a lost connection asks for the same
 * thing, and does not do it twice.
 */
function asking(path, verb, acted, wrong, signal, body = () => undefined) {
  let asked = null; // { key, body } of the request that nobody has answered yet
  return async function ask(button) {
    if (asked === null || asked.body !== body()) asked = { key: newKey(), body: body() };
    set(button, "disabled", true);
    show(wrong, false);
    try {
      const answer = await post(`${path}/${verb}`, asked, signal);
      asked = null;
      button.closest("dialog")?.close();
      acted(answer);
    } catch (error) {
      if (error.status) asked = null;
      show(text(wrong, sentence(error)), true);
    }
    set(button, "disabled", false);
  };
}

const sentence = (error) => [error.message, ...(error.remedies ?? [])].join(" · ");

/** A button, and the dialog that asks once more before `ask` is called. */
function dialog(verb, title, question, no, yes, look, content) {
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const made = { verb, wrong };
  const keep = h("button", { type: "button", onclick: () => made.dialog.close() }, no);
  const sure = h("button", { type: "button", class: look, id: verb === "cancel" ? "sure" : `sure-${verb}`, onclick: () => made.ask(sure) }, yes);
  made.dialog = h("dialog", { "aria-labelledby": `${verb}-title` },
    h("h2", { id: `${verb}-title` }, question), ...content, wrong, h("p", { class: "buttons" }, keep, sure));
  made.element = h("button", { type: "button", id: verb, onclick: () => made.dialog.showModal() }, title);
  return made;
}
