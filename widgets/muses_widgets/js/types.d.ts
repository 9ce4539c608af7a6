// The types of what Python, the service and Leaflet hand to these modules. For the checker only: nothing is loaded of it.

// ---- Python → JavaScript: the traits of muses_widgets/panel.py

/** A model as anywidget gives it; `T` are its traits. */
export interface Model<T> {
  get<K extends keyof T>(name: K): T[K];
  set<K extends keyof T>(name: K, value: T[K]): void;
  save_changes(): void;
  on(names: string, callback: (value: any) => void): void;
  off(names: string, callback: (value: any) => void): void;
  send(message: SectionMessage | ControlsMessage): void;
  widget_manager: WidgetManager;
}

export interface PanelTraits {
  /** IPY_MODEL_… of the map. */
  map: string;
  /** The top layer first. */
  layers: LayerEntry[];
  /** Model id of the base map's tile layer. */
  base: string;
  basemaps: BaseMapEntry[];
  basemap: string;
  /** [latitude, longitude] of the last click. */
  clicked: [number, number] | null;
  folded: boolean;
  /** The date that layers with dates show, as `Frame.date`; empty: nobody has chosen one. */
  date: string;
  /** The layers (by id) that are compared left and right of a line, and where that is; empty: none. */
  swipe: { left?: string; right?: string; at?: number };
  /** What each section's Python part tells its JavaScript, by the section's name. */
  sections: Record<string, any>;
  /** What the page tells of the layers that it shows, by their ids. */
  shown: { layers?: Record<string, LayerState> };
}

/** What the kernel is told of a layer: js/mapstate.js. */
export interface LayerState {
  chain: string;
  style: string;
  state: string;
  /** Reasons of what failed or was left out. */
  why: string[];
  tiles?: { total: number; done: number; failed: number };
  scenes?: { used: number; found: number; left_out: number };
}

/** muses_widgets/controls.py */
export interface ControlsTraits {
  rows: ControlRow[];
  /** Names of the layers that are changed. */
  bound: string[];
  told: { state: "ok" | "working" | "failed"; text?: string };
  /** The model's id: anywidget does not tell it. */
  own_id: string;
}

/** A control: muses_widgets/rows.py. */
export interface ControlRow {
  name: string;
  title: string;
  kind: string;
  value: unknown;
  /** Of a number: the ends and the step of its slider; `low` and `high`, where there are any, limit what is typed. */
  min?: number;
  max?: number;
  step?: number;
  whole?: boolean;
  low?: number | null;
  high?: number | null;
  choices?: ControlChoice[];
  /** Why its last value was not taken. */
  problem?: string;
  /** Whether the layers that it changes have different values. */
  differs?: boolean;
}

export interface ControlChoice {
  value: unknown;
  label: string;
  /** Of a palette: [offset 0…1, colour] */
  stops?: [number, string][];
}

/** One layer of the panel: a chain in a style, or (without both) the sentence why there is no scene for it. */
export interface LayerEntry {
  id: string;
  name: string;
  chain?: string;
  style?: string;
  legend?: Legend;
  remarks?: Remarks;
  /** Whether it runs code of the notebook, which only its author sees. */
  private?: boolean;
  empty?: string;
  /** Of a layer with dates: one chain for each, in order of time. */
  frames?: Frame[];
}

export interface Frame {
  /** What it is called: its period or date. */
  label: string;
  /** Its day, or time where a day has several of the layer; in UTC. */
  date: string;
  /** ISO, in UTC. */
  time: string;
  chain: string;
}

export interface Remarks {
  count: number;
  /** The first of them. */
  shown: string[];
}

export interface BaseMapEntry {
  name: string;
  url: string;
  attribution: string;
  online: boolean;
}

interface LegendFacts {
  label?: string | null;
  unit?: string | null;
  /** What a pixel without a value means. */
  missing?: string;
  entries?: { value: number; colour: string; label: string }[];
}

export interface ContinuousLegend extends LegendFacts {
  kind: "continuous";
  /** [offset 0…1, colour] */
  stops: [number, string][];
  ticks: { offset: number; label: string }[];
  vmin: number;
  vmax: number;
  opacity?: number;
}

export interface ClassesLegend extends LegendFacts {
  kind: "classes";
  entries: { value: number; colour: string; label: string }[];
}

