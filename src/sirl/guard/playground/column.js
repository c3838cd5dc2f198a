// One model's answer: its tokens, the score, and what each mode would send.

import { draw } from "./chart.js";
import { counted, element, figure, marked, visible } from "./text.js";

/** Lower ends of the heat levels, in nats. */
export const LEVELS = [0, 0.1, 0.25, 0.5, 1, 1.5, 2, 3];
const MODES = {
  shadow: "sends all, notes alarms",
  live: "sends at once, alarms cut",
  hold: "sends what a check passed",
};
const ACTIONS = {
  refuse: "ends the answer with a refusal",
  stop: "ends the answer",
  flag: "is only noted",
};

/** The level of an entropy; the lowest if it is unknown. */
export function level(entropy) {
  return Math.max(0, LEVELS.findLastIndex((low) => entropy >= low));
}

function copied(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

export class Column {
  constructor(model, number, detailed) {
    this.model = model;
    this.detailed = detailed; // without details there is the text alone
    this.watched = model.mode !== "none";
    this.root = copied("column");
    this.id = `token-${number}`;
    for (const part of ["status", "strip", "readout", "chart", "modes", "hint"]) {
      this[part] = this.root.querySelector(`.${part}`);
    }
    this.root.querySelector(".name").textContent = visible(model.name);
    this.root.querySelector(".manner").textContent = this.watched
      ? `watched in ${model.mode} mode: an alarm ${ACTIONS[model.action]}`
      : "unwatched: every token is sent";
    this.panels = this.watched && detailed ? this.panelled() : {};
    if (!detailed) {
      this.strip.setAttribute("role", "group");
      this.strip.setAttribute("aria-label", "Answer");
    }
    this.strip.addEventListener("keydown", (event) => this.moved(event));
    this.strip.addEventListener("pointerover", (event) => this.pointed(event));
    new ResizeObserver(() => this.refresh()).observe(this.chart);
    this.reset();
  }

  /** A panel for each mode. */
  panelled() {
    const made = {};
    for (const [mode, what] of Object.entries(MODES)) {
      const panel = copied("mode");
      const own = mode === this.model.mode;
      panel.querySelector("h3").append(mode, ...(own ? [element("span", "badge", "in force")] : []));
      panel.querySelector(".what").textContent = what;
      this.modes.append(panel);
      made[mode] = { sent: panel.querySelector(".sent"), count: panel.querySelector(".count") };
    }
    return made;
  }

  reset() {
    this.tokens = [];
    this.points = []; // characters of the tokens whose text is known
    this.received = []; // characters that were sent
    this.finding = null;
    this.running = false;
    this.promptScore = null;
    this.alarm = null; // tokens judged by the check that raised it
    this.threshold = this.model.threshold;
    this.chosen = null;
    this.strip.replaceChildren();
    this.strip.removeAttribute("aria-activedescendant");
    this.readout.textContent = "";
    this.say("", "");
    this.refresh();
  }

  begin() {
    this.reset();
    this.running = true;
    this.say("writing", "writing …");
  }

  say(kind, text) {
    this.root.dataset.state = kind;
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  /** Take a document of the stream. */
  take(found) {
    for (const choice of found.choices) {
      this.received.push(...(choice.delta.content ?? ""));
      if (choice.finish_reason) this.finish = choice.finish_reason;
    }
    const own = found.sirl_guard?.choices[0];
    for (const token of own?.tokens ?? []) this.token(token);
    if (own && "flagged" in own) this.end(own);
    if (!this.detailed) this.strip.textContent = visible(this.kept);
    this.refresh();
  }

  /** The text that was sent, without what an alarm retracts. */
  get kept() {
    const from = this.finding?.retract_from ?? null;
    if (from === null) return this.received.join("");
    const refusal = this.received.slice(this.finding.refusal_from ?? this.received.length);
    return [...this.received.slice(0, from), ...refusal].join("");
  }

  token(token) {
    const known = this.tokens[token.number - 1];
    this.tokens[token.number - 1] = token;
    if (!known) {
      this.points.push(...(token.text ?? ""));
      this.strip.append(this.shown(token));
    } else {
      this.described(this.strip.querySelector(`#${this.id}-${token.number}`), token);
    }
    if (this.watched && this.alarm === null && token.score > this.threshold) {
      this.alarmed(token.checked === null ? 0 : token.number);
    }
  }

  shown(token) {
    const made = element("bdi", `token h${level(token.entropy)}`);
    made.textContent = token.text === null ? "▇" : marked(token.text || token.token || "");
    if (token.text === "") made.classList.add("mark");
    if (token.text === null) made.classList.add("dropped");
    made.id = `${this.id}-${token.number}`;
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", "false");
    this.described(made, token);
    return made;
  }

  described(made, token) {
    const text = token.text === null ? "not sent" : `“${visible(token.token)}”`;
    const parts = [`token ${token.number} ${text}: ${figure(token.entropy)} nats`];
    if (token.logprob !== null) parts.push(`log-probability ${figure(token.logprob)}`);
    if (token.checked !== null) parts.push(`check ${figure(token.checked)}`);
    if (this.watched && token.score !== null) parts.push(`score ${figure(token.score)}`);
    made.title = parts.join(", ");
    made.setAttribute("aria-label", made.title);
  }

  alarmed(position) {
    this.alarm = position;
    this.say("alarm", `⚑ alarm after token ${position}`);
    if (!this.detailed) return;
    const marker = element("span", "marker", "⚑ alarm");
    marker.setAttribute("role", "presentation");
    const before = this.strip.querySelector(`#${this.id}-${position + 1}`);
    this.strip.insertBefore(marker, before);
  }

  end(finding) {
    this.finding = finding;
    this.promptScore = finding.prompt_score ?? null;
    if (finding.flagged && this.alarm === null) this.alarmed(finding.position);
  }

  /** The answer has ended, was stopped, or failed with an error. */
  close(trouble) {
    this.running = false;
    const length = this.detailed ? counted(this.tokens.length, "token") : counted(this.received.length, "character");
    const of = this.detailed ? ` of ${this.tokens.length}` : "";
    if (trouble) this.say("failed", trouble);
    else if (this.alarm === 0) this.say("alarm", "⚑ alarm at the prompt, before the first token");
    else if (this.alarm !== null) this.say("alarm", `⚑ alarm after token ${this.alarm}${of}`);
    else if (!this.watched) this.say("done", `${length}, unwatched`);
    else if (!this.finding?.watched) this.say("failed", `${length}; a check failed, the rest was not watched`);
    else this.say("passed", `✓ passed: ${length}, no alarm`);
    this.refresh();
  }

  /** Draw once per frame, however many tokens have come. */
  refresh() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      const begun = this.running || this.tokens.length > 0 || this.finding !== null;
      this.chart.hidden = this.modes.hidden = !(this.watched && this.detailed && begun);
      this.hint.hidden = !(this.cut && this.detailed);
      if (this.running) this.strip.scrollTop = this.strip.scrollHeight;
      if (this.chart.hidden) return;
      draw(this.chart, this);
      for (const mode of Object.keys(MODES)) this.compared(mode);
      this.hint.textContent = `The model was stopped at the alarm. To see what it would have gone on to write, serve it with --mode shadow.`;
    });
  }

  /** Whether an alarm has ended the answer. */
  get cut() {
    return ["stop", "refuse"].includes(this.finding?.action);
  }

  /** Characters up to the last check that passed. */
  get passed() {
    const judged = this.tokens.filter((t) => t && t.checked !== null && t.number < this.alarm);
    return judged.at(-1)?.sent.shadow ?? 0;
  }

  /** Fill the panel of a mode. */
  compared(mode) {
    const sent = this.tokens.at(-1)?.sent[mode] ?? 0;
    const all = this.tokens.at(-1)?.sent.shadow ?? 0;
    const stays = mode === "live" && this.alarm !== null ? Math.min(this.passed, sent) : sent;
    const parts = [visible(this.points.slice(0, stays).join(""))];
    if (stays < sent) parts.push(element("del", "", visible(this.points.slice(stays, sent).join(""))));
    if (sent > this.points.length) parts.push(element("span", "kept", ` [${counted(sent - this.points.length, "character")} not shown]`));
    parts.push(...this.refused(mode));
    if (!this.running && !sent && parts.length === 1) parts.push(element("span", "kept", "(nothing)"));
    this.panels[mode].sent.replaceChildren(...parts);
    this.panels[mode].count.textContent = this.counted(mode, sent, stays, all);
  }

  /** The refusal that the server has sent, or in a mode that is not in force would send. */
  refused(mode) {
    let text = "";
    if (mode !== this.model.mode) text = mode !== "shadow" && this.alarm !== null ? this.model.refusal : "";
    else if (Number.isFinite(this.finding?.refusal_from)) text = this.received.slice(this.finding.refusal_from).join("").trim();
    return text ? [element("span", "refusal", visible(text))] : [];
  }

  counted(mode, sent, stays, all) {
    if (mode === "shadow" && this.cut) return `${counted(sent, "character")}, then the server stopped the model`;
    const said = [counted(sent, "character")];
    if (stays < sent) said.push(`${sent - stays} of them retracted`);
    if (mode === "hold" && this.alarm === null && all > sent) said.push(`${all - sent} wait for a check`);
    if (mode !== "shadow" && this.alarm !== null) {
      said.push(all > sent ? `${all - sent} stopped` : "cut here");
      if (mode === this.model.mode && this.model.action === "flag") said.push("action flag: in fact all was sent");
    }
    return said.join(", ");
  }

  /** Arrow keys choose a token. */
  moved(event) {
    const last = this.tokens.length;
    const now = this.chosen ?? 0;
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 1, End: last }[event.key];
    if (to === undefined || !last) return;
    event.preventDefault();
    this.choose(Math.min(Math.max(to, 1), last)).scrollIntoView({ block: "nearest" });
  }

  pointed(event) {
    const number = Number(event.target.id?.split("-").at(-1));
    if (event.target.classList.contains("token") && number) this.choose(number);
  }

  choose(number) {
    this.strip.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    const token = this.strip.querySelector(`#${this.id}-${number}`);
    this.chosen = number;
    token.setAttribute("aria-selected", "true");
    this.strip.setAttribute("aria-activedescendant", token.id);
    this.readout.textContent = token.title;
    return token;
  }
}
