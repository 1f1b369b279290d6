// The states of a job, as the page shows them.

import { h, set, text } from "./dom.js";

export const STATES = [
  "queued", "running", "pausing", "paused", "cancelling", "finalizing", "succeeded", "failed", "cancelled",
];
const FINISHED = new Set(["succeeded", "failed", "cancelled"]);
const ALLOWED = {
  cancel: new Set(["queued", "running", "pausing", "paused", "finalizing"]),
  pause: new Set(["running"]),
  resume: new Set(["paused"]),
  retry: new Set(["failed"]),
  clone: new Set(STATES),
}; // as service/domain/verbs.py has it

export const isFinished = (job) => FINISHED.has(job.state);
export const isCertificate = (job) => job.kind === "certificate";
export const allows = (job, verb) => ALLOWED[verb].has(job.state) && !(verb === "clone" && isCertificate(job));

/** A certificate compares two stored checkpoints. */
export const canCertify = (job, files) =>
  !isCertificate(job) && new Set(files.filter((file) => file.kind === "checkpoint").map((file) => file.step)).size > 1;

/** "steps 10 to 20 hold": what a replay found. */
export const foundBy = (certificate) =>
  `steps ${certificate.from_step} to ${certificate.to_step} ${certificate.holds ? "hold" : "do NOT hold"}`;

/** A job's name: its adapter, the name that the adapter will have, or its id. */
export const nameOf = (job) =>
  isCertificate(job) ? `Certificate of ${job.parent_id}` : job.adapter ?? job.recipe.adapter_name ?? job.id;

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
