// The page's Jupyter server: its address, its answers, its failures.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ask, askJson, baseUrl, completeUrl, ServiceError, serviceError, within } from "../../widgets/muses_widgets/js/server.js";
import { openPage, setServer, withServer } from "./page.js";

beforeEach(openPage);

const refused = (status, headers = {}, body = "") => serviceError(new Response(body, { status, headers }));
const JSON_TYPE = { "Content-Type": "application/json" };

test("an address is completed by the base URL of the page's server, a hub's user prefix included", () => {
  setServer("/user/alice/");
  assert.equal(completeUrl("muses:tiles/a/b/{z}/{x}/{y}.png"), "/user/alice/muses/tiles/a/b/{z}/{x}/{y}.png");
  setServer("/user/alice");
  assert.equal(completeUrl("muses:cluster"), "/user/alice/muses/cluster");
});

test("Voilà's page tells it in its body", () => {
  document.body.dataset.baseUrl = "/user/bob/voila/";
  assert.equal(completeUrl("muses:cluster"), "/user/bob/muses/cluster");
});

test("an address of the web stays as it is, on any page", () =>
  assert.equal(completeUrl("https://tile.example/{z}"), "https://tile.example/{z}"));

test("a page without a server says so, and what to do", () =>
  assert.throws(baseUrl, (error) => error.code === "no-server" && /JupyterLab, Notebook 7 or Voilà/.test(error.message)));

test("an error has the service's code and words", async () => {
  const error = await refused(422, JSON_TYPE, JSON.stringify({ code: "no-band", message: "The chain has no band x" }));
  assert.deepEqual([error.code, error.message, error.status], ["no-band", "The chain has no band x", 422]);
});

test("an error drawn as a tile has them in its headers", async () => {
  const error = await refused(500, { "X-Muses-Error": "timeout", "X-Muses-Message": encodeURIComponent("Après 120 s") });
  assert.deepEqual([error.code, error.message], ["timeout", "Après 120 s"]);
});

test("a lost log-in is told as one, a refused document as the service tells it", async () => {
  assert.match((await refused(403)).message, /asks for a log-in/);
  assert.match((await refused(401, JSON_TYPE, '{"code": "x"}')).message, /asks for a log-in/);
  assert.equal((await refused(403, JSON_TYPE, '{"code": "not-yours", "message": "Of another user"}')).message, "Of another user");
});

test("a server without the service is told as one", async () => assert.equal((await refused(404)).code, "no-service"));

test("an answer that claims to be JSON and is none, or says null, is an error all the same", async () => {
  for (const body of ["<html>", "null"]) assert.equal((await refused(502, JSON_TYPE, body)).code, "http-502");
});

test("Retry-After is read in seconds, and only if it is a number", async () => {
  assert.equal((await refused(503, { "Retry-After": "1.5" })).retryAfter, 1.5);
  assert.equal((await refused(503, { "Retry-After": "soon" })).retryAfter, null);
});

test("a page that has no XSRF cookie yet asks for it before it posts", () => {
  const asked = [];
  return withServer(
    (request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.end("{}");
    },
    async (url) => {
      setServer(url);
      await ask("muses:view", { method: "POST", body: "{}" });
      await ask("muses:cluster");
      assert.deepEqual(asked, ["GET /muses/health", "POST /muses/view", "GET /muses/cluster"]);
    },
  );
});

test("a request carries the XSRF cookie as a header, and its own headers", () =>
  withServer(
    (request, response) => response.end(JSON.stringify([request.headers["x-xsrftoken"], request.headers["x-own"]])),
    async (url) => {
      setServer(url);
      document.cookie = "_xsrf=2|a%7Cb";
      assert.deepEqual(await askJson("muses:cluster", { headers: { "X-Own": "1" } }), ["2|a|b", "1"]);
    },
  ));

test("a server that is gone is unreachable", async () => {
  const url = await withServer(() => {}, async (address) => address);
  setServer(url);
  await assert.rejects(ask("muses:cluster"), { code: "unreachable", status: 0 });
});

test("a server that does not answer in time has not answered", () =>
  withServer(
    () => {},
    async (url) => {
      setServer(url);
      await assert.rejects(askJson("muses:cluster", { seconds: 0.05 }), { code: "no-answer" });
    },
  ));

test("what is given up is no failure of the server", async () => {
  const stop = new AbortController();
  const work = within(60, stop.signal, (limit) => new Promise((_, reject) => {
    limit.addEventListener("abort", () => reject(limit.reason));
  }));
  stop.abort();
  await assert.rejects(work, (error) => error.name === "AbortError" && !(error instanceof ServiceError));
});
