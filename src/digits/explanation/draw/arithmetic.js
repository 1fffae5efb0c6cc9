// How one value was computed: the numbers that the panel shows.

/**
 * A place in the output of a step.
 * @typedef {object} Place
 * @property {number} step
 * @property {number} channel
 * @property {number} y
 * @property {number} x
 */

/**
 * The part of a feature map that a kernel covers; it may reach beyond the map, where padding is.
 * @typedef {object} Region
 * @property {number} step
 * @property {number | null} channel - null for every channel
 * @property {number} y
 * @property {number} x
 * @property {number} side - pixels
 */

/**
 * Patch × kernel of one channel.
 * @typedef {object} Product
 * @property {number} channel
 * @property {(number | null)[]} patch - row by row; null in the padding, where values are 0
 * @property {number[]} kernel
 * @property {number} sum
 */

/** @typedef {{name: string, value: number, weight: number, product: number}} Term - of a fully connected layer */

/**
 * One line of an account.
 * @typedef {object} Line
 * @property {string} text
 * @property {number} value - the result of the line
 * @property {Product[]} [products] - those of the largest sums first
 * @property {Term[]} [terms] - the largest first
 * @property {number[]} [values] - of a window of pooling, row by row
 * @property {number} [won] - index of the largest of them, for max pooling
 */

/**
 * @typedef {object} Account
 * @property {Line[]} lines - from the input of the last layer with weights, or the pooling, to the value
 * @property {number} value
 * @property {Region[]} regions - what to highlight in the layers before it
 * @property {number} base - the step of the first line
 */

const POINTWISE = ["activation", "norm"];
const SHOWN_TERMS = 10;

/**
 * Explains a value.
 * @param {Step[]} steps
 * @param {Weights[]} weights
 * @param {Float64Array[]} outputs
 * @param {string[]} classes
 * @param {Place} place
 * @returns {Account}
 */
function account(steps, weights, outputs, classes, place) {
  let base = place.step;
  while (POINTWISE.includes(steps[base].kind)) base--;
  const { line, regions } = baseLine(steps, weights, outputs, classes, { ...place, step: base });
  const lines = [line];
  for (let number = base + 1; number <= place.step; number++) {
    lines.push(pointwiseLine(steps[number], weights[number], place.channel, lines[lines.length - 1].value));
  }
  return { lines, regions, base, value: lines[lines.length - 1].value };
}

/**
 * @param {Step[]} steps
 * @param {Weights[]} weights
 * @param {Float64Array[]} outputs
 * @param {string[]} classes
 * @param {Place} place
 * @returns {{line: Line, regions: Region[]}}
 */
function baseLine(steps, weights, outputs, classes, place) {
  const step = steps[place.step];
  const before = place.step - 1;
  const [, height, width] = step.shape;
  const index = (place.channel * height + place.y) * width + place.x;
  const slide = { step, from: steps[Math.max(before, 0)], input: outputs[Math.max(before, 0)] };
  const coveredSide = step.kernel ? step.dilation * (step.kernel - 1) + 1 : 1;
  const y = step.kernel ? place.y * step.stride - step.before : place.y;
  const x = step.kernel ? place.x * step.stride - step.before : place.x;
  switch (step.kind) {
    case "convolution":
      return {
        line: productsLine(slide, weights[place.step], place, y, x),
        regions: [{ step: before, channel: null, y, x, side: coveredSide }],
      };
    case "max":
    case "average":
      return {
        line: windowLine(slide, place.channel, y, x),
        regions: [{ step: before, channel: place.channel, y, x, side: coveredSide }],
      };
    case "linear":
      return linearLine(steps, weights[place.step], outputs, place);
    case "softmax": {
      const most = Math.max(...slide.input);
      const power = Math.exp(slide.input[index] - most);
      const all = slide.input.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
      const value = power / all;
      const exponent = `${shown(slide.input[index])} less the largest, ${shown(most)}`;
      const quotient = `divided by the sum of all ${classes.length}, ${shown(all)}: ${shown(value)}`;
      const text = `e to the power of ${exponent}: ${shown(power)}; ${quotient}`;
      return { line: { text, value }, regions: [{ step: before, channel: place.channel, y, x, side: 1 }] };
    }
    case "normalise": {
      const value = (slide.input[index] / 255 - step.mean) / step.std;
      const text = `(${slide.input[index]} / 255 − ${step.mean}) / ${step.std} = ${shown(value)}`;
      return { line: { text, value }, regions: [{ step: before, channel: 0, y, x, side: 1 }] };
    }
    default: {
      const value = outputs[place.step][index];
      return { line: { text: `a pixel of ${value} of 255`, value }, regions: [] };
    }
  }
}

/**
 * @param {Slide} slide
 * @param {Weights} weights
 * @param {Place} place
 * @param {number} top
 * @param {number} left
 * @returns {Line}
 */
