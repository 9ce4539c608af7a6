// The user's jobs on the panel: what the server lists, what a button asks for, what is told when one ends.

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { openPage, setServer } from "./page.js";

openPage();
setServer("/");
document.cookie = "_xsrf=x; path=/";
const sections = await import("../../widgets/muses_widgets/js/sections.js");
await import("../../widgets/muses_widgets/js/sections/jobs.js");
const { make } = sections.sectionKinds().find(({ name }) => name === "jobs");

const RUNNING = { id: "job-1", name: "ndvi.tif", job: "export", state: "running", progress: 0.424, remaining: 12 };
const DONE = { ...RUNNING, state: "done", progress: 1, remaining: null, bytes: 2048, left_out: 1 };
const FAILED = { ...RUNNING, state: "failed", why: "the disk is full" };

let page = new AbortController();
afterEach(() => {
  page.abort();
  page = new AbortController();
  mock.timers.reset();
});

async function panel(jobs, { hasKernel = true } = {}) {
  mock.timers.enable({ apis: ["setTimeout"] });
  const listed = { jobs, posted: [] };
  globalThis.fetch = async (url, { method = "GET", body } = {}) => {
    if (method === "POST") listed.posted.push([url, JSON.parse(body)]);
    return new Response(JSON.stringify(listed.jobs), { status: 200 });
  };
  const told = {};
  const sent = [];
  const box = make({ signal: page.signal, hasKernel, model: { get: () => told, send: (message) => sent.push(message) } });
  document.body.replaceChildren(...box.body);
  box.element.open = true;
  await box.ask();
  const labels = () => [...box.list.querySelectorAll("button, a")].map((one) => one.textContent);
  const press = async (text) => {
    [...box.list.querySelectorAll("button")].find((one) => one.textContent === text).click();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  };
  return { box, listed, told, sent, labels, press };
}

test("one that runs tells how far it is, and can be stopped", async () => {
  const { box, labels, listed, press } = await panel([RUNNING]);
  assert.match(box.list.textContent, /ndvi\.tif42 %about 12 s left/);
  assert.equal(box.count.textContent, " 1 running");
  assert.deepEqual(labels(), ["Pause", "Cancel", "Copy as Python"]);
  await press("Pause");
  assert.deepEqual(listed.posted, [["/muses/jobs/job-1", { do: "pause" }]]);
});

test("one that is done is opened, done again, downloaded", async () => {
  const { box, labels, press, sent } = await panel([DONE]);
  assert.match(box.list.textContent, /done2 KiB · 1 scene left out/);
  assert.deepEqual(labels(), ["Open as a layer", "Run again", "Copy as Python", "Download"]);
  await press("Open as a layer");
  assert.deepEqual(sent, [{ section: "jobs", do: "open", id: "job-1" }]);
});

test("a table is made again and downloaded, and is no layer", async () => {
  const { labels } = await panel([{ ...DONE, name: "fields.csv", job: "table" }]);
  assert.deepEqual(labels(), ["Run again", "Copy as Python", "Download"]);
});

test("one that failed says why, and is tried again", async () => {
  const { box, labels } = await panel([FAILED]);
  assert.match(box.list.textContent, /failedthe disk is full/);
  assert.deepEqual(labels(), ["Retry", "Copy as Python"]);
});

test("its end is told, also where the list is folded", async () => {
  const { box, listed } = await panel([RUNNING]);
  box.element.open = false;
  listed.jobs = [DONE];
  await box.ask();
  assert.equal(box.notice.textContent, "ndvi.tif is written");
  listed.jobs = [RUNNING];
  await box.ask();
  listed.jobs = [FAILED];
  await box.ask();
  assert.equal(box.notice.textContent, "ndvi.tif: failed: the disk is full");
});

test("the end of one that was too quick to be seen running is told, what was there before is not", async () => {
  const { box, listed } = await panel([DONE]);
  assert.equal(box.notice.textContent, "");
  listed.jobs = [{ ...DONE, id: "job-2", name: "quick.tif" }, DONE];
  await box.ask();
  assert.equal(box.notice.textContent, "quick.tif is written");
});

test("without a kernel the list is there, and what needs one says so", async () => {
  const { box, press, sent } = await panel([DONE], { hasKernel: false });
  await press("Run again");
  assert.match(box.notice.textContent, /needs the notebook's kernel/);
  assert.deepEqual(sent, []);
});

test("the kernel's answer is shown, Python as text to copy", async () => {
  const { box, told } = await panel([DONE]);
  told.jobs = { id: "job-1", do: "python", text: "import muses_lab as ml", failed: false };
  box.told();
  assert.equal(box.code.hidden, false);
  assert.equal(box.code.value, "import muses_lab as ml");
  told.jobs = { id: "job-1", do: "open", text: "ndvi.tif is a layer now", failed: false };
  box.told();
  assert.equal(box.code.hidden, true);
  assert.equal(box.notice.textContent, "ndvi.tif is a layer now");
});

test("no jobs yet", async () => assert.match((await panel([])).box.list.textContent, /No exports yet/));
