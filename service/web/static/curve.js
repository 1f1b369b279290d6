// A curve over the job's steps as SVG: a line, and a band from worst to best where there is one. The value under the
// pointer or the arrow keys stands beside the heading; the same numbers are there as a table.

import { h, s, section, set, show, text, each } from "./dom.js";
import { number } from "./format.js";
import { bounds, nearest, path, thinned, ticks } from "./scale.js";
import { valueTable } from "./values.js";

const HEIGHT = 220;
const EDGE = { left: 48, right: 14, top: 12, bottom: 38 };
const FLOOR = HEIGHT - EDGE.bottom;
const DOTTED = 60; // as many points are drawn as dots too

/** `read(data)` of a job.step event gives { value, high, low }; `names` are those of these numbers, in this order. */
export function curve(id, title, names, read) {
  const said = h("output", { class: "readout" });
  const { section: element, body } = section(id, title, said);
  const layers = {
    grid: s("g", { class: "grid" }), band: s("path", { class: "band" }), line: s("path", { class: "line" }),
    dots: s("g", { class: "dots" }), guide: s("path", { class: "guide" }), marker: s("circle", { class: "marker", r: 4 }),
    axis: s("text", { class: "axis", "text-anchor": "end", y: HEIGHT - 3 }, "step"),
  };
  const svg = s("svg", { height: HEIGHT, tabindex: 0, role: "img" }, ...Object.values(layers));
  const waiting = h("p", { class: "waiting muted" }, "The first step draws the first point.");
  const values = valueTable(title, names);
  body.append(h("div", { class: "plot" }, svg, waiting), values.element);

  let points = [];
  let steps = 1;
  let seen = -1; // the last event that the points know
  let width = 0;
  let chosen = null; // index of the point under the pointer

  const x = (step) => EDGE.left + ((width - EDGE.left - EDGE.right) * (step - 1)) / Math.max(1, steps - 1);
  const stepAt = (at) => 1 + ((at - EDGE.left) * Math.max(1, steps - 1)) / (width - EDGE.left - EDGE.right);
  let y = () => FLOOR;

  function update(job, record) {
    if (record.last === seen && job.progress.steps === steps) return;
    seen = record.last;
    steps = job.progress.steps;
    points = record.curve(read);
    values.update(points);
    draw();
  }

  function draw() {
    show(waiting, points.length === 0);
    set(svg, "data-points", points.length);
    set(svg, "aria-label", spoken(title, points));
    if (width === 0) return;
    const { low, high } = bounds(points);
    y = (value) => FLOOR - ((FLOOR - EDGE.top) * (value - low)) / (high - low);
    set(svg, "viewBox", `0 0 ${width} ${HEIGHT}`);
    set(layers.axis, "x", width - EDGE.right);
    grid(low, high);
    const fewer = thinned(points);
    set(layers.line, "d", path(fewer.map((point) => [x(point.step), y(point.value)])));
    if (fewer[0]?.low !== undefined) {
      const upper = fewer.map((point) => [x(point.step), y(point.high)]);
      const lower = fewer.map((point) => [x(point.step), y(point.low)]).reverse();
      set(layers.band, "d", `${path([...upper, ...lower])}Z`);
    }
    each(layers.dots, points.length <= DOTTED ? points : [], (point) => point.step, () => s("circle", { r: 2.25 }), (dot, point) => {
      set(dot, "cx", x(point.step));
      set(dot, "cy", y(point.value));
    });
    choose(chosen);
  }

  function grid(low, high) {
    const across = points.length ? ticks(low, high, 4).map((value) => ({ at: y(value), value, name: `y${value}` })) : [];
    const along = ticks(1, Math.max(2, steps), Math.min(8, width / 70), true).map((value) => ({ at: x(value), value, name: `x${value}` }));
    each(layers.grid, [...across, ...along.filter(({ value }) => value <= steps)], ({ name }) => name, makeTick, (tick, { at, value, name }) => {
      const [line, label] = tick.children;
      const level = name.startsWith("y");
      set(line, "d", level ? `M${EDGE.left},${at}H${width - EDGE.right}` : `M${at},${FLOOR}v4`);
      set(label, "x", level ? EDGE.left - 8 : at);
      set(label, "y", level ? at + 4 : FLOOR + 17);
      set(label, "text-anchor", level ? "end" : "middle");
      text(label, number(value));
    });
  }

  /** Say a point's numbers beside the heading: the chosen one's, or the last one's. */
  function choose(index) {
    chosen = index === null || points.length === 0 ? null : Math.min(Math.max(index, 0), points.length - 1);
    const point = points[chosen ?? points.length - 1];
    const words = point ? [["step", point.step], ...names.map((name, i) => [name, [point.value, point.high, point.low][i]])] : [];
    each(said, words, ([name]) => name, ([name]) => h("span", {}, `${name} `, h("b", {})), (part, [, value]) => {
      text(part.lastChild, number(value));
    });
    set(layers.marker, "visibility", chosen === null ? "hidden" : null);
    set(layers.guide, "d", chosen === null ? null : `M${x(point.step)},${EDGE.top}V${FLOOR}`);
    if (chosen === null) return;
    set(layers.marker, "cx", x(point.step));
    set(layers.marker, "cy", y(point.value));
  }

  new ResizeObserver(() => {
    width = svg.clientWidth;
    draw();
  }).observe(svg);
  svg.addEventListener("pointermove", (event) => {
    if (points.length) choose(nearest(points, stepAt(event.clientX - svg.getBoundingClientRect().left)));
  });
  svg.addEventListener("pointerleave", () => choose(null));
  svg.addEventListener("blur", () => choose(null));
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || points.length === 0) return;
    event.preventDefault();
    choose((chosen ?? points.length - 1) + by);
  });
  return { element, update };
}

const makeTick = () => s("g", {}, s("path"), s("text"));

/** What a screen reader says in place of the picture. */
function spoken(title, points) {
  if (points.length === 0) return `${title}: no step yet`;
  const [first, last] = [points[0], points.at(-1)];
  return `${title} by step: ${number(first.value)} at step ${first.step}, ${number(last.value)} at step ${last.step}`;
}
