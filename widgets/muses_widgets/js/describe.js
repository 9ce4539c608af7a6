// @ts-check
// The sentences of a layer's row: what its tiles are made of, what they wait for, what failed.

/** @import { FailedScene, Progress, TileFailure, TileState, ViewReport } from "./types" */

import { formatLengths, formatSeconds, formatTimes, ordinal, plural } from "./format.js";

/** Screen pixels across a native pixel from which on it is said that zooming in shows no more. */
const ENLARGED = 2;
/** Seconds that the cluster may be late before an expected time counts as wrong. */
const LATE = 2;

/**
 * What the tiles shown are made of.
 * @param {ViewReport | null} report
 * @param {string | null} time that they took
 * @param {number | null} enlarged
 * @param {boolean} [failed] whether other tiles failed: nobody knows what scenes they have
 */
export function describeReport(report, time, enlarged, failed = false) {
  if (!report) return [time];
  const { used, found, levels, native, thinned } = report;
  const nothing = failed ? null : "No scenes here";
  const scenes = found ? `${used} of ${plural(found, "scene")}` : nothing;
  const level = formatLengths(levels) === formatLengths(native) ? ", native" : `; native: ${formatLengths(native)}`;
  return [
    [scenes, time].filter(Boolean).join(" · "),
    thinned && `Thinned to ${thinned[0]} of ${thinned[1]} dates: zoom in for all`,
    levels.length > 0 && `Computed at ${formatLengths(levels)}${level}${enlarged ? `, enlarged ${formatTimes(enlarged)}` : ""}`,
  ];
}

/**
 * The same in so few words that they stand beside a layer's name.
 * @param {ViewReport | null} report
 */
export function describeBriefly(report) {
  if (!report?.found) return "";
  const { used, found, levels } = report;
  return [`${used} of ${plural(found, "scene")}`, levels.length && formatLengths(levels)].filter(Boolean).join(", ");
}

/** What the dot of a layer says. */
const STATES = {
  loading: "Loading",
  ok: "All of it is shown",
  partial: "A part is missing",
  failed: "Nothing of it could be shown",
  empty: "No scene fits it",
  hidden: "Hidden",
  grouped: "Hidden by its group",
};

/**
 * A layer's state in words, with the first reason.
 * @param {string} state
 * @param {string[]} why
 */
export const describeState = (state, why) =>
  [STATES[/** @type {keyof typeof STATES} */ (state)] ?? state, ...why.slice(0, 1)].join(": ");

/**
 * How many pixels of the screen a native pixel is wide, where the map shows native ones and that is much.
 * @param {ViewReport | null} report
 * @param {number} metres of a pixel of the screen
 */
export function enlargement(report, metres) {
  if (!report?.levels.length || formatLengths(report.levels) !== formatLengths(report.native)) return null;
  const times = Math.min(...report.native) / metres;
  return times >= ENLARGED ? times : null;
}

/**
 * While tiles load: how many are there, for how long, and what is known of the rest.
 * @param {Pick<TileState, "jobs" | "failed" | "total" | "begun">} state
 * @param {(Progress & { cluster?: { state: string } }) | null} queue what goes before them
 * @param {Expectation | null} expected
 * @param {number} [now] milliseconds, as performance.now()
 */
export function describeWait(state, queue, expected, now = performance.now()) {
  const { jobs, total, begun } = state;
  const seconds = (now - begun) / 1000;
  const refusal = [...jobs.values()].find((job) => job.refusal)?.refusal;
  const parts = [`${tilesDone(state)} of ${plural(total, "tile")}`];
  if (seconds >= 1) parts.push(`${Math.floor(seconds)} s`);
  if (queue?.cluster && queue.cluster.state !== "ready") parts.push(`cluster: ${queue.cluster.state}`);
  else if (expected && expected.since >= begun && tilesDone(state)) parts.push(describeExpected(expected, now));
  const place = queue?.class?.position;
  if (place) parts.push(`${ordinal(place + 1)} in the class's queue`);
  else if (queue?.position) parts.push(`${plural(queue.position, "block")} ahead`);
  if (queue?.class && queue.class.state !== "ready") parts.push(`on your own cluster: ${queue.class.reason}`);
  if (refusal) parts.push(refusal);
  return parts.join(" · ");
}

/** @typedef {{ since: number, until: number }} Expectation when the cluster gave its last block back, and until when it lets expect the rest */

/**
 * What the last block let expect; once that has turned out wrong, since when nothing came.
 * @param {Expectation} expected
 * @param {number} now
 */
function describeExpected({ since, until }, now) {
  if (now > until + 1000 * LATE) return `nothing new for ${formatWait((now - since) / 1000)}`;
  return `about ${formatWait(Math.max(1, (until - now) / 1000))} left`;
}

/** @param {number} seconds */
const formatWait = (seconds) => (seconds < 99 ? `${Math.ceil(seconds)} s` : formatSeconds(seconds));

/** @param {Pick<TileState, "jobs" | "failed" | "total" | "seconds">} state */
export function describeTime(state) {
  const done = tilesDone(state);
  return state.seconds === null || !done ? null : `${plural(done, "tile")} in ${formatSeconds(state.seconds)}`;
}

/**
 * Tiles that have come, of those that the view needs.
 * @param {Pick<TileState, "jobs" | "failed" | "total">} state
 */
export const tilesDone = ({ total, jobs, failed }) => Math.max(0, total - jobs.size - failed.size);

/**
 * One line per reason for failed tiles, one per scene that was left out.
 * @param {Map<unknown, Pick<TileFailure, "reason" | "again">>} failedTiles
 * @param {FailedScene[]} failedScenes
 * @param {number} [now] milliseconds, as performance.now()
 */
export function describeFailures(failedTiles, failedScenes, now = performance.now()) {
  const reasons = new Map();
  let next = Infinity;
  for (const { reason, again } of failedTiles.values()) {
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    if (again) next = Math.min(next, again);
  }
  const seconds = Math.max(1, Math.ceil((next - now) / 1000));
  const later = Number.isFinite(seconds) ? `, again in ${seconds} s` : "";
  const tiles = [...reasons].map(([reason, n]) => ({
    heading: `${plural(failedTiles.size, "tile")} failed${later}`,
    text: `${plural(n, "tile")}: ${reason}`,
  }));
  const scenes = failedScenes.map(({ id, reason }) => ({
    heading: `${plural(failedScenes.length, "scene")} left out`,
    text: `${id}: ${reason}`,
  }));
  return [...tiles, ...scenes];
}
