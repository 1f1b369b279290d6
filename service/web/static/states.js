// The states of a job, as the page shows them.

import { h, set, text } from "./dom.js";

export const STATES = [
  "queued", "running", "pausing", "paused", "cancelling", "finalizing", "succeeded", "failed", "cancelled",
];
const FINISHED = new Set(["succeeded", "failed", "cancelled"]);
const CANCELLABLE = new Set(["queued", "running", "pausing", "paused", "finalizing"]);

export const isFinished = (job) => FINISHED.has(job.state);
export const canCancel = (job) => CANCELLABLE.has(job.state);

/** A job's name: its adapter, the name that the adapter will have, or its id. */
export const nameOf = (job) => job.adapter ?? job.recipe.adapter_name ?? job.id;

/** "clip · shapes-clip": a reward with the model that it asks, if there is one. */
export function rewardOf(recipe) {
  return recipe.reward.model ? `${recipe.reward.type} (${recipe.reward.model})` : recipe.reward.type;
}

/** A pill: a dot and the state's word. */
export function pill(state) {
  return showState(h("span", { class: "pill" }), state);
}

export function showState(element, state) {
  set(element, "data-state", state);
  return text(element, state);
}
