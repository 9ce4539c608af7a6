// @ts-check
// The order of a map's layers, and the groups in which they are: what a step by keyboard and a drop by hand make of it.

/** @import { LayerGroup } from "./types" */

/**
 * A line of the panel's list: a group's head, or a layer.
 * @typedef {{ group: string, id?: undefined } | { group: string | null, id: string }} Line
 */
/** @typedef {{ order: string[], groups: LayerGroup[] }} Arrangement ids of the layers, the top one first; members of a group stand together */

/**
 * The group in which a layer is.
 * @param {LayerGroup[]} groups
 * @param {string} id
 */
export const groupOf = (groups, id) => groups.find(({ members }) => members.includes(id));

/**
 * The panel's list: the head of a group comes before its members.
 * @param {string[]} order
 * @param {LayerGroup[]} groups
 * @returns {Line[]}
 */
export function linesOf(order, groups) {
  /** @type {Line[]} */
  const lines = [];
  const told = new Set();
  for (const id of order) {
    const group = groupOf(groups, id);
    if (!group) lines.push({ group: null, id });
    else if (!told.has(group.name)) {
      told.add(group.name);
      lines.push({ group: group.name });
      for (const one of order) if (group.members.includes(one)) lines.push({ group: group.name, id: one });
    }
  }
  return lines;
}

/**
 * What lines say of order and groups; a group without layers is none.
 * @param {Line[]} lines
 * @param {LayerGroup[]} groups
 * @returns {Arrangement}
 */
function read(lines, groups) {
  const layers = lines.flatMap((line) => (line.id === undefined ? [] : [line]));
  const told = groups.map((group) => ({ ...group, members: layers.flatMap(({ id, group: name }) => (name === group.name ? [id] : [])) }));
  return { order: layers.map(({ id }) => id), groups: told.filter(({ members }) => members.length) };
}

/**
 * A layer moved one line up or down; at the edge of a group it goes in or out before it passes anything.
 * @param {Arrangement} now
 * @param {string} id
 * @param {-1 | 1} step
 * @returns {Arrangement | null} null at the end of the list
 */
export function stepLayer({ order, groups }, id, step) {
  const lines = linesOf(order, groups);
  const from = lines.findIndex((line) => line.id === id);
  const line = lines[from];
  if (!line || line.id === undefined) return null;
  const next = lines[from + step];
  const own = line.group;
  const rest = lines.filter((one) => one !== line);
  /** @param {number} at @param {string | null} group */
  const put = (at, group) => read([...rest.slice(0, at), { id, group }, ...rest.slice(at)], groups);
  if (own !== null && next?.group !== own) return put(from, null); // out below its group
  if (own !== null && next?.id === undefined) return put(from - 1, null); // out above its head
  if (!next) return null;
  if (next.group === null || next.group === own) return put(from + step, own);
  const group = groups.find(({ name }) => name === next.group);
  if (group?.open) return put(step < 0 ? from : from + 1, next.group);
  return put(from + step * ((group?.members.length ?? 0) + 1), null); // past a closed group
}

/**
 * A group moved past what is above or below it.
 * @param {Arrangement} now
 * @param {string} name
 * @param {-1 | 1} step
 * @returns {Arrangement | null}
 */
export function stepGroup({ order, groups }, name, step) {
  const blocks = blocksOf(linesOf(order, groups));
  const from = blocks.findIndex(([head]) => head?.id === undefined && head?.group === name);
  const to = from + step;
  if (from < 0 || to < 0 || to >= blocks.length) return null;
  blocks.splice(to, 0, ...blocks.splice(from, 1));
  return read(blocks.flat(), groups);
}

/**
 * Lines that move as one: those of a group, and layers in none.
 * @param {Line[]} lines
 */
function blocksOf(lines) {
  /** @type {Line[][]} */
  const blocks = [];
  for (const line of lines) {
    if (line.group !== null && line.id !== undefined) blocks.at(-1)?.push(line);
    else blocks.push([line]);
  }
  return blocks;
}

/**
 * What is dragged dropped above or below another line: beside a member of a group a layer is in the group, too, and right
 * below a group's head.
 * @param {Arrangement} now
 * @param {Line} dragged
 * @param {Line | null} target null: below all
 * @param {boolean} below
 * @returns {Arrangement}
 */
export function drop({ order, groups }, dragged, target, below) {
  const lines = linesOf(order, groups);
  /** @param {Line} line */
  const isDragged = (line) => (dragged.id === undefined ? line.group === dragged.group : line.id === dragged.id);
  const moved = lines.filter(isDragged);
  const rest = lines.filter((line) => !isDragged(line));
  let at = target ? rest.findIndex((line) => line.id === target.id && line.group === target.group) : rest.length;
  if (at < 0) return { order, groups };
  if (target && below) at += 1;
  if (dragged.id !== undefined) {
    const head = target?.id === undefined;
    const group = !target || (head && !below) ? null : target.group;
    return read([...rest.slice(0, at), { id: dragged.id, group }, ...rest.slice(at)], groups);
  }
  // A group is in no group: it goes above or below the one that it is dropped on.
  const around = target?.group ?? null;
  if (around !== null) {
    const first = rest.findIndex(({ group }) => group === around);
    const last = rest.findLastIndex(({ group }) => group === around);
    at = at - first > (last - first) / 2 ? last + 1 : first;
  }
  return read([...rest.slice(0, at), ...moved, ...rest.slice(at)], groups);
}

/**
 * A layer in another group, as its last one, or in none: right above the group that it was in.
 * @param {Arrangement} now
 * @param {string} id
 * @param {string | null} name
 * @returns {Arrangement}
 */
export function regroup({ order, groups }, id, name) {
  const lines = linesOf(order, groups);
  const line = lines.find((one) => one.id === id);
  if (!line || line.group === name) return { order, groups };
  const rest = lines.filter((one) => one !== line);
  const at = name === null ? rest.findIndex((one) => one.group === line.group) : rest.findLastIndex((one) => one.group === name) + 1;
  const place = at < 0 ? lines.indexOf(line) - 1 : at; // it was the only one of its group
  return read([...rest.slice(0, place), { id, group: name }, ...rest.slice(place)], groups);
}

/**
 * A new group of one layer, where the layer is.
 * @param {Arrangement} now
 * @param {string} id
 * @param {string} name
 * @returns {Arrangement}
 */
export function newGroup({ order, groups }, id, name) {
  const out = groupOf(groups, id) ? regroup({ order, groups }, id, null) : { order, groups };
  return { order: out.order, groups: [...out.groups, { name, members: [id], visible: true, opacity: 1, open: true }] };
}

/**
 * The first of "Group 1", "Group 2", … that is free.
 * @param {LayerGroup[]} groups
 */
export function freeGroupName(groups) {
  const names = new Set(groups.map(({ name }) => name));
  let n = 1;
  while (names.has(`Group ${n}`)) n += 1;
  return `Group ${n}`;
}
