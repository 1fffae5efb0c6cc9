// The rows of the layers: built once, drawn while they are on the screen, and listened to.

const LARGE_MAP = 168; // CSS pixels per side of the map in the panel

/** @type {LayerView[]} */
const views = [];

/**
 * The row of a step.
 * @typedef {object} LayerView
 * @property {Maps | null} maps - null for steps that only pass values on
 * @property {boolean} isVisible
 * @property {HTMLElement} section
 * @property {HTMLElement[]} scale - labels of the smallest, middle and largest value
 * @property {HTMLDetailsElement | null} filters
 */

/** Draws the layers that are on the screen. */
function drawLayers() {
  views.forEach((view, number) => view.isVisible && drawLayer(number));
}

/** Computes once, for all parts of the page, how the value that is pointed at came about. */
function explainPlace() {
  const { place, outputs } = state;
  state.account =
    place && outputs.length ? account(DATA.steps, currentWeights(), outputs, DATA.classes, place) : null;
}

/** @param {number} number - of the step */
function drawLayer(number) {
  const { maps, scale, filters } = views[number];
  if (!maps) return;
  const lit = state.account?.regions.filter(({ step }) => step === number) ?? [];
  const pointed = state.place?.step === number ? state.place : null;
  const size = DATA.steps[number].shape.reduce((product, side) => product * side, 1);
  maps.draw(state.outputs[number] ?? new Float64Array(size), lit, pointed);
  if (!maps.isGrey) {
    const most = state.outputs.length && maps.most > SMALLEST ? shown(maps.most) : "";
    const hasNegative = most && state.outputs[number].some((value) => value < 0);
    const ends = [hasNegative ? `−${most}` : "", most];
    [ends[0], "0", ends[1]].forEach((text, part) => (scale[part].textContent = text));
  }
  if (filters?.open) drawFilters(number);
}

/**
 * Draws the filters of a step: all of the first convolution, elsewhere the filter of one map or the weights of one
 * unit.
 * @param {number} number
 */
function drawFilters(number) {
  const step = DATA.steps[number];
  const { filters } = views[number];
  const canvas = filters?.querySelector("canvas");
  if (!filters || !canvas) return;
  const { weight } = currentWeights()[number];
  const source = sourceOf(DATA.steps, number - 1, 0).step;
  const [channels, height, width] = DATA.steps[source].shape;
  const chosen = state.account?.base === number ? (state.place?.channel ?? 0) : 0;
  const size = weight.length / step.shape[0];
  const isFirst = step.kind === "convolution" && channels === 1;
  let values = isFirst ? weight : weight.subarray(chosen * size, (chosen + 1) * size);
  /** @type {[number, number, number]} */
  let shape = [isFirst ? step.shape[0] : channels, step.kernel, step.kernel];
  if (step.kind === "linear") {
    shape = [channels, height, width];
    const ordered = new Float32Array(size);
    values.forEach((value, place) => {
      const { channel, y, x } = sourceOf(DATA.steps, number - 1, place);
      ordered[(channel * height + y) * width + x] = value;
    });
    values = ordered;
  }
  const name = number === DATA.steps.length - 2 ? `class ${DATA.classes[chosen]}` : `unit ${chosen + 1}`;
  const what = step.kind === "linear" ? name : `map ${chosen + 1}`;
  const inputs = `${channels.toLocaleString("en")} ${height * width === 1 ? "units" : "maps"}`;
  const text = isFirst
    ? `All ${step.shape[0]} filters`
    : `The weights of ${what}, for ${channels === 1 ? "its input" : `each of ${inputs}`}`;
  const caption = filters.querySelector("p");
  if (caption) caption.textContent = `${text}. The strongest colour is ${shown(largest(values))}.`;
  const maps = new Maps({ ...step, kind: "filters", shape }, canvas, []);
  maps.layOut(views[number].section.clientWidth);
  maps.draw(values, [], null);
}

/** Shows the arithmetic of the value that is pointed at. */
function showPlace() {
  const explained = state.account;
  const panel = byId("panel");
  byId("arithmetic").classList.toggle("open", Boolean(explained));
  byId("close").hidden = !explained;
  document.body.classList.toggle("panel-open", Boolean(explained));
  if (!state.place || !explained) {
    const text = `${state.outputs.length ? "Point" : "Draw first; then point"} at a value of a feature map.`;
    panel.replaceChildren(element("p", "faint", text));
    delete panel.dataset.value;
    return;
  }
  const step = DATA.steps[state.place.step];
  const isLast = state.place.step >= DATA.steps.length - 2;
  const place = isLast ? `class ${DATA.classes[state.place.channel]}` : placeName(DATA.steps, state.place);
  const title = `${step.title}: ${place}`;
  const most = largest(state.outputs[Math.max(explained.base - 1, 0)]);
  showAccount(panel, title, explained, DATA.steps[explained.base].kernel ?? 1, most, enlargedMap(state.place));
  if (state.isPinned) byId("spoken").textContent = `${title}: ${explained.lines[explained.lines.length - 1].text}`;
}

/**
 * The map of a value, large enough to choose others in it; none for units.
 * @param {Place} place
 * @returns {HTMLElement[]}
 */
function enlargedMap({ step: number, channel, y, x }) {
  const step = DATA.steps[number];
  const [, height, width] = step.shape;
  if (height * width === 1) return [];
  const canvas = document.createElement("canvas");
  byId("panel").append(canvas); // with the colours of the page
  const maps = new Maps({ ...step, shape: [1, height, width] }, canvas, []);
  maps.layOut(LARGE_MAP);
  const values = state.outputs[number].subarray(channel * height * width, (channel + 1) * height * width);
  maps.draw(values, [], { step: number, channel: 0, y, x });
  canvas.addEventListener("click", (event) => {
    const chosen = maps.placeAt(event);
    if (chosen) point({ step: number, channel, y: chosen.y, x: chosen.x }, true);
  });
  return [canvas];
}

