// What each layer computes. Values are float64, in the order of torch: channel by channel, row by row.

/**
 * A layer, as the page's data describe it.
 * @typedef {object} Step
 * @property {string} kind - chooses the function below that computes it
 * @property {string} title
 * @property {[number, number, number]} shape - channels, height and width of its output
 * @property {string} formula
 * @property {string} note
 * @property {Record<string, {at: number, length: number, half: boolean}>} arrays - where its weights are, in bytes
 * @property {number} kernel - pixels per side
 * @property {number} stride
 * @property {number} before - pixels of zeros above and on the left
 * @property {number} dilation
 * @property {number} eps
 * @property {number} mean
 * @property {number} std
 * @property {string} function - name of an activation
 */

/** @typedef {Record<string, Float32Array>} Weights - of one step, by torch's names */

/**
 * @typedef {object} Slide - a convolution or pooling, and its input
 * @property {Step} step
 * @property {Step} from - the step before
 * @property {Float64Array} input
 */

/** @type {Record<string, (x: number) => number>} */
const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  leaky_relu: (x) => (x < 0 ? 0.01 * x : x),
  elu: (x) => (x < 0 ? Math.expm1(x) : x),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

/**
 * The error function, within 1e-12: its power series, or for large values its continued fraction.
 * @param {number} x
 * @returns {number}
 */
function erf(x) {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2.5) {
    let term = z;
    let sum = z;
    for (let n = 1; Math.abs(term) > 1e-16 * sum; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
      if (n > 100) break;
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = z;
  for (let n = 60; n > 0; n--) fraction = z + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-z * z) / (fraction * Math.sqrt(Math.PI)));
}

/**
 * Computes every layer.
 * @param {Step[]} steps
 * @param {Weights[]} weights - of each step
 * @param {Uint8Array} pixels - 28×28, bright strokes on 0
 * @returns {Float64Array[]} the output of each step
 */
function forward(steps, weights, pixels) {
  /** @type {Float64Array[]} */
  const outputs = [];
  steps.forEach((step, number) => {
    const input = number ? outputs[number - 1] : Float64Array.from(pixels);
    outputs.push(computed(step, weights[number], steps[Math.max(number - 1, 0)], input));
  });
  return outputs;
}

/**
 * @param {Step} step
 * @param {Weights} weights
 * @param {Step} from - the step before
 * @param {Float64Array} input - its output
 * @returns {Float64Array}
 */
function computed(step, weights, from, input) {
  switch (step.kind) {
    case "input":
    case "dropout":
      return input;
    case "flatten":
      return flattened(from, input);
    case "normalise":
      return input.map((value) => (value / 255 - step.mean) / step.std);
    case "activation":
      return input.map(ACTIVATIONS[step.function]);
    case "norm":
      return batchNormalised(step, weights, input);
    case "convolution":
      return convolution({ step, from, input }, weights);
    case "max":
    case "average":
      return pooling({ step, from, input });
    case "linear":
      return linear(step, weights, input);
    case "softmax":
      return softmax(input);
    default:
      throw new Error(`unknown layer ${step.kind}`);
  }
}

/**
 * @param {Slide} slide
 * @param {Weights} weights
 * @returns {Float64Array}
 */
function convolution(slide, { weight, bias }) {
  const [channels, height, width] = slide.step.shape;
  const positions = height * width;
  const rows = patches(slide);
  const count = rows.length / positions;
  const output = new Float64Array(channels * positions);
  for (let channel = 0; channel < channels; channel++) {
    const map = output.subarray(channel * positions, (channel + 1) * positions);
    if (bias) map.fill(bias[channel]);
    let row = 0;
    for (; row + 4 <= count; row += 4) {
      // Four rows at a time: each value of the map is read and written once for four products.
      const at = channel * count + row;
      const [a, b, c, d] = [weight[at], weight[at + 1], weight[at + 2], weight[at + 3]];
      let place = row * positions;
      for (let target = 0; target < positions; target++, place++) {
        map[target] +=
          a * rows[place] +
          b * rows[place + positions] +
          c * rows[place + 2 * positions] +
          d * rows[place + 3 * positions];
      }
    }
    for (; row < count; row++) {
      const factor = weight[channel * count + row];
      for (let place = 0; place < positions; place++) map[place] += factor * rows[row * positions + place];
    }
  }
  return output;
}

