// The page: what is asked, and of which models.

import { Column, LEVELS } from "./column.js";
import { read, streamed } from "./stream.js";
import { element, visible } from "./text.js";

const at = (id) => document.getElementById(id);
const WAIT = 250; // milliseconds of silence before a disguised prompt is rendered
let columns = [];
let detailed = false; // whether the server gives entropies and scores
let running = null;
let previewing = 0;

const key = () => at("key").value.trim();

function trouble(text) {
  at("trouble").hidden = !text;
  at("trouble").textContent = visible(text);
}

/** Ask the server what there is; without a valid key, ask for one. */
async function begin() {
  let found;
  try {
    found = await read("/playground/settings", key());
  } catch (error) {
    if (error.status !== 401) return trouble(error.message);
    at("key-row").hidden = false;
    return trouble(key() ? "This key is not valid." : "");
  }
  trouble("");
  detailed = found.details;
  at("no-details").hidden = detailed;
  at("legend-row").hidden = !detailed;
  columns = found.models.map((model, number) => new Column(model, number, detailed));
  at("columns").replaceChildren(...columns.map((column) => column.root));
  document.body.classList.toggle("two", columns.length > 1);
  at("disguise").replaceChildren(at("disguise").firstElementChild, ...families(found.disguises));
  at("examples").hidden = !found.examples.length;
  at("examples").replaceChildren("Try ", ...found.examples.map(example));
}

function families(disguises) {
  const groups = new Map();
  for (const { name, family } of disguises) {
    if (!groups.has(family)) {
      groups.set(family, document.createElement("optgroup"));
      groups.get(family).label = visible(family);
    }
    const option = element("option", "", visible(name));
    option.value = name;
    groups.get(family).append(option);
  }
  return groups.values();
}

function example({ title, request }) {
  const button = element("button", "example", visible(title));
  button.type = "button";
  button.title = visible(request);
  button.addEventListener("click", () => {
    at("prompt").value = request;
    at("prompt").focus();
    preview();
  });
  return button;
}

/** The conversation that would be asked. */
async function conversation() {
  const [request, disguise] = [at("prompt").value, at("disguise").value];
  if (!disguise) return [{ role: "user", content: request }];
  return (await read("/playground/disguised", key(), { disguise, request })).messages;
}

/** Show what the server makes of the prompt; an older reply never replaces a newer one. */
function preview() {
  const own = ++previewing;
  at("preview").hidden = !at("disguise").value || !at("prompt").value.trim();
  if (at("preview").hidden) return;
  setTimeout(async () => {
    if (own !== previewing) return;
    try {
      const messages = await conversation();
      if (own === previewing) at("conversation").replaceChildren(...messages.flatMap(turn));
    } catch (error) {
      if (own === previewing) trouble(error.message);
    }
  }, WAIT);
}

function turn({ role, content }) {
  return [element("p", "over", visible(role)), element("p", "turn", visible(content))];
}

async function send() {
  if (running || !columns.length) return;
  if (!at("prompt").value.trim()) return trouble("Write a prompt first.");
  trouble("");
  running = new AbortController();
  at("send").textContent = "Stop";
  try {
    const messages = await conversation();
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]; // one for all: alike models answer alike
    await Promise.all(columns.map((column) => answer(column, messages, seed, running.signal)));
  } catch (error) {
    trouble(error.message);
  }
  running = null;
  at("send").textContent = "Send";
}

async function answer(column, messages, seed, signal) {
  const { name, path } = column.model;
  const body = { model: name, messages, seed, stream: true };
  if (detailed) body.sirl = { details: true };
  column.begin();
  try {
    for await (const found of streamed(path, key(), body, signal)) column.take(found);
    column.close("");
  } catch (error) {
    column.close(signal.aborted ? "stopped by you" : visible(error.message));
  }
}

at("legend").append(
  ...LEVELS.map((low, n) => element("li", `h${n}`, `${low}+`)),
);
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else send();
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
at("prompt").addEventListener("input", preview);
at("disguise").addEventListener("change", preview);
at("key-row").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
addEventListener("pagehide", () => { at("key").value = ""; });
begin();
