// Numbers, times and sizes as people read them. Missing values are an en dash.

export const NOTHING = "–";

/** Four significant digits at most; no exponent where it can be avoided. */
export function number(value, digits = 4) {
  if (value === null || value === undefined) return NOTHING;
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return trim(value.toExponential(2)).replace("-", "−");
  if (Number.isInteger(value)) return grouped(value);
  return trim(value.toPrecision(size >= 1e4 ? String(Math.trunc(size)).length : digits)).replace("-", "−");
}

/** 45329 → "45,329". */
export function grouped(value) {
  if (value === null || value === undefined) return NOTHING;
  return Math.round(value).toLocaleString("en").replace("-", "−");
}

/** A change, with its sign. */
export function change(value) {
  return value > 0 ? `+${number(value, 3)}` : number(value, 3);
}

/** Bytes in binary units. */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let size = value;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** Seconds: "8 s", "3 min 20 s", "2 h 5 min", "4 d 3 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86_400) return pair(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return pair(Math.floor(whole / 86_400), "d", Math.floor((whole % 86_400) / 3600), "h");
}

/** How long ago, in one unit. */
export function age(moment, now) {
  const seconds = Math.max(0, (now - Date.parse(moment)) / 1000);
  if (seconds < 5) return "just now";
  const [size, unit] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([each]) => seconds >= each);
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

/** The clock time in the reader's zone; the day too, when it is not today's. */
export function clock(moment, now = Date.now()) {
  const when = new Date(moment);
  const time = when.toLocaleTimeString("en-GB");
  if (when.toDateString() === new Date(now).toDateString()) return time;
  return `${when.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

function pair(large, largeUnit, small, smallUnit) {
  return small ? `${large} ${largeUnit} ${small} ${smallUnit}` : `${large} ${largeUnit}`;
}

function trim(digits) {
  return digits.includes(".") ? digits.replace(/\.?0+(?=e|$)/, "") : digits;
}
