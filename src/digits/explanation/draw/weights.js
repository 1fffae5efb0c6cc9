// Decodes the numbers in the page: little-endian, as all processors that run browsers have them.

/**
 * Decodes the weights of all steps.
 * @param {Step[]} steps
 * @param {string} base64
 * @returns {Weights[]}
 */
function decoded(steps, base64) {
  const { buffer } = bytesOf(base64);
  return steps.map(({ arrays }) => {
    /** @type {Weights} */
    const weights = {};
    for (const [name, { at, length, half }] of Object.entries(arrays)) {
      weights[name] = half
        ? widened(new Uint16Array(buffer.slice(at, at + 2 * length)))
        : new Float32Array(buffer.slice(at, at + 4 * length));
    }
    return weights;
  });
}

/**
 * @param {string} base64
 * @returns {Uint8Array<ArrayBuffer>}
 */
function bytesOf(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = letters.charCodeAt(place);
  return bytes;
}

/**
 * @param {string} base64 - of float32
 * @returns {Float32Array}
 */
function floats(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

/**
 * Turns float16 into float32.
 * @param {Uint16Array} halves
 * @returns {Float32Array}
 */
function widened(halves) {
  const table = (halfFloats ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfFloat(bits)));
  const values = new Float32Array(halves.length);
  for (let place = 0; place < values.length; place++) values[place] = table[halves[place]];
  return values;
}

/** @type {Float32Array | undefined} the values of all float16 */
let halfFloats;

/**
 * The value of a float16.
 * @param {number} bits
 * @returns {number}
 */
function halfFloat(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
  return bits & 0x8000 ? -size : size;
}