export interface RgbLegend extends LegendFacts {
  kind: "rgb";
  bands?: (string | number)[];
  vmin: number;
  vmax: number;
}

export type Legend = ContinuousLegend | ClassesLegend | RgbLegend;

/** The state of an export: muses_widgets/sections/export.py. */
export interface ExportState {
  state: "idle" | "running" | "done" | "failed" | "cancelled";
  progress?: number;
  text?: string;
  /** Of a finished one: the job's id, the file, its bytes and its place in the folder that the server shows, if there. */
  id?: string;
  path?: string;
  name?: string;
  bytes?: number;
  place?: string | null;
}

/** A custom message of the kernel. */
export type KernelMessage = { kind: "heard"; section: string } | { kind: "problem"; text: string };

// ---- JavaScript → Python

export interface ControlsMessage {
  do: "set";
  values: Record<string, unknown>;
  /** By which the answer is known. */
  asked: string;
}

/** A section's message to its Python part. */
export interface SectionMessage {
  section: string;
  [key: string]: unknown;
}

// ---- the service's answers

/** What a tile says of itself in X-Muses-Report: muses_lab/service/tile_report.py. */
export interface TileHeader {
  /** Used, found: numbers of scenes, for when there are no bits. */
  scenes: [number, number];
  bits?: { found?: string; used?: string };
  levels?: number[];
  native?: number[];
  thinned?: [number, number] | null;
  failed?: number;
  /** Pixels without a value, pixels for which there are scenes. */
  holes?: [number, number];
}

/** The same, its scenes as bits by their number in the chain. */
export interface TileReport {
  scenes: [number, number];
  found: Uint8Array;
  used: Uint8Array;
  levels: number[];
  native: number[];
  thinned: [number, number] | null;
  failed: number;
  holes: [number, number];
  /** The URL template of the layer that the tile shows. */
  source?: string;
}

/** The reports of a layer's tiles as one. */
export interface ViewReport {
  tiles: number;
  used: number;
  found: number;
  /** Metres per pixel. */
  levels: number[];
  native: number[];
  thinned: [number, number] | null;
  failed: number;
  /** Share of pixels without a value among those for which there are scenes. */
  holes: number;
}

/** muses/status/<chain> */
export interface FailedScene {
  id: string;
  reason: string;
}

/** muses/status?chains=… */
export interface QueueStatus {
  chains: Record<string, { progress?: Progress } | undefined>;
  queue?: { state: string; counts?: { finished?: number } };
  service?: { timeout?: number };
}

export interface Progress {
  waiting?: number;
  position?: number;
  expected_seconds?: number | null;
}

/** muses/values/<chain> */
export interface PlaceValues {
  bands: string[];
  values: (number | null)[];
  metres_per_pixel: number[];
  native_metres_per_pixel: number[];
  scenes_here: number;
  failed: FailedScene[];
}

/** muses/cluster */
export interface ClusterLook {
  state: string;
  doing: string;
  reason?: string;
  kind?: string;
  workers?: number;
  threads?: number;
  memory?: number;
  limit?: number;
  since?: number;
  offered?: Record<string, { min?: number; max: number; default: number }>;
}

/** What the service is told of a view: muses/view. */
export interface View {
  id: string;
  z: number;
  /** [longitude, latitude] */
  center: [number, number];
  /** [west, south, east, north] in degrees */
  bounds: [number, number, number, number];
  /** "<chain>/<style>", the top one first. */
  layers: string[];
}

// ---- tiles

export interface Job {
  layer: LeafletTileLayer;
  img: HTMLImageElement;
  url: string;
  source: string;
  coords: Coords;
  done?: TileDone;
  /** Times that it was asked for again after a failure. */
  tries: number;
  /** Times that it was refused because there is too much to do, and the reason given last. */
  refused: number;
  refusal: string | null;
  notBefore: number;
  rank: number;
  abort: AbortController;
}