function productsLine({ step, from, input }, { weight, bias }, place, top, left) {
  const [channels, height, width] = from.shape;
  const size = step.kernel ** 2;
  const products = Array.from({ length: channels }, (_, channel) => {
    const start = (place.channel * channels + channel) * size;
    const kernel = [...weight.subarray(start, start + size)];
    const patch = kernel.map((_, number) => {
      const y = top + Math.floor(number / step.kernel) * step.dilation;
      const x = left + (number % step.kernel) * step.dilation;
      const isInside = y >= 0 && x >= 0 && y < height && x < width;
      return isInside ? input[(channel * height + y) * width + x] : null;
    });
    const sum = kernel.reduce((total, factor, number) => total + factor * (patch[number] ?? 0), 0);
    return { channel, patch, kernel, sum };
  });
  const sum = products.reduce((total, product) => total + product.sum, 0);
  const value = sum + (bias ? bias[place.channel] : 0);
  const over = channels > 1 ? `sum over ${channels} channels` : "sum of the products";
  const total = bias ? `${shown(sum)} ${added(bias[place.channel])} (bias) = ${shown(value)}` : shown(value);
  const text = `${over}: ${total}`;
  products.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  return { text, value, products };
}

/**
 * @param {Slide} slide
 * @param {number} channel
 * @param {number} top
 * @param {number} left
 * @returns {Line}
 */
function windowLine({ step, from, input }, channel, top, left) {
  const [, height, width] = from.shape;
  const values = Array.from({ length: step.kernel ** 2 }, (_, number) => {
    const y = top + Math.floor(number / step.kernel);
    return input[(channel * height + y) * width + left + (number % step.kernel)];
  });
  const isMax = step.kind === "max";
  const value = isMax ? Math.max(...values) : values.reduce((sum, one) => sum + one, 0) / values.length;
  const areEqual = values.every((one) => one === value);
  const text = areEqual ? `all are ${shown(value)}` : `${isMax ? "the largest" : "the mean"} is ${shown(value)}`;
  return isMax && !areEqual ? { text, value, values, won: values.indexOf(value) } : { text, value, values };
}

/**
 * @param {Step[]} steps
 * @param {Weights} weights
 * @param {Float64Array[]} outputs
 * @param {Place} place
 * @returns {{line: Line, regions: Region[]}}
 */
function linearLine(steps, { weight, bias }, outputs, place) {
  const before = place.step - 1;
  const input = outputs[before];
  const row = weight.subarray(place.channel * input.length, (place.channel + 1) * input.length);
  const all = [...row].map((factor, feature) => ({ feature, product: factor * input[feature] }));
  const sum = all.reduce((total, { product }) => total + product, 0);
  all.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const shownTerms = all.slice(0, SHOWN_TERMS);
  const places = shownTerms.map(({ feature }) => sourceOf(steps, before, feature));
  const terms = shownTerms.map(({ feature, product }, number) => ({
    name: placeName(steps, places[number]),
    value: input[feature],
    weight: row[feature],
    product,
  }));
  const value = sum + bias[place.channel];
  const total = `${shown(sum)} ${added(bias[place.channel])} (bias) = ${shown(value)}`;
  const text = `sum of all ${input.length.toLocaleString("en")} products: ${total}`;
  const regions = places.map((source) => ({ ...source, side: 1 }));
  return { line: { text, value, terms }, regions };
}

/**
 * The place in the maps before the flattening, or in a list of units, that a value of a list comes from.
 * @param {Step[]} steps
 * @param {number} number - the step whose output is the list, or maps
 * @param {number} index
 * @returns {Place}
 */
function sourceOf(steps, number, index) {
  while (["flatten", "dropout"].includes(steps[number].kind)) {
    if (steps[number].kind === "flatten") index = unflattened(steps[number - 1], index);
    number--;
  }
  const [, height, width] = steps[number].shape;
  const channel = Math.floor(index / (height * width));
  return { step: number, channel, y: Math.floor(index / width) % height, x: index % width };
}

/**
 * @param {Step} step
 * @param {Weights} weights
 * @param {number} channel
 * @param {number} input
 * @returns {Line}
 */
function pointwiseLine(step, weights, channel, input) {
  if (step.kind === "norm") {
    const [mean, variance, scale, shift] = ["running_mean", "running_var", "weight", "bias"].map(
      (name) => weights[name][channel],
    );
    const deviation = Math.sqrt(variance + step.eps);
    const value = ((input - mean) / deviation) * scale + shift;
    const standardised = `(${shown(input)} − ${shown(mean)}) / ${shown(deviation)}`;
    const text = `normalised: ${standardised} · ${shown(scale)} ${added(shift)} = ${shown(value)}`;
    return { text, value };
  }
  const value = ACTIVATIONS[step.function](input);
  return { text: `${step.title.replace(/^.*: /, "")}(${shown(input)}) = ${shown(value)}`, value };
}

/**
 * @param {Step[]} steps
 * @param {Place} place
 * @returns {string}
 */
function placeName(steps, { step, channel, y, x }) {
  const [, height, width] = steps[step].shape;
  if (height * width === 1) return `unit ${channel + 1}`;
  const inMap = `row ${y + 1}, column ${x + 1}`;
  return steps[step].shape[0] === 1 ? inMap : `map ${channel + 1}, ${inMap}`;
}

/**
 * A number in few characters, with a real minus.
 * @param {number} value
 * @returns {string}
 */
function shown(value) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-4)) return value.toExponential(1).replaceAll("-", "−");
  const places = size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return value.toFixed(places).replace(/^-(?!0\.0+$)/, "−").replace("-", "");
}

/**
 * A number that is added.
 * @param {number} value
 * @returns {string}
 */
function added(value) {
  return `${value < 0 ? "−" : "+"} ${shown(Math.abs(value))}`;
}
