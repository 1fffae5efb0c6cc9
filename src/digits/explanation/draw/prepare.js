// How a drawing becomes an image of 28×28, as `digits predict` prepares a picture of it; the constants are those of
// digits.preparation. Unlike there, ink at the edge counts, and no line or stain is refused: a person drew it.

const BOX = 20; // pixels of the longer side of a digit in MNIST's images
const SMALL_DIGIT = 36; // pixels of the halved drawing: a smaller digit is prepared at full resolution
const LARGEST_PART = 80; // pixels of the halved drawing around a digit that is prepared at full resolution
const FILLED = 0.12; // fraction of the drawing: a digit with more ink fills it
const LOWEST = 7; // of 255: what is fainter is paper
const MIN_STROKE = 2.2; // pixels in the box of 20; MNIST's are 2 to 4
const NARROW = 0.5; // width over height: a narrower digit is widened
const SINGLE = 2.2; // times the width of a stroke: what is narrower is one upright stroke, a 1

/**
 * @typedef {object} Prepared
 * @property {Uint8Array | null} pixels - 28×28, bright strokes on 0; null without a digit
 * @property {string} problem - why there is none; empty with one
 */

/**
 * Finds the digit in a drawing, and prepares it as in MNIST.
 * @param {Plane} drawing - a square with bright ink on 0
 * @returns {Prepared}
 */
function preparedDigit(drawing) {
  const coarse = halved(drawing);
  const found = digitOf(coarse);
  if (typeof found === "string") return { pixels: null, problem: found };
  const longest = Math.max(found.box.width, found.box.height);
  if (longest >= SMALL_DIGIT || sideAround(found.box, longest, coarse) > LARGEST_PART) {
    return { pixels: centred(boxed(coarse, found.mask, found.box)), problem: "" };
  }
  const near = enlarged(found.mask, coarse.width);
  const threshold = thresholdOf(drawing.values);
  const mask = drawing.values.map((value, place) => (value > threshold && near[place] ? 1 : 0));
  return { pixels: centred(boxed(drawing, mask, boxOf(mask, drawing.width))), problem: "" };
}

/**
 * The longer side of the part of the drawing around a small digit.
 * @param {Box} box
 * @param {number} longest - its longer side
 * @param {Plane} plane
 * @returns {number}
 */
function sideAround(box, longest, plane) {
  const margin = roundedToEven(0.7 * longest);
  const across = Math.min(box.left + box.width + margin, plane.width) - Math.max(box.left - margin, 0);
  const down = Math.min(box.top + box.height + margin, plane.height) - Math.max(box.top - margin, 0);
  return Math.max(across, down);
}

/**
 * The threshold between paper and ink: Otsu's, but not much above half the mean of the ink; half of full brightness,
 * if the digit fills the drawing.
 * @param {Float64Array} values
 * @returns {number}
 */
function thresholdOf(values) {
  if (values.filter((value) => value > 127).length > FILLED * values.length) return 127;
  const marked = values.filter((value) => value > LOWEST);
  if (!marked.length) return Infinity;
  const threshold = otsu(marked);
  const ink = marked.filter((value) => value > threshold);
  const full = ink.reduce((sum, value) => sum + value, 0) / ink.length;
  return ink.length ? Math.min(threshold, 0.55 * full) : threshold;
}

/**
 * The whole drawing, scaled to 28×28, for networks that read whole pictures.
 * @param {Plane} drawing
 * @returns {Prepared}
 */
function preparedWhole(drawing) {
  const small = resized(drawing, 28, 28);
  return small.values.some((value) => value > 0)
    ? { pixels: Uint8Array.from(small.values), problem: "" }
    : { pixels: null, problem: "Nothing is drawn." };
}

/**
 * The ink of the digit, without specks.
 * @param {Plane} plane
 * @returns {{mask: Float64Array, box: Box} | string} a string says why there is none
 */
function digitOf({ width, values }) {
  const pieces = connected(values, width, thresholdOf(values));
  if (!pieces.length) return "Nothing is drawn.";
  const score = (/** @type {Piece} */ { box, places }) => places.length * Math.max(box.width, box.height);
  const main = pieces.reduce((best, piece) => (score(piece) > score(best) ? piece : best));
  const size = Math.max(main.box.width, main.box.height);
  const kept = [main];
  for (const piece of pieces) {
    if (piece === main || piece.places.length <= Math.max(0.004 * main.places.length, 3)) continue;
    const gap = gapOf(piece.box, main.box);
    const heights = [piece.box.height, main.box.height];
    const isTall = Math.min(...heights) > 0.6 * Math.max(...heights);
    if (isTall && piece.places.length > 0.25 * main.places.length && gap > 0.1 * size) {
      return "Several digits: the network reads one at a time.";
    }
    if (gap < 0.2 * size && piece.places.length > 0.02 * main.places.length) kept.push(piece);
  }
  const mask = new Float64Array(values.length);
  for (const { places } of kept) for (const place of places) mask[place] = 1;
  const box = boxOf(mask, width);
  return Math.max(box.width, box.height) < 4 ? "Too few pixels for a digit." : { mask, box };
}

/** @typedef {{places: number[], box: Box}} Piece */

/**
 * The pieces of ink; pixels are connected at their corners too.
 * @param {Float64Array} values
 * @param {number} width
 * @param {number} threshold - above it is ink
 * @returns {Piece[]}
 */
