// The stored files with links, sizes and digests: what the job made first, then checkpoints, pictures and logs, folded.

import { each, h, section, set, show, text } from "./dom.js";
import { address } from "./files.js";
import { bytes } from "./format.js";

const GROUPS = [
  { name: "Result", kinds: ["adapter", "export", "receipt", "manifest"], open: true },
  { name: "Checkpoints", kinds: ["checkpoint"] },
  { name: "Pictures", kinds: ["sample"] },
  { name: "Logs", kinds: ["log"] },
];

export function artifacts() {
  const count = h("p", { class: "muted aside" });
  const { section: element, body } = section("artifacts", "Artifacts", count);
  const none = h("p", { class: "waiting muted" }, "Nothing is stored yet.");
  const groups = h("div");
  body.append(groups, none);

  function update(job, record, files) {
    show(none, files.length === 0);
    text(count, files.length ? `${files.length} files, ${bytes(files.reduce((sum, file) => sum + file.bytes, 0))}` : "");
    const some = GROUPS.map((group) => ({ ...group, files: files.filter((file) => group.kinds.includes(file.kind)) }));
    each(groups, some.filter((group) => group.files.length), (group) => group.name, makeGroup, (fold, group) => {
      text(fold.querySelector("b"), group.files.length);
      const newest = [...group.files].sort((a, b) => b.step - a.step || b.fence - a.fence);
      each(fold.querySelector("tbody"), newest, (file) => `${file.fence}/${file.name}`, makeRow, updateRow);
    });
  }
  return { element, update };
}

function makeGroup(group) {
  const titles = ["File", "Step", "Attempt", "Size", "SHA-256"];
  return h("details", { class: "fold", open: group.open },
    h("summary", {}, `${group.name} `, h("b", {})),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": group.name },
      h("table", {}, h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))), h("tbody"))));
}

function makeRow(file) {
  return h("tr", {},
    h("th", { scope: "row" }, h("a", { download: file.name, rel: "noreferrer" }, file.name)),
    h("td", { class: "number" }, file.step), h("td", { class: "number" }, file.fence),
    h("td", { class: "number", title: `${file.bytes} bytes` }, bytes(file.bytes)),
    h("td", {}, h("code", { class: "digest", title: file.sha256 }, file.sha256)),
  );
}

/** Links are new with each listing: they expire. */
function updateRow(row, file) {
  set(row.querySelector("a"), "href", address(file));
}
