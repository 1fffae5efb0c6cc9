// Grey pictures: cut, dilated and scaled as numpy, scipy and Pillow do it.

/**
 * Grey values, row by row.
 * @typedef {object} Plane
 * @property {number} width
 * @property {number} height
 * @property {Float64Array} values - 0 to 255, ink is bright
 */

/** @typedef {{left: number, top: number, width: number, height: number}} Box */

/**
 * Means of 2×2 pixels.
 * @param {Plane} plane
 * @returns {Plane}
 */
function halved(plane) {
  const width = plane.width / 2;
  const height = plane.height / 2;
  const values = new Float64Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = 2 * y * plane.width + 2 * x;
      const below = place + plane.width;
      const sum = plane.values[place] + plane.values[place + 1] + plane.values[below] + plane.values[below + 1];
      values[y * width + x] = Math.floor((sum + 2) / 4);
    }
  }
  return { width, height, values };
}

/**
 * @param {Plane} plane
 * @param {Box} box
 * @returns {Plane}
 */
function cut(plane, { left, top, width, height }) {
  const values = new Float64Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * plane.width + left;
    values.set(plane.values.subarray(start, start + width), y * width);
  }
  return { width, height, values };
}

/**
 * @param {Plane} plane
 * @param {number} margin - pixels of 0 on each side
 * @returns {Plane}
 */
function padded(plane, margin) {
  const width = plane.width + 2 * margin;
  const height = plane.height + 2 * margin;
  const values = new Float64Array(width * height);
  for (let y = 0; y < plane.height; y++) {
    const row = plane.values.subarray(y * plane.width, (y + 1) * plane.width);
    values.set(row, (y + margin) * width + margin);
  }
  return { width, height, values };
}

/**
 * The largest value around each pixel.
 * @param {Plane} plane
 * @param {number} side - of the square around it, odd
 * @returns {Plane}
 */
function dilated({ width, height, values }, side) {
  const reach = side >> 1;
  const across = values.map((_, place) => {
    const x = place % width;
    let largest = 0;
    for (let dx = Math.max(-reach, -x); dx <= Math.min(reach, width - 1 - x); dx++) {
      largest = Math.max(largest, values[place + dx]);
    }
    return largest;
  });
  const both = across.map((_, place) => {
    const y = Math.floor(place / width);
    let largest = 0;
    for (let dy = Math.max(-reach, -y); dy <= Math.min(reach, height - 1 - y); dy++) {
      largest = Math.max(largest, across[place + dy * width]);
    }
    return largest;
  });
  return { width, height, values: both };
}

/**
 * Whether a pixel of ink has a neighbour, above, below or beside it, that is not ink.
 * @param {Plane} mask
 * @param {number} place
 * @returns {boolean}
 */
function isOutline({ width, height, values }, place) {
  const x = place % width;
  const y = Math.floor(place / width);
  if (x === 0 || y === 0 || x === width - 1 || y === height - 1) return true;
  return !(values[place - 1] && values[place + 1] && values[place - width] && values[place + width]);
}

/**
 * Scales with Pillow's bicubic filter, across and then down, rounded to bytes after each.
 * @param {Plane} plane
 * @param {number} width
 * @param {number} height
 * @returns {Plane}
 */
function resized(plane, width, height) {
  return transposed(resizedAcross(transposed(resizedAcross(plane, width)), height));
}

/**
 * @param {Plane} plane
 * @returns {Plane} with rows and columns exchanged
 */
function transposed({ width, height, values }) {
  const swapped = values.map((_, place) => values[(place % height) * width + Math.floor(place / height)]);
  return { width: height, height: width, values: swapped };
}

/**
 * @param {Plane} plane
 * @param {number} width
 * @returns {Plane}
 */
function resizedAcross(plane, width) {
  const scale = plane.width / width;
  const widening = Math.max(scale, 1); // when it shrinks, the filter covers more pixels
  const values = new Float64Array(width * plane.height);
  for (let x = 0; x < width; x++) {
    const centre = (x + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 2 * widening + 0.5));
    const end = Math.min(plane.width, Math.trunc(centre + 2 * widening + 0.5));
    const factors = Array.from({ length: end - first }, (_, n) => bicubic((first + n - centre + 0.5) / widening));
    const total = factors.reduce((sum, factor) => sum + factor, 0);
    for (let y = 0; y < plane.height; y++) {
      let sum = 0;
      factors.forEach((factor, n) => (sum += factor * plane.values[y * plane.width + first + n]));
      values[y * width + x] = Math.min(255, Math.max(0, Math.floor(sum / total + 0.5)));
    }
  }
  return { width, height: plane.height, values };
}

/**
 * Keys' cubic convolution with a = −0.5 ("Cubic convolution interpolation", 1981).
 * @param {number} x
 * @returns {number}
 */
function bicubic(x) {
  const z = Math.abs(x);
  if (z < 1) return (1.5 * z - 2.5) * z * z + 1;
  return z < 2 ? ((-0.5 * z + 2.5) * z - 4) * z + 2 : 0;
}

/**
 * Rounds as Python does: halves to the even number.
 * @param {number} value
 * @returns {number}
 */
function roundedToEven(value) {
  const whole = Math.floor(value);
  const rest = value - whole;
  return rest === 0.5 ? whole + (whole & 1) : Math.round(value);
}

/**
 * The threshold that separates two classes best (Otsu, "A threshold selection method", 1979).
 * @param {Float64Array} values
 * @returns {number}
 */
function otsu(values) {
  const darkest = values.reduce((low, one) => Math.min(low, one), 255);
  const brightest = values.reduce((high, one) => Math.max(high, one), 0);
  if (darkest === brightest) return darkest / 2;
  const step = (brightest - darkest) / 127;
  const counts = new Float64Array(128);
  for (const value of values) counts[Math.trunc((value - darkest) / step)]++;
  const middles = counts.map((_, bin) => darkest + step * (bin + 0.5));
  const whole = counts.reduce((sum, count, bin) => sum + count * middles[bin], 0);
  let [below, total, best, threshold] = [0, 0, -1, darkest];
  for (let bin = 0; bin < 127; bin++) {
    below += counts[bin];
    total += counts[bin] * middles[bin];
    const above = values.length - below;
    const between = below && above ? below * above * (total / below - (whole - total) / above) ** 2 : -1;
    if (between > best) [best, threshold] = [between, middles[bin] + step / 2];
  }
  return threshold;
}
