// The attempts table: who tried, on what, for how long, and how it ended.

import { now } from "./api.js";
import { each, h, section, show, text } from "./dom.js";
import { NOTHING, clock, duration } from "./format.js";

const TITLES = ["#", "Worker", "Device", "Began", "Took", "Ended"];

export function attempts() {
  const { section: element, body } = section("attempts", "Attempts");
  const rows = h("tbody");
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Attempts" },
    h("table", {}, h("thead", {}, h("tr", {}, ...TITLES.map((title) => h("th", { scope: "col" }, title)))), rows));
  const none = h("p", { class: "waiting muted" }, "No worker has taken it yet.");
  body.append(table, none);

  function update(job) {
    show(table, job.attempts.length > 0);
    show(none, job.attempts.length === 0);
    each(rows, job.attempts, (attempt) => attempt.fence, makeRow, (row, attempt) => {
      const ended = attempt.ended_at ? Date.parse(attempt.ended_at) : now();
      const values = [
        attempt.fence, attempt.worker, attempt.device ?? NOTHING, clock(attempt.started_at, now()),
        duration((ended - Date.parse(attempt.started_at)) / 1000), attempt.ended_at ? attempt.cause : "still running",
      ];
      values.forEach((value, index) => text(row.children[index], value));
    });
  }
  return { element, update };
}

const makeRow = () => h("tr", {}, h("th", { scope: "row" }), ...TITLES.slice(1).map(() => h("td")));
