// The head of a job's view: its name and state, its verbs, how far it is, what it costs, why it failed, what was certified.

import { now } from "./api.js";
import { each, h, set, show, text } from "./dom.js";
import { clock, change, duration, grouped, number } from "./format.js";
import { foundBy, isCertificate, nameOf, pill, rewardOf, showState } from "./states.js";
import { verbs } from "./verbs.js";

/** `acted(job)` shows the answer to a verb at once. */
export function summary(path, job, acted, signal) {
  const state = pill(job.state);
  const name = h("h1", {}, nameOf(job));
  const asked = verbs(path, acted, signal);
  const bar = h("progress", { "aria-label": "Progress" });
  const done = h("span", { class: "done" });
  const left = h("span", { class: "left muted" });
  const failure = h("div", { class: "failure", role: "alert", hidden: true }, h("strong", {}), h("p", {}));
  const certificates = h("ul", { class: "certificates", "aria-label": "Certificates" });
  const tiles = {
    reward: tile("Reward", "mean of the last step"),
    gain: tile("Gain", "since the first step"),
    calls: tile("Denoiser calls", "in training, counted"),
    cost: tile("Forward-equivalents", "gradients included"),
    time: tile("Time", "since the first attempt began"),
  };
  const element = h("div", { class: "head" },
    h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Jobs"), h("span", { class: "id" }, job.id)),
    h("div", { class: "heading" }, name, state, asked.element),
    asked.wrong,
    h("p", { class: "muted" },
      `${job.recipe.base_model} · ${rewardOf(job.recipe)} · ${job.recipe.method.type} · posted ${clock(job.created_at, now())}`),
    job.parent_id === null ? null : h("p", { class: "muted" },
      isCertificate(job) ? "certifies " : "cloned from ", h("a", { href: `#/jobs/${job.parent_id}` }, job.parent_id)),
    failure,
    certificates,
    h("div", { class: "progress" }, bar, h("p", {}, done, left)),
    h("dl", { class: "tiles" }, ...Object.values(tiles).map((each) => each.element)),
    ...asked.dialogs,
  );

  function update(current, record, files) {
    const { step, steps, reward, training_nfe: calls, training_fe: cost } = current.progress;
    showState(state, current.state);
    text(name, nameOf(current));
    asked.update(current, files);
    show(certificates, current.certificates.length > 0);
    each(certificates, current.certificates, (found) => found.job, (found) => h("li", { "data-holds": String(found.holds) },
      h("a", { href: `#/jobs/${found.job}` }, "Certificate"), `: ${foundBy(found)}`));
    bar.max = steps;
    bar.value = step;
    set(bar, "data-state", current.state);
    text(done, `Step ${step} of ${steps}`);
    text(left, remaining(current));
    show(failure, current.error !== null);
    text(failure.firstChild, current.error?.code ?? "");
    text(failure.lastChild, current.error?.message ?? "");
    const first = record.steps.get(1)?.data.reward.mean;
    text(tiles.reward.value, number(reward));
    text(tiles.gain.value, first === undefined || step < 2 ? number(null) : change(reward - first));
    text(tiles.calls.value, grouped(calls));
    text(tiles.cost.value, grouped(cost));
    text(tiles.time.value, duration(spent(current)));
  }
  return { element, update };
}

const WAITING = {
  queued: "waiting for a worker",
  pausing: "pausing at the next step",
  paused: "paused",
  cancelling: "stopping at the next step",
  finalizing: "storing the adapter",
  cancelled: "cancelled; what was stored by then is below",
  failed: "failed",
};

function remaining(job) {
  if (job.state === "succeeded") return isCertificate(job) ? foundBy(job.certificate) : made(job);
  if (job.wait_reason) return job.wait_reason;
  if (job.state !== "running") return WAITING[job.state] ?? "";
  const { step, seconds_left: left } = job.progress;
  if (step === 0 || left === null) return "loading models, drawing the first pictures";
  return `about ${duration(left)} left`;
}

function made(job) {
  const early = job.stop_reason === "completed" ? "" : `, stopped by ${job.stop_reason}`;
  return `made ${job.adapter}${early}`;
}

/** Seconds from the first attempt's start to the last one's end, or to now. */
function spent(job) {
  if (job.attempts.length === 0) return null;
  const ended = job.attempts.at(-1).ended_at;
  return ((ended ? Date.parse(ended) : now()) - Date.parse(job.attempts[0].started_at)) / 1000;
}

function tile(title, hint) {
  const value = h("dd", {}, number(null));
  return { element: h("div", {}, h("dt", {}, title), value, h("dd", { class: "muted" }, hint)), value };
}
