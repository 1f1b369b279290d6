// The head of a job's view: its name and state, cancel, how far it is, what it costs, and why it failed.

import { now, post } from "./api.js";
import { h, set, show, text } from "./dom.js";
import { clock, change, duration, grouped, number } from "./format.js";
import { canCancel, nameOf, pill, rewardOf, showState } from "./states.js";

/** `draw(job)` shows the answer to a cancel at once. */
export function summary(path, job, draw, signal) {
  const state = pill(job.state);
  const name = h("h1", {}, nameOf(job));
  const { dialog, button } = cancelling(path, draw, signal);
  const bar = h("progress", { "aria-label": "Progress" });
  const done = h("span", { class: "done" });
  const left = h("span", { class: "left muted" });
  const failure = h("div", { class: "failure", role: "alert", hidden: true }, h("strong", {}), h("p", {}));
  const tiles = {
    reward: tile("Reward", "mean of the last step"),
    gain: tile("Gain", "since the first step"),
    calls: tile("Denoiser calls", "in training, counted"),
    cost: tile("Forward-equivalents", "gradients included"),
    time: tile("Time", "since the first attempt began"),
  };
  const element = h("div", { class: "head" },
    h("p", { class: "crumbs" }, h("a", { href: "#/" }, "Jobs"), h("span", { class: "id" }, job.id)),
    h("div", { class: "heading" }, name, state, button),
    h("p", { class: "muted" },
      `${job.recipe.base_model} · ${rewardOf(job.recipe)} · ${job.recipe.method.type} · posted ${clock(job.created_at, now())}`),
    failure,
    h("div", { class: "progress" }, bar, h("p", {}, done, left)),
    h("dl", { class: "tiles" }, ...Object.values(tiles).map((each) => each.element)),
    dialog,
  );

  function update(current, record) {
    const { step, steps, reward, training_nfe: calls, training_fe: cost } = current.progress;
    showState(state, current.state);
    text(name, nameOf(current));
    show(button, canCancel(current));
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
  if (job.state === "succeeded") return `made ${job.adapter}`;
  if (job.state !== "running") return WAITING[job.state] ?? "";
  const { step, seconds_left: left } = job.progress;
  if (step === 0 || left === null) return "loading models, drawing the first pictures";
  return `about ${duration(left)} left`;
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

/** The button, and the dialog that asks once more. */
function cancelling(path, draw, signal) {
  const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
  const keep = h("button", { type: "button", onclick: () => dialog.close() }, "Keep it");
  const sure = h("button", { type: "button", class: "danger", id: "sure", onclick: cancel }, "Cancel the job");
  const dialog = h("dialog", { "aria-labelledby": "cancel-title" },
    h("h2", { id: "cancel-title" }, "Cancel this job?"),
    h("p", {}, "A waiting job ends at once, a running one at its next step. No adapter is made; what is stored so far stays."),
    wrong, h("p", { class: "buttons" }, keep, sure));
  const button = h("button", { type: "button", id: "cancel", onclick: () => dialog.showModal() }, "Cancel…");

  async function cancel() {
    set(sure, "disabled", true);
    try {
      const answer = await post(`${path}/cancel`, signal);
      dialog.close();
      draw(answer);
    } catch (error) {
      show(text(wrong, error.message), true);
    }
    set(sure, "disabled", false);
  }
  return { dialog, button };
}
