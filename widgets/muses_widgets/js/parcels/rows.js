// @ts-check
// Which parcels a table shows, and in which order: filters and sorting.

/** @import { Cell, ParcelColumn, TableShape } from "../types" */

/** The column of what the parcels are called. */
export const NAME = "name";

/**
 * @typedef {object} Table
 * @property {string[]} names
 * @property {ParcelColumn[]} columns
 * @property {(column: string) => Cell[]} cells
 */

/** A filter that cannot be understood: the message says why. */
export class FilterError extends Error {}

/**
 * Numbers of the parcels that fit the filter, in order.
 * @param {Table} table
 * @param {Pick<TableShape, "sort" | "down" | "filter">} shape
 */
export function rowsOf(table, { sort, down, filter }) {
  const fits = filterOf(table, filter);
  const rows = table.names.map((_, number) => number).filter(fits);
  if (!sort) return rows;
  const cells = sort === NAME ? table.names : table.cells(sort);
  const sign = down ? -1 : 1;
  return rows.sort((a, b) => order(cells[a] ?? null, cells[b] ?? null, sign) || a - b);
}

/** What begins, or is, a sign that compares. */
const SIGN = /[<>=]/;

/** @param {Cell} value */
const isMissing = (value) => value === null || value === "";

/**
 * Missing values come last, whichever way it is sorted; texts as people sort them, `7` before `12`.
 * @param {Cell} a
 * @param {Cell} b
 * @param {number} sign
 */
function order(a, b, sign) {
  if (isMissing(a) || isMissing(b)) return Number(isMissing(a)) - Number(isMissing(b));
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), undefined, { numeric: true, sensitivity: "base" });
}

/**
 * Whether a parcel fits: each part between `and` is a comparison (`crop = wheat`, `mean < 0.3`), or a text that its name
 * or one of its attributes has.
 * @param {Table} table
 * @param {string} filter
 * @returns {(number: number) => boolean}
 */
export function filterOf(table, filter) {
  if (/\s+or\s+/i.test(filter) && SIGN.test(filter)) throw new FilterError("Comparisons are joined by “and” alone, not by “or”.");
  const parts = filter.split(/\s+and\s+/i).map((part) => part.trim()).filter(Boolean);
  const tests = parts.map((part) => testOf(table, part));
  return (number) => tests.every((test) => test(number));
}

/**
 * @param {Table} table
 * @param {string} part
 * @returns {(number: number) => boolean}
 */
function testOf(table, part) {
  const [, left, sign, right] = /^(.+?)\s*(<=|>=|!=|<>|=|<|>)\s*(.+)$/.exec(part) ?? [];
  if (left === undefined || sign === undefined || right === undefined) {
    if (SIGN.test(part)) throw new FilterError(`“${part}” is no comparison: it is a column, one of = != < <= > >=, and a value, such as ${exampleOf(table)}.`);
    const wanted = part.toLowerCase();
    const texts = [table.names, ...table.columns.filter((column) => !column.statistic).map(({ name }) => table.cells(name))];
    return (number) => texts.some((cells) => String(cells[number] ?? "").toLowerCase().includes(wanted));
  }
  const cells = columnOf(table, left);
  const value = right.replace(/^(['"])(.*)\1$/, "$2");
  const size = Number(value);
  const known = cells.filter((cell) => !isMissing(cell));
  if (Number.isNaN(size) && known.length && known.every((cell) => typeof cell === "number")) {
    throw new FilterError(`“${left}” is a column of numbers, and “${value}” is none: such as ${left} ${sign} ${Number(known[0]).toPrecision(2)}.`);
  }
  return (number) => {
    const cell = cells[number] ?? null;
    if (cell === null) return false;
    if (typeof cell === "number" && !Number.isNaN(size)) return compare(cell - size, sign);
    return compare(String(cell).localeCompare(value, undefined, { numeric: true, sensitivity: "base" }), sign);
  };
}

/**
 * @param {Table} table
 * @param {string} said
 */
function columnOf({ names, columns, cells }, said) {
  const wanted = said.toLowerCase();
  const found = columns.find(({ name, title }) => title.toLowerCase() === wanted || name.toLowerCase() === wanted);
  if (found) return cells(found.name);
  if (wanted === NAME) return names;
  throw new FilterError(`There is no column “${said}”; there are ${titlesOf(columns)}.`);
}

/** @param {ParcelColumn[]} columns */
const titlesOf = (columns) => [NAME, ...columns.map(({ title }) => title)].join(", ");

/** @param {Table} table */
function exampleOf({ columns }) {
  const column = columns.find(({ kind }) => kind === "number");
  return column ? `${column.title} < 0.3` : `${columns[0]?.title ?? NAME} = wheat`;
}

/**
 * Why a filter that can be understood leaves no parcel.
 * @param {Table} table
 * @param {string} filter
 */
export function nothingFits({ columns }, filter) {
  const text = filter.trim();
  if (!text) return "There is no parcel.";
  if (SIGN.test(text)) return `No parcel fits “${text}”.`;
  return `No parcel has “${text}” in its name or its attributes. Columns are compared so: ${exampleOf({ names: [], columns, cells: () => [] })}; there are ${titlesOf(columns)}.`;
}

/**
 * @param {number} difference
 * @param {string} sign
 */
function compare(difference, sign) {
  if (sign === "<") return difference < 0;
  if (sign === "<=") return difference <= 0;
  if (sign === ">") return difference > 0;
  if (sign === ">=") return difference >= 0;
  return (difference === 0) === (sign === "=");
}