function connected(values, width, threshold) {
  const seen = new Uint8Array(values.length);
  const height = values.length / width;
  /** @type {Piece[]} */
  const pieces = [];
  values.forEach((value, start) => {
    if (value <= threshold || seen[start]) return;
    seen[start] = 1;
    const places = [start];
    for (let next = 0; next < places.length; next++) {
      const x = places[next] % width;
      const y = Math.floor(places[next] / width);
      for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, height - 1); j++) {
        for (let i = Math.max(x - 1, 0); i <= Math.min(x + 1, width - 1); i++) {
          const place = j * width + i;
          if (values[place] > threshold && !seen[place]) {
            seen[place] = 1;
            places.push(place);
          }
        }
      }
    }
    pieces.push({ places, box: boxAround(places, width) });
  });
  return pieces;
}

/**
 * Pixels between two boxes; negative if they overlap.
 * @param {Box} a
 * @param {Box} b
 * @returns {number}
 */
function gapOf(a, b) {
  const x = Math.max(a.left - b.left - b.width, b.left - a.left - a.width);
  const y = Math.max(a.top - b.top - b.height, b.top - a.top - a.height);
  return Math.max(x, y);
}

/**
 * @param {Float64Array} mask
 * @param {number} width
 * @returns {Box}
 */
function boxOf(mask, width) {
  /** @type {number[]} */
  const places = [];
  mask.forEach((value, place) => value && places.push(place));
  return boxAround(places, width);
}

/**
 * @param {number[]} places
 * @param {number} width
 * @returns {Box}
 */
function boxAround(places, width) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  for (const place of places) {
    const x = place % width;
    const y = Math.floor(place / width);
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/**
 * A mask of twice the size, two pixels wider around.
 * @param {Float64Array} mask
 * @param {number} width
 * @returns {Uint8Array}
 */
function enlarged(mask, width) {
  const double = 2 * width;
  const near = new Uint8Array(4 * mask.length);
  mask.forEach((value, place) => {
    if (!value) return;
    const x = 2 * (place % width);
    const y = 2 * Math.floor(place / width);
    for (let j = Math.max(y - 4, 0); j < Math.min(y + 6, double); j++) {
      near.fill(1, j * double + Math.max(x - 4, 0), j * double + Math.min(x + 6, double));
    }
  });
  return near;
}

/**
 * Cuts the digit out and scales it to 20 pixels on its longer side, with strokes at least as wide as MNIST's.
 * @param {Plane} plane
 * @param {Float64Array} mask
 * @param {Box} box
 * @returns {Plane}
 */
function boxed(plane, mask, box) {
  const inside = cut({ ...plane, values: mask }, box);
  const around = dilated(inside, 3);
  const strength = plane.values.filter((_, place) => mask[place]).sort();
  const full = strength[Math.floor(0.6 * (strength.length - 1))];
  const ink = cut(plane, box);
  ink.values = ink.values.map((value, place) => Math.min((value * around.values[place]) / full, 1));
  const isSingle = box.width <= SINGLE * strokeOf(inside);
  const wide = isSingle ? box.width : Math.max(box.width, roundedToEven(NARROW * box.height));
  const stroke = strokeOf(stretched(inside, wide));
  const scale = BOX / Math.max(wide, box.height);
  const dilationSide = Math.max(1, roundedToEven(MIN_STROKE / scale - stroke)) | 1;
  const thin = stretched(ink, wide);
  const drawn = stroke * scale < MIN_STROKE ? dilated(padded(thin, dilationSide >> 1), dilationSide) : thin;
  const finalScale = BOX / Math.max(drawn.height, drawn.width);
  drawn.values = drawn.values.map((value) => Math.floor(255 * value));
  const sides = [drawn.width, drawn.height].map((side) => Math.max(1, roundedToEven(side * finalScale)));
  return resized(drawn, sides[0], sides[1]);
}

/**
 * The mean width of the strokes, in pixels.
 * @param {Plane} inside - 1 where there is ink
 * @returns {number}
 */
function strokeOf(inside) {
  const area = inside.values.filter((value) => value).length;
  const outline = inside.values.filter((value, place) => value && isOutline(inside, place)).length;
  return (2 * area) / Math.max(outline, 1);
}

/**
 * Repeats columns, so that a narrow digit becomes as wide as those of MNIST before its strokes are made thicker.
 * @param {Plane} plane
 * @param {number} wide
 * @returns {Plane}
 */
function stretched(plane, wide) {
  const values = new Float64Array(wide * plane.height);
  for (let y = 0; y < plane.height; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      values[y * wide + x] = plane.values[y * plane.width + Math.floor((x * plane.width) / wide)];
    }
  }
  return { width: wide, height: plane.height, values };
}

/**
 * Places a digit into 28×28 with its centre of mass in the middle.
 * @param {Plane} small
 * @returns {Uint8Array}
 */
function centred({ width, height, values }) {
  let [mass, xs, ys] = [0, 0, 0];
  values.forEach((value, place) => {
    mass += value;
    xs += value * (place % width);
    ys += value * Math.floor(place / width);
  });
  const corner = (/** @type {number} */ sum, /** @type {number} */ side) =>
    Math.min(Math.max(roundedToEven(14 - sum / mass), 0), 28 - side);
  const left = corner(xs, width);
  const top = corner(ys, height);
  const image = new Uint8Array(28 * 28);
  values.forEach((value, place) => {
    image[(top + Math.floor(place / width)) * 28 + left + (place % width)] = value;
  });
  return image;
}
