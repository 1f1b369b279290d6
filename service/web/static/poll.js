// Asks again and again, gently: slower in a hidden tab, ever slower while the gateway is away, and it says so on the page.

import { Refused } from "./api.js";
import { duration } from "./format.js";
import { set, text } from "./dom.js";

const HIDDEN = 60_000;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30_000;
const LOOK = "strop-look";

/**
 * Run `task` until `signal` ends. It returns { wait, line }: the milliseconds until its next turn and a word for the
 * header. A gateway that is away is asked again after 1, 2, 4 … 30 s; what it refuses for good goes to `refused`, and
 * the polling ends.
 */
export async function poll(task, signal, refused) {
  let failures = 0;
  while (!signal.aborted) {
    let wait;
    try {
      const next = await task();
      if (signal.aborted) return;
      failures = 0;
      wait = next.wait;
      say(next.line, next.line);
    } catch (error) {
      if (signal.aborted) return;
      if (!passes(error)) return refused(error);
      const grown = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures);
      wait = Math.max(grown * (0.8 + 0.4 * Math.random()), 1000 * (error.retryAfter ?? 0));
      failures += 1;
      say("away", `${error.status ? error.message : "gateway away"} · next try in ${duration(Math.ceil(wait / 1000))}`);
    }
    await pause(wait, signal);
  }
}

/** What may be gone at the next try: no answer at all, too many requests, or a server that is ill. */
export function passes(error) {
  if (!(error instanceof Refused)) throw error;
  return error.status === 0 || error.status === 429 || error.status >= 500;
}

/** Wait; in a hidden tab longer, until it is seen again. Coming back online ends the wait too. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const listening = new AbortController();
    let timer;
    const done = () => {
      clearTimeout(timer);
      listening.abort();
      resolve();
    };
    const begin = () => {
      clearTimeout(timer);
      timer = setTimeout(done, document.hidden ? Math.max(HIDDEN, milliseconds) : milliseconds);
    };
    const seen = () => (document.hidden ? begin() : done());
    document.addEventListener("visibilitychange", seen, { signal: listening.signal });
    window.addEventListener("online", done, { signal: listening.signal });
    window.addEventListener(LOOK, done, { signal: listening.signal });
    signal.addEventListener("abort", done, { signal: listening.signal });
    begin();
  });
}

/** End the wait: something was just asked for. */
export function lookNow() {
  window.dispatchEvent(new Event(LOOK));
}

/** The line in the header. `state`: live, finished (nothing more to come), away, connecting or locked. */
export function say(state, sentence) {
  const line = document.getElementById("link");
  set(line, "data-link", state);
  text(line, sentence);
}
