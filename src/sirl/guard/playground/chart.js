// The monitor's score against the threshold, and the entropies below it, as SVG.

import { figure } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220;
const LEFT = 46;
const RIGHT = 14;
const TOP = 36;
const BOTTOM = 150; // of the scores
const FLOOR = 196; // of the entropies
const BAR = 30; // height of the highest bar
const HIGHEST = 3; // nats of the highest bar
const LEAST = 32; // tokens that the axis has room for at least

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The points of the score: the prompt's, then one per token. */
function scores({ tokens, promptScore }) {
  const first = promptScore ?? (tokens[0]?.checked === null ? tokens[0].score : null);
  const found = tokens.filter((t) => t).map((t) => [t.number, t.score]);
  return [[0, first], ...found].filter(([, score]) => Number.isFinite(score));
}

function checks({ tokens, promptScore }) {
  const found = tokens.filter((t) => t && t.checked !== null).map((t) => [t.number, t.checked]);
  return Number.isFinite(promptScore) ? [[0, promptScore], ...found] : found;
}

function steps(points, x, y) {
  return points.map(([n, s], i) => (i ? `H${x(n)}V${y(s)}` : `M${x(n)} ${y(s)}`)).join("");
}

function frame(width, x, y, low, high, last) {
  const drawn = [];
  for (const value of [low, (low + high) / 2, high]) {
    const at = { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" };
    drawn.push(shape("line", at));
    const label = { x: LEFT - 6, y: y(value) + 4, class: "tick end" };
    drawn.push(shape("text", label, figure(value).replace(/(\d\d)\.\d\d$/, "$1")));
  }
  for (let n = 0; n <= last; n += last / 4) {
    drawn.push(shape("text", { x: x(n), y: HEIGHT - 8, class: "tick middle" }, String(Math.round(n))));
  }
  drawn.push(shape("text", { x: width - RIGHT, y: 12, class: "tick end" }, "line: highest score so far, circles: checks"));
  drawn.push(shape("text", { x: LEFT - 6, y: FLOOR, class: "tick end" }, "nats"));
  return drawn;
}

/** Draw an answer into a figure. */
export function draw(place, state) {
  const width = Math.max(280, Math.floor(place.clientWidth));
  const { threshold, alarm, tokens } = state;
  const line = scores(state);
  const dots = checks(state);
  const values = [threshold, ...line.map((p) => p[1]), ...dots.map((p) => p[1])];
  const room = Math.max(0.5, (Math.max(...values) - Math.min(...values)) * 0.15);
  const [low, high] = [Math.min(...values) - room, Math.max(...values) + room];
  const last = Math.max(LEAST, Math.ceil(tokens.length / 16) * 16);
  const x = (n) => LEFT + ((width - LEFT - RIGHT) * n) / last;
  const y = (s) => BOTTOM - ((BOTTOM - TOP) * (s - low)) / (high - low);
  const said = summary(state, line);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": said });
  svg.append(...frame(width, x, y, low, high, last));
  const bar = Math.max(1, x(1) - x(0) - 1);
  for (const token of tokens) {
    if (!Number.isFinite(token?.entropy)) continue;
    const height = Math.max(1, (Math.min(token.entropy, HIGHEST) / HIGHEST) * BAR);
    const at = { x: x(token.number - 1) + 0.5, y: FLOOR - height, width: bar, height };
    svg.append(shape("rect", { ...at, class: "bar" }));
  }
  const limit = { x1: LEFT, x2: width - RIGHT, y1: y(threshold), y2: y(threshold) };
  svg.append(shape("line", { ...limit, class: "threshold" }));
  const below = line.length > 0 && line.at(-1)[1] > threshold;
  const label = { x: width - RIGHT, y: y(threshold) + (below ? 14 : -5), class: "tick end" };
  svg.append(shape("text", label, `threshold ${figure(threshold)}`));
  if (line.length) svg.append(shape("path", { d: steps(line, x, y), class: "score" }));
  for (const [n, s] of dots) {
    const dot = shape("circle", { cx: x(n), cy: y(s), r: 3.5, class: "check" });
    dot.append(shape("title", {}, `check after token ${n}: ${figure(s)}`));
    svg.append(dot);
  }
  if (alarm !== null) svg.append(...flag(x(alarm), width));
  place.replaceChildren(svg);
}

function flag(x, width) {
  const right = x > width - 70;
  return [
    shape("line", { x1: x, x2: x, y1: TOP - 18, y2: FLOOR, class: "alarm" }),
    shape("text", { x: x + (right ? -5 : 5), y: TOP - 8, class: `tick alarm${right ? " end" : ""}` }, "⚑ alarm"),
  ];
}

function summary({ threshold, alarm, tokens }, line) {
  const now = line.length ? figure(line.at(-1)[1]) : "none yet";
  const ended = alarm === null ? "no alarm" : `alarm after token ${alarm}`;
  return `Score ${now} after ${tokens.length} tokens, threshold ${figure(threshold)}, ${ended}`;
}
