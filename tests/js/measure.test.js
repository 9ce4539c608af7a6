// Coordinates as people write them, and what is measured on the map.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { readCoordinates } from "../../widgets/muses_widgets/js/coordinates.js";
import { formatArea } from "../../widgets/muses_widgets/js/format.js";
import { Measuring } from "../../widgets/muses_widgets/js/sections/measure.js";
import { PlaceSearch } from "../../widgets/muses_widgets/js/sections/search.js";
import { openPage } from "./page.js";

let page;
beforeEach(() => {
  page = openPage();
});

test("coordinates are read in the forms in which people write them, latitude first", () => {
  const near = (text, lat, lng) => {
    const found = readCoordinates(text);
    assert.ok(found && Math.abs(found.lat - lat) < 1e-4 && Math.abs(found.lng - lng) < 1e-4, `${text}: ${JSON.stringify(found)}`);
  };
  for (const text of ["43.6, 1.44", "43.6,1.44", "43.6 1.44", "43.6; 1.44", "43.6N 1.44E", "E 1.44, N 43.6", "43,6; 1,44"]) near(text, 43.6, 1.44);
  near("-33.9, -70.5", -33.9, -70.5);
  near(`43°36'16"N 1°26'38"E`, 43.60444, 1.44389);
  near(`43° 36′ 16″ N, 1° 26′ 38″ W`, 43.60444, -1.44389);
  for (const text of ["Toulouse", "43.6", "95, 1", "43.6, 181", "43.6N 1.44N", "", "1 2 3", "Paris 8"]) assert.equal(readCoordinates(text), null, text);
});

test("areas have the unit that one reads best", () => {
  assert.deepEqual([formatArea(950), formatArea(25_500), formatArea(3_456_700)], ["950 m²", "2.55 ha", "3.457 km²"]);
});

function panelOf(hasKernel = true) {
  const sent = [];
  const views = [];
  return {
    sent,
    views,
    panel: {
      hasKernel,
      view: { id: "v" },
      guard: (work) => work(),
      model: { send: (message) => sent.push(message) },
      map: {
        getCenter: () => ({ lat: 43, lng: 1 }),
        getZoom: () => 5,
        setView: (place, zoom) => views.push([...place, zoom]),
        getPane: () => document.body,
        latLngToLayerPoint: ({ lat, lng }) => ({ x: lng, y: lat }),
      },
    },
  };
}

test("corners are clicked or taken from the middle; the newest answer counts", () => {
  const { panel, sent } = panelOf();
  const tool = new Measuring(panel);
  document.body.append(...tool.body);
  assert.ok(!tool.takesClicks());
  tool.area.click();
  assert.ok(tool.takesClicks() && tool.area.getAttribute("aria-pressed") === "true");
  tool.clicked({ lat: 1, lng: 2 });
  tool.middle.click();
  tool.clicked({ lat: 5, lng: 5 });
  assert.deepEqual(sent.at(-1).points, [[2, 1], [1, 43], [5, 5]]);
  assert.ok(sent.at(-1).closed && document.querySelector("svg"));
  tool.told({ id: sent.at(-2).id, length: 1, area: 1 });
  assert.ok(!tool.result.textContent.includes("m²"));
  tool.told({ id: sent.at(-1).id, length: 1500, area: 25_000 });
  assert.equal(tool.result.textContent, "2.5 ha, 1.5 km around");
  tool.back.click();
  assert.equal(sent.at(-1).points.length, 2);
  tool.area.click();
  assert.ok(!tool.takesClicks() && !document.querySelector("svg") && tool.result.textContent === "");
});

test("a town is shown, others of its name are offered, and coordinates need nobody", () => {
  const { panel, sent, views } = panelOf();
  const search = new PlaceSearch(panel);
  document.body.append(...search.body);
  const go = (text) => {
    search.input.value = text;
    search.input.dispatchEvent(Object.assign(new page.Event("keydown"), { key: "Enter" }));
  };
  go("43.6, 1.44");
  assert.deepEqual([sent.length, views.at(-1)], [0, [43.6, 1.44, 12]]);
  go("Visso");
  search.told({ text: "other", places: [] });
  search.told({ text: "Visso", places: [{ name: "Visso", country: "IT", lat: 42, lon: 13 }, { name: "Vissoie", country: "CH", lat: 46, lon: 7 }] });
  assert.deepEqual(views.at(-1), [42, 13, 12]);
  const [, swiss] = search.list.querySelectorAll("button");
  swiss.click();
  assert.deepEqual([swiss.textContent, views.at(-1)], ["Vissoie, CH", [46, 7, 12]]);
  go("Nowhere");
  search.told({ text: "Nowhere", places: [] });
  assert.match(search.list.textContent, /^No town is called Nowhere/);
});
