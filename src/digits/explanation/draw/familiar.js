// Whether a drawing resembles what the network has learned (digits.model.familiarity).

/**
 * What is usual for images of the training.
 * @typedef {object} Usual
 * @property {number[]} ends - the last step of each block
 * @property {string} means - of each feature map by class, float32 in base64
 * @property {string} whitening - of the deviations from these means, float32 in base64
 * @property {number} weight - of the distance
 * @property {number} threshold - below it, an image is unfamiliar
 */

/** @type {{means: Float32Array, whitening: Float32Array} | undefined} decoded once */
let usualArrays;

/**
 * The energy of the logits, less the weighted Mahalanobis distance of the means of the feature maps.
 * @param {Step[]} steps
 * @param {Float64Array[]} outputs
 * @param {Usual} usual
 * @returns {number}
 */
function familiarity(steps, outputs, usual) {
  const logits = outputs[outputs.length - 2];
  const most = Math.max(...logits);
  const answer = logits.indexOf(most);
  const observed = usual.ends.flatMap((number) => meansOf(outputs[number], steps[number].shape[0]));
  const { means, whitening } = (usualArrays ??= { means: floats(usual.means), whitening: floats(usual.whitening) });
  const deviations = observed.map((mean, map) => mean - means[answer * observed.length + map]);
  const white = deviations.map((_, to) =>
    deviations.reduce((sum, deviation, from) => sum + deviation * whitening[from * observed.length + to], 0),
  );
  const distance = Math.hypot(...white);
  const energy = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  return energy - usual.weight * distance;
}

/**
 * The mean of each map.
 * @param {Float64Array} values
 * @param {number} channels
 * @returns {number[]}
 */
function meansOf(values, channels) {
  const size = values.length / channels;
  return Array.from({ length: channels }, (_, channel) => {
    return values.subarray(channel * size, (channel + 1) * size).reduce((sum, value) => sum + value, 0) / size;
  });
}
