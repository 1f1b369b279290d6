// The REST face, asked with the reader's key. Answers are kept with their ETag: a poll that finds nothing new has no body.

const STORED = "strop-key";
const PATIENCE = 20_000;
const KEPT_ANSWERS = 200;
const answers = new Map(); // path → { etag, body }
let skew = 0; // the gateway's clock minus ours, in milliseconds

/** A refusal: problem+json, or the absence of an answer (status 0). */
export class Refused extends Error {
  constructor(status, detail, code, retryAfter, remedies = []) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
    this.remedies = remedies; // "path: remedy", one a wrong field
  }
}

export const key = {
  get: () => sessionStorage.getItem(STORED) ?? localStorage.getItem(STORED),
  remembered: () => localStorage.getItem(STORED) !== null,
  keep(value, remember) {
    key.forget();
    (remember ? localStorage : sessionStorage).setItem(STORED, value);
  },
  forget() {
    sessionStorage.removeItem(STORED);
    localStorage.removeItem(STORED);
    answers.clear();
  },
};

/** Now, by the gateway's clock: ages and expiries are in it. */
export function now() {
  return Date.now() + skew;
}

/** GET a path. Raises Refused. The very same object comes back while the ETag is the same. */
export async function get(path, signal) {
  const known = answers.get(path);
  const answer = await ask(path, { headers: known ? { "If-None-Match": known.etag } : {} }, signal);
  if (answer.status === 304 && known) return known.body;
  const body = await read(answer, signal);
  answers.delete(path);
  const etag = answer.headers.get("ETag");
  if (etag) answers.set(path, { etag, body });
  if (answers.size > KEPT_ANSWERS) answers.delete(answers.keys().next().value);
  return body;
}

/** POST a path, with a body in JSON where there is one. Under the same key it is done once. Raises Refused. */
export async function post(path, { key: once, body }, signal) {
  const headers = { "Idempotency-Key": once, ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  return read(await ask(path, { method: "POST", headers, body }, signal), signal);
}

/** A key for one request. (crypto.randomUUID is missing where the page came over plain HTTP from another machine.) */
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** The body; a connection that breaks in it is no answer. */
async function read(answer, signal) {
  try {
    return await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "The gateway's answer broke off.", "away");
  }
}

async function ask(path, init, signal) {
  const given = key.get();
  const headers = given ? { ...init.headers, Authorization: `Bearer ${given}` } : init.headers;
  const limit = AbortSignal.timeout(PATIENCE);
  let answer;
  try {
    const until = signal ? AbortSignal.any([signal, limit]) : limit;
    answer = await fetch(path, { ...init, headers, cache: "no-store", signal: until });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "The gateway does not answer.", "away");
  }
  const date = Date.parse(answer.headers.get("Date") ?? "");
  if (date && Math.abs(date - now()) > 2000) skew = date - Date.now();
  if (answer.ok || answer.status === 304) return answer;
  throw await refusal(answer);
}

async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));
  const detail = problem.detail ?? `The gateway answered ${answer.status}.`;
  const remedies = (problem.errors ?? []).map(({ path, remedy }) => `${path || "the request"}: ${remedy}`);
  return new Refused(answer.status, detail, problem.code, Number(answer.headers.get("Retry-After")) || undefined, remedies);
}

/** The job's events numbered above `after`, page by page. */
export async function* eventsAfter(job, after, signal) {
  let seen = after;
  let page;
  do {
    page = await get(`/jobs/${encodeURIComponent(job)}/events?after=${seen}`, signal);
    if (page.data.length === 0) return;
    seen = page.data.at(-1).number;
    yield page.data;
  } while (page.has_more);
}
