// From single runs to medians, minima and ratios.

const PHASES = ["prefill", "decode"];

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median and minimum of each phase for each competitor, in tokens per second. */
export function summary(runs) {
  const of = (list, phase) => {
    const speeds = list.map((run) => run[`${phase}_tok_s`]);
    return { median: median(speeds), min: Math.min(...speeds) };
  };
  return Object.fromEntries(
    Object.entries(runs).map(([name, list]) => [name, Object.fromEntries(PHASES.map((phase) => [phase, of(list, phase)]))]),
  );
}

/** How many times as fast as each peer the Kinglet beside it is: quotients of medians. */
export function ratios(speeds, rivals) {
  return Object.entries(rivals)
    .filter(([peer, own]) => speeds[peer] && speeds[own])
    .map(([peer, own]) => ({
      own,
      peer,
      ...Object.fromEntries(PHASES.map((phase) => [phase, speeds[own][phase].median / speeds[peer][phase].median])),
    }));
}
