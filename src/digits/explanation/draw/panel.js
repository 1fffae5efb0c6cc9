// The panel that shows how one value was computed.

const SHOWN_CHANNELS = 3; // channels whose patches are drawn; the others only show their sums

/**
 * Creates an element.
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 * @param {Node[]} [children]
 * @returns {HTMLElement}
 */
function element(tag, className = "", text = "", children = []) {
  const created = document.createElement(tag);
  if (className) created.className = className;
  if (text) created.textContent = text;
  created.append(...children);
  return created;
}

/**
 * Shows an account in the panel.
 * @param {HTMLElement} panel
 * @param {string} title
 * @param {Account} explained
 * @param {number} kernel - pixels per side of the kernel, or the window of a pooling
 * @param {number} most - the value of the strongest colour in the layer before
 * @param {HTMLElement[]} map - the map of the value, enlarged
 */
function showAccount(panel, title, explained, kernel, most, map) {
  /** @type {HTMLElement[]} */
  const parts = [element("h3", "", `${title} = ${shown(explained.value)}`), ...map];
  for (const line of explained.lines) {
    if (line.products) parts.push(...productParts(line.products, kernel, most));
    if (line.terms) parts.push(termTable(line.terms));
    if (line.values) parts.push(labelled("window", numberGrid(line.values, kernel, most, line.won)));
    parts.push(element("p", "equation", line.text));
  }
  parts.push(element("p", "faint", "All numbers are rounded."));
  panel.replaceChildren(...parts);
  panel.dataset.value = String(explained.value);
}

/**
 * @param {Product[]} products
 * @param {number} kernel
 * @param {number} most
 * @returns {HTMLElement[]}
 */
function productParts(products, kernel, most) {
  const strongest = largest(products.flatMap((product) => product.kernel));
  const parts = products.slice(0, SHOWN_CHANNELS).map((product) => {
    const multiplied = product.kernel.map((factor, number) => factor * (product.patch[number] ?? 0));
    const isAlone = products.length === 1;
    const title = isAlone ? [] : [element("p", "", `channel ${product.channel + 1}`)];
    const sum = isAlone ? [] : [element("p", "sum", `sum ${shown(product.sum)}`)];
    return element("div", "product", "", [
      ...title,
      element("div", "grids", "", [
        labelled("patch", numberGrid(product.patch, kernel, most)),
        element("span", "sign", "×"),
        labelled("kernel", numberGrid(product.kernel, kernel, strongest)),
        element("span", "sign", "="),
        labelled("products", numberGrid(multiplied, kernel, largest(multiplied))),
      ]),
      ...sum,
    ]);
  });
  const others = products.slice(SHOWN_CHANNELS);
  if (others.length) {
    const sums = others.map(({ channel, sum }) => `${channel + 1}: ${shown(sum)}`).join(", ");
    const summary = element("summary", "", `the sums of ${others.length} more channels`);
    parts.push(element("details", "", "", [summary, element("p", "", sums)]));
  }
  return parts;
}

/**
 * @param {string} label
 * @param {HTMLElement} grid
 * @returns {HTMLElement}
 */
function labelled(label, grid) {
  return element("figure", "", "", [element("figcaption", "", label), grid]);
}

/**
 * Numbers in a grid, each on its colour; small kernels only have room for the numbers.
 * @param {(number | null)[]} values
 * @param {number} columns
 * @param {number} most - the value of the strongest colour
 * @param {number} [marked] - index of the value that max pooling chose
 * @returns {HTMLElement}
 */
function numberGrid(values, columns, most, marked = -1) {
  const grid = element("div", "numbers");
  grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  values.forEach((value, number) => {
    const cell = element("span", number === marked ? "won" : "", value === null ? "0" : short(value));
    const colour = colourOf((value ?? 0) / most, SIGNED[theme()]);
    cell.style.background = `rgb(${colour.join(" ")})`;
    cell.style.color = luminance(colour) > 0.179 ? "#000" : "#fff";
    if (value === null) cell.className = "padding";
    cell.title = value === null ? "padding" : String(value);
    grid.append(cell);
  });
  return grid;
}

/**
 * A number for a small cell: at most two digits after the point.
 * @param {number} value
 * @returns {string}
 */
function short(value) {
  const size = Math.abs(value);
  const text = value.toFixed(size >= 9.95 ? 0 : size >= 0.995 ? 1 : 2);
  return text.replace(/^(-?)0\./, "$1.").replace(/^-?\.00$/, "0").replace("-", "−");
}

/**
 * The relative luminance of a colour, 0 to 1, as WCAG defines it.
 * @param {Colour} colour
 * @returns {number}
 */
function luminance(colour) {
  const [red, green, blue] = colour.map((part) => (part / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * @param {Term[]} terms
 * @returns {HTMLElement}
 */
function termTable(terms) {
  const head = ["value of", "value", "weight", "product"].map((name) => element("th", "", name));
  const rows = terms.map(({ name, value, weight, product }) =>
    element("tr", "", "", [
      element("td", "", name),
      ...[value, weight, product].map((number) => element("td", "number", shown(number))),
    ]),
  );
  return element("table", "", "", [
    element("caption", "", "The largest products, whatever their sign"),
    element("tr", "", "", head),
    ...rows,
  ]);
}
