// What happened, newest first: the job's turns as a timeline; steps, pictures, checkpoints and log lines folded by type.

import { now } from "./api.js";
import { each, h, section, show, text } from "./dom.js";
import { clock, duration, number } from "./format.js";
import { foundBy } from "./states.js";

const FOLDS = { "job.step": "Steps", "job.samples": "Pictures", "job.checkpoint": "Checkpoints", "job.log": "Log" };
const TURNS = "turns";
const PORTION = 100;

export function events() {
  const count = h("p", { class: "muted aside" });
  const { section: element, body } = section("events", "Events", count);
  const timeline = h("ol", { class: "events", "aria-label": "Turns, newest first" });
  const folds = h("div");
  body.append(timeline, folds);
  const byType = new Map(); // type → its events, newest first
  const drawn = new Map(); // type → what draws its fold anew
  let seen = 0;

  function update(job, record) {
    if (record.events.length === seen) return;
    sort(record.events.slice(seen), byType);
    seen = record.events.length;
    text(count, seen);
    each(timeline, byType.get(TURNS) ?? [], numberOf, makeEvent);
    const some = Object.keys(FOLDS).filter((type) => byType.has(type));
    each(folds, some, (type) => type, (type) => makeFold(type, byType, drawn), (fold, type) => {
      text(fold.querySelector("b"), byType.get(type).length);
      drawn.get(type)();
    });
  }
  return { element, update };
}

const numberOf = (event) => event.number;

/** Put new events before the known ones of their type. */
function sort(events, byType) {
  const fresh = new Map();
  for (const event of events) {
    const type = FOLDS[event.type] ? event.type : TURNS;
    fresh.set(type, [...(fresh.get(type) ?? []), event]);
  }
  for (const [type, some] of fresh) byType.set(type, [...some.reverse(), ...(byType.get(type) ?? [])]);
}

/** Its rows are made when it is opened, a portion at a time. */
function makeFold(type, byType, drawn) {
  let portion = PORTION;
  const rows = h("ol", { class: type === "job.log" ? "events log" : "events" });
  const older = h("button", { type: "button", class: "quiet", onclick: () => {
    portion += PORTION;
    draw();
  } }, "Older");
  const inside = h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": FOLDS[type] }, rows, older);
  const fold = h("details", { class: "fold", ontoggle: () => draw() }, h("summary", {}, `${FOLDS[type]} `, h("b", {})), inside);

  function draw() {
    if (!fold.open) return;
    const all = byType.get(type);
    each(rows, all.slice(0, portion), numberOf, type === "job.log" ? makeLog : makeEvent);
    show(older, all.length > portion);
  }
  drawn.set(type, draw);
  return fold;
}

function makeEvent(event) {
  return h("li", {}, when(event), h("span", {}, h("b", {}, event.type.replace("job.", "")), " ", sentence(event)));
}

function makeLog(event) {
  const omitted = event.data.omitted ? [`(${event.data.omitted} lines left out)`] : [];
  return h("li", { "data-level": event.data.level }, when(event), h("pre", {}, [...omitted, ...event.data.lines].join("\n")));
}

const when = (event) => h("time", { datetime: event.created_at, title: `event ${event.number}, attempt ${event.fence}` }, clock(event.created_at, now()));

/** The data of an event in a line. What is not known here is shown as it came. */
function sentence({ type, step, data }) {
  switch (type) {
    case "job.step":
      return `${step}: reward ${number(data.reward.mean)} (${number(data.reward.worst)} to ${number(data.reward.best)}), loss ${number(data.loss)}, ${duration(data.seconds)}`;
    case "job.samples":
      return `${data.names.length} at step ${step}, ${number(data.nfe)} denoiser calls`;
    case "job.checkpoint":
      return data.name;
    case "job.checkpoint_damaged":
      return `of step ${data.step}, attempt ${data.fence}: ${data.reason}`;
    case "job.started":
      return `by ${data.worker}`;
    case "job.ready":
      return `on ${data.device}`;
    case "job.resumed":
      return `from step ${data.step}`;
    case "job.succeeded":
      return data.adapter ? `${data.adapter}, ${data.reason}` : foundBy(data);
    case "job.adapter_deleted":
      return data.adapter;
    case "job.certified":
      return foundBy(data);
    default:
      return data.message ?? data.cause ?? (Object.keys(data).length ? JSON.stringify(data) : "");
  }
}
