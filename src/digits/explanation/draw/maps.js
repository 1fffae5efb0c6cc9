// Feature maps and filters as images with a colour scale.

/** @typedef {[number, number, number]} Colour */

// Purple, through the colour of the paper at zero, to orange: everyone can tell them apart.
/** @type {Record<string, Colour[]>} */
const SIGNED = {
  light: [[84, 39, 136], [153, 142, 195], [247, 247, 247], [241, 163, 64], [179, 88, 6]],
  dark: [[196, 181, 253], [109, 91, 176], [22, 27, 34], [178, 100, 18], [253, 186, 116]],
};
const SMALLEST_MAP = 56; // CSS pixels per side of a feature map that is drawn
const SMALLEST_UNIT = 14; // the same for a unit of a fully connected layer
const LARGEST_UNIT = 30; // the same for a unit of the last two steps, which have names
const SMALLEST = 1e-6; // the strongest colour stands at least for this value
const GAP = 4; // CSS pixels between maps
const NAMES = 16; // CSS pixels below units, for their names

/** @returns {"light" | "dark"} */
function theme() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/**
 * The colour of a value.
 * @param {number} value - from −1 to 1
 * @param {Colour[]} colours - from −1 to 1
 * @returns {Colour}
 */
function colourOf(value, colours) {
  const place = ((Math.min(Math.max(value, -1), 1) + 1) / 2) * (colours.length - 1);
  const below = Math.min(Math.floor(place), colours.length - 2);
  const rest = place - below;
  const mixed = colours[below].map((from, part) => from + rest * (colours[below + 1][part] - from));
  return [mixed[0], mixed[1], mixed[2]];
}

/**
 * Draws a plane of values, one pixel each.
 * @param {ArrayLike<number>} values
 * @param {number} width
 * @param {number} most - the value of the strongest colour; 0 for grey values from 0 to 255
 * @returns {HTMLCanvasElement}
 */
