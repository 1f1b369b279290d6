// One job: asked by ETag while it lives; its events and files only when it has changed. Once finished, only its adapter's
// receipt is asked for, until that has come to its end.

import { eventsAfter, get, now } from "./api.js";
import { artifacts } from "./artifacts.js";
import { attempts } from "./attempts.js";
import { curve } from "./curve.js";
import { h } from "./dom.js";
import { events } from "./events.js";
import { lookNow, poll } from "./poll.js";
import { receipt, receiptOf } from "./receipt.js";
import { recipe } from "./recipe.js";
import { Record } from "./record.js";
import { samples } from "./samples.js";
import { isFinished, nameOf } from "./states.js";
import { summary } from "./summary.js";

const BUSY = 1000;
const WAITING = 2500;
const BEFORE_EXPIRY = 300_000;
const LONGEST_REST = 3_600_000;
const RECEIPT = 4000;
const LONGEST_RECEIPT = 60_000;

/** Show job `id` in `root` until `signal` ends. */
export function showJob(root, id, signal, refused) {
  document.title = "Job · Strop";
  const path = `/jobs/${encodeURIComponent(id)}`;
  const record = new Record();
  let job = null; // the answer that the page shows, whole
  let files = null;
  let proof = null; // how far the adapter's receipt is
  let patience = RECEIPT; // doubled with each look at a receipt that is still to come
  let parts = null;

  async function turn() {
    if (job === null || !isFinished(job)) await follow();
    else if (expiry(files) - now() < BEFORE_EXPIRY) files = await list();
    if (isFinished(job) && job.adapter !== null && isOpen(proof)) await prove();
    draw(job);
    if (isFinished(job)) return { wait: rest(), line: "finished" };
    return { wait: job.state === "queued" || job.state === "paused" ? WAITING : BUSY, line: "live" };
  }

  /** `job` is kept last: a turn that broke off halfway is made again, whole. */
  async function follow() {
    const answer = await get(path, signal);
    if (answer === job) return;
    let stale = files === null;
    for await (const page of eventsAfter(id, record.last, signal)) {
      stale = record.take(page) || stale;
      draw(answer);
    }
    if (stale || isFinished(answer) || expiry(files) - now() < BEFORE_EXPIRY) files = await list();
    job = answer;
  }

  async function prove() {
    proof = await receiptOf(job.adapter, signal);
    patience = Math.min(LONGEST_RECEIPT, 2 * patience);
    if (proof.stage === "signed") files = await list(); // its file is there now
  }

  /** A finished job is left alone; only its links are made anew before they expire. */
  const rest = () => {
    const links = Math.min(LONGEST_REST, Math.max(WAITING, expiry(files) - now() - BEFORE_EXPIRY));
    return job.adapter !== null && isOpen(proof) ? Math.min(patience, links) : links;
  };
  const list = async () => (await get(`${path}/artifacts`, signal)).data;

  function draw(answer) {
    if (parts === null) {
      parts = compose(path, answer, acted, signal);
      root.replaceChildren(...parts.elements);
    }
    document.title = `${title(answer)} · Strop`;
    for (const update of parts.updates) update(answer, record, files ?? [], proof);
  }

  /** A verb's answer: another job has a view of its own; this one is asked about again, even if it had ended. */
  function acted(answer) {
    if (answer.id !== id) {
      location.hash = `#/jobs/${answer.id}`;
      return;
    }
    draw(answer);
    job = null;
    lookNow();
  }

  poll(turn, signal, refused);
}

/** The parts of the view, top to bottom: each gives its element and how it is brought up to date. */
function compose(path, job, acted, signal) {
  const head = summary(path, job, acted, signal);
  const reward = curve("reward", "Reward", ["mean", "best", "worst"], (data) => ({
    value: data.reward.mean, high: data.reward.best, low: data.reward.worst,
  }));
  const loss = curve("loss", "Loss", ["loss"], (data) => ({ value: data.loss }));
  const pictures = samples();
  const attempted = attempts();
  const stored = artifacts();
  const proven = receipt();
  const told = events();
  const written = recipe(job);
  const side = h("div", { class: "stack" }, attempted.element, stored.element);
  return {
    elements: [
      head.element,
      h("div", { class: "pair" }, reward.element, loss.element),
      pictures.element,
      proven.element,
      h("div", { class: "pair wide-right" }, told.element, side),
      written,
    ],
    updates: [head, reward, loss, pictures, proven, attempted, stored, told].map((part) => part.update),
  };
}

/** Whether there may be news of a receipt. */
const isOpen = (proof) => proof === null || proof.stage === "pending";

function expiry(files) {
  const times = (files ?? []).map((file) => Date.parse(file.url_expires_at));
  return times.length ? Math.min(...times) : Infinity;
}

function title(job) {
  const { step, steps } = job.progress;
  return isFinished(job) || step === 0 ? `${job.state} · ${nameOf(job)}` : `${step}/${steps} · ${nameOf(job)}`;
}