export interface TileFailure {
  coords: Coords;
  code: string;
  reason: string;
  /** When it is asked for again (performance.now()), if it is. */
  again: number | null;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export interface TileState {
  adopted: boolean;
  /** Tile's image → what is asked for. */
  jobs: Map<HTMLImageElement, Job>;
  failed: Map<HTMLImageElement, TileFailure>;
  /** Image → what the tile that it shows told of itself. */
  reports: Map<HTMLImageElement, TileReport>;
  view: string;
  begun: number;
  /** Tiles that this view needed. */
  total: number;
  /** Seconds that they took; null until all are there. */
  seconds: number | null;
}

export type TileDone = (error: Error | null, tile: HTMLElement) => void;

// ---- what is used of ipywidgets and ipyleaflet (js/mapview.js)

export interface WidgetManager {
  get_model(id: string): Promise<WidgetModel>;
  /** JupyterLab's. */
  kernel?: { isDisposed: boolean; status: string };
}

export interface WidgetModel {
  model_id: string;
  comm_live?: boolean;
  views?: Record<string, Promise<WidgetView>>;
  get(name: string): any;
  has(name: string): boolean;
  set(name: string, value: unknown): void;
  set(changes: Record<string, unknown>): void;
  save_changes(): void;
  on(names: string, callback: (...values: any[]) => void): void;
  off(names: string, callback: (...values: any[]) => void): void;
}

export interface WidgetView {
  el: HTMLElement;
  /** The Leaflet object; not there while it is being made. */
  obj?: any;
  map_view?: WidgetView;
}

export interface MapView extends WidgetView {
  obj: LeafletMap;
  control_views: { views: Promise<WidgetView>[] };
}

// ---- what is used of Leaflet 1.9

export interface Coords {
  x: number;
  y: number;
  z: number;
}

export interface Point {
  x: number;
  y: number;
  unscaleBy(size: Point): Point;
}

export interface Bounds {
  min: Point;
  max: Point;
}

export interface LatLng {
  lat: number;
  lng: number;
  wrap(): LatLng;
}

export interface LeafletMap {
  on(names: string, callback: (event: any) => void): void;
  off(names: string, callback: (event: any) => void): void;
  getCenter(): LatLng;
  getZoom(): number;
  getMaxZoom(): number;
  getContainer(): HTMLElement;
  getPane(name: string): HTMLElement;
  getBounds(): { getWest(): number; getSouth(): number; getEast(): number; getNorth(): number };
  getPixelBounds(center?: LatLng, zoom?: number): Bounds;
  getZoomScale(to: number, from: number): number;
  getSize(): Point;
  containerPointToLayerPoint(point: [number, number]): Point;
  latLngToLayerPoint(place: LatLng): Point;
  project(place: LatLng, zoom: number): Point;
  unproject(point: [number, number], zoom: number): LatLng;
  wrapLatLng(place: LatLng): LatLng;
  eachLayer(callback: (layer: any) => void): void;
  hasLayer(layer: object): boolean;
  addLayer(layer: object): void;
  removeLayer(layer: object): void;
  /** Leaflet's own, see mapview.js. */
  _animatingZoom?: boolean;
}

export interface LeafletTileLayer {
  on(names: string, callback: (event: any) => void): void;
  fire(name: string): void;
  redraw(): void;
  getContainer?(): HTMLElement | null;
  refresh?(): void;
  setOpacity(opacity: number): void;
  setZIndex(index: number): void;
  getTileUrl(coords: Coords): string;
  getTileSize(): Point;
  createTile(coords: Coords, done: TileDone): HTMLElement;
  /** Leaflet's own, see mapview.js and tiles.js. */
  _url: string;
  _map: LeafletMap | null;
  _tiles?: Record<string, { el: HTMLImageElement; coords: Coords; current: boolean }>;
  _tileZoom: number;
  _clampZoom(zoom: number): number;
  _wrapCoords(coords: Coords): Coords;
  _isValidTile(coords: Coords): boolean;
  _tileCoordsToKey(coords: Coords): string;
  _getTiledPixelBounds(center: LatLng): unknown;
  _pxBoundsToTileRange(bounds: unknown): Bounds;
  /** Ours: what the tile loader knows of the layer, and whether its class loads `muses:` tiles by it. */
  _muses?: TileState;
  _musesTaught?: boolean;
}

export interface AttributionControl {
  addAttribution(text: string): void;
  removeAttribution(text: string): void;
}

declare global {
  interface Window {
    L?: { TileLayer?: { prototype: LeafletTileLayer } };
  }
}
