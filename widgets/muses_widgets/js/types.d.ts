// The types of what Python, the service and Leaflet hand to these modules. For the checker only: nothing is loaded of it.

// ---- Python → JavaScript: the traits of muses_widgets/panel.py

/** A model as anywidget gives it; `T` are its traits. */
export interface Model<T> {
  get<K extends keyof T>(name: K): T[K];
  set<K extends keyof T>(name: K, value: T[K]): void;
  save_changes(): void;
  on(names: string, callback: (value: any) => void): void;
  off(names: string, callback: (value: any) => void): void;
  send(
    message: SectionMessage | ControlsMessage | ParcelsMessage | SeriesMessage | ChainMessage | CourseMessage,
    callbacks?: unknown,
    buffers?: ArrayBuffer[],
  ): void;
  widget_manager: WidgetManager;
}

export interface PanelTraits {
  /** IPY_MODEL_… of the map. */
  map: string;
  /** The top layer first. */
  layers: LayerEntry[];
  groups: LayerGroup[];
  /** Ids of the layers whose rows show no more than their head. */
  closed: string[];
  /** Model id of the base map's tile layer. */
  base: string;
  basemaps: BaseMapEntry[];
  basemap: string;
  /** [latitude, longitude] of the last click. */
  clicked: [number, number] | null;
  /** Palettes that are offered; the table is red, green, blue of each colour, in base64. */
  palettes: { name: string; table: string }[];
  folded: boolean;
  /** What of an opened view cannot be shown here, each with its reason. */
  faults: string[];
  /** The date that layers with dates show, as `Frame.date`; empty: nobody has chosen one. */
  date: string;
  /** Which of the dates the bar moves through. */
  filter: DateChoice;
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

/** muses_widgets/course/card.py */
export interface CardTraits {
  about: CourseState;
  own_id: string;
}

/** muses_lab/exercises/participant.py: Course.status, with what only the page's server knows. */
export interface CourseState {
  course: string;
  title: string;
  objectives: string[];
  hours: number | null;
  /** Whether it is a participant's copy. */
  can_reset: boolean;
  /** What is told where a newer version was published; empty where there is none. */
  newer?: string;
  notebooks: CourseNotebookState[];
  points: number;
  of: number;
  badge: { earned: boolean; needed: number };
  /** Of the server: newest first. */
  notes?: CourseNote[];
}

export interface CourseNotebookState {
  file: string;
  title: string;
  minutes: number | null;
  points: number;
  of: number;
  /** Exercises that are solved. */
  right: number;
  exercises: { id: string; title: string; kind: string; state: string; tries: number; points: number; of: number; message: string }[];
  /** Of the server: where it shows the file, quoted; null where it does not. */
  path?: string | null;
}

/** muses_lab/service/courses.py */
export interface CourseNote {
  id: string;
  text: string;
  by: string;
  /** ISO, in UTC. */
  at: string;
}

/** muses_widgets/course/quiz.py */
export interface QuizTraits {
  course: string;
  questions: QuizQuestion[];
  answers: Record<string, QuizAnswer | undefined>;
  own_id: string;
}

/** muses_lab/exercises/quiz.py */
export interface QuizQuestion {
  id: string;
  title: string;
  question: string;
  points: number;
  choices: string[];
  several: boolean;
}

export interface QuizAnswer {
  /** Places of choices, from 0. */
  chosen: number[];
  state: "right" | "wrong" | "error";
  message: string;
  /** What is told of the choices that were made. */
  marks: { choice: number; right: boolean; text: string }[];
  tries: number;
  /** Whether this try, or one before, was right. */
  solved: boolean;
  note?: string;
}

/** What the card and the quiz send to their kernels. */
export type CourseMessage =
  | { do: "reset"; notebook: string; asked: string }
  | { do: "check"; question: string; chosen: number[]; asked: string };

/** muses_widgets/series/panel.py */
export interface SeriesTraits {
  own_id: string;
  value: string;
  second: string;
  curves: string[];
  by_year: boolean;
  anomalies: boolean;
  choices: { value: string; label: string }[];
  /** Longitude and latitude of the candidate. */
  place: [number, number] | null;
  /** The kept place whose dates are shown; empty: the candidate. */
  selected: string;
  kept: KeptPlace[];
  filter: string;
  /** Ids of the kept places that fit the filter. */
  filtered: string[];
  told: { state: "idle" | "working" | "ok" | "partial" | "failed"; text?: string };
  plot: SeriesPlot;
  dates: SeriesDate[];
  images: { of?: string; images?: Record<string, string> };
  /** The times that the map shows and compares; empty where there is none. */
  shown: { first?: string; second?: string };
}

export interface KeptPlace {
  id: string;
  name: string;
  colour: string;
  visible: boolean;
  kind: "point" | "polygon";
  /** Longitude and latitude. */
  place: [number, number];
}

export interface SeriesPlot {
  /** Bokeh's, as JSON. */
  item?: string;
  /** The release that draws it. */
  bokeh?: string;
  text?: string;
  by_year?: boolean;
  found?: string[];
  legend?: {
    series: { name: string; colour: string }[];
    sensors: { name: string; symbol: string }[];
    masked: boolean;
    curves: string[];
  };
}

export interface SeriesDate {
  time: string;
  label: string;
  ms: number;
  text: string;
  state: string;
  mask: string;
  scene: string;
  clouds: number | null;
  sun: number | null;
}

/** muses_widgets/chain/panel.py */
export interface ChainPanelTraits {
  choices: string[];
  chosen: string;
  on_map: boolean;
  drawn: Partial<ChainPicture> & { text?: string; hash?: string };
  documents: { python?: string; json?: string };
  costs: ChainCosts;
  compared: Partial<ChainPicture> & { other?: string; text?: string; lines?: string[] };
  draft: Partial<ChainPicture> & { text?: string; state?: "ok" | "failed"; faults?: Fault[] };
  mode: "chain" | "compare" | "draft";
  selected: string;
  unfolded: string[];
  zoom: number;
  told: { state: "ok" | "working" | "failed"; text?: string };
  own_id: string;
}

/** muses_lab/api/layering.py: rows from the top, places across in widths of a node. */
export interface ChainPicture {
  nodes: ChainNode[];
  edges: { from: string; to: string; points: [number, number][] }[];
}

/** muses_lab/api/described.py */
export interface ChainNode {
  id: string;
  process: string;
  title: string;
  says: string;
  /** `told`: whether the title says it. */
  arguments: { name: string; value: string; control: string | null; told: boolean }[];
  callbacks: { argument: string; formula: string; steps: string[] }[];
  inputs: { argument: string; id: string }[];
  /** Whether it has pixels that a map could show. */
  is_image: boolean;
  row: number;
  x: number;
  /** Of two chains that are compared. */
  kind?: "same" | "moved" | "changed" | "added" | "removed";
  changes?: { argument: string; before: string | null; after: string | null }[];
}

export interface Fault {
  /** Name of the node; empty where it is the document's. */
  node: string;
  text: string;
}

export interface ChainCosts {
  state?: "busy" | "done" | "failed";
  text?: string;
  /** Whether seconds are of rates that were measured on this machine. */
  measured?: boolean;
  nodes?: Record<string, NodeCost | undefined>;
}

export interface NodeCost {
  pieces: number;
  reads: number;
  bytes: number;
  evaluated: number;
  seconds: number;
  /** Blocks that are there already, of those that are kept. */
  kept: number;
  of: number;
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
  /** Null where the service draws the tiles. */
  colours?: Colours | null;
  remarks?: Remarks;
  /** Whether it runs code of the notebook, which only its author sees. */
  private?: boolean;
  empty?: string;
  /** How many there are, of features; only these have a `note`. */
  features?: number;
  note?: string;
  /** West, south, east, north in degrees of what it shows. */
  bounds?: [number, number, number, number] | null;
  /** Of a layer with dates: one chain for each, in order of time. */
  frames?: Frame[];
  period?: Period;
}

/** muses_widgets/sections/areas.py */
export interface Area {
  id: string;
  name: string;
  colour: string;
  /** Square metres. */
  metres: number;
  /** West, south, east, north in degrees. */
  bounds: [number, number, number, number];
}

export interface AreasState {
  drawing: boolean;
  /** Id of the area whose corners are moved. */
  editing: string;
  areas: Area[];
  /** What failed. */
  text?: string;
  /** Of the file that was written. */
  name?: string;
  bytes?: number;
  place?: string | null;
}

/** muses_widgets/sections/view.py */
export interface ViewState {
  /** What failed. */
  text?: string;
  /** Name of a view that was opened. */
  opened?: string;
  /** What others will not see, and only under a condition. */
  lost?: string[];
  notes?: string[];
  /** Of the file that was written; `place` is where the page's server shows it. */
  name?: string;
  bytes?: number;
  place?: string | null;
}

/** muses_widgets/groups.py */
export interface LayerGroup {
  name: string;
  /** Ids of layers. */
  members: string[];
  visible: boolean;
  /** By which that of its layers is multiplied. */
  opacity: number;
  /** Whether the list shows its layers. */
  open: boolean;
}

/** How values become colours: muses_widgets/colours.py. */
export interface Colours {
  kind: "continuous" | "classes" | "rgb";
  /** Numbers of the bands that are shown: one, or those of red, green and blue. */
  bands: number[];
  vmin: number;
  vmax: number;
  gamma: number;
  opacity: number;
  /** The palette's name; null of a list of colours. */
  cmap: string | null;
  /** Red, green, blue of each colour, in base64. */
  table: string;
  /** Values of the classes, ascending, whose colours the table has. */
  classes: number[];
  /** Those of them that are not drawn. */
  hidden?: number[];
}

export interface Frame {
  /** What it is called: its period or date. */
  label: string;
  /** Its day, or time where a day has several of the layer; in UTC. */
  date: string;
  /** ISO, in UTC. */
  time: string;
  chain: string;
  /** As the scenes state them; per cent of clouds. */
  platforms?: string[];
  orbits?: string[];
  clouds?: number | null;
}

/** Of what frames are made: a period's name, `intervals`, or null of each date. */
export interface Period {
  name: string | null;
  reducer: string | null;
}

/** What is asked of dates; what is missing is not asked for. */
export interface DateChoice {
  platform?: string;
  orbit?: string;
  /** Per cent at most. */
  clouds?: number;
  /** Days, both included. */
  start?: string;
  end?: string;
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
  entries: { value: number; colour: string; label: string; hidden?: boolean }[];
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
  state: "idle" | "running" | "paused" | "done" | "failed" | "cancelled";
  progress?: number;
  /** Seconds that it will still take; null where nobody knows. */
  remaining?: number | null;
  text?: string;
  /** Of a finished one: the job's id, the file, its bytes and its place in the folder that the server shows, if there. */
  id?: string;
  path?: string;
  name?: string;
  bytes?: number;
  place?: string | null;
  /** Whether the file is a folder, which no browser downloads. */
  folder?: boolean;
  offer?: ExportOffer;
  estimate?: ExportEstimate;
}

/** A job as the service lists it; see `KnownJob.status`. */
export interface ListedJob {
  id: string;
  name: string;
  /** `export`, `table` or `materialize`. */
  job: string;
  state: string;
  progress: number;
  remaining?: number | null;
  why?: string | null;
  bytes?: number;
  left_out?: number;
}

/** What the kernel tells of a job. */
export interface JobTold {
  id: string;
  do: string;
  text?: string;
  failed?: boolean;
}

/** What can be chosen for a layer; see `exporting.offered`. */
export interface ExportOffer {
  layer: string;
  bands: string[];
  dates: string[];
  /** Reference system and metres of the layer's own pixels. */
  native: [string, number] | null;
  /** `takes`: the options that it has, of those of the form. An array has no file, so no suffix. */
  formats: { name: string; suffix: string; kind: "pixels" | "picture" | "animation" | "table" | "array"; takes: string[] }[];
  /** Statistics of tables, and whether each is chosen at first. */
  stats: [string, boolean][];
  /** Names of the areas that are drawn or kept on the map. */
  areas: string[];
  /** Of the file's name. */
  stem: string;
}

/** What an export would be; `error` where the form has a fault. */
export interface ExportEstimate {
  asked: number;
  line?: string;
  error?: string;
  width?: number;
  height?: number;
  scenes?: number;
  bytes?: number;
  read?: number;
  seconds?: number;
  difference?: string;
  /** Of a table: how many areas and dates it has. */
  areas?: number;
  dates?: number;
}

/** The fields of the export's form; see `exporting.Form`. Without a name it is the view as a GeoTIFF. */
export interface ExportForm {
  layer: string;
  bounds: number[];
  zoom: number;
  name?: string;
  format?: string;
  area?: { kind: string; path?: string; names?: string[] };
  grid?: { kind: string; crs?: string; resolution?: string; path?: string };
  dates?: { kind: string; start?: string; end?: string };
  bands?: string[];
  options?: { decoration?: boolean; logo?: string; fps?: number; values?: string[]; stats?: string[] };
}

/** A file of the user's own that was added to the map; see `sections/files.py`. */
export interface OwnFile {
  id: string;
  name: string;
  state: "checking" | "shown" | "registered" | "view" | "failed";
  text: string;
  /** The same in Python; empty where it failed. */
  code: string;
}

/** What the section of own files tells. */
export interface FilesState {
  files?: OwnFile[];
}

/** A custom message of the kernel. */
export type KernelMessage = { kind: "heard"; section: string } | { kind: "problem"; text: string };

/** muses_widgets/parcels/panel.py */
export interface ParcelsTraits {
  own_id: string;
  /** Model id of their layer on the map; empty without a map. */
  layer_id: string;
  title: string;
  /** What the values are, and their unit. */
  quantity: string;
  names: string[];
  columns: ParcelColumn[];
  /** The columns that are attributes, by name. */
  attributes: Record<string, Cell[]>;
  dates: string[];
  bands: string[];
  date: number;
  band: number;
  follows: boolean;
  /** The columns that are statistics. */
  values: { date?: number; band?: number; columns?: Record<string, (number | null)[]> };
  /** That the map shows. */
  statistic: string;
  legends: Record<string, ContinuousLegend>;
  /** Number of the parcel whose series is shown; -1: none. */
  chosen: number;
  series: ParcelSeries;
  small: { band?: number; parcels?: SmallSeries[] };
  shape: TableShape;
  told: { state?: "working" | "ok" | "failed" | "cancelled"; text?: string; done?: number; total?: number };
  notes: string[];
  exported: { text?: string; name?: string; place?: string | null; failed?: boolean };
}

export type Cell = string | number | boolean | null;

export interface ParcelColumn {
  name: string;
  title: string;
  kind: "text" | "number";
  statistic: boolean;
}

export interface ParcelSeries {
  number?: number;
  title?: string;
  text?: string;
  /** Bokeh's, as JSON. */
  item?: string;
  bokeh?: string;
  failed?: boolean;
}

export interface SmallSeries {
  number: number;
  line: (number | null)[];
  low?: (number | null)[];
  high?: (number | null)[];
}

/** How the table is shown. */
export interface TableShape {
  /** Name of the column; empty: the order of the file. `name` is what the parcels are called. */
  sort: string;
  down: boolean;
  filter: string;
  page: number;
  /** Small plots in the table's place. */
  plots: boolean;
}

// ---- JavaScript → Python

export interface ParcelsMessage {
  do: "compute" | "cancel" | "small" | "export";
  numbers?: number[];
  format?: string;
}

export interface ControlsMessage {
  do: "set";
  values: Record<string, unknown>;
  /** By which the answer is known. */
  asked: string;
}

/** What the panel of series asks for. */
export interface SeriesMessage {
  do: "keep" | "change" | "remove" | "clear" | "show" | "compare" | "images" | "file" | "open";
  id?: string;
  name?: string;
  colour?: string;
  visible?: boolean;
  time?: string | null;
  times?: string[];
  kind?: string;
}

export interface ChainMessage {
  do: "choose" | "compare" | "check" | "open" | "show" | "price";
  asked: string;
  name?: string;
  node?: string;
  text?: string;
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
  /** Of the class's evaluator, where the server has one: `own` and `away` are computed by one's own cluster. */
  class?: { state: "ready" | "own" | "away"; position?: number | null; reason?: string } | null;
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

/** Colours of a layer, and the chains (one for each date) that they are of. */
export type LayerColours = Colours & { chains: string[] };

/** One band of a tile. */
export interface BandValues {
  /** The pixels' values, NaN where missing; with codes the different values there are. */
  numbers: Float32Array | Float64Array;
  /** Of each pixel which value it has: 0 none, n the n-th. */
  codes: Uint8Array | Uint16Array | null;
}

export interface TileValues {
  width: number;
  height: number;
  bands: BandValues[];
}

export interface Job {
  layer: LeafletTileLayer;
  tile: HTMLCanvasElement;
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
  /** Tile → what is asked for. */
  jobs: Map<HTMLCanvasElement, Job>;
  failed: Map<HTMLCanvasElement, TileFailure>;
  /** Tile → what it told of itself. */
  reports: Map<HTMLCanvasElement, TileReport>;
  /** Tile → the values that it shows; none of one that is a picture. */
  values: Map<HTMLCanvasElement, TileValues & { source: string }>;
  /** Null until they are told. */
  colours: LayerColours | null;
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
  /** JupyterLab's; elsewhere it has other things inside. */
  comm?: { jsServicesComm?: { isDisposed: boolean } };
  views?: Record<string, Promise<WidgetView>>;
  get(name: string): any;
  has(name: string): boolean;
  set(name: string, value: unknown): void;
  set(changes: Record<string, unknown>): void;
  save_changes(): void;
  on(names: string, callback: (...values: any[]) => void): void;
  off(names: string, callback: (...values: any[]) => void): void;
  /** Tells those who listen in this page; nothing is saved. */
  trigger(name: string, ...values: unknown[]): void;
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
  invalidateSize(): void;
  getPane(name: string): HTMLElement;
  createPane(name: string, parent: HTMLElement): HTMLElement;
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
  setView(place: [number, number], zoom: number, options?: Record<string, unknown>): void;
  fitBounds(bounds: unknown, options?: Record<string, unknown>): void;
  hasLayer(layer: object): boolean;
  addLayer(layer: object): void;
  removeLayer(layer: object): void;
  /** Leaflet-Geoman's, where the map has its tools. */
  pm?: Record<string, (() => boolean) | undefined>;
  /** Leaflet's own, see mapview.js. */
  _animatingZoom?: boolean;
}

/** A polygon on the map. */
export interface LeafletShape {
  feature?: { properties?: { number?: number; name?: string } };
  setStyle(style: Record<string, unknown>): void;
  bringToFront(): void;
  getBounds(): unknown;
}

export interface LeafletShapes {
  options: { style?: (feature: { properties?: { number?: number } }) => Record<string, unknown> };
  eachLayer(callback: (shape: LeafletShape) => void): void;
  bindTooltip(content: (shape: LeafletShape) => HTMLElement | string, options: Record<string, unknown>): void;
  closeTooltip?(): void;
  on(names: string, callback: (event: any) => void): void;
  off(names: string, callback: (event: any) => void): void;
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
  options: { bounds?: [[number, number], [number, number]] };
  /** Leaflet's own, see mapview.js and tiles.js. */
  _url: string;
  _map: LeafletMap | null;
  _tiles?: Record<string, { el: HTMLCanvasElement; coords: Coords; current: boolean }>;
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
