// The page: which view an address shows, and what happens when the gateway refuses.
//   #/                the list of jobs       #/?state=running   those in one state
//   #/jobs/ID         one job

import { key } from "./api.js";
import { h, show } from "./dom.js";
import { askKey } from "./key.js";
import { showJob } from "./job.js";
import { showList } from "./list.js";
import { say } from "./poll.js";

const main = document.getElementById("main");
const forget = document.getElementById("forget");
let leaving = new AbortController();

/** Show what the address names; the view before ends, and with it all that it still asks. */
function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query = ""] = location.hash.slice(1).split("?");
  const job = /^\/jobs\/([^/]+)$/.exec(path);
  show(forget, key.get() !== null);
  say("connecting", "connecting");
  const refused = (error) => {
    if (signal.aborted) return;
    if (error.status === 401) locked(key.get() ? error.message : null);
    else nothing(error);
  };
  if (job) showJob(main, decodeURIComponent(job[1]), signal, refused);
  else showList(main, new URLSearchParams(query).get("state") ?? "", signal, refused);
}

function locked(sentence) {
  leaving.abort();
  document.title = "Key · Strop";
  say("locked", "locked");
  askKey(main, sentence, route);
}

/** What was asked for is not to be had: the problem's own sentence, and a way back. */
function nothing(error) {
  leaving.abort();
  document.title = "Not here · Strop";
  say("away", "refused");
  main.replaceChildren(
    h("div", { class: "empty" }, h("h1", {}, "This cannot be shown"), h("p", { role: "alert" }, error.message),
      h("p", {}, h("a", { href: "#/" }, "All jobs"))),
  );
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the view's
  main.focus();
});
forget.addEventListener("click", () => {
  key.forget();
  route();
});
window.addEventListener("hashchange", () => {
  route();
  main.focus({ preventScroll: true });
});
route();