/**
 * What each weight of a filter multiplies: a row of one value for each position of the filter. Padding is 0.
 * @param {Slide} slide
 * @returns {Float64Array}
 */
function patches({ step, from, input }) {
  const [inChannels, inHeight, inWidth] = from.shape;
  const [, height, width] = step.shape;
  const { kernel, stride, before, dilation } = step;
  const rows = new Float64Array(inChannels * kernel ** 2 * height * width);
  let target = 0;
  for (let map = 0; map < inChannels * inHeight * inWidth; map += inHeight * inWidth) {
    for (let weight = 0; weight < kernel ** 2; weight++) {
      const dy = Math.floor(weight / kernel) * dilation - before;
      const dx = (weight % kernel) * dilation - before;
      for (let y = dy; y < dy + height * stride; y += stride) {
        for (let x = dx; x < dx + width * stride; x += stride, target++) {
          if (y >= 0 && x >= 0 && y < inHeight && x < inWidth) rows[target] = input[map + y * inWidth + x];
        }
      }
    }
  }
  return rows;
}

/**
 * @param {Slide} slide
 * @returns {Float64Array}
 */
function pooling({ step, from, input }) {
  const [channels, inHeight, inWidth] = from.shape;
  const [, height, width] = step.shape;
  const { kernel, stride } = step;
  const isMax = step.kind === "max";
  const output = new Float64Array(channels * height * width);
  let target = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let value = isMax ? -Infinity : 0;
        for (let dy = 0; dy < kernel; dy++) {
          const row = (channel * inHeight + y * stride + dy) * inWidth + x * stride;
          for (let dx = 0; dx < kernel; dx++) {
            value = isMax ? Math.max(value, input[row + dx]) : value + input[row + dx];
          }
        }
        output[target++] = isMax ? value : value / kernel ** 2;
      }
    }
  }
  return output;
}

/**
 * @param {Step} step
 * @param {Weights} weights
 * @param {Float64Array} input
 * @returns {Float64Array}
 */
function batchNormalised(step, { running_mean, running_var, weight, bias }, input) {
  const size = step.shape[1] * step.shape[2];
  return input.map((value, place) => {
    const channel = Math.floor(place / size);
    const deviation = Math.sqrt(running_var[channel] + step.eps);
    return ((value - running_mean[channel]) / deviation) * weight[channel] + bias[channel];
  });
}

/**
 * @param {Step} step
 * @param {Weights} weights
 * @param {Float64Array} input
 * @returns {Float64Array}
 */
function linear(step, { weight, bias }, input) {
  const output = new Float64Array(step.shape[0]);
  const features = input.length;
  for (let unit = 0; unit < output.length; unit++) {
    let sum = bias[unit];
    const row = unit * features;
    for (let feature = 0; feature < features; feature++) sum += weight[row + feature] * input[feature];
    output[unit] = sum;
  }
  return output;
}

/**
 * All values of all maps in one list, pixel by pixel, as this project's networks do.
 * @param {Step} from
 * @param {Float64Array} input
 * @returns {Float64Array}
 */
function flattened(from, input) {
  return input.map((_, place) => input[unflattened(from, place)]);
}

/**
 * The place of a flattened value in the maps.
 * @param {Step} from - the step before the flattening
 * @param {number} place
 * @returns {number}
 */
function unflattened(from, place) {
  const [channels, height, width] = from.shape;
  return (place % channels) * height * width + Math.floor(place / channels);
}

/**
 * @param {Float64Array} logits
 * @returns {Float64Array}
 */
function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}
