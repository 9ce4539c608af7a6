// Files on their way to the server: which belong together, how they are sent, and what a failure costs.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { newId, together, upload } from "../../widgets/muses_widgets/js/uploads.js";
import { openPage, setServer } from "./page.js";

const MIB = 1024 * 1024;

beforeEach(() => {
  openPage();
  setServer("/user/ada/");
  document.cookie = "_xsrf=secret; path=/";
});

/** A server that keeps what arrives; `fail(number of the request)` may give the answer of one that does not. */
function server(fail = () => undefined) {
  const kept = { bytes: 0, requests: [] };
  globalThis.fetch = async (url, { body, headers, method }) => {
    const { searchParams, pathname } = new URL(url, "http://127.0.0.1");
    kept.requests.push({ at: +searchParams.get("at"), size: body.size, pathname, method, xsrf: headers["X-XSRFToken"], name: searchParams.get("name") });
    const failure = fail(kept.requests.length, kept, body);
    if (failure instanceof Response) return failure;
    if (failure) throw failure;
    if (+searchParams.get("at") !== kept.bytes) {
      return new Response(JSON.stringify({ code: "out-of-step", message: "", details: { received: kept.bytes } }), { status: 409 });
    }
    kept.bytes += body.size;
    return new Response(JSON.stringify({ received: kept.bytes, done: kept.bytes === +searchParams.get("size") }), { status: 201 });
  };
  return kept;
}

const file = (size, name = "dem.tif") => Object.assign(new Blob([new Uint8Array(size)]), { name });
const send = (one, told = [], signal = new AbortController().signal) => upload("0".repeat(32), one, (n) => told.push(n), signal);

test("a file goes in pieces, and it is told how much has arrived", async () => {
  const kept = server();
  const told = [];
  await send(file(5 * MIB, "Höhen 1.tif"), told);
  assert.deepEqual(told, [2 * MIB, 4 * MIB, 5 * MIB]);
  assert.equal(kept.bytes, 5 * MIB);
  assert.deepEqual([...new Set(kept.requests.map(({ pathname, method, xsrf, name }) => `${method} ${pathname} ${xsrf} ${name}`))], [
    `POST /user/ada/muses/uploads/${"0".repeat(32)} secret Höhen 1.tif`,
  ]);
});

test("a piece that nobody answered is sent again", async () => {
  const kept = server((number) => (number === 2 ? new TypeError("network") : undefined));
  await send(file(5 * MIB));
  assert.equal(kept.bytes, 5 * MIB);
  assert.deepEqual(kept.requests.map(({ at }) => at / MIB), [0, 2, 2, 4]);
});

test("a piece whose answer was lost is not sent twice", async () => {
  const kept = server((number, state, body) => {
    if (number !== 1) return undefined;
    state.bytes += body.size;
    return new TypeError("network");
  });
  await send(file(3 * MIB));
  assert.equal(kept.bytes, 3 * MIB);
  assert.deepEqual(kept.requests.map(({ at }) => at / MIB), [0, 0, 2]);
});

test("what is refused is told in the service's words and not tried again", async () => {
  const body = JSON.stringify({ code: "disk-full", message: "the disk has no room for dem.tif", details: {} });
  const kept = server(() => new Response(body, { status: 507, headers: { "Content-Type": "application/json" } }));
  await assert.rejects(send(file(10)), /no room for dem\.tif/);
  assert.equal(kept.requests.length, 1);
});

test("a server that stays away is told after some tries", async () => {
  const kept = server(() => new TypeError("network"));
  await assert.rejects(send(file(10)), /does not answer/);
  assert.equal(kept.requests.length, 4);
});

test("an empty file is told", () => assert.rejects(send(file(0)), /dem\.tif is empty/));

test("the files of a Shapefile are one, all others are themselves", () => {
  const names = (groups) => groups.map(({ name, files }) => [name, files.map((one) => one.name)]);
  const given = ["fields.shp", "a.tif", "fields.DBF", "fields.shx", "fields.csv", "other.prj"].map((name) => ({ name }));
  assert.deepEqual(names(together(given)), [
    ["fields.shp", ["fields.shp", "fields.DBF", "fields.shx"]],
    ["a.tif", ["a.tif"]],
    ["fields.csv", ["fields.csv"]],
    ["other.prj", ["other.prj"]],
  ]);
});

test("an upload's name is as the service demands it", () => assert.match(newId(), /^[0-9a-f]{32}$/));
