// What a job's events say, put in order. Where a step was run twice, the highest fence counts.

const FILES = new Set(["job.samples", "job.checkpoint", "job.succeeded", "job.failed", "job.cancelled", "job.paused"]);

export class Record {
  events = []; // in order
  steps = new Map(); // step → the job.step event that counts
  samples = new Map(); // step → the job.samples event that counts

  /** The number of the last event seen: what `after` goes on from. */
  get last() {
    return this.events.at(-1)?.number ?? 0;
  }

  /** Add a page of events; true if one of them tells of new files. */
  take(page) {
    this.events.push(...page);
    for (const event of page) {
      if (event.type === "job.step") keepHighest(this.steps, event);
      if (event.type === "job.samples") keepHighest(this.samples, event);
    }
    return page.some((event) => FILES.has(event.type));
  }

  /** Points of a curve, by step: { step, value, low, high }; steps without a value are left out. */
  curve(read) {
    const points = [];
    for (const step of [...this.steps.keys()].sort((a, b) => a - b)) {
      const point = read(this.steps.get(step).data);
      if (Number.isFinite(point.value)) points.push({ step, ...point });
    }
    return points;
  }
}

function keepHighest(map, event) {
  const known = map.get(event.step);
  if (!known || event.fence >= known.fence) map.set(event.step, event);
}