/**
 * Points at a value, or at none.
 * @param {Place | null} place
 * @param {boolean} isPinned
 */
function point(place, isPinned) {
  const isSame = isAt(place);
  state.isPinned = isPinned && place !== null;
  if (isSame) return;
  state.place = place;
  explainPlace();
  drawLayers();
  showPlace();
}

/**
 * Whether a value is the one that is pointed at.
 * @param {Place | null} place
 * @returns {boolean}
 */
function isAt(place) {
  const { place: here } = state;
  if (!place || !here) return place === here;
  return place.step === here.step && place.channel === here.channel && place.y === here.y && place.x === here.x;
}

/**
 * Listens to the pointer and the keys on the maps of a step.
 * @param {number} number
 * @param {Maps} maps
 */
function listenToMaps(number, maps) {
  const { canvas } = maps;
  const at = (/** @type {MouseEvent} */ event) => {
    const place = maps.placeAt(event);
    return place && { step: number, ...place };
  };
  canvas.addEventListener("pointermove", (event) => {
    if (!state.isPinned && event.pointerType !== "touch") point(at(event), false);
  });
  canvas.addEventListener("pointerleave", () => state.isPinned || point(null, false));
  canvas.addEventListener("click", (event) => {
    const place = at(event);
    const releases = state.isPinned && isAt(place);
    point(releases ? null : place, !releases);
  });
  canvas.addEventListener("focus", () => (focused = number));
}

/** The step whose maps had the focus last. */
let focused = 0;

/**
 * Moves to the value beside the one that is pointed at, or to the first value of the maps with the focus.
 * @param {KeyboardEvent} event
 */
function moveByKey(event) {
  /** @type {Record<string, [number, number]>} */
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const arrow = arrows[event.key];
  const isOnMaps = event.target instanceof HTMLCanvasElement && event.target.tabIndex === 0;
  if (!arrow || event.target instanceof HTMLInputElement || !(isOnMaps || (state.isPinned && state.place))) return;
  event.preventDefault();
  const here = state.isPinned || state.place?.step === focused ? state.place : null;
  const step = here?.step ?? focused;
  const { maps } = views[step];
  if (!maps) return;
  point({ step, ...(here ? maps.beside(here, ...arrow) : { channel: 0, y: 0, x: 0 }) }, true);
}

/** Builds the row of every step. */
function buildLayers() {
  DATA.steps.forEach((step, number) => {
    const before = DATA.steps[number - 1];
    const sizes = (/** @type {Step} */ { shape }) =>
      shape[1] * shape[2] > 1 ? shape.join("×") : shape[0].toLocaleString("en");
    const section = element("section", "layer", "", [
      element("h3", "", step.title),
      element("p", "sizes", before ? `${sizes(before)} → ${sizes(step)}` : sizes(step)),
    ]);
    if (step.formula) section.append(element("p", "formula", `Size: ${step.formula}`));
    section.append(element("p", "faint", step.note));
    byId("layers").append(section);
    /** @type {LayerView} */
    const view = { maps: null, isVisible: false, section, scale: [], filters: null };
    views.push(view);
    if (["flatten", "dropout"].includes(step.kind)) return;
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `${step.title}: arrow keys move from value to value, Escape ends`);
    const isLast = number >= DATA.steps.length - 2;
    view.maps = new Maps(step, canvas, isLast ? DATA.classes : []);
    section.append(canvas, scaleOf(view));
    if (["convolution", "linear"].includes(step.kind)) section.append(filtersOf(view, number));
    listenToMaps(number, view.maps);
  });
}

/**
 * @param {LayerView} view
 * @returns {HTMLElement} the colour scale
 */
function scaleOf(view) {
  const isGrey = view.maps?.isGrey;
  view.scale = (isGrey ? ["0", "", "255"] : ["", "0", ""]).map((text) => element("span", "", text));
  const canvas = document.createElement("canvas");
  canvas.className = "gradient";
  return element("div", "scale", "", [canvas, ...view.scale]);
}

/** Colours the scales. */
function drawScales() {
  for (const { section, maps } of views) {
    const canvas = section.querySelector("canvas.gradient");
    if (!(canvas instanceof HTMLCanvasElement) || !maps) continue;
    canvas.width = 161;
    canvas.height = 1;
    const values = Array.from({ length: 161 }, (_, place) => (maps.isGrey ? (place / 160) * 255 : place / 80 - 1));
    contextOf(canvas).drawImage(imageOf(values, 161, maps.isGrey ? 0 : 1), 0, 0);
  }
}

/**
 * @param {LayerView} view
 * @param {number} number
 * @returns {HTMLElement}
 */
function filtersOf(view, number) {
  const details = /** @type {HTMLDetailsElement} */ (
    element("details", "", "", [
      element("summary", "", DATA.steps[number].kind === "linear" ? "Weights" : "Filters"),
      element("p", "faint"),
      document.createElement("canvas"),
    ])
  );
  details.addEventListener("toggle", () => details.open && drawFilters(number));
  view.filters = details;
  return details;
}

/** Draws the layers that come onto the screen. */
function watchVisibility() {
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const number = views.findIndex(({ section }) => section === target);
        views[number].isVisible = isIntersecting;
        if (isIntersecting) drawLayer(number);
      }
    },
    { rootMargin: "200px" },
  );
  for (const { section } of views) observer.observe(section);
}
