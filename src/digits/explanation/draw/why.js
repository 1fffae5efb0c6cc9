// Which pixels mattered: a grey square covers one part of the digit after another (Zeiler and Fergus, 2014).

const SQUARE = 6; // pixels per side
const STRIDE = 2; // pixels from one place of the square to the next
const GREY = 128; // of 255
const PAUSE = 300; // milliseconds without a change, after which it is computed

/**
 * Computes how much each pixel supports the answer, a part at a time so that the page stays responsive.
 * @param {Step[]} steps
 * @param {Weights[]} weights
 * @param {Uint8Array} pixels
 * @param {number} answer
 * @param {() => boolean} isCurrent - whether the result is still wanted
 * @returns {Promise<Float64Array | null>} mean loss of the answer's lead while each pixel was covered, in nats
 */
async function occlusion(steps, weights, pixels, answer, isCurrent) {
  const logits = steps.length - 2; // the step before softmax
  const lead = (/** @type {Uint8Array} */ image) => {
    const outputs = forward(steps, weights, image)[logits];
    return outputs[answer] - Math.max(...outputs.filter((_, number) => number !== answer));
  };
  const whole = lead(pixels);
  const sums = new Float64Array(pixels.length);
  const counts = new Float64Array(pixels.length);
  let paused = performance.now();
  for (let top = 0; top <= 28 - SQUARE; top += STRIDE) {
    for (let left = 0; left <= 28 - SQUARE; left += STRIDE) {
      if (performance.now() - paused > 12) {
        await new Promise((resolve) => setTimeout(resolve));
        if (!isCurrent()) return null;
        paused = performance.now();
      }
      const covered = pixels.slice();
      for (let y = top; y < top + SQUARE; y++) covered.fill(GREY, y * 28 + left, y * 28 + left + SQUARE);
      const loss = whole - lead(covered);
      for (let y = top; y < top + SQUARE; y++) {
        for (let x = left; x < left + SQUARE; x++) {
          sums[y * 28 + x] += loss;
          counts[y * 28 + x] += 1;
        }
      }
    }
  }
  return sums.map((sum, place) => sum / Math.max(counts[place], 1));
}
