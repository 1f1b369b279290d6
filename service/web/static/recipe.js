// The recipe, whole: every hyper-parameter that the job was posted with or that was filled in for it.

import { h, section } from "./dom.js";
import { grouped } from "./format.js";

const DIGEST = /^(sha256:)?[0-9a-f]{40,64}$/;
const APART = new Set(["prompts", "metadata"]);

export function recipe(job) {
  const given = job.recipe;
  const { section: element, body } = section("recipe", "Recipe");
  const single = Object.entries(given).filter(([, value]) => !nested(value) && value !== null);
  const groups = Object.entries(given).filter(([name, value]) => nested(value) && !APART.has(name));
  const run = [...single, ...Object.entries(job.metadata).map(([name, value]) => [`metadata.${name}`, value])];
  body.append(
    h("div", { class: "groups" }, group("run", run), ...groups.map(([name, value]) => group(name, Object.entries(value)))),
    prompts(given),
  );
  return element;
}

const nested = (value) => value !== null && typeof value === "object";

function group(name, entries) {
  const lines = entries.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, DIGEST.test(value) ? h("code", { class: "digest", title: value }, value) : written(value))));
  return h("div", {}, h("h3", {}, name), h("dl", { class: "lines" }, ...lines));
}

/** Values as JSON would have them, but strings bare and lists with commas. */
function written(value) {
  if (Array.isArray(value)) return value.length ? value.map(written).join(", ") : "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function prompts(given) {
  const known = given.prompts ?? [];
  const rest = given.prompt_count - known.length;
  return h("details", { class: "fold" },
    h("summary", {}, "Prompts ", h("b", {}, grouped(given.prompt_count))),
    h("ol", { class: "prompts scroll tall" }, ...known.map((prompt) => h("li", {}, prompt))),
    rest > 0 ? h("p", { class: "muted" }, `${grouped(rest)} more${given.prompts_file ? ` in ${given.prompts_file}` : ""}.`) : null,
  );
}
