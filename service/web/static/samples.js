// Sample pictures: for each prompt the base and the sharpened model side by side from the same seed, and beside them how
// it got there, step by step. Choosing a step shows it in every row; unless one is chosen, the newest is shown.

import { each, h, section, set, show, text } from "./dom.js";
import { address, fileOf } from "./files.js";

const MOST_STEPS = 12;
const FEW_STEPS = 3; // as many leave room for two prompts beside each other

export function samples() {
  const note = h("p", { class: "muted aside" });
  const { section: element, body } = section("samples", "Sample pictures", note);
  const rows = h("ol", { class: "samples" });
  const waiting = h("p", { class: "waiting muted" });
  body.append(rows, waiting);
  let chosen = null;
  let redraw = () => {};

  function update(job, record, files) {
    const steps = [...record.samples.keys()].sort((a, b) => a - b);
    const newest = steps.at(-1);
    const after = steps.includes(chosen) ? chosen : newest;
    show(rows, steps.length > 0);
    show(waiting, steps.length === 0);
    text(waiting, job.recipe.samples.every ? "The first pictures come from the base model, before the first step." : "This job draws none (samples.every is 0).");
    if (steps.length === 0) return;

    const { steps: last, samples: wanted } = job.recipe;
    set(rows, "data-few", last / wanted.every <= FEW_STEPS);
    const shown = spread(steps.filter((step) => step > 0));
    const [told] = record.samples.values();
    text(note, `guidance ${told.data.guidance}, ${told.data.num_inference_steps} sampler steps${shown.length < steps.length - 1 ? `; ${shown.length} of ${steps.length} shown` : ""}`);
    const pictureAt = (step, index) => {
      const event = record.samples.get(step);
      return event && { event, url: address(fileOf(files, event.fence, event.data.names[index])) };
    };
    redraw = () => update(job, record, files);
    const choose = (step) => {
      chosen = step === newest ? null : step;
      redraw();
    };
    const prompts = told.data.prompts.map((prompt, index) => ({ prompt, index, seed: told.data.seeds[index] }));
    each(rows, prompts, ({ index }) => index, () => makeRow(choose), (row, { prompt, index, seed }) => {
      const [title, before, beside, strip] = row.children;
      text(title, prompt);
      fill(before, pictureAt(0, index), "Base", `${prompt}: base model, seed ${seed}`);
      fill(beside, after > 0 ? pictureAt(after, index) : null, after > 0 ? `Step ${after}` : "Sharpened", `${prompt}: after ${after} steps, seed ${seed}`);
      each(strip, shown, (step) => step, makeThumb, (thumb, step) => {
        set(thumb, "aria-pressed", String(step === after));
        fill(thumb, pictureAt(step, index), String(step), `Step ${step}`);
      });
      toNewest(strip, shown);
    });
  }
  return { element, update };
}

function makeRow(choose) {
  const strip = h("div", { class: "strip", role: "group", "aria-label": "Choose a step", onclick: (event) => {
    const thumb = event.target.closest("button");
    if (thumb) choose(Number(thumb.dataset.key));
  } });
  return h("li", {}, h("p", { class: "prompt" }), h("figure", { class: "large" }), h("figure", { class: "large" }), strip);
}

/** A strip that grew shows its newest picture. */
function toNewest(strip, shown) {
  if (strip.dataset.newest === String(shown.at(-1))) return;
  strip.dataset.newest = shown.at(-1);
  strip.scrollLeft = strip.scrollWidth;
}

const makeThumb = () => h("button", { type: "button", class: "thumb" });

/** A picture with its caption. A link that changed (they expire) is taken only where the picture has not come yet. */
function fill(place, picture, caption, alternative) {
  if (!place.firstChild) {
    place.append(h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" }),
      h(place.tagName === "FIGURE" ? "figcaption" : "span", {}));
  }
  const [image, words] = place.children;
  text(words, caption);
  const name = picture?.url ? `${picture.event.fence}/${picture.event.number}` : null;
  const url = picture?.url ?? null;
  if (image.dataset.of !== name || !(image.complete && image.naturalWidth > 0)) set(image, "src", url);
  set(image, "data-of", name);
  set(image, "alt", url ? alternative : "");
  set(place, "data-empty", url === null);
}

/** At most MOST_STEPS of them, evenly, the first and the last among them. */
function spread(steps) {
  if (steps.length <= MOST_STEPS) return steps;
  const gap = (steps.length - 1) / (MOST_STEPS - 1);
  return Array.from({ length: MOST_STEPS }, (_, index) => steps[Math.round(index * gap)]);
}
