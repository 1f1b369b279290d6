// The arithmetic of a plot: bounds, round ticks, paths, and fewer points where there are more than pixels.

const MOST_POINTS = 600;

/** The least and greatest value that the points reach, with a little air, never equal. */
export function bounds(points) {
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point.low ?? point.value);
    high = Math.max(high, point.high ?? point.value);
  }
  if (low > high) return { low: 0, high: 1 };
  const air = (high - low) * 0.08 || Math.abs(high) * 0.1 || 0.5;
  return { low: low - air, high: high + air };
}

/** About `count` round numbers in [low, high]: multiples of 1, 2, 2.5 or 5 times a power of ten; `whole`: no fractions. */
export function ticks(low, high, count, whole = false) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  let gap = (whole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).find((each) => each * power >= rough) * power;
  if (whole) gap = Math.max(1, Math.round(gap));
  const found = [];
  for (let place = Math.ceil(low / gap); place * gap <= high + gap * 1e-9; place += 1) {
    found.push(Number((place * gap).toPrecision(12)));
  }
  return found;
}

/** [[x, y], …] → the "d" of a path. */
export function path(places) {
  return places.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}

/** At most MOST_POINTS: neighbours are put together, their mean the value, their extremes the band. */
export function thinned(points) {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size <= 1) return points;
  const fewer = [];
  for (let start = 0; start < points.length; start += size) {
    const group = points.slice(start, start + size);
    const mean = group.reduce((sum, point) => sum + point.value, 0) / group.length;
    const banded = group[0].low !== undefined;
    fewer.push({
      step: group.at(-1).step,
      value: mean,
      low: banded ? Math.min(...group.map((point) => point.low)) : undefined,
      high: banded ? Math.max(...group.map((point) => point.high)) : undefined,
    });
  }
  return fewer;
}

/** Index of the point whose step is nearest; `points` are in the order of steps. */
export function nearest(points, step) {
  let from = 0;
  let to = points.length - 1;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (step > (points[middle].step + points[middle + 1].step) / 2) from = middle + 1;
    else to = middle;
  }
  return from;
}
