// The page: reads its data, listens, and shows what the network computes.

/** Computes everything again, and shows it. */
function update() {
  state.changes++;
  const { strokes, example } = state;
  const prepare = DATA.wholePicture ? preparedWhole : preparedDigit;
  state.prepared = example
    ? { pixels: example, problem: "" }
    : strokes.length
      ? prepare(rasterised(strokes))
      : { pixels: null, problem: "" };
  const { pixels } = state.prepared;
  state.outputs = pixels ? forward(DATA.steps, currentWeights(), pixels) : [];
  explainPlace();
  showAnswer();
  showImage(canvasById("seen"), pixels ?? new Uint8Array(28 * 28), 0);
  clearWhy();
  drawLayers();
  showPlace();
  setTimeout(showWhy, PAUSE, state.changes);
}

let isScheduled = false;

/** Updates before the next frame; several changes until then count as one. */
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    drawPaper();
    update();
  });
}

/** Shows the answer and the bars. */
function showAnswer() {
  const chances = probabilities();
  byId("says").textContent = answerInWords();
  [...byId("bars").children].forEach((row, number) => {
    const [, bar, text] = row.children;
    const chance = chances ? chances[number] : 0;
    /** @type {HTMLElement} */ (bar.firstElementChild).style.width = `${100 * chance}%`;
    text.textContent = chances ? percent(chance) : "";
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values - 28×28
 * @param {number} most - as in imageOf
 */
function showImage(canvas, values, most) {
  canvas.width = canvas.height = 28;
  contextOf(canvas).drawImage(imageOf(values, 28, most), 0, 0);
}

/** Removes the important pixels of an earlier drawing. */
function clearWhy() {
  showImage(canvasById("why"), new Float64Array(28 * 28), 1);
  byId("whyText").textContent = "Which pixels mattered";
}

/**
 * Computes and shows which pixels mattered, unless something has changed meanwhile.
 * @param {number} changes - state.changes at the time of the request
 */
async function showWhy(changes) {
  const isCurrent = () => changes === state.changes;
  if (!isCurrent()) return;
  byId("spoken").textContent = answerInWords();
  const [chances, { pixels }] = [probabilities(), state.prepared];
  if (!pixels || !chances) return;
  const answer = chances.indexOf(Math.max(...chances));
  const text = byId("whyText");
  text.textContent = "Which pixels mattered: computing …";
  const losses = await occlusion(DATA.steps, currentWeights(), pixels, answer, isCurrent);
  if (!losses || !isCurrent()) return;
  showImage(canvasById("why"), losses, largest(losses));
  showDigitOver(canvasById("why"), pixels);
  const name = DATA.classes[answer];
  const most = Math.max(...losses);
  const effect = `lowers the logit of ${name}, against the best other one, by up to ${shown(most)}`;
  text.textContent =
    most > 0
      ? `Which pixels mattered: covering the orange ones ${effect}`
      : `Covering any part makes ${name} more likely`;
}

/**
 * Draws a digit over an image, so faint that both can be seen.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} pixels
 */
function showDigitOver(canvas, pixels) {
  const context = contextOf(canvas);
  context.fillStyle = getComputedStyle(canvas).color;
  pixels.forEach((value, place) => {
    context.globalAlpha = (0.4 * value) / 255;
    context.fillRect(place % 28, Math.floor(place / 28), 1, 1);
  });
  context.globalAlpha = 1;
}

/** Draws the strokes, or the chosen test image. */
function drawPaper() {
  const paper = canvasById("paper");
  const side = Math.round(paper.clientWidth * devicePixelRatio);
  if (paper.width !== side) paper.width = paper.height = side;
  const context = contextOf(paper);
  context.fillStyle = "white";
  context.fillRect(0, 0, side, side);
  if (state.example) {
    const image = imageOf(state.example.map((value) => 255 - value), 28, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, side, side);
  }
  drawStrokes(context, state.strokes, side, "black");
}

/** Fits everything to the width of the page. */
function layOut() {
  for (const { maps, section } of views) maps?.layOut(section.clientWidth);
  drawScales();
  drawPaper();
  drawLayers();
}

/**
 * Builds the buttons of some images.
 * @param {string} id
 * @param {Example[]} examples
 */
function buildExamples(id, examples) {
  for (const { pixels, label, title } of examples) {
    const image = bytesOf(pixels);
    const canvas = document.createElement("canvas");
    showImage(canvas, image, 0);
    const button = element("button", "", "", [canvas, element("span", "", label)]);
    button.title = title;
    button.setAttribute("type", "button");
    button.setAttribute("aria-label", title);
    button.addEventListener("click", () => change([], image));
    byId(id).append(button);
  }
}

/**
 * Replaces what is drawn, so that it can be undone.
 * @param {Stroke[]} strokes
 * @param {Uint8Array | null} example
 */
function change(strokes, example) {
  state.history.push({ strokes: state.strokes, example: state.example });
  Object.assign(state, { strokes, example });
  schedule();
}

/** Returns to what was drawn before the last change. */
function undo() {
  Object.assign(state, state.history.pop());
  schedule();
}

/** Builds the slider of the epochs. */
function buildEpochs() {
  const last = DATA.networks.length - 1;
  byId("epochs").hidden = !last;
  const slider = inputById("epoch");
  slider.max = String(last);
  slider.value = String(last);
  const name = () => (byId("epochName").textContent = DATA.networks[state.network].name);
  slider.addEventListener("input", () => {
    state.network = Number(slider.value);
    name();
    schedule();
  });
  name();
  byId("leftOut").textContent = DATA.leftOut;
}

/** Listens to everything but the maps. */
function listen() {
  const brush = inputById("brush");
  listenToPen(
    canvasById("paper"),
    () => Number(brush.value) / 100,
    (stroke) => change([...state.strokes, stroke], null),
    schedule,
  );
  byId("undo").addEventListener("click", undo);
  byId("clear").addEventListener("click", () => change([], null));
  byId("close").addEventListener("click", () => point(null, false));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") point(null, false);
    moveByKey(event);
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      undo();
    }
  });
  let timer = 0;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(layOut, LAYOUT_PAUSE);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    layOut();
    update();
  });
}

/** Builds the page. */
function start() {
  byId("says").dataset.empty = byId("says").textContent ?? "";
  for (const name of DATA.classes) {
    const bar = element("div", "bar", "", [document.createElement("i")]);
    byId("bars").append(element("li", "", "", [element("span", "", name), bar, element("span")]));
  }
  buildExamples("digits", DATA.digits);
  buildExamples("errors", DATA.errors);
  byId("digitsTitle").hidden = !DATA.digits.length;
  byId("errorsTitle").hidden = !DATA.errors.length;
  buildEpochs();
  buildLayers();
  listen();
  layOut();
  watchVisibility();
  update();
  setTimeout(currentWeights); // decoded before the first stroke
}

start();
