// The drawing: strokes of a pen as lists of points, so that they can be undone and drawn at any size.

const RASTER = 280; // pixels per side of the drawing from which the network's image is computed

/**
 * @typedef {object} Stroke
 * @property {number} width - fraction of the canvas
 * @property {[number, number][]} points - x and y, fractions of the canvas
 */

/**
 * Draws strokes; a stroke of one point is a dot.
 * @param {CanvasRenderingContext2D} context
 * @param {Stroke[]} strokes
 * @param {number} side - pixels of the square canvas
 * @param {string} colour
 */
function drawStrokes(context, strokes, side, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const { width, points } of strokes) {
    const [[firstX, firstY], ...others] = points.map(([x, y]) => [x * side, y * side]);
    context.lineWidth = width * side;
    context.beginPath();
    if (others.length) {
      context.moveTo(firstX, firstY);
      for (const [x, y] of others) context.lineTo(x, y);
      context.stroke();
    } else {
      context.arc(firstX, firstY, (width * side) / 2, 0, 2 * Math.PI);
      context.fill();
    }
  }
}

/**
 * The drawing as grey values, bright ink on 0.
 * @param {Stroke[]} strokes
 * @returns {Plane}
 */
function rasterised(strokes) {
  const context = rasterContext();
  context.fillStyle = "black";
  context.fillRect(0, 0, RASTER, RASTER);
  drawStrokes(context, strokes, RASTER, "white");
  const { data } = context.getImageData(0, 0, RASTER, RASTER);
  const values = new Float64Array(RASTER * RASTER);
  for (let place = 0; place < values.length; place++) values[place] = data[4 * place];
  return { width: RASTER, height: RASTER, values };
}

/** @type {CanvasRenderingContext2D | undefined} */
let raster;

/** @returns {CanvasRenderingContext2D} */
function rasterContext() {
  if (!raster) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = RASTER;
    raster = contextOf(canvas, { willReadFrequently: true });
  }
  return raster;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} [settings]
 * @returns {CanvasRenderingContext2D}
 */
function contextOf(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("this browser cannot draw on a canvas");
  return context;
}

/**
 * Calls back while a mouse, finger or pen draws on a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {() => number} brush - the width of a new stroke, a fraction of the canvas
 * @param {(stroke: Stroke) => void} onStart
 * @param {() => void} onMove
 */
function listenToPen(canvas, brush, onStart, onMove) {
  /** @type {Stroke | null} */
  let stroke = null;
  let pen = -1; // a second finger, or the palm, does not draw
  const add = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    stroke?.points.push([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || stroke) return;
    canvas.setPointerCapture(event.pointerId);
    pen = event.pointerId;
    stroke = { width: brush(), points: [] };
    add(event);
    onStart(stroke);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || event.pointerId !== pen) return;
    const events = event.getCoalescedEvents?.() ?? []; // only files and secure pages have this function
    (events.length ? events : [event]).forEach(add);
    onMove();
  });
  const end = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId === pen) stroke = null;
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
}
