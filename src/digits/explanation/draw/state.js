// What the page contains, and what it shows now.

/**
 * @typedef {object} Example
 * @property {string} pixels - 28×28 bytes in base64
 * @property {string} label
 * @property {string} title
 */

/**
 * What the page contains.
 * @typedef {object} PageData
 * @property {string[]} classes
 * @property {boolean} wholePicture - whether the network reads whole pictures, not a digit found in them
 * @property {number} unsure - the probability below which an answer is unsure
 * @property {Usual | null} usual - of the trained network; null if it has no threshold
 * @property {Step[]} steps
 * @property {{name: string, weights: string}[]} networks - of each epoch, and the trained one last
 * @property {string} leftOut - a sentence on the epochs that the page leaves out; empty if none
 * @property {Example[]} digits
 * @property {Example[]} errors
 */

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/**
 * @param {string} id
 * @returns {HTMLCanvasElement}
 */
const canvasById = (id) => /** @type {HTMLCanvasElement} */ (byId(id));

/**
 * @param {string} id
 * @returns {HTMLInputElement}
 */
const inputById = (id) => /** @type {HTMLInputElement} */ (byId(id));

/** @type {PageData} */
const DATA = JSON.parse(byId("data").textContent ?? "");
const LAYOUT_PAUSE = 150; // milliseconds after a change of size, before everything is laid out again

/** What is shown now. */
const state = {
  /** @type {Stroke[]} */
  strokes: [],
  /** @type {Uint8Array | null} of a chosen test image */
  example: null,
  /** @type {Prepared} */
  prepared: { pixels: null, problem: "" },
  /** @type {Float64Array[]} empty without a digit */
  outputs: [],
  network: DATA.networks.length - 1,
  /** @type {Place | null} the value that is explained */
  place: null,
  isPinned: false,
  /** @type {Account | null} how it was computed */
  account: null,
  /** @type {{strokes: Stroke[], example: Uint8Array | null}[]} what was drawn before each change */
  history: [],
  changes: 0, // counts the updates, so that a slow result of an earlier one is dropped
};

/** @type {(Weights[] | undefined)[]} */
const decodedNetworks = [];

/** @returns {Weights[]} of the chosen network */
function currentWeights() {
  return (decodedNetworks[state.network] ??= decoded(DATA.steps, DATA.networks[state.network].weights));
}

/** @returns {Float64Array | null} the probabilities */
function probabilities() {
  return state.outputs.length ? state.outputs[state.outputs.length - 1] : null;
}

/** @returns {string} the answer in words */
function answerInWords() {
  const chances = probabilities();
  if (!chances) return state.prepared.problem || byId("says").dataset.empty || "";
  const answer = chances.indexOf(Math.max(...chances));
  const read = `The network reads ${DATA.classes[answer]}: ${percent(chances[answer])}`;
  if (isUnfamiliar()) return `${read}, but the image is unlike all that it has learned.`;
  return chances[answer] < DATA.unsure ? `${read}, but it is unsure.` : `${read}.`;
}

/** @returns {boolean} whether the image is unlike those of the training; known only of the trained network */
function isUnfamiliar() {
  const { usual, steps, networks } = DATA;
  if (!usual || state.network < networks.length - 1) return false;
  return familiarity(steps, state.outputs, usual) < usual.threshold;
}

/**
 * @param {number} chance - from 0 to 1
 * @returns {string}
 */
function percent(chance) {
  return `${(100 * chance).toFixed(1)}\u00a0%`;
}
