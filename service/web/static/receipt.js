// The receipt of the job's adapter: what it does beside its base model, measured by the endpoint, signed by the steward.

import { Refused, get } from "./api.js";
import { each, h, section, set, show, text } from "./dom.js";
import { bytes, change, grouped, number } from "./format.js";

/** How far the receipt of `adapter` is; signed, with all that it says. */
export async function receiptOf(adapter, signal) {
  const path = `/models/${encodeURIComponent(adapter)}`;
  try {
    const { receipt } = await get(path, signal);
    const signed = receipt?.stage === "signed" ? await get(`${path}/receipt`, signal) : null;
    return { ...receipt, body: signed?.receipt ?? null };
  } catch (refused) {
    if (refused instanceof Refused && refused.status === 404) return { stage: "deleted", body: null };
    throw refused;
  }
}

export function receipt() {
  const verdict = h("p", { class: "aside verdict" });
  const { section: element, body } = section("receipt", "Receipt", verdict);
  const state = h("p", { class: "muted waiting" });
  const reasons = h("ul", { class: "reasons" });
  const rows = h("tbody");
  const head = h("tr", {}, ...["", "Base", "Adapter", ""].map((title) => h("th", { scope: "col" }, title)));
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Receipt's figures" },
    h("table", {}, h("thead", {}, head), rows));
  const signature = h("p", { class: "muted aside" });
  body.append(state, reasons, table, signature);
  show(element, false);

  function update(job, record, files, found) {
    show(element, found !== null && found.stage !== undefined);
    if (found === null) return;
    const told = found.body;
    text(verdict, told?.verdict ?? "");
    set(verdict, "data-verdict", told?.verdict);
    show(state, told === null);
    text(state, SO_FAR[found.stage]?.(found) ?? "");
    for (const part of [reasons, table, signature]) show(part, told !== null);
    if (told === null) return;
    each(reasons, told.reasons, (reason) => reason, (reason) => h("li", {}, reason));
    each(rows, figures(told), (row) => row[0], makeRow);
    text(signature, `${told.drawing.seeds.length} pictures of ${told.drawing.prompt_count} prompts a side, on ${told.device}. ` +
      `Signed with the key ${found.key_id}.`);
  }
  return { element, update };
}

const SO_FAR = {
  pending: (found) => found.error ? `Being measured again: ${found.error}` : "Not measured yet.",
  given_up: (found) => `Given up: ${found.error}`,
  deleted: () => "The adapter was deleted, and its receipt with it.",
};

/** [what, base, adapter, beside each other] */
function figures(told) {
  const { calls, latency, memory, break_even: even } = told;
  const judged = [["reward", told.reward], ["held out", told.held_out]].filter(([, found]) => found !== null);
  return [
    ["Denoiser calls a picture", number(calls.base), number(calls.adapter), `${calls.ratio.toFixed(3)} ×`],
    ["Seconds of one picture", number(latency.base_seconds), number(latency.adapter_seconds),
      `${latency.ratio.toFixed(2)} × (${span(latency.ratio_ci95, (each) => each.toFixed(2))})`],
    ...judged.map(([name, found]) => [`${found.reward.type}, ${name}`, number(found.base_mean), number(found.adapter_mean),
      `${change(found.gain)}, wins ${percent(found.win_rate)} (${span(found.win_rate_ci95, percent)})`]),
    ["Peak memory", memory.base_bytes === null ? "–" : bytes(memory.base_bytes),
      memory.adapter_bytes === null ? "–" : bytes(memory.adapter_bytes), `of the ${memory.kind}`],
    ["Break-even with search", "", "", even.images === null ? even.reason : `from picture ${grouped(even.images)} on`],
  ];
}

const percent = (share) => `${Math.round(100 * share)} %`;
const span = ([low, high], shown) => `${shown(low)} to ${shown(high)}`;

function makeRow([name, base, adapter, beside]) {
  return h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, base),
    h("td", { class: "number" }, adapter), h("td", {}, beside));
}