function imageOf(values, width, most) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = values.length / width;
  const context = contextOf(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const { data } = image; // red, green, blue and alpha of each value
  const table = most ? colourTable() : null;
  for (let place = 0; place < values.length; place++) {
    const value = values[place];
    if (table) {
      const entry = 3 * Math.min(Math.max(Math.round((value / most) * 128) + 128, 0), 256);
      data[4 * place] = table[entry];
      data[4 * place + 1] = table[entry + 1];
      data[4 * place + 2] = table[entry + 2];
    } else {
      data[4 * place] = data[4 * place + 1] = data[4 * place + 2] = value;
    }
    data[4 * place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** @type {Partial<Record<string, Uint8Array>>} */
const tables = {};

/** @returns {Uint8Array} the colours of −1 to 1, in 257 steps */
function colourTable() {
  const name = theme();
  return (tables[name] ??= Uint8Array.from({ length: 3 * 257 }, (_, place) => {
    return colourOf(Math.floor(place / 3) / 128 - 1, SIGNED[name])[place % 3];
  }));
}

/**
 * The largest size of a value, not 0.
 * @param {ArrayLike<number>} values
 * @returns {number}
 */
function largest(values) {
  let most = SMALLEST;
  for (let place = 0; place < values.length; place++) most = Math.max(most, Math.abs(values[place]));
  return most;
}

/** All maps of one step, on one canvas. */
class Maps {
  /**
   * @param {Step} step
   * @param {HTMLCanvasElement} canvas
   * @param {string[]} names - of the units of the last layer
   */
  constructor(step, canvas, names) {
    this.step = step;
    this.canvas = canvas;
    this.names = names;
    this.most = 1;
    this.columns = 1;
    this.cell = 1; // CSS pixels per value
    this.nameWidth = 0; // CSS pixels of the longest name
    this.isGrey = step.kind === "input";
  }

  get areUnits() {
    return this.step.shape[1] * this.step.shape[2] === 1;
  }

  get font() {
    return `12px ${getComputedStyle(this.canvas).fontFamily}`;
  }

  /** Distance from one map to the next, in CSS pixels: across, and down. */
  get pitch() {
    const [, height, width] = this.step.shape;
    const below = this.names.length ? NAMES : 0;
    const gap = this.areUnits && !below ? 1 : GAP;
    return { x: Math.max(width * this.cell, this.nameWidth) + gap, y: height * this.cell + gap + below };
  }

  /**
   * Chooses the size of the maps for a width in CSS pixels.
   * @param {number} available
   */
  layOut(available) {
    const [channels, height, width] = this.step.shape;
    const smallest = this.areUnits ? (this.names.length ? LARGEST_UNIT : SMALLEST_UNIT) : SMALLEST_MAP;
    const context = contextOf(this.canvas);
    context.font = this.font;
    this.nameWidth = Math.ceil(Math.max(0, ...this.names.map((name) => context.measureText(name).width)));
    this.cell = Math.max(1, Math.ceil(smallest / Math.max(height, width)));
    if (channels === 1) this.cell = Math.floor(Math.min(available, 224) / width);
    this.columns = Math.max(1, Math.min(channels, Math.floor((available + GAP) / this.pitch.x)));
    const ratio = devicePixelRatio;
    const across = this.columns * this.pitch.x;
    const down = Math.ceil(channels / this.columns) * this.pitch.y;
    this.canvas.style.width = `${across}px`;
    this.canvas.style.height = `${down}px`;
    this.canvas.width = Math.round(across * ratio);
    this.canvas.height = Math.round(down * ratio);
  }

  /**
   * Draws the maps, and frames the regions that are lit up in them.
   * @param {ArrayLike<number>} values
   * @param {Region[]} lit
   * @param {Place | null} pointed
   */
  draw(values, lit, pointed) {
    this.most = this.isGrey ? 0 : largest(values);
    const [channels, height, width] = this.step.shape;
    const context = contextOf(this.canvas);
    const style = getComputedStyle(this.canvas);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = false;
    const image = imageOf(values, width, this.most);
    context.fillStyle = style.color;
    context.font = this.font;
    context.textAlign = "center";
    for (let channel = 0; channel < channels; channel++) {
      const { x, y } = this.corner(channel);
      const [across, down] = [width * this.cell, height * this.cell];
      context.drawImage(image, 0, channel * height, width, height, x, y, across, down);
      const middle = x + Math.max(across, this.nameWidth) / 2;
      if (this.names.length) context.fillText(this.names[channel], middle, y + down + 13);
    }
    for (const region of lit) this.frame(context, region, style.outlineColor);
    if (pointed) this.frame(context, { ...pointed, side: 1 }, style.color);
  }

  /**
   * @param {number} channel
   * @returns {{x: number, y: number}} the upper left corner of a map, in CSS pixels
   */
  corner(channel) {
    return { x: (channel % this.columns) * this.pitch.x, y: Math.floor(channel / this.columns) * this.pitch.y };
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Region} region
   * @param {string} colour
   */
  frame(context, region, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    const channels = region.channel === null ? [...Array(this.step.shape[0]).keys()] : [region.channel];
    for (const channel of channels) {
      const { x, y } = this.corner(channel);
      const side = region.side * this.cell;
      context.strokeRect(x + region.x * this.cell, y + region.y * this.cell, side, side);
    }
  }

  /**
   * The value under the pointer.
   * @param {MouseEvent} event
   * @returns {{channel: number, y: number, x: number} | null}
   */
  placeAt(event) {
    const [channels, height, width] = this.step.shape;
    const { x: pitchX, y: pitchY } = this.pitch;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / pitchX);
    const row = Math.floor((event.clientY - box.top) / pitchY);
    const x = Math.floor((event.clientX - box.left - column * pitchX) / this.cell);
    const y = Math.floor((event.clientY - box.top - row * pitchY) / this.cell);
    const channel = row * this.columns + column;
    const isInside = x >= 0 && y >= 0 && x < width && y < height && column >= 0 && column < this.columns;
    return isInside && channel >= 0 && channel < channels ? { channel, y, x } : null;
  }

  /**
   * The value beside another; at the edge of a map, in the map beside it.
   * @param {{channel: number, y: number, x: number}} place
   * @param {number} across
   * @param {number} down
   * @returns {{channel: number, y: number, x: number}}
   */
  beside({ channel, y, x }, across, down) {
    const [channels, height, width] = this.step.shape;
    x += across;
    y += down;
    const next = channel + Math.floor(x / width) + this.columns * Math.floor(y / height);
    if (next < 0 || next >= channels) return { channel, y: y - down, x: x - across };
    return { channel: next, y: (y + height) % height, x: (x + width) % width };
  }
}
