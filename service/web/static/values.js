// A curve's numbers as a table, for screen readers and for reading exactly. Its rows are made when it is opened.

import { each, h, text } from "./dom.js";
import { number } from "./format.js";

/** `names` are those of a point's value, high and low, as far as there are any. */
export function valueTable(title, names) {
  const rows = h("tbody");
  const element = h("details", { class: "values", ontoggle: () => draw() },
    h("summary", {}, "As a table"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title} by step, as a table` },
      h("table", {},
        h("thead", {}, h("tr", {}, ...["step", ...names].map((name) => h("th", { scope: "col" }, name)))), rows)));
  let points = [];

  function draw() {
    if (!element.open) return;
    each(rows, points, (point) => point.step, makeRow, (row, point) => {
      [point.value, point.high, point.low].slice(0, names.length).forEach((value, i) => text(row.children[i + 1], number(value, 5)));
    });
  }
  const makeRow = (point) => h("tr", {}, h("th", { scope: "row" }, point.step), ...names.map(() => h("td")));

  function update(given) {
    points = given;
    draw();
  }
  return { element, update };
}
