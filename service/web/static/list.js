// The list of jobs, newest first, live. The first page is asked again and again; live jobs further down one by one, by ETag.

import { get, now } from "./api.js";
import { each, h, set, show, text } from "./dom.js";
import { age, number } from "./format.js";
import { lookNow, passes, poll } from "./poll.js";
import { STATES, isFinished, nameOf, pill, rewardOf, showState } from "./states.js";

const PAGE = 20;
const BUSY = 2000;
const IDLE = 4000;

/** Show jobs in `state` ("" is all) in `root` until `signal` ends. */
export function showList(root, state, signal, refused) {
  document.title = "Jobs · Strop";
  const jobs = new Map();
  let cursor = null;

  const rows = h("ol", { class: "jobs", "aria-label": "Jobs, newest first" });
  const empty = h("div", { class: "empty", hidden: true });
  const more = h("button", { type: "button", class: "more", hidden: true, onclick: () => further().catch(refused) }, "More");
  root.replaceChildren(
    h("div", { class: "heading" }, h("h1", {}, "Jobs"), filter(state)),
    h("div", { class: "columns", "aria-hidden": "true" },
      ...["State", "Job", "Progress", "Reward", "Posted"].map((title) => h("span", {}, title))),
    rows, empty, more,
  );

  async function turn() {
    const page = await get(address(state, null), signal);
    take(page);
    const asked = new Set(page.data.map((job) => job.id));
    const others = [...jobs.values()].filter((job) => !asked.has(job.id) && !isFinished(job)).slice(0, PAGE);
    for (const { id } of others) {
      const job = await get(`/jobs/${id}`, signal);
      if (state && job.state !== state) jobs.delete(id);
      else jobs.set(id, job);
    }
    draw();
    return { wait: [...jobs.values()].every(isFinished) ? IDLE : BUSY, line: "live" };
  }

  /** The first page anew. Known jobs that it should hold and does not have left the filter's state. */
  function take(page) {
    if (!page.data.some((job) => jobs.has(job.id))) {
      jobs.clear(); // the first time; or more came at once than a page holds
      cursor = page.next_cursor;
    } else if (!page.has_more) cursor = null;
    const end = page.has_more ? page.data.at(-1).created_at : "";
    const held = new Set(page.data.map((job) => job.id));
    for (const job of jobs.values()) if (job.created_at > end && !held.has(job.id)) jobs.delete(job.id);
    for (const job of page.data) jobs.set(job.id, job);
  }

  async function further() {
    set(more, "disabled", true);
    try {
      const page = await get(address(state, cursor), signal);
      for (const job of page.data) jobs.set(job.id, job);
      cursor = page.next_cursor;
    } catch (error) {
      if (!passes(error)) throw error;
      lookNow(); // the header says what is away; the list stays, and may be asked for more again
    } finally {
      set(more, "disabled", false);
    }
    draw();
  }

  function draw() {
    const newest = [...jobs.values()].sort((a, b) => (order(a) < order(b) ? 1 : -1));
    each(rows, newest, (job) => job.id, makeRow, updateRow);
    show(more, cursor !== null);
    show(empty, newest.length === 0);
    if (newest.length === 0 && !empty.firstChild) empty.append(...(state ? noneIn(state) : howToPost()));
  }

  poll(turn, signal, refused);
}

const order = (job) => `${job.created_at} ${job.id}`;

function address(state, cursor) {
  const query = new URLSearchParams({ limit: PAGE });
  if (state) query.set("state", state);
  if (cursor) query.set("cursor", cursor);
  return `/jobs?${query}`;
}

function filter(state) {
  const choose = (event) => {
    location.hash = event.target.value ? `#/?state=${event.target.value}` : "#/";
  };
  const choices = ["", ...STATES].map((each) => h("option", { value: each, selected: each === state }, each || "all states"));
  return h("label", { class: "filter" }, h("span", {}, "Show"), h("select", { id: "state", onchange: choose }, ...choices));
}

function makeRow(job) {
  const { recipe } = job;
  return h("li", { class: "job" },
    h("span", { class: "state" }, pill(job.state)),
    h("div", { class: "what" },
      h("a", { href: `#/jobs/${job.id}` }),
      h("p", { class: "muted" }, `${recipe.base_model} · ${rewardOf(recipe)} · ${recipe.method.type}`)),
    h("div", { class: "how-far" }, h("progress", { "aria-label": "Progress" }), h("span", { class: "steps" })),
    h("span", { class: "reward" }),
    h("time", { datetime: job.created_at, title: job.created_at }),
  );
}

function updateRow(row, job) {
  const { step, steps, reward } = job.progress;
  showState(row.querySelector(".pill"), job.state);
  text(row.querySelector("a"), nameOf(job));
  const bar = row.querySelector("progress");
  bar.max = steps;
  bar.value = step;
  set(bar, "data-state", job.state);
  text(row.querySelector(".steps"), `${step} / ${steps}`);
  text(row.querySelector(".reward"), number(reward));
  text(row.querySelector("time"), age(job.created_at, now()));
}

function noneIn(state) {
  return [h("h2", {}, `No job is ${state}`), h("p", {}, h("a", { href: "#/" }, "Show all jobs"))];
}

function howToPost() {
  const lines = [
    'KEY="Authorization: Bearer YOUR_KEY"',
    `curl -H "$KEY" -H 'Content-Type: application/json' -d @examples/shapes.json ${location.host}/jobs`,
  ];
  return [
    h("h2", {}, "No jobs yet"),
    h("p", {}, "Post one from the repository's folder, with the key that you opened this page with; it appears here by itself."),
    h("pre", {}, h("code", {}, lines.join("\n"))),
  ];
}
